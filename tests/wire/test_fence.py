"""A write that must be allowed to leave, and until when."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from aioposthog_env import AsyncEnvironments, NotSentError, Sandbox, TeamSettings
from aioposthog_env.api import calls
from aioposthog_env.api.routes import Place
from aioposthog_env.recovery import BeforeWrite
from tests.conftest import connect


def in_seconds(seconds: float) -> Callable[[], Awaitable[float]]:
    async def fence() -> float:
        return asyncio.get_running_loop().time() + seconds

    return fence


async def update(environments: AsyncEnvironments, fence: Callable[[], Awaitable[float]]) -> None:
    call = calls.update(TeamSettings(timezone="Asia/Tokyo"))
    await environments.each(()).session.call(call, Place(environment_id=1), BeforeWrite(fence=fence))


async def test_it_leaves_in_time_or_not_at_all() -> None:
    async with Sandbox(1) as sandbox, connect(sandbox) as environments:
        with pytest.raises(NotSentError, match="too late for it to leave"):
            await update(environments, in_seconds(-0.001))
        assert not [call for call in sandbox.calls if call.verb == "PATCH"]
        await update(environments, in_seconds(5))
        assert [call.verb for call in sandbox.calls].count("PATCH") == 1


async def test_it_is_asked_for_each_request_and_its_refusal_frees_the_slot() -> None:
    class NotOursError(Exception):
        pass

    asked: list[int] = []

    async def fence() -> float:
        asked.append(1)
        if len(asked) == 2:
            raise NotOursError
        return asyncio.get_running_loop().time() + 5

    async with Sandbox(1) as sandbox, connect(sandbox) as environments:
        sandbox.fault("502_before_effect", "update")
        with pytest.raises(NotOursError):
            await update(environments, fence)
        assert len(asked) == 2
        assert [call.verb for call in sandbox.calls].count("PATCH") == 1
        assert environments.limiter is not None
        assert environments.limiter.statistics().in_flight == 0
