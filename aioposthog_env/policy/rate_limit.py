"""PostHog's rate limit, mirrored: two sliding logs, a gate, and a share. Pure: the clock is an argument.

The server keeps, per personal API key, the times of the requests it let through: at most 480 in any 60 s and 4,800 in any
3,600 s. The mirror never lets a request leave that the server would refuse, as long as nobody else uses the
key. The server stamps a request at some instant between its departure and its answer. So a slot counts as taken from the
departure on, and becomes free one window after the *answer*: at that instant the server's own stamp has left its window
too, whatever the latency was. The window is held a little longer than it is, since no two clocks run at the same speed.

Somebody else may use the key: another process, a colleague's script. Then a 429 comes although the mirror has room.

* **The gate.** Nothing leaves before the time that ``Retry-After`` names. It is a timestamp that everyone re-reads, not a
  lock that somebody must open again, so a cancelled task leaves nothing closed.
* **The share.** A log that refuses is full, and what this client holds of it is its share. As long as each client only
  takes its own slots back when they leave the window, the log stays full and nobody is refused. So after a 429 the log
  may hold what it held then, less a tenth. All who were refused give up that tenth, and all compete for it, so a client that
  came late, and holds little, wins what the others lose.
* **The probe.** Others finish, and nobody tells. Some time after the gate has opened, when the others have taken their own
  slots back, requests may go beyond the share, one at a time. One that is let through is kept: the share grows by it. One that
  is refused ends the probe. For every 32 slots won one more may be under way, so free room is taken within seconds,
  and a log that is still full costs one refusal.

Of what the share leaves, bulk calls leave a little to interactive ones; ``priority`` says how much.

Which log refused is not told. A wait longer than the minute can only come from the hour; any other is taken to come from the
minute. The log that refused has not recorded the request. The other has: a request that the minute refuses still costs the
hour.
"""

import math
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import attrs

from aioposthog_env.errors import ConfigurationError
from aioposthog_env.policy.priority import PART, Priority, kept_free
from aioposthog_env.redacted import printable_half_built

HELD: Final = 1.0002
"""How much longer than its window a slot is held: two clocks, each off by 100 millionths."""
KEPT: Final = 0.9
"""The part of what is held that a refusal leaves."""
PAUSE: Final = 0.05
"""The part of the shortest window between the opening of the gate and the probe: the others take their slots back first."""
STEP: Final = 32
"""So many slots won allow one more request beyond the share to be under way."""


def _positive_number(instance: object, attribute: "attrs.Attribute[Any]", value: float) -> None:
    if isinstance(value, bool) or not 0 < value < math.inf:
        raise ConfigurationError(f"A rate limit needs a {attribute.name} above 0, not {value!r}.")


@printable_half_built
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
    """The times at which the requests of one window were answered.

    Attributes:
        limit: What the server allows.
        share: How many the window may hold: less than the limit while somebody else uses the key.
    """

    __slots__ = ("_answered", "_held", "_interactive", "_kept_free", "_recent", "limit", "share")

    def __init__(self, limit: RateLimit, kept_free: float = 0.0) -> None:
        self.limit: RateLimit = limit
        self.share: int = limit.count
        self._held = limit.window * HELD
        self._kept_free = kept_free
        self._answered: deque[float] = deque()
        self._interactive: deque[float] = deque()
        self._recent: deque[float] = deque()

    @property
    def shared(self) -> bool:
        """Whether somebody else was seen to use the key."""
        return self.share < self.limit.count

    def record(self, now: float, priority: Priority = "bulk") -> None:
        """Note an answer."""
        self._answered.append(now)
        if priority == "interactive":
            # One out for each one in, so that they never hold more than a window's.
            interactive, recent = self._interactive, self._recent
            interactive.append(now)
            if interactive[0] <= now - self._held:
                interactive.popleft()
            recent.append(now)
            if recent[0] <= now - self._held / PART:
                recent.popleft()

    def seen(self, now: float) -> tuple[int, int]:
        """How many answered interactive requests the window still holds, and its last quarter."""
        for stamps, since in ((self._interactive, now - self._held), (self._recent, now - self._held / PART)):
            while stamps and stamps[0] <= since:
                stamps.popleft()
        return len(self._interactive), len(self._recent)

    def used(self, now: float) -> int:
        """How many answered requests the window still holds."""
        answered, horizon = self._answered, now - self._held
        while answered and answered[0] <= horizon:
            answered.popleft()
        return len(answered)

    def wait(self, now: float, taken: int, most: int) -> float:
        """Seconds until one more request fits.

        Args:
            now: The time.
            taken: Slots taken by requests in flight, or promised to requests ahead in the queue.
            most: How many the window may hold: the share, or the limit.

        Returns:
            0 when it fits now; ``inf`` when that depends on answers that have not come.
        """
        # With room for those too that may have left the window, nobody needs to look which have.
        if len(self._answered) + taken < most or (over := self.used(now) + taken + 1 - most) <= 0:
            return 0.0
        if over > len(self._answered):
            return math.inf
        return max(0.0, self._answered[over - 1] + self._held - now)

    def bulk_wait(self, now: float, taken: int, most: int) -> float:
        """Seconds until one more bulk request fits, as ``wait``.

        Less is kept free for interactive requests as those of the last quarter leave it. So it fits when enough slots have come
        back, or when enough of them have left, or after some of both. When one leaves the window, it has to be asked again.
        """
        if not self._interactive and not self._kept_free:
            return self.wait(now, taken, most)
        seen, recent = self.seen(now)

        def slots(left: int) -> float:
            return self.wait(now, taken, most - kept_free(seen, recent - left, most, self._kept_free))

        def quarter(left: int) -> float:
            return self._recent[left - 1] + self._held / PART - now if left else 0.0

        # The more have left, the later it is, and the fewer slots have to come back.
        few, many = 0, recent
        while few < many:
            middle = (few + many) // 2
            if quarter(middle) >= slots(middle):
                many = middle
            else:
                few = middle + 1
        wait = max(quarter(few), slots(few))
        if few:
            wait = min(wait, slots(few - 1))
        return min(wait, self._interactive[0] + self._held - now) if seen else wait

    def least_time(self, now: float, in_flight: int, calls: int) -> float:
        """The least time in seconds until so many more requests have left, as far as is known now.

        Each takes the slot that comes back first: one that is free, one whose answer leaves the window, one of a request in
        flight, which is a whole window away, and then those that it has given out itself.

        Args:
            now: The time.
            in_flight: Requests without an answer.
            calls: How many more; at least 1.
        """
        rounds, place = divmod(calls - 1, self.share)
        used = self.used(now)
        over = place + used + in_flight - self.share
        if over < 0:
            return rounds * self._held
        return rounds * self._held + (self._answered[over] + self._held - now if over < used else self._held)


@attrs.frozen
class Slot:
    """The right to send one request.

    Attributes:
        at: When it was given.
        waited: How many seconds were spent waiting for it.
        priority: Who it was given to.
    """

    at: float
    waited: float = 0.0
    priority: Priority = "bulk"


class RateLimitState:
    """All that is known of the limits of one key."""

    def __init__(self, limits: Sequence[RateLimit] = SERVER_LIMITS, kept_free: float = 0.0) -> None:
        if not limits:
            raise ConfigurationError("A rate limiter needs at least one RateLimit; for none, pass limiter=None.")
        if not 0 <= kept_free <= 0.5:
            raise ConfigurationError(f"kept_free is a part of each limit from 0 to 0.5, not {kept_free!r}.")
        self.logs: tuple[SlidingLog, ...] = tuple(
            SlidingLog(limit, kept_free) for limit in sorted(limits, key=lambda limit: limit.window)
        )
        self.in_flight: int = 0
        self.not_before: float = -math.inf
        self.refusals: int = 0
        self._cut_at = -math.inf
        self._probe_from = math.inf
        self._won = 0

    def reserve(self, now: float, priority: Priority = "bulk") -> float:
        """Take a slot if one is free.

        Returns:
            0 when the slot is taken; else the seconds after which asking again makes sense, ``inf`` when only an answer
            to a request in flight can help.
        """
        wait = self.wait(now, priority=priority)
        if wait > 0:
            return wait
        self.in_flight += 1
        return 0.0

    def wait(self, now: float, ahead: int = 0, priority: Priority = "bulk") -> float:
        """Seconds until a request would be let through that has ``ahead`` others before it in the queue."""
        wait, taken, bulk = 0.0, self.in_flight + ahead, priority == "bulk"
        for log in self.logs:
            longer = log.bulk_wait(now, taken, log.share) if bulk else log.wait(now, taken, log.share)
            if longer > wait:
                wait = longer
        if wait > 0 and taken <= self._won // STEP:
            waits = ((log.bulk_wait if bulk else log.wait)(now, taken, log.limit.count) for log in self.logs)
            beyond = max(waits)
            wait = min(wait, max(beyond, self._probe_from - now))
        if wait == math.inf and ahead:
            # Too many ahead to tell when their slots return, but each window serves no more than its share.
            wait = max(ahead // log.share * log.limit.window for log in self.logs) or math.inf
        return max(wait, self.not_before - now)

    def least_time(self, now: float, calls: int) -> float:
        """The least time in seconds until so many more requests have left, if each is answered at once."""
        if calls < 1:
            return 0.0
        return max(self.not_before - now, *(log.least_time(now, self.in_flight, calls) for log in self.logs))

    def answered(self, now: float, priority: Priority = "bulk") -> None:
        """Free the slot of a request that was answered, or whose answer was lost: it may have been counted."""
        self.in_flight -= 1
        for log in self.logs:
            log.record(now, priority)
        if now >= self._probe_from:
            self._keep(now)

    def not_sent(self) -> None:
        """Free the slot of a request that never left."""
        self.in_flight -= 1

    def refused(self, slot: Slot, now: float, wait: float) -> None:
        """Free the slot of a request that the server refused, close the gate for ``wait`` seconds, and set the share.

        A 429 to a request that left before the last cut tells nothing new about the share.
        """
        self.refusals += 1
        self.in_flight -= 1
        full = next((log for log in self.logs if wait <= log.limit.window), self.logs[-1])
        for log in self.logs:
            if log is not full:
                log.record(now, slot.priority)
        self.not_before = max(self.not_before, now + wait)
        self._probe_from = self.not_before + PAUSE * self.logs[0].limit.window
        if slot.at >= self._cut_at:
            self._cut_at = now
            full.share = max(1, int(full.used(now) * KEPT))
            self._won = 0

    def rate(self) -> float:
        """Requests a second that the shares amount to in the long run; ``inf`` when there are none."""
        return min((log.share / log.limit.window for log in self.logs if log.shared), default=math.inf)

    def _keep(self, now: float) -> None:
        """Add to the shares what was won beyond them."""
        for log in self.logs:
            used = log.used(now)
            if used > log.share:
                log.share = used
                self._won += 1
        if not any(log.shared for log in self.logs):
            self._probe_from = math.inf
