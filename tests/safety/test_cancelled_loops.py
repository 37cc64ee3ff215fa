"""A call and a change by plan, cancelled at every await in other event loops: eager tasks, and uvloop."""

import asyncio
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest

from aioposthog_env import RateLimit, RateLimiter, Sandbox, TeamSettings
from tests.conftest import logged_in
from tests.figures import Count
from tests.safety.test_cancelled import MOMENTS, POLICY, cancelled_at

Loop: TypeAlias = Callable[[], asyncio.AbstractEventLoop]


def eager() -> asyncio.AbstractEventLoop:
    """Tasks that begin to run where they are made, from Python 3.12 on."""
    loop = asyncio.new_event_loop()
    factory: Any = getattr(asyncio, "eager_task_factory")  # noqa: B009  not there before 3.12
    loop.set_task_factory(factory)
    return loop


def fast() -> asyncio.AbstractEventLoop:
    """uvloop."""
    import uvloop

    return uvloop.new_event_loop()


LOOPS: Final = [
    pytest.param(asyncio.new_event_loop, id="asyncio"),
    pytest.param(eager, id="eager", marks=pytest.mark.skipif(sys.version_info < (3, 12), reason="Python 3.12 has eager tasks")),
    pytest.param(fast, id="uvloop", marks=pytest.mark.skipif(find_spec("uvloop") is None, reason="uvloop is not installed")),
]


async def every_await_of_a_call(*, late: bool, warm: bool) -> int:
    """How often it was cancelled."""
    async with Sandbox(100, throttle=False) as sandbox:
        for step, id in enumerate(sandbox.environment_ids):
            # One connection, and one turn at a time, for which every second request waits.
            limiter = RateLimiter((RateLimit(2, 0.02),))
            async with logged_in(sandbox, retry=POLICY, limiter=limiter, max_connections=1) as environments:
                if warm:  # connected, and the URL style known
                    await environments.retrieve(id)
                tasks = asyncio.all_tasks()
                over = await cancelled_at(step, rotated(environments, id), late=late)
                assert sandbox.effects["rotate_secret_token", id] <= 1
                # Had the cancelled call kept connection or turn, this would wait for ever.
                async with asyncio.timeout(5):
                    assert (await environments.retrieve(id)).id == id
                left = [task for task in asyncio.all_tasks() - tasks if "RequestHandler" not in repr(task)]  # the sandbox's
                assert left == []
            if over:
                return step
    raise AssertionError("it was never over")


async def rotated(environments: Any, id: int) -> None:
    await environments.rotate_secret_token(id)


async def every_await_of_an_apply(folder: Path, *, late: bool) -> int:
    """How often it was cancelled."""
    async with Sandbox(3, throttle=False) as sandbox, logged_in(sandbox, routes="project", retry=POLICY) as environments:
        step, over, zones = 0, False, ("Asia/Tokyo", "Europe/Berlin")
        while not over:
            plan = await environments.plan(TeamSettings(timezone=zones[step % 2]), [1, 2])
            path = folder / f"{step}.db"

            async def applied(plan: Any = plan, path: Path = path) -> None:
                (await environments.apply(plan, journal=path)).raise_for_failures()

            over = await cancelled_at(step, applied(), late=late)
            await asyncio.sleep(0.002)
            await applied()  # resumed
            assert {sandbox.environment(id).settings["timezone"] for id in (1, 2)} == {zones[step % 2]}
            step += 1
    return step - 1


@MOMENTS
@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
@pytest.mark.parametrize("loop", LOOPS)
def test_a_call_cancelled_at_every_await(loop: Loop, warm: bool, late: bool, count: Count) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        count("cancelled", calls=runner.run(every_await_of_a_call(late=late, warm=warm)))


@MOMENTS
@pytest.mark.parametrize("loop", LOOPS)
def test_an_apply_cancelled_at_every_await_and_resumed(loop: Loop, late: bool, tmp_path: Path, count: Count) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        count("cancelled", applies=runner.run(every_await_of_an_apply(tmp_path, late=late)))
