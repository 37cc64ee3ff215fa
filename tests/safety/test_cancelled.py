"""Cancelled at every step of the event loop: the journal tells the truth, and a resumed run ends right."""

import asyncio
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final

import attrs

from aioposthog_env import AsyncEnvironments, Journal, JournalError, Sandbox, Secret, TeamSettings
from tests.conftest import QUICK, logged_in
from tests.figures import Count

POLICY = attrs.evolve(QUICK, read_back=True, settle=0.02, settle_after_500=0.02, resend_after_settle=True)
WHOLE: Final = bool(os.environ.get("TORTURE"))


def following(step: int, part: int) -> int:
    """The step to cancel at next: where it is far into the run, the short form leaves out a part of the steps."""
    return step + 1 if WHOLE else step + 1 + step // part


async def cancelled_at(step: int, run: Coroutine[Any, Any, None]) -> bool:
    """Run it, and cancel it at one step of the event loop. Whether it was over before."""
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(run)

    def count(left: int) -> None:
        if left:
            loop.call_soon(count, left - 1)
        else:
            task.cancel()

    loop.call_soon(count, step)
    try:
        await task
    except asyncio.CancelledError:
        return False
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
        assert "holds no run" in str(error)
        items = {}
    for id in ids:
        item, counted = items.get(id), sandbox.effects[effect, id]
        if item is None:
            assert counted == 0
        else:
            assert item.in_doubt or (item.done and counted == 1), item


async def test_a_rotation_cancelled_at_every_step(tmp_path: Path, count: Count) -> None:
    step, cancelled, over = 0, 0, False
    async with Sandbox(2000, throttle=False) as sandbox, logged_in(sandbox, routes="project", retry=POLICY) as environments:
        ids = iter(sandbox.environment_ids)
        while not over:
            path, mine, taken = tmp_path / f"{step}.db", [next(ids), next(ids)], dict[int, object]()
            over = await cancelled_at(step, rotate(environments, mine, path, taken))
            await asyncio.sleep(0.004)  # the handlers end
            await truthful(sandbox, path, "rotate_secret_token", mine)
            await rotate(environments, mine, path, taken)
            for id in mine:
                assert sandbox.effects["rotate_secret_token", id] == 1
                assert taken[id] == Secret(sandbox.environment(id).secret_api_token or "")
            step, cancelled = following(step, 40), cancelled + (not over)
        assert len(asyncio.all_tasks()) < 20
    count("cancelled", bulk_runs=cancelled)


async def test_a_change_cancelled_at_every_step_and_undone(tmp_path: Path, count: Count) -> None:
    step, cancelled, over = 0, 0, False
    async with Sandbox(2000, throttle=False) as sandbox, logged_in(sandbox, routes="project", retry=POLICY) as environments:
        ids = iter(sandbox.environment_ids)
        while not over:
            path, mine = tmp_path / f"{step}.db", [next(ids), next(ids)]
            over = await cancelled_at(step, change(environments, mine, path))
            await asyncio.sleep(0.004)
            await truthful(sandbox, path, "setting timezone", mine)
            if step % 2:
                await change(environments, mine, path)
            if path.exists() and await Journal(path).runs():
                (await environments.undo(path)).raise_for_failures()
            assert all(sandbox.environment(id).settings["timezone"] == "UTC" for id in mine)
            step, cancelled = following(step, 40), cancelled + (not over)
    count("cancelled", bulk_runs=cancelled)
