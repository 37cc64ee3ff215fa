"""Whether to send again, and when: the decision as a pure function.

A decision needs four things: what became of the last request, what the endpoint allows, what the policy allows, and what
is left of the budget that all calls of a client share.

======================================  ==================  ===========================
what came back                          SAFE, ABSORBING     NEVER
======================================  ==================  ===========================
not sent                                again               again
certificate refused                     give up             give up
429, 503 ``database_unavailable``       wait, again         wait, again: no handler ran
a 429 that PostHog did not write        wait, again         read back
lost                                    again               read back
408, any other 5xx                      again, few times    read back
any other error of PostHog              give up             give up
any other page, a redirect not taken    give up             read back
======================================  ==================  ===========================

Waits between attempts are exponential with full jitter. A wait that the server asked for is a minimum: jitter only adds
to it. A wait beyond the ceiling is never cut short; it ends the call with an error that carries the time.
"""

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import attrs
import backoff

from aioposthog_env.api.endpoints import Repeat
from aioposthog_env.errors import ConfigurationError
from aioposthog_env.policy.delivery import Answered, Delivery, Failed, Lost, NotSent, Redirected, Refused, Throttled
from aioposthog_env.redacted import printable_half_built

Jitter: TypeAlias = Callable[[float], float]

_EXTRA: Final = 0.1
"""The share of a wait asked for by the server that jitter may add, so that many waiting tasks do not wake together."""


def _positive(instance: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    if value is not None and (isinstance(value, bool) or not value > 0):
        raise ConfigurationError(f"{attribute.name} must be a number above 0, not {value!r}.")


@printable_half_built
@attrs.frozen(kw_only=True)
class RetryPolicy:
    """How a call is repeated. Frozen: one policy may serve any number of clients and calls.

    Attributes:
        max_attempts: The most requests that one call sends, not counting those refused with 429.
        max_server_errors: The most requests answered with 5xx or 408; some of PostHog's 500s come every time.
        max_refusals: The most requests refused with 429 or 503 ``database_unavailable``.
        first_wait: The upper bound of the first wait, in seconds; each further bound is twice the last.
        longest_wait: The upper bound of any wait that the server did not ask for, in seconds.
        wait_ceiling: The longest wait for the rate limit, in seconds; beyond it the call ends with
            ``RateLimitWaitTooLong``. None: wait as long as it takes.
        deadline: Seconds for the whole call with all its waits; None for no limit.
        read_back: Whether to look what became of a token call whose answer was lost; see ``aioposthog_env.recovery``. It
            costs one read before each such call.
        settle_after_500: Seconds without a change after which a token call that was answered with 500 did not happen. It is
            sent once more then.
        settle: The same after any other loss, where the server may still be at work: then the outcome is unknown.
        resend_after_settle: Send again then too. Only for servers whose handlers certainly end within ``settle``.

    Raises:
        ConfigurationError: A figure is not positive.
    """

    max_attempts: int = attrs.field(default=5, validator=_positive)
    max_server_errors: int = attrs.field(default=3, validator=_positive)
    max_refusals: int = attrs.field(default=20, validator=_positive)
    first_wait: float = attrs.field(default=0.5, validator=_positive)
    longest_wait: float = attrs.field(default=30.0, validator=_positive)
    wait_ceiling: float | None = attrs.field(default=120.0, validator=_positive)
    deadline: float | None = attrs.field(default=None, validator=_positive)
    read_back: bool = True
    settle_after_500: float = attrs.field(default=5.0, validator=_positive)
    settle: float = attrs.field(default=60.0, validator=_positive)
    resend_after_settle: bool = False

    @classmethod
    def disabled(cls) -> "RetryPolicy":
        """One request per call, whatever comes back, once the URL style is known.

        The wait for the rate limit stays, and so does looking before a token call, and what became of it after a lost answer.
        """
        return cls(max_attempts=1, max_server_errors=1, max_refusals=1)


@attrs.define
class Attempts:
    """What one call has been through so far."""

    sent: int = 0
    """Requests that count against ``max_attempts``."""
    server_errors: int = 0
    refusals: int = 0
    uncertain: bool = False
    """An earlier attempt may have taken effect."""
    lost: bool = False
    """The response of an earlier attempt was lost, or was the failure of a server or proxy."""

    def count(self, delivery: Delivery) -> None:
        """Take note of what became of one more request."""
        match delivery:
            case Throttled(genuine=genuine):
                self.refusals += 1
                self.uncertain |= not genuine
            case Redirected():
                self.uncertain = True  # ``Sender`` bounds how many are followed
            case Failed():
                self.sent += 1
                self.server_errors += 1
                self.uncertain = self.lost = True
            case Lost():
                self.sent += 1
                self.uncertain = self.lost = True
            case Refused(genuine=genuine):
                self.sent += 1
                self.uncertain |= not genuine
            case _:
                self.sent += 1


@attrs.define
class RetryBudget:
    """What all calls of a client may spend on repeats, so that a server in trouble is not buried.

    A repeat costs 1. A success gives back a part, up to the capacity. Waiting out a 429 is free: the server asked for it.
    """

    capacity: float = 100.0
    refund: float = 0.1
    left: float = attrs.field(default=attrs.Factory(lambda self: self.capacity, takes_self=True))

    def spend(self) -> bool:
        """Pay for one repeat; False where nothing is left."""
        if self.left < 1.0:
            return False
        self.left -= 1.0
        return True

    def give_back(self) -> None:
        """Take note of a success."""
        if self.left < self.capacity:
            self.left = min(self.capacity, self.left + self.refund)


@attrs.frozen
class Return:
    """The call is done."""


@attrs.frozen
class Again:
    """Send once more after waiting ``wait`` seconds."""

    wait: float
    reason: str
    asked: bool = False
    """The server asked for the wait; the wait ceiling applies."""
    costs: bool = True
    """The repeat is paid from the retry budget."""


@attrs.frozen
class ReadBack:
    """The call may have taken effect and must not be repeated: look at the environment."""


@attrs.frozen
class GiveUp:
    """Raise what came back."""


Decision: TypeAlias = Return | Again | ReadBack | GiveUp


def decide(
    delivery: Delivery, *, repeat: Repeat, attempts: Attempts, policy: RetryPolicy, jitter: Jitter = backoff.full_jitter
) -> Decision:
    """Say what follows a delivery.

    Args:
        delivery: What became of the request; ``attempts`` has counted it already.
        repeat: The endpoint's repeat rule.
        attempts: What the call has been through.
        policy: What is allowed.
        jitter: Takes the upper bound of a wait and returns the wait, between 0 and that bound.
    """
    match delivery:
        case Answered():
            return Return()
        case Refused(genuine=False) | Redirected() | Throttled(genuine=False) if repeat is Repeat.NEVER:
            return ReadBack()
        case Refused() | Redirected():
            return GiveUp()
        case Throttled(retry_after=retry_after):
            if attempts.refusals >= policy.max_refusals:
                return GiveUp()
            bound = _bound(policy, attempts.refusals)
            if retry_after is not None:
                bound = min(bound, max(1.0, retry_after * _EXTRA))
            wait = (retry_after or 0.0) + jitter(bound)
            return Again(wait, "throttled", asked=True, costs=False)
        case NotSent(certificate=certificate):
            if certificate or attempts.sent >= policy.max_attempts:
                return GiveUp()
            return Again(jitter(_bound(policy, attempts.sent)), "not sent")
        case _:
            if repeat is Repeat.NEVER:
                return ReadBack()
            return _again_after_loss(delivery, attempts, policy, jitter)


def _again_after_loss(delivery: Lost | Failed, attempts: Attempts, policy: RetryPolicy, jitter: Jitter) -> Decision:
    if attempts.sent >= policy.max_attempts:
        return GiveUp()
    if isinstance(delivery, Lost):
        return GiveUp() if delivery.final else Again(jitter(_bound(policy, attempts.sent)), "lost")
    if attempts.server_errors >= policy.max_server_errors:
        return GiveUp()
    return Again(jitter(_bound(policy, attempts.sent)), f"status {delivery.reply.status}")


def _bound(policy: RetryPolicy, attempt: int) -> float:
    """The upper bound of the wait after the given attempt, counted from 1."""
    waits = backoff.expo(base=2, factor=policy.first_wait, max_value=policy.longest_wait)
    next(waits)  # backoff's generators yield None first
    bound = policy.first_wait
    for _ in range(attempt):
        bound = next(waits)
    return float(bound)
