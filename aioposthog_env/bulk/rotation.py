"""Rotation as a whole: what follows each rotation, and when a backup may go.

Once a secret was rotated, nothing that follows may lead to a second rotation: a failed verification or hand-over is an error
that says what was done (``action_done``), and a journal keeps it as *unfinished*. When the run is resumed, the environment is
read, and what is left is done with the secret that it shows.

The age of a backup is judged from a read just before the call that deletes it, while no other call of the same client writes to
the environment. What a journal holds of the rotation goes before what the server says, and no clock is believed that is a day
ahead of the other. A rotation by another process in that moment is not seen: PostHog cannot be told which backup is meant.
"""

import math
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

import attrs
from msgspec import UNSET

from aioposthog_env.api import calls
from aioposthog_env.api.endpoints import DELETE_SECRET_TOKEN_BACKUP, ROTATE_SECRET_TOKEN
from aioposthog_env.api.routes import place_of
from aioposthog_env.auth import Secret
from aioposthog_env.bulk.sink import Sink
from aioposthog_env.errors import ConfigurationError, PostHogEnvError, StateChangedError
from aioposthog_env.models.environment import Environment, EnvironmentRef
from aioposthog_env.recovery import Comparison
from aioposthog_env.session import PostHogSession, Result

_NOT_VERIFIED: Final = (
    "The secret was rotated, once, and could not be verified, so it was not handed over. Do not rotate again: retrieve the "
    "environment, or resume the run with its journal, which does what is left."
)


_CLOCKS_APART: Final = 86_400
"""A clock of the server that differs from the one here by more seconds tells nothing."""


@attrs.frozen
class AfterRotation:
    """What follows a rotation.

    Attributes:
        session: Reads.
        verify: Read the environment again and see that the new secret is in use.
        sink: Takes the new secret.
    """

    session: PostHogSession
    verify: bool
    sink: Sink | None

    async def finish(self, result: Result[Environment], ref: EnvironmentRef) -> Result[Environment]:
        """Verify and hand over.

        Raises:
            PostHogEnvError: One of these failed; its ``action_done`` is true.
        """
        try:
            by_worker = result.digests is not None
            if self.verify or (by_worker and self.sink is not None):
                seen = await self._seen(_new_secret(result), ref)
                # A worker has kept the secret to itself.
                told = attrs.evolve(seen, digests=result.digests) if by_worker else result
                result = attrs.evolve(told, attempts=result.attempts + seen.attempts, waited=result.waited + seen.waited)
            if self.sink is not None:
                await self.sink.hand_over(result.value)
        except PostHogEnvError as error:
            error.attempts += result.attempts
            error.waited += result.waited
            error.about(ROTATE_SECRET_TOKEN.name, ref.id)
            raise
        return result

    async def _seen(self, expected: str | None, ref: EnvironmentRef) -> Result[Environment]:
        """The environment, read again, where it shows the new secret, which is known by its digest."""
        try:
            seen = await self._read(ref)
        except PostHogEnvError as error:
            error.after(_NOT_VERIFIED)
            raise
        secret = seen.value.secret_api_token
        if expected is None or not isinstance(secret, Secret) or secret.digest() != expected:
            other = StateChangedError("A read since shows another secret, or none: somebody may have rotated once more.")
            other.attempts, other.waited = seen.attempts, seen.waited
            raise other.after(_NOT_VERIFIED)
        return seen

    async def _read(self, ref: EnvironmentRef) -> Result[Environment]:
        """The environment with its secret, which up to 2025 the root path shows and the project path hides."""
        place = place_of(ref)
        seen = await self.session.call(calls.retrieve(), place)
        if seen.value.secret_api_token is not UNSET:
            return seen
        shown = await self.session.call(calls.retrieve(), place, style="root")
        return attrs.evolve(shown, attempts=seen.attempts + shown.attempts, waited=seen.waited + shown.waited)


def _new_secret(rotated: Result[Environment]) -> str | None:
    """The digest of the secret that a rotation has made; None where nothing shows it."""
    if rotated.digests is not None:
        return rotated.digests.get("secret")
    secret = rotated.value.secret_api_token
    return secret.digest() if isinstance(secret, Secret) else None


def secret_is_shown(environment: Environment, now: datetime | None) -> Comparison:
    """Say before a rotation whether its secret can be verified and handed over.

    Raises:
        ConfigurationError: The server does not show it.
    """
    if environment.secret_api_token is UNSET:
        raise ConfigurationError(
            "This server does not show the secret, so a new one could be neither verified nor handed over. Nothing was sent. "
            "Rotate without sink and verify, and copy the secret in PostHog's settings."
        )
    return Comparison.ACT


def seconds_of(min_age: object) -> float:
    """The least age of a backup in seconds.

    Raises:
        ConfigurationError: No span of time, or one below 0.
    """
    least = min_age.total_seconds() if isinstance(min_age, timedelta) else min_age
    if isinstance(least, bool) or not isinstance(least, int | float) or not math.isfinite(least) or least < 0:
        raise ConfigurationError(f"min_age takes seconds from 0, or a timedelta, not {min_age!r}. Nothing was sent.")
    return float(least)


def old_enough(
    least: float, rotations: Mapping[int, tuple[float, str]]
) -> Callable[[Environment, datetime | None], Comparison]:
    """The check before a backup is deleted.

    Args:
        least: The least age in seconds.
        rotations: What a journal holds, as for ``backup_age``.
    """

    def check(environment: Environment, server_now: datetime | None) -> Comparison:
        if environment.secret_api_token_backup is None:
            return Comparison.DONE
        age = backup_age(environment, rotations, time.time(), server_now)
        if age is None or age < least:
            known = "nothing tells how old it is" if age is None else f"it may be only {max(0.0, age):.0f} s old"
            error = StateChangedError(f"The backup was not deleted: {known}, and {least:.0f} s are asked for.")
            raise error.about(DELETE_SECRET_TOKEN_BACKUP.name, environment.id)
        return Comparison.ACT

    return check


def backup_age(
    environment: Environment, rotations: Mapping[int, tuple[float, str]], now: float, server_now: datetime | None
) -> float | None:
    """How old the backup of a secret is at least, in seconds; None where nothing tells.

    Args:
        environment: As it was read.
        rotations: What a journal holds: when it rotated, and the digest of the secret since. It counts alone where it knows the
            rotation.
        now: The time here, in seconds since 1970.
        server_now: The time of the server, by which ``updated_at`` is to be taken.
    """
    clock = None if server_now is None else server_now.timestamp()
    if clock is not None and abs(clock - now) > _CLOCKS_APART:
        now, server_now = min(now, clock), None  # either may be the wrong one
    finished, secret = rotations.get(environment.id, (0.0, ""))
    if isinstance(environment.secret_api_token, Secret) and environment.secret_api_token.digest() == secret:
        return now - finished  # exactly, while the environment may have been updated later
    if isinstance(environment.updated_at, datetime) and server_now is not None:
        return (server_now - environment.updated_at).total_seconds()
    return None
