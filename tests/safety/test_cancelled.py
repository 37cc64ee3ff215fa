"""Cancelled at every await: the journal tells the truth, and a resumed run ends right."""

import asyncio
import contextvars
from collections.abc import Coroutine, Generator
from pathlib import Path
from typing import Any, Final

import attrs
import pytest

from aioposthog_env import AsyncEnvironments, Journal, JournalError, Sandbox, Secret, TeamSettings
from tests.conftest import QUICK, logged_in
from tests.figures import Count

POLICY = attrs.evolve(QUICK, read_back=True, settle=0.02, settle_after_500=0.02, resend_after_settle=True)


class Run:
    """A run that is cancelled when its tasks have come to so many awaits. The tasks that it starts belong to it.

    Args:
        left: How many awaits.
        late: Cancel it when what is waited for has come, and the task does not know of it yet.
    """

    def __init__(self, left: int, *, late: bool) -> None:
        self._left = left
        self._late = late
        self.task: asyncio.Task[None] | None = None

    def waits(self, what: "asyncio.Future[object] | None") -> None:
        """One of its tasks has come to an await."""
        self._left -= 1
        if self._left == 0 and self.task is not None:
            if self._late and what is not None:
                what.add_done_callback(self._cancel)
            else:
                self.task.cancel()

    def _cancel(self, _: object) -> None:
        if self.task is not None:
            self.task.cancel()


RUN: Final = contextvars.ContextVar[Run | None]("RUN", default=None)


class Watched(Coroutine[Any, Any, Any]):
    """A coroutine whose awaits a run counts."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], run: Run) -> None:
        self._coroutine = coroutine
        self._run = run

    def send(self, value: Any) -> Any:
        waits_for = self._coroutine.send(value)
        self._run.waits(waits_for)
        return waits_for

    def throw(self, *error: Any) -> Any:
        waits_for = self._coroutine.throw(*error)
        self._run.waits(waits_for)
        return waits_for

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coroutine.__await__()

    def __getattr__(self, name: str) -> Any:  # its frame and its state
        return getattr(self._coroutine, name)


def task(coroutine: Coroutine[Any, Any, Any], **options: Any) -> Any:
    """A task whose awaits are counted, where it belongs to a run."""
    run = RUN.get()
    return asyncio.Task(coroutine if run is None else Watched(coroutine, run), **options)


def plain(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
    """What makes the tasks of a loop that has no factory of its own."""
    return task(coroutine, loop=loop, **options)


async def cancelled_at(step: int, run: Coroutine[Any, Any, None], *, late: bool) -> bool:
    """Run it, and cancel it at one await, counted over all its tasks; 0: before it begins. Whether it was over before."""
    loop, watching = asyncio.get_running_loop(), Run(step, late=late)
    usual = loop.get_task_factory()
    # Eager tasks come from no other factory: anyio has to know it again.
    loop.set_task_factory(plain if usual is None else getattr(asyncio, "create_eager_task_factory")(task))  # noqa: B009  since 3.12
    earlier = RUN.set(watching)
    try:
        watching.task = asyncio.ensure_future(run)
    finally:
        RUN.reset(earlier)
    if not step:
        watching.task.cancel()
    try:
        await watching.task
    except asyncio.CancelledError:
        return False
    finally:
        loop.set_task_factory(usual)
    return True


async def rotate(environments: AsyncEnvironments, ids: list[int], path: Path, taken: dict[int, object]) -> None:
    async def take(environment: object) -> None:
        taken[environment.id] = environment.secret_api_token  # type: ignore[attr-defined]

    (await environments.each(ids, journal=path, concurrency=2).rotate_secret_token(sink=take)).raise_for_failures()


async def change(environments: AsyncEnvironments, ids: list[int], path: Path) -> None:
    (await environments.each(ids, journal=path).update(TeamSettings(timezone="Asia/Tokyo"))).raise_for_failures()


async def truthful(sandbox: Sandbox, path: Path, effect: str, ids: list[int]) -> None:
    try:
        items = {item.environment: item for item in await Journal(path).items()}
    except JournalError as error:
        assert "holds no run" in str(error) or not path.exists()
        items = {}
    for id in ids:
        item, counted = items.get(id), sandbox.effects[effect, id]
        if item is None:
            assert counted == 0
        else:
            assert item.in_doubt or (item.done and counted == 1), item


MOMENTS: Final = pytest.mark.parametrize("late", [False, True], ids=["waiting", "as what is waited for comes"])


@MOMENTS
async def test_a_rotation_cancelled_at_every_await(tmp_path: Path, count: Count, late: bool) -> None:
    step, over = 0, False
    async with Sandbox(2000, throttle=False) as sandbox, logged_in(sandbox, routes="project", retry=POLICY) as environments:
        ids = iter(sandbox.environment_ids)
        while not over:
            path, mine, taken = tmp_path / f"{step}.db", [next(ids), next(ids)], dict[int, object]()
            over = await cancelled_at(step, rotate(environments, mine, path, taken), late=late)
            await asyncio.sleep(0.004)  # the handlers end
            await truthful(sandbox, path, "rotate_secret_token", mine)
            await rotate(environments, mine, path, taken)
            for id in mine:
                assert sandbox.effects["rotate_secret_token", id] == 1
                assert taken[id] == Secret(sandbox.environment(id).secret_api_token or "")
            step += 1
        assert len(asyncio.all_tasks()) < 20
    count("cancelled", bulk_runs=step - 1)


@MOMENTS
async def test_a_change_cancelled_at_every_await_and_undone(tmp_path: Path, count: Count, late: bool) -> None:
    step, over = 0, False
    async with Sandbox(2000, throttle=False) as sandbox, logged_in(sandbox, routes="project", retry=POLICY) as environments:
        ids = iter(sandbox.environment_ids)
        while not over:
            path, mine = tmp_path / f"{step}.db", [next(ids), next(ids)]
            over = await cancelled_at(step, change(environments, mine, path), late=late)
            await asyncio.sleep(0.004)
            await truthful(sandbox, path, "setting timezone", mine)
            if step % 2:
                await change(environments, mine, path)
            if path.exists() and await Journal(path).runs():
                (await environments.undo(path)).raise_for_failures()
            assert all(sandbox.environment(id).settings["timezone"] == "UTC" for id in mine)
            step += 1
    count("cancelled", bulk_runs=step - 1)
