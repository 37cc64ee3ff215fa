"""A journal of many rows: how long a resume takes, and how soon it ends when it is cancelled."""

import asyncio
import contextlib
import os
import signal
import sqlite3
import sys
import threading
from collections.abc import AsyncGenerator
from pathlib import Path
from time import perf_counter, process_time

import anyio
import pytest

from aioposthog_env import AsyncEnvironments, Journal, Sandbox, TeamSettings
from tests.conftest import logged_in

MANY = 100_000


def multiply(path: Path, rows: int) -> None:
    """Give the runs of a journal the items of so many environments, all like the first one."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        columns = "state, intended, finished, body, marks, asked, before, after, attempts"
        db.execute(
            "WITH RECURSIVE n (i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
            f" INSERT INTO items (run, environment, {columns}) SELECT run, i, {columns} FROM items, n WHERE environment = 1",
            (rows,),
        )


@contextlib.asynccontextmanager
async def reset(path: Path, rows: int) -> AsyncGenerator[tuple[Sandbox, AsyncEnvironments], None]:
    """A journal in which the tokens of so many environments were reset."""
    async with Sandbox(1) as sandbox, logged_in(sandbox, routes="root") as environments:
        (await environments.each([1], journal=path).reset_token()).raise_for_failures()
        multiply(path, rows)
        yield sandbox, environments


async def test_a_resume_takes_a_time_in_proportion_to_its_rows(tmp_path: Path) -> None:
    took: dict[int, float] = {}
    for rows in (2_000, 20_000):
        path = tmp_path / f"{rows}.db"
        async with reset(path, rows) as (_, environments):
            began = process_time()
            report = await environments.each(range(1, rows + 1), journal=path, keep="counts").reset_token()
            took[rows] = process_time() - began
            assert report.done_earlier == rows
    # Ten times the rows: in proportion, 10 times as long; with their square, 100 times.
    assert took[20_000] < 25 * took[2_000]


async def test_a_resume_after_an_undo_takes_a_time_in_proportion_too(tmp_path: Path) -> None:
    took: dict[int, float] = {}
    for rows in (2_000, 20_000):
        path = tmp_path / f"{rows}.db"
        async with Sandbox(1) as sandbox, logged_in(sandbox, routes="root") as environments:
            berlin = TeamSettings(timezone="Europe/Berlin")
            (await environments.each([1], journal=path).update(berlin)).raise_for_failures()
            (await environments.undo(path)).raise_for_failures()
            (await environments.each([1], journal=path).update(berlin)).raise_for_failures()
            multiply(path, rows)
            began = process_time()
            report = await environments.each(range(1, rows + 1), journal=path, keep="counts").update(berlin)
            took[rows] = process_time() - began
            assert report.done_earlier == rows
    assert took[20_000] < 25 * took[2_000]


@pytest.mark.parametrize("by_scope", [False, True], ids=["task", "scope"])
async def test_a_cancel_interrupts_a_long_read(tmp_path: Path, by_scope: bool) -> None:
    path = tmp_path / "run.db"
    async with reset(path, MANY):
        pass
    async with Journal(path) as journal:
        began = perf_counter()
        assert len(await journal.items()) == MANY
        whole = perf_counter() - began
        began = perf_counter()
        if by_scope:
            with anyio.move_on_after(whole / 10) as scope:
                await journal.items()
            assert scope.cancelled_caught
        else:
            task = asyncio.ensure_future(journal.items())
            await asyncio.sleep(whole / 10)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert perf_counter() - began < whole / 2
        # The connection is as good as before.
        assert len(await journal.runs()) == 1
    assert len(await Journal(path).runs()) == 1


async def test_a_cancel_at_any_moment_of_a_resume_ends_within_a_second(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    async with reset(path, MANY) as (sandbox, environments):
        threads = threading.active_count()
        for delay in (0.0, 0.02, 0.1, 0.2, 0.4, 0.5, 0.6, 0.8):
            run = environments.each(range(1, MANY + 1), journal=path, keep="counts").reset_token()

            async def resume() -> None:
                await run  # noqa: B023  ends before the next

            task, loop = asyncio.ensure_future(resume()), asyncio.get_running_loop()
            due = perf_counter() + delay
            # From another thread, since a loop that is held up would also hold up its own clock.
            timer = threading.Timer(delay, loop.call_soon_threadsafe, [task.cancel])
            timer.start()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            assert perf_counter() - due < 1
            timer.join()
            assert len(await Journal(path).runs()) == 1  # it is closed
        assert threading.active_count() <= threads + 1
        assert sandbox.effects["reset_token", 1] == 1


async def test_the_event_loop_has_its_turn_during_a_resume(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    async with reset(path, MANY) as (_, environments):
        longest = 0.0

        async def watch() -> None:
            nonlocal longest
            while True:
                began = perf_counter()
                await asyncio.sleep(0.001)
                longest = max(longest, perf_counter() - began)

        watching = asyncio.ensure_future(watch())
        report = await environments.each(range(1, MANY + 1), journal=path, keep="counts").reset_token()
        watching.cancel()
        assert report.done_earlier == MANY
        assert longest < 1


RESUME = """
import asyncio, os, sys
from aioposthog_env import AsyncEnvironments, SessionCookie

async def main():
    auth = SessionCookie(os.environ["SESSION_ID"], os.environ["CSRF_TOKEN"])
    async with AsyncEnvironments(sys.argv[1], auth=auth, routes="root") as environments:
        print("begun", flush=True)
        await environments.each(range(1, int(sys.argv[3]) + 1), journal=sys.argv[2], adopt=True).reset_token()

asyncio.run(main())
"""


async def test_ctrl_c_at_any_moment_of_a_resume_ends_within_a_second(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    async with reset(path, MANY) as (sandbox, _):
        session = sandbox.session()
        env = {**os.environ, "SESSION_ID": session.session_id, "CSRF_TOKEN": session.csrf_token}
        command = [sys.executable, "-c", RESUME, sandbox.url, str(path), str(MANY)]
        for delay in (0.05, 0.3, 0.6):
            process = await asyncio.create_subprocess_exec(*command, env=env, stdout=-1, stderr=-1)
            assert process.stdout is not None
            await process.stdout.readline()
            await asyncio.sleep(delay)
            process.send_signal(signal.SIGINT)
            began = perf_counter()
            _, stderr = await process.communicate()
            assert perf_counter() - began < 1 + 0.5  # the interpreter ends, too
            assert b"KeyboardInterrupt" in stderr
            assert len(await Journal(path).runs()) == 1
