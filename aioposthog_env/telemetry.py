"""What a client tells its hooks: one frozen record per thing that happens. No record holds a secret.

A hook is a plain callable that takes the record. It runs in the event loop, so it must not block. A hook that raises is
logged and does not disturb the call.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import attrs

log: Final = logging.getLogger("aioposthog_env")
log.addHandler(logging.NullHandler())


@attrs.frozen(kw_only=True)
class AttemptFinished:
    """One request is over.

    Attributes:
        endpoint: The endpoint's name.
        environment_id: The environment; None where the call names none.
        attempt: The number of this request within its call, from 1.
        outcome: ``answered``, ``refused``, ``throttled``, ``redirected``, ``failed``, ``lost`` or ``notsent``.
        status: The HTTP status; None where no answer came.
        seconds: How long it took, without waiting for the rate limit.
    """

    endpoint: str
    environment_id: int | None
    attempt: int
    outcome: str
    status: int | None
    seconds: float


@attrs.frozen(kw_only=True)
class RetryScheduled:
    """A call will be sent again after ``wait`` seconds because of ``reason``."""

    endpoint: str
    environment_id: int | None
    attempt: int
    wait: float
    reason: str


@attrs.frozen(kw_only=True)
class LimiterWaited:
    """A call waited ``seconds`` for the rate limit."""

    endpoint: str
    environment_id: int | None
    seconds: float


@attrs.frozen(kw_only=True)
class StyleFound:
    """The URL style that a host takes was found out."""

    host: str
    style: str
    era: str


@attrs.frozen(kw_only=True)
class DeprecationSeen:
    """The server announced the end of a path. Reported once per path.

    Attributes:
        path: The path, with ids replaced by ``{id}``.
        successor: The path that replaces it, in the same form; None where none is named.
        sunset: When the path ends, as the server wrote it; None where it does not say.
        followed: Whether calls now use the successor.
    """

    path: str
    successor: str | None
    sunset: str | None
    followed: bool


@attrs.frozen(kw_only=True)
class Polled:
    """What is waited for has not come yet; it is looked at again in ``wait`` seconds.

    Attributes:
        endpoint: The endpoint that was asked.
        environment_id: The environment.
        poll: How often it was looked at, from 1.
        wait: Seconds until the next look.
    """

    endpoint: str
    environment_id: int
    poll: int
    wait: float


Event: TypeAlias = AttemptFinished | RetryScheduled | LimiterWaited | StyleFound | DeprecationSeen | Polled
Hook: TypeAlias = Callable[[Event], None]


def tell(hooks: Sequence[Hook], event: Event) -> None:
    """Hand a record to every hook."""
    for hook in hooks:
        try:
            hook(event)
        except Exception:
            log.exception("A telemetry hook failed on %s", type(event).__name__)
