"""PostHog's rate limit, mirrored: two sliding logs, a gate, and a pace. Pure: the clock is an argument.

The server keeps, per personal API key, the times of the requests it let through: at most 480 in any 60 s and 4,800 in any
3,600 s (contract 4.3). The mirror never lets a request leave that the server would refuse, as long as nobody else uses the
key. The server stamps a request at some instant between its departure and its answer. So a slot counts as taken from the
departure on, and becomes free one window after the *answer*: at that instant the server's own stamp has left its window
too, whatever the latency was.

Somebody else may use the key: another process, a colleague's script. Then a 429 comes although the mirror has room.

* **The gate.** Nothing leaves before the time that ``Retry-After`` names. It is a timestamp that everyone re-reads, not a
  lock that somebody must open again, so a cancelled task leaves nothing closed.
* **The pace.** When the gate opens, all the clients that were refused would rush in together. So each continues at the
  rate it had in the window before the refusal, which is the share of the limit that it won there, evenly spaced; the rate
  grows slowly, which finds out when the others are gone, and is cut on the next refusal.

A refused request is charged to both logs, because a request that the minute log refuses still costs the hour log, and
which of the two refused is not told.
"""

import math
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import attrs

from aioposthog_env.errors import ConfigurationError

_CUT: Final = 0.8
_GROWTH: Final = 0.003
"""The pace grows by this part of itself each second: it doubles in about four minutes."""


def _positive_number(instance: object, attribute: "attrs.Attribute[Any]", value: float) -> None:
    if isinstance(value, bool) or not 0 < value < math.inf:
        raise ConfigurationError(f"A rate limit needs a {attribute.name} above 0, not {value!r}.")


@attrs.frozen
class RateLimit:
    """At most ``count`` requests in any ``window`` seconds.

    Raises:
        ConfigurationError: A figure is not positive.
    """

    count: int = attrs.field(validator=_positive_number)
    window: float = attrs.field(validator=_positive_number)


SERVER_LIMITS: Final = (RateLimit(480, 60.0), RateLimit(4_800, 3_600.0))
"""What PostHog Cloud allows a personal API key. Self-hosted servers have it switched off by default."""


class SlidingLog:
    """The times at which the requests of one window were answered."""

    __slots__ = ("_answered", "limit")

    def __init__(self, limit: RateLimit) -> None:
        self.limit = limit
        self._answered: deque[float] = deque()

    def record(self, now: float) -> None:
        """Note an answer."""
        self._answered.append(now)

    def used(self, now: float) -> int:
        """How many answered requests the window still holds."""
        answered, horizon = self._answered, now - self.limit.window
        while answered and answered[0] <= horizon:
            answered.popleft()
        return len(answered)

    def wait(self, now: float, taken: int) -> float:
        """Seconds until one more request fits.

        Args:
            now: The time.
            taken: Slots taken by requests in flight, or promised to requests ahead in the queue.

        Returns:
            0 when it fits now; ``inf`` when that depends on answers that have not come.
        """
        over = self.used(now) + taken + 1 - self.limit.count
        if over <= 0:
            return 0.0
        if over > len(self._answered):
            return math.inf
        return max(0.0, self._answered[over - 1] + self.limit.window - now)


@attrs.frozen
class Slot:
    """The right to send one request.

    Attributes:
        at: When it was given.
        waited: How many seconds were spent waiting for it.
    """

    at: float
    waited: float = 0.0


class RateLimitState:
    """All that is known of the limits of one key."""

    def __init__(self, limits: Sequence[RateLimit] = SERVER_LIMITS) -> None:
        if not limits:
            raise ConfigurationError("A rate limiter needs at least one RateLimit; for none, pass limiter=None.")
        self.logs = tuple(SlidingLog(limit) for limit in sorted(limits, key=lambda limit: limit.window))
        self.in_flight = 0
        self.not_before = -math.inf
        self.refusals = 0
        self._rate = math.inf
        self._rate_set_at = -math.inf
        self._next_at = -math.inf

    def reserve(self, now: float) -> float:
        """Take a slot if one is free.

        Returns:
            0 when the slot is taken; else the seconds after which asking again makes sense, ``inf`` when only an answer
            to a request in flight can help.
        """
        wait = self.wait(now)
        if wait > 0:
            return wait
        self.in_flight += 1
        if (rate := self.rate(now)) < math.inf:
            self._next_at = max(now, self._next_at) + 1.0 / rate
        return 0.0

    def wait(self, now: float, ahead: int = 0) -> float:
        """Seconds until a request would be let through that has ``ahead`` others before it in the queue."""
        wait = max(0.0, self.not_before - now)
        for log in self.logs:
            wait = max(wait, log.wait(now, self.in_flight + ahead))
        if (rate := self.rate(now)) < math.inf:
            wait = max(wait, self._next_at - now + ahead / rate)
        return wait

    def answered(self, now: float) -> None:
        """Free the slot of a request that was answered, or whose answer was lost: it may have been counted."""
        self.in_flight -= 1
        for log in self.logs:
            log.record(now)

    def not_sent(self) -> None:
        """Free the slot of a request that never left."""
        self.in_flight -= 1

    def refused(self, slot: Slot, now: float, wait: float) -> None:
        """Free the slot of a request that the server refused, close the gate for ``wait`` seconds, and set the pace.

        A 429 to a request that left before the last cut tells nothing new about the pace.
        """
        self.refusals += 1
        used = [log.used(now) for log in self.logs]
        self.answered(now)
        self.not_before = max(self.not_before, now + wait)
        if slot.at < self._rate_set_at:
            return
        # A wait longer than the shorter window can only come from the longer one.
        log, won = next(
            ((log, won) for log, won in zip(self.logs, used, strict=True) if wait <= log.limit.window),
            (self.logs[-1], used[-1]),
        )
        share = max(won, 1) / log.limit.window
        self._rate = min(share, self.rate(now) * _CUT)
        self._rate_set_at = now
        self._next_at = self.not_before

    def rate(self, now: float) -> float:
        """Requests a second that the pace allows; ``inf`` when there is none."""
        if self._rate == math.inf:
            return math.inf
        # Time spent behind the closed gate is no experience.
        elapsed = max(0.0, now - max(self._rate_set_at, self.not_before))
        rate = self._rate * math.exp(_GROWTH * elapsed)
        fastest = self.logs[0].limit
        if rate >= fastest.count / fastest.window:
            self._rate = math.inf
            return math.inf
        return rate
