"""What a client tells its hooks: one frozen record per thing that happens. No record holds a secret.

A hook is a plain callable that takes the record. It runs in the event loop, in the task that makes the call, so it must not
block. A hook that raises an ``Exception`` disturbs nothing: it is logged with its traceback as an error of the logger
``aioposthog_env``, the other hooks are told all the same, and the call goes on.

``LoggingHook`` writes the records to a log; ``aioposthog_env.otel`` makes spans and metrics of them.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

import attrs

from aioposthog_env.redacted import printable_half_built

__all__ = [
    "AttemptFinished",
    "AttemptStarted",
    "DeprecationSeen",
    "Event",
    "Hook",
    "ItemFinished",
    "LimiterWaited",
    "LoggingHook",
    "Polled",
    "ReadBackDecided",
    "RetryScheduled",
    "StyleFound",
]

log: Final = logging.getLogger("aioposthog_env")
log.addHandler(logging.NullHandler())


@printable_half_built
@attrs.frozen(kw_only=True)
class AttemptStarted:
    """One request is about to leave. Exactly one ``AttemptFinished`` follows, also where the call is cancelled.

    Attributes:
        endpoint: The endpoint's name.
        environment_id: The environment; None where the call names none.
        attempt: The number of this request within its call, from 1.
        resend: How many requests to the same endpoint the call has sent before.
        host: The origin that it goes to.
        verb: The HTTP verb.
        path: The path without its query, with ids replaced by ``{id}``; where a redirect is followed, the one that was asked
            first.
        headers: Where a hook puts headers that the request is to carry, such as ``traceparent``. The client's own headers
            stay as they are, and what cannot be a header is left out with a warning.
    """

    endpoint: str
    environment_id: int | None
    attempt: int
    resend: int
    host: str
    verb: str
    path: str
    headers: dict[str, str] = attrs.field(factory=dict[str, str], repr=False, eq=False)


@printable_half_built
@attrs.frozen(kw_only=True)
class AttemptFinished:
    """One request is over.

    Attributes:
        endpoint: The endpoint's name.
        environment_id: The environment; None where the call names none.
        attempt: The number of this request within its call, from 1.
        outcome: ``answered``, ``refused``, ``throttled``, ``redirected``, ``failed``, ``lost``, ``notsent`` or ``cancelled``.
        status: The HTTP status; None where no answer came.
        seconds: How long it took, without waiting for the rate limit.
        started: The very record that was told when it began.
    """

    endpoint: str
    environment_id: int | None
    attempt: int
    outcome: str
    status: int | None
    seconds: float
    started: AttemptStarted = attrs.field(repr=False)


@printable_half_built
@attrs.frozen(kw_only=True)
class RetryScheduled:
    """A call will be sent again after ``wait`` seconds because of ``reason``."""

    endpoint: str
    environment_id: int | None
    attempt: int
    wait: float
    reason: str


@printable_half_built
@attrs.frozen(kw_only=True)
class LimiterWaited:
    """A call waited ``seconds`` for the rate limit."""

    endpoint: str
    environment_id: int | None
    seconds: float


@printable_half_built
@attrs.frozen(kw_only=True)
class StyleFound:
    """The URL style that a host takes was found out."""

    host: str
    style: str
    era: str


@printable_half_built
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


@printable_half_built
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


@printable_half_built
@attrs.frozen(kw_only=True)
class ReadBackDecided:
    """After a lost answer the environment was looked at, and it is decided what follows.

    Attributes:
        endpoint: The call whose answer was lost.
        environment_id: The environment; None where the call names none.
        verdict: What the last look told: ``happened``, ``unchanged`` or ``unclear``; None where nothing was, or could be, read.
        decision: ``done``: what was read is the result; ``send again``; or ``unknown``: the call raises
            ``OutcomeUnknownError``.
        observations: What was seen, in order, as sentences. Secrets appear as digests only.
    """

    endpoint: str
    environment_id: int | None
    verdict: str | None
    decision: str
    observations: tuple[str, ...]


@printable_half_built
@attrs.frozen(kw_only=True)
class ItemFinished:
    """One environment of a bulk run has its outcome.

    Attributes:
        endpoint: The endpoint that the run calls.
        environment_id: The environment.
        status: As of ``Outcome``: ``succeeded``, ``unchanged``, ``failed``, ``unknown`` or ``skipped``.
        reason: As of ``Outcome``: why it is unchanged or skipped, or that it was done earlier.
        error: The class of its error; None where there is none.
        attempts: Requests sent for it.
        waited: Seconds spent waiting, for the rate limit and between attempts.
    """

    endpoint: str
    environment_id: int
    status: str
    reason: str | None
    error: str | None
    attempts: int
    waited: float


Event: TypeAlias = (
    AttemptStarted
    | AttemptFinished
    | RetryScheduled
    | LimiterWaited
    | StyleFound
    | DeprecationSeen
    | Polled
    | ReadBackDecided
    | ItemFinished
)
Hook: TypeAlias = Callable[[Event], None]


def tell(hooks: Sequence[Hook], event: Event) -> None:
    """Hand a record to every hook."""
    for hook in hooks:
        try:
            hook(event)
        except (Exception, asyncio.CancelledError):  # a hook does not wait, so nobody has cancelled it
            log.exception("A telemetry hook failed on %s", type(event).__name__)


_LEVELS: Final[dict[type[Event], int]] = {
    AttemptStarted: logging.DEBUG,
    AttemptFinished: logging.DEBUG,
    Polled: logging.DEBUG,
    LimiterWaited: logging.INFO,
    RetryScheduled: logging.INFO,
    StyleFound: logging.INFO,
    ItemFinished: logging.INFO,
    DeprecationSeen: logging.WARNING,
    ReadBackDecided: logging.WARNING,
}


class LoggingHook:
    """A hook that writes each record as one line to a log, and its fields as ``extra`` for structured logging.

    The line is ``retry_scheduled endpoint='update' environment_id=42 …``. In ``extra`` the fields have the prefix
    ``posthog_``, so that they cannot collide with those of ``logging.LogRecord``, and ``posthog_event`` is the name of the
    record. Requests and polls are logged as DEBUG; what a run waits for, repeats and finishes as INFO; announced ends of
    paths and lost answers as WARNING.

    Args:
        logger: Where to; None for the logger ``aioposthog_env.telemetry``.
    """

    def __init__(self, logger: logging.Logger | None = None) -> None:
        self._log = logger or logging.getLogger("aioposthog_env.telemetry")

    def __call__(self, event: Event) -> None:
        """Log a record."""
        level = _LEVELS[type(event)]
        if not self._log.isEnabledFor(level):
            return
        name, fields = name_of(event), fields_of(event)
        # The values are written as Python writes them, so that nothing in them can begin a line of its own.
        line = " ".join(f"{field}={value!r}" for field, value in fields.items())
        extra = {f"posthog_{field}": value for field, value in fields.items()}
        self._log.log(level, "%s %s", name, line, extra={"posthog_event": name} | extra)


def name_of(event: Event) -> str:
    """The name of a record, such as ``retry_scheduled``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(event).__name__).lower()


def fields_of(event: Event) -> dict[str, Any]:
    """The fields of a record that are shown."""
    return attrs.asdict(event, recurse=False, filter=lambda field, _: bool(field.repr))
