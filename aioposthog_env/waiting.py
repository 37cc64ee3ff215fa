"""Waiting for what PostHog does in the background: it is asked again and again, with growing pauses.

The last poll is cut short at the deadline. One that is lost, or that a server in trouble has answered, is no reason to end.
"""

from collections.abc import Awaitable, Callable
from typing import Final

import anyio
import attrs

from aioposthog_env.api import calls
from aioposthog_env.api.endpoints import IS_GENERATING_DEMO_DATA, RETRIEVE, Endpoint
from aioposthog_env.api.routes import Style, place_of
from aioposthog_env.errors import (
    ConfigurationError,
    NotFoundError,
    RateLimitWaitTooLong,
    ServerError,
    StateChangedError,
    TransportError,
    WaitTimeoutError,
)
from aioposthog_env.models.environment import EnvironmentRef
from aioposthog_env.session import PostHogSession
from aioposthog_env.telemetry import Polled, tell

_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 30.0
_GROWTH: Final = 1.5
_SHORTEST: Final = 0.1
"""How long the last poll may take, in seconds, where the pause before it has lasted until the deadline."""


async def until_deleted(session: PostHogSession, ref: EnvironmentRef, deadline: float) -> None:
    """Wait until an environment can no longer be read.

    The nested path answers 404 for environments that exist (PostHog 2025-08), so it is not the one that is read.
    """
    style: Style | None = "root" if session.routes.routes == "nested" else None

    async def gone(within: PostHogSession) -> bool:
        try:
            seen = await within.call(calls.retrieve(), place_of(ref), style=style)
        except NotFoundError as missing:
            if (missing.type, missing.code) != ("invalid_request", "not_found"):  # not PostHog's own words
                raise
            return True
        if seen.value.is_pending_deletion is False:
            error = StateChangedError("It is not being deleted, so waiting for that would be in vain. Delete it first.")
            raise error.about(RETRIEVE.name, ref.id)
        return False

    await _until(gone, session, RETRIEVE, ref, deadline, "It can still be read; the deletion may still come.")


async def until_demo_data_ready(session: PostHogSession, ref: EnvironmentRef, deadline: float) -> None:
    """Wait until the demo data of an environment is made."""

    async def ready(within: PostHogSession) -> bool:
        return not (await within.call(calls.is_generating_demo_data(), place_of(ref))).value

    await _until(ready, session, IS_GENERATING_DEMO_DATA, ref, deadline, "The demo data is still being made.")


async def _until(
    over: Callable[[PostHogSession], Awaitable[bool]],
    session: PostHogSession,
    endpoint: Endpoint,
    ref: EnvironmentRef,
    deadline: float,
    otherwise: str,
) -> None:
    if not deadline > 0:
        raise ConfigurationError("deadline must be above 0 seconds.")
    end, pause, poll, seen = anyio.current_time() + deadline, _FIRST_PAUSE, 0, ""
    while True:
        left = max(end - anyio.current_time(), _SHORTEST)
        try:
            if await over(_ending(session, left)):
                return
            seen = otherwise
        except (TransportError, ServerError, RateLimitWaitTooLong) as error:
            if isinstance(error, RateLimitWaitTooLong) and not _cut_short(error, session):
                raise
            if not seen or anyio.current_time() < end:  # else it was cut short, and the one before has told more
                seen = f"It could not be asked: {error.message}"
        poll += 1
        left = end - anyio.current_time()
        if left <= 0:
            raise WaitTimeoutError(f"{seen} Waited {deadline:.0f} s.").about(endpoint.name, ref.id)
        wait = min(pause, left)
        tell(session.options.hooks, Polled(endpoint=endpoint.name, environment_id=ref.id, poll=poll, wait=wait))
        await anyio.sleep(wait)
        pause = min(pause * _GROWTH, _LONGEST_PAUSE)


def _ending(session: PostHogSession, left: float) -> PostHogSession:
    """The session for one poll, which ends when the wait does."""
    retry = session.options.retry
    bounded = attrs.evolve(retry, deadline=min(left, retry.deadline or left))
    return session.with_options(attrs.evolve(session.options, retry=bounded))


def _cut_short(error: RateLimitWaitTooLong, session: PostHogSession) -> bool:
    """Whether the limit demands no longer a wait than the policy allows, only longer than what is left."""
    retry = session.options.retry
    allowed = [wait for wait in (retry.wait_ceiling, retry.deadline) if wait is not None]
    return error.retry_after <= min(allowed, default=error.retry_after)
