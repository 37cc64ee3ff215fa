"""The rate limiter: the pure mirror of ``policy.rate_limit`` plus sleeping.

``acquire`` is first come, first served, interactive calls before bulk ones. Who comes to a free slot with nobody waiting takes
it without any waiting or locking. Else there is a line for each priority: one task at a time, the first in line, sleeps until
the mirror has room, and the others queue behind it on a fair lock. The first in the line for bulk calls also waits until the
other line is empty. Nothing is handed from task to task and no background task exists, so a cancelled waiter leaves
everything as if it had never come.

PostHog's limit belongs to the API key. So clients in one event loop that use the same key at the same host share one
limiter by default, looked up in a registry; it is forgotten an hour after its last use, when its logs are empty anyway.
"""

import asyncio
import math
from collections.abc import Sequence
from typing import Final
from weakref import WeakKeyDictionary

import anyio
import attrs

from aioposthog_env.errors import RateLimitWaitTooLong
from aioposthog_env.policy.priority import Priority
from aioposthog_env.policy.rate_limit import SERVER_LIMITS, RateLimit, RateLimitState, Slot
from aioposthog_env.redacted import printable_half_built

_MARGIN: Final = 0.001
"""Timers may fire a hair early; a task that wakes before its time would only sleep again."""


@printable_half_built
@attrs.frozen(kw_only=True)
class RateLimiterStatistics:
    """A snapshot of a limiter.

    Attributes:
        used: Per limit, how many requests its window holds, those in flight included.
        in_flight: Requests that have left and are not answered.
        waiting: Tasks in the queue.
        gate: Seconds until the gate set by a 429 opens; 0 when it is open.
        pace: Requests a second that this client's share of the key amounts to since somebody else was seen to use it; None
            when nobody was.
        acquired: Slots given since the start.
        refusals: Requests that the server refused since the start.
    """

    used: tuple[tuple[RateLimit, int], ...]
    in_flight: int
    waiting: int
    gate: float
    pace: float | None
    acquired: int
    refusals: int


class _Line:
    """The tasks that wait with one priority."""

    __slots__ = ("changed", "turn", "waiting")

    def __init__(self) -> None:
        self.turn = anyio.Lock()
        self.waiting = 0
        self.changed: anyio.Event | None = None

    def wake(self) -> None:
        """Let the first in line look again."""
        if self.changed is not None:
            self.changed.set()


class RateLimiter:
    """Lets requests through no faster than PostHog takes them.

    One limiter may serve any number of clients of one event loop. By default it mirrors what PostHog Cloud allows a
    personal API key: 480 requests in 60 s and 4,800 in 3,600 s.

    Args:
        limits: The limits to keep, all of them at once.
        kept_free: The part of each limit that bulk calls leave free in any case, from 0 to 0.5. Without it they leave some
            free only where interactive calls were seen of late.

    Raises:
        ConfigurationError: No limit, or a figure that makes no sense.
    """

    def __init__(self, limits: Sequence[RateLimit] = SERVER_LIMITS, *, kept_free: float = 0.0) -> None:
        self._state = RateLimitState(limits, kept_free)
        self._interactive = _Line()
        self._bulk = _Line()
        self._acquired: int = 0
        self._users = 0
        self._last_used = -math.inf

    async def acquire(self, *, ceiling: float | None = None, priority: Priority = "bulk") -> Slot:
        """Wait for the right to send one request. Every slot must be given back by one of the three methods below.

        Args:
            ceiling: The longest wait in seconds; None for no limit.
            priority: ``interactive`` calls go before ``bulk`` ones, which leave a few slots to them.

        Raises:
            RateLimitWaitTooLong: The wait would be longer, as far as can be told now.
        """
        now, line = _now(), self._interactive if priority == "interactive" else self._bulk
        ahead = self._interactive.waiting if line is self._interactive else self._interactive.waiting + line.waiting
        if not ahead and self._state.reserve(now, priority) == 0:
            return self._given(now, 0.0, priority)
        _check_ceiling(self._state.wait(now, ahead, priority), ceiling, ceiling)
        line.waiting += 1
        try:
            async with line.turn:
                return await self._first_in_line(line, priority, now, ceiling)
        finally:
            line.waiting -= 1
            if line is self._interactive and not line.waiting:
                self._bulk.wake()

    async def _first_in_line(self, line: _Line, priority: Priority, since: float, ceiling: float | None) -> Slot:
        while True:
            now = _now()
            ahead = 0 if line is self._interactive else self._interactive.waiting
            wait = self._state.wait(now, ahead, priority) if ahead else self._state.reserve(now, priority)
            if wait == 0 and not ahead:
                return self._given(now, now - since, priority)
            _check_ceiling(wait, None if ceiling is None else since + ceiling - now, ceiling)
            line.changed = anyio.Event()
            with anyio.move_on_after(wait + _MARGIN if wait else math.inf):
                await line.changed.wait()

    def _given(self, now: float, waited: float, priority: Priority) -> Slot:
        self._acquired += 1
        self._last_used = now
        return Slot(now, waited, priority)

    def answered(self, slot: Slot) -> None:
        """Give a slot back: an answer came, or was lost."""
        self._state.answered(_now(), slot.priority)
        self._wake()

    def not_sent(self, slot: Slot) -> None:
        """Give a slot back unused: the request never left."""
        self._state.not_sent()
        self._wake()

    def refused(self, slot: Slot, wait: float) -> None:
        """Give a slot back: the server refused the request and asks everyone with this key to wait."""
        self._state.refused(slot, _now(), wait)
        self._wake()

    def _wake(self) -> None:
        if self._interactive.waiting:
            self._interactive.wake()
        if self._bulk.waiting:
            self._bulk.wake()

    def statistics(self) -> RateLimiterStatistics:
        """What the limiter knows now."""
        state, now = self._state, _now()
        rate = state.rate()
        return RateLimiterStatistics(
            used=tuple((log.limit, log.used(now) + state.in_flight) for log in state.logs),
            in_flight=state.in_flight,
            waiting=self._interactive.waiting + self._bulk.waiting,
            gate=max(0.0, state.not_before - now),
            pace=None if rate == math.inf else rate,
            acquired=self._acquired,
            refusals=state.refusals,
        )

    def least_time(self, calls: int) -> float:
        """The least time in seconds until so many more requests can have left, as far as is known now.

        Args:
            calls: How many, those that wait already included and those in flight not.
        """
        return self._state.least_time(_now(), calls)

    async def join(self, identity: str) -> None:
        """A client begins to use this limiter.

        Args:
            identity: A digest of its host and credential.
        """
        self._users += 1
        self._last_used = _now()

    async def leave(self) -> None:
        """A client has closed."""
        self._users -= 1
        self._last_used = _now()

    def forgettable(self, now: float) -> bool:
        """Whether nobody uses it and every window has passed since somebody did."""
        return not self._users and now - self._last_used > self._state.logs[-1].limit.window


def _now() -> float:
    # What anyio.current_time() gives, without asking first which event loop library runs.
    return asyncio.get_running_loop().time()


def _check_ceiling(wait: float, left: float | None, ceiling: float | None) -> None:
    # An infinite wait only says that answers are outstanding, which come within the timeout of a request.
    if left is not None and ceiling is not None and left < wait < math.inf:
        raise RateLimitWaitTooLong(retry_after=wait, ceiling=ceiling)


_shared: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, str], RateLimiter]] = WeakKeyDictionary()


def shared_limiter(host: str, key_digest: str) -> RateLimiter:
    """The limiter that all clients of the running event loop share for one key at one host.

    Args:
        host: The origin.
        key_digest: The digest of the key.
    """
    limiters = _shared.setdefault(asyncio.get_running_loop(), {})
    now = _now()
    for name in [name for name, limiter in limiters.items() if limiter.forgettable(now)]:
        del limiters[name]
    return limiters.setdefault((host, key_digest), RateLimiter())
