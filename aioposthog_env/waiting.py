"""Waiting for what PostHog does in the background: it is asked again and again, with growing pauses."""

from collections.abc import Awaitable, Callable
from typing import Final

import anyio

from aioposthog_env.api import calls
from aioposthog_env.api.endpoints import IS_GENERATING_DEMO_DATA, RETRIEVE, Endpoint
from aioposthog_env.api.routes import Place
from aioposthog_env.errors import ConfigurationError, NotFoundError, StateChangedError, WaitTimeoutError
from aioposthog_env.models.environment import EnvironmentRef
from aioposthog_env.session import PostHogSession
from aioposthog_env.telemetry import Polled, tell

_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 30.0
_GROWTH: Final = 1.5


async def until_deleted(session: PostHogSession, ref: EnvironmentRef, deadline: float) -> None:
    """Wait until an environment can no longer be read."""

    async def gone() -> bool:
        try:
            seen = await session.call(calls.retrieve(), _place(ref))
        except NotFoundError:
            return True
        if seen.value.is_pending_deletion is False:
            error = StateChangedError("It is not being deleted, so waiting for that would be in vain. Delete it first.")
            raise error.about(RETRIEVE.name, ref.id)
        return False

    await _until(gone, session, RETRIEVE, ref, deadline, "It can still be read; the deletion may still come.")


async def until_demo_data_ready(session: PostHogSession, ref: EnvironmentRef, deadline: float) -> None:
    """Wait until the demo data of an environment is made."""

    async def ready() -> bool:
        return not (await session.call(calls.is_generating_demo_data(), _place(ref))).value

    await _until(ready, session, IS_GENERATING_DEMO_DATA, ref, deadline, "The demo data is still being made.")


async def _until(
    over: Callable[[], Awaitable[bool]],
    session: PostHogSession,
    endpoint: Endpoint,
    ref: EnvironmentRef,
    deadline: float,
    otherwise: str,
) -> None:
    if not deadline > 0:
        raise ConfigurationError("deadline must be above 0 seconds.")
    began, pause, poll = anyio.current_time(), _FIRST_PAUSE, 0
    while not await over():
        poll += 1
        left = began + deadline - anyio.current_time()
        if left <= 0:
            raise WaitTimeoutError(f"{otherwise} Waited {deadline:.0f} s.").about(endpoint.name, ref.id)
        wait = min(pause, left)
        tell(session.options.hooks, Polled(endpoint=endpoint.name, environment_id=ref.id, poll=poll, wait=wait))
        await anyio.sleep(wait)
        pause = min(pause * _GROWTH, _LONGEST_PAUSE)


def _place(ref: EnvironmentRef) -> Place:
    return Place(environment_id=ref.id, project_id=ref.project_id)
