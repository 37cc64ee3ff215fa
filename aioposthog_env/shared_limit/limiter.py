"""``RedisRateLimiter``: the rate limiter of many processes that use one key.

Calls wait in two lines, interactive ones first. One task speaks with Redis: it asks for the first few of each line, hands out
what was granted, tells what became of the slots, and sleeps until Redis said to come back, or something is to be told. So one
command serves many calls, and what was answered mostly travels with the next question, or a moment later alone.

The task exists only while somebody waits, a slot is out, or something is to be told, and never outlives the last client: when
that leaves, what is left is told within two seconds, and the connection is closed. Cancelling a call never disturbs a command;
what it was granted meanwhile is given back.

While Redis is away nothing is lost: questions and reports are repeated as they were. The inherited limiter, which knows this
process alone, stands in where ``fallback="local_share"`` allows that.
"""

import asyncio
import math
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import count, islice
from types import TracebackType
from typing import Final, Literal, Self
from uuid import uuid4

import anyio
import attrs

from aioposthog_env.errors import (
    ClientStateError,
    ConfigurationError,
    PostHogEnvError,
    RateLimiterUnavailableError,
    RateLimitWaitTooLong,
)
from aioposthog_env.limiter import RateLimiter, RateLimiterStatistics
from aioposthog_env.policy.priority import Priority
from aioposthog_env.policy.rate_limit import HELD, SERVER_LIMITS, RateLimit, Slot
from aioposthog_env.shared_limit.script import LUA, Reports, Timing, Told, keys, question, told
from aioposthog_env.shared_limit.server import NotReachedError, Server
from aioposthog_env.telemetry import log

_TICKETS: Final = 16
"""So many calls of each line stand in the shared queue at a time."""
_AT_ONCE: Final = 1_000
"""The most reports of each kind in one command."""
_LINGER: Final = 0.02
"""How long a report waits for a question to travel with, in seconds."""
_CLOSING: Final = 2.0
"""How long the last client waits for the last reports, in seconds."""
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0
"""Between attempts to reach Redis, in seconds."""


@attrs.frozen
class SharedSlot(Slot):
    """A slot that Redis gave: its name there, and the time of Redis, in microseconds."""

    member: str = ""
    granted: float = 0.0


@attrs.define(eq=False)
class _Waiter:
    """A call that waits.

    Attributes:
        member: The name of its slot.
        priority: In which line.
        since: When it came, by the clock of the event loop.
        ceiling: The longest wait in seconds; None for no limit.
        slot: Gives the slot, or None where the stand-in is to be asked.
        asked: Whether Redis may know of it.
        told: Whether Redis has said that it must wait.
    """

    member: str
    priority: Priority
    since: float
    ceiling: float | None
    slot: "asyncio.Future[SharedSlot | None]"
    asked: bool = False
    told: bool = False

    def fail(self, error: PostHogEnvError) -> None:
        if not self.slot.done():
            self.slot.set_exception(error)


class RedisRateLimiter(RateLimiter):
    """Lets the requests of many processes through no faster than PostHog takes them from one key.

    Give it to any number of clients that use the same key at the same host, in any number of processes on any number of
    machines. All must be given the same limits. It works between the entering of the first client and the leaving of the last;
    without a client, enter it with ``async with``.

    Needs the extra ``redis``, and a server: Redis 7 or newer, or Valkey. Its data should survive a restart (``appendonly yes``)
    and must not be evicted (``maxmemory-policy noeviction``). Where it was lost nevertheless, that is noticed, and nothing is
    sent for one shortest window.

    Args:
        url: ``redis://``, ``rediss://`` for TLS, or ``unix://``.
        limits: The limits to keep, all of them at once.
        kept_free: The part of each limit that this process's bulk calls leave free in any case, from 0 to 0.5.
        unavailable_after: How many seconds a call waits for a Redis that cannot be reached.
        fallback: ``local_share``: go on then with a part of each limit, until Redis is back. None: an error.
        local_share: That part. With so many processes, their parts together should not exceed 1.
        ca_file: Certificate authorities to trust for ``rediss://`` instead of the system's.
        allow_insecure: Take a server beyond this machine without a password, or without checking its certificate.
        command_timeout: The longest time for one command, in seconds.
        prefix: What the names of its keys begin with. A digest of host and API key follows.
        timing: When processes come back; for tests with short windows.

    Raises:
        ConfigurationError: The address or a figure cannot be used, or the extra is not installed.
    """

    def __init__(
        self,
        url: str,
        *,
        limits: Sequence[RateLimit] = SERVER_LIMITS,
        kept_free: float = 0.0,
        unavailable_after: float = 30.0,
        fallback: Literal["local_share"] | None = None,
        local_share: float = 0.25,
        ca_file: str | None = None,
        allow_insecure: bool = False,
        command_timeout: float = 1.0,
        prefix: str = "aioposthog_env",
        timing: Timing | None = None,
    ) -> None:
        if fallback not in {None, "local_share"}:
            raise ConfigurationError(f"fallback takes None or 'local_share', not {fallback!r}.")
        if not 0 < local_share <= 1 or not 0 <= unavailable_after < math.inf or not 0 < command_timeout < math.inf:
            raise ConfigurationError("local_share is a part up to 1, and the times are seconds above 0.")
        super().__init__(
            [RateLimit(max(1, math.floor(limit.count * local_share)), limit.window) for limit in limits], kept_free=kept_free
        )
        self._server = Server(url, ca_file=ca_file, allow_insecure=allow_insecure, timeout=command_timeout)
        self._limits = tuple(sorted(limits, key=lambda limit: limit.window))
        self._kept_free = kept_free
        self._unavailable_after = unavailable_after
        self._fallback = fallback
        self._local_share = local_share
        self._prefix = prefix
        self._timing = timing or Timing()

        self._client = uuid4().hex[:12]
        self._numbers = count(1)
        self._identity: str | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._wake_up = asyncio.Event()
        self._closing = False
        self._left: asyncio.Event | None = None

        self._lines: dict[Priority, deque[_Waiter]] = {"interactive": deque(), "bulk": deque()}
        self._reports = Reports()
        self._out: set[str] = set()
        self._told: Told | None = None
        self._told_at = -math.inf
        self._come_back = -math.inf
        self._report_by = math.inf
        self._renewed_at = -math.inf

        self._down_since: float | None = None
        self._retry_at = -math.inf
        self._pause = _FIRST_PAUSE
        self._apart = False

    def __repr__(self) -> str:
        return f"RedisRateLimiter({str(self._server)!r})"

    async def __aenter__(self) -> Self:
        await self.join("")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.leave()

    async def join(self, identity: str) -> None:
        """A client begins to use this limiter.

        Args:
            identity: A digest of its host and credential.

        Raises:
            ConfigurationError: Another client uses it with another key, or at another host.
            ClientStateError: Another client uses it in another event loop.
        """
        loop = asyncio.get_running_loop()
        while self._left is not None and loop is self._loop:
            await self._left.wait()
        if self._users:
            if loop is not self._loop:
                raise ClientStateError("A RedisRateLimiter serves one event loop at a time; make one for each.")
            if identity != self._identity:
                raise ConfigurationError("A RedisRateLimiter serves one key at one host; make one for each.")
        else:
            if identity != self._identity:
                self._told, self._come_back = None, -math.inf  # of another key
            self._identity, self._loop, self._wake_up, self._closing = identity, loop, asyncio.Event(), False
        self._users += 1

    async def leave(self) -> None:
        """A client has closed. With the last, what is to be told is told, and the connection is closed."""
        self._users -= 1
        if self._users:
            return
        self._closing, self._left = True, asyncio.Event()
        try:
            await self._end_all()
        finally:
            self._reports, self._out, self._apart, self._down_since, self._loop = Reports(), set(), False, None, None
            self._left.set()
            self._left = None

    async def _end_all(self) -> None:
        for waiter in self._waiting():
            waiter.fail(ClientStateError("The client was closed while this call waited for the rate limit."))
        with anyio.CancelScope(shield=True):
            task = self._task
            if task is not None:
                self._wake_up.set()
                await asyncio.wait({task}, timeout=_CLOSING)
                task.cancel()
                await asyncio.wait({task})
            await self._server.close()

    async def acquire(self, *, ceiling: float | None = None, priority: Priority = "bulk") -> Slot:
        """Wait for the right to send one request. Every slot must be given back by one of the three methods below.

        Args:
            ceiling: The longest wait in seconds; None for no limit.
            priority: ``interactive`` calls go before ``bulk`` ones, which leave a few slots to them.

        Raises:
            RateLimitWaitTooLong: The wait would be longer, as far as can be told now.
            RateLimiterUnavailableError: Redis could not be reached for the time that was stated.
            ClientStateError: No client has entered.
        """
        if not self._users or self._closing:
            raise ClientStateError("Enter a client with this limiter, or the limiter itself, with `async with`.")
        if not self._apart:
            slot = await self._shared_slot(ceiling, priority)
            if slot is not None:
                return slot
        return await super().acquire(ceiling=ceiling, priority=priority)

    async def _shared_slot(self, ceiling: float | None, priority: Priority) -> SharedSlot | None:
        loop = asyncio.get_running_loop()
        waiter = _Waiter(self._member(priority), priority, loop.time(), ceiling, loop.create_future())
        line = self._lines[priority]
        line.append(waiter)
        self._stir()
        try:
            return await waiter.slot
        except BaseException:
            if waiter in line:
                line.remove(waiter)
            if waiter.asked:  # it may have been granted by now
                self._end(waiter.member)
                self._report(given_up=waiter.member)
            raise

    def answered(self, slot: Slot) -> None:
        """Give a slot back: an answer came, or was lost."""
        if isinstance(slot, SharedSlot):
            self._end(slot.member)
            self._report(answered=slot.member)
        else:
            super().answered(slot)
            self._report(answered=self._member(slot.priority))

    def not_sent(self, slot: Slot) -> None:
        """Give a slot back unused: the request never left."""
        if isinstance(slot, SharedSlot):
            self._end(slot.member)
            self._report(given_up=slot.member)
        else:
            super().not_sent(slot)

    def refused(self, slot: Slot, wait: float) -> None:
        """Give a slot back: the server refused the request and asks everyone with this key to wait."""
        if isinstance(slot, SharedSlot):
            self._end(slot.member)
            self._report(refused=(slot.member, slot.granted, wait))
        else:
            super().refused(slot, wait)
            self._report(refused=(self._member(slot.priority), 0.0, wait))

    def statistics(self) -> RateLimiterStatistics:
        """What Redis told last, of all processes; waiting are those of this process."""
        known = self._told
        if self._apart or known is None:
            return super().statistics()
        paces = [share / limit.window for limit, share in zip(self._limits, known.shares, strict=True) if share < limit.count]
        return RateLimiterStatistics(
            used=tuple((limit, used + known.in_flight) for limit, used in zip(self._limits, known.used, strict=True)),
            in_flight=known.in_flight,
            waiting=sum(map(len, self._lines.values())),
            gate=max(0.0, self._told_at + known.gate - asyncio.get_running_loop().time()),
            pace=min(paces, default=None),
            acquired=self._acquired,
            refusals=known.refusals,
        )

    def least_time(self, calls: int) -> float:
        """The least time in seconds until so many more requests can have left, if nobody else used the key from now on.

        When the slots come back that others hold is not known here, so that a full window counts whole.

        Args:
            calls: How many.
        """
        waits = [0.0]
        for limit, held in self.statistics().used:
            beyond = calls - max(0, limit.count - held)
            waits.append(limit.window * -(-beyond // limit.count) if beyond > 0 else 0.0)
        return max(waits)

    def _member(self, priority: Priority) -> str:
        return f"{priority[0]}:{self._client}:{next(self._numbers)}"

    def _end(self, member: str) -> None:
        self._out.discard(member)

    def _report(self, *, answered: str = "", given_up: str = "", refused: tuple[str, float, float] | None = None) -> None:
        reports = self._reports
        if self._loop is None:  # answered after the last client has left: its slot ends with its lease
            return
        if answered:
            reports.answered.append(answered)
            if len(reports.answered) > self._limits[-1].count:
                del reports.answered[0]  # more than a window holds would tell nothing
        if given_up:
            reports.given_up.append(given_up)
        if refused:
            reports.refused.append(refused)
        by = self._loop.time() + (0.0 if refused else _LINGER)
        if by < self._report_by:
            self._report_by = by
            self._stir()

    def _stir(self) -> None:
        """Let the task look again, or begin."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._speak())
        else:
            self._wake_up.set()

    def _waiting(self) -> Iterator[_Waiter]:
        for line in self._lines.values():
            yield from line

    async def _speak(self) -> None:
        """Ask and tell, as long as there is something to."""
        try:
            while (any(self._lines.values()) or self._reports or self._out or self._apart) and not self._closed():
                now = asyncio.get_running_loop().time()
                if (due := self._due(now)) > now:
                    self._wake_up.clear()
                    with anyio.move_on_at(due):
                        await self._wake_up.wait()
                else:
                    await self._ask(now)
        except Exception as error:
            log.exception("The shared limiter stopped")
            for waiter in self._waiting():
                waiter.fail(RateLimiterUnavailableError(f"The shared limiter stopped: {type(error).__name__}."))

    def _closed(self) -> bool:
        return self._closing and not self._reports

    def _due(self, now: float) -> float:
        """When to speak with Redis next."""
        if self._closing:
            return now
        if self._down_since is not None:
            return self._retry_at
        due = min(self._report_by, self._renewed_at + self._timing.lease / 3 if self._out else math.inf)
        for line in self._lines.values():
            # Where the first was asked for, Redis has said when to come back, also for those behind it.
            if line:
                due = min(due, self._come_back if line[0].asked else now)
        return due

    async def _ask(self, now: float) -> None:
        """One command: reports and questions there, grants back."""
        asked = [waiter for line in self._lines.values() for waiter in islice(line, _TICKETS)]
        reports, self._report_by = self._reports.take(_AT_ONCE), math.inf
        renewed = list(self._out) if now >= self._renewed_at + self._timing.lease / 3 else []
        fresh = now - self._told_at < self._limits[-1].window * HELD
        for waiter in asked:
            waiter.asked = True
        known = self._told
        argument = question(
            client=self._client,
            # After a whole window without a word nothing counts any more, whatever became of the state.
            epoch=known.epoch if known is not None and fresh else "",
            new_epoch=uuid4().hex,
            limits=self._limits,
            kept_free=self._kept_free,
            timing=self._timing,
            known=[0] * len(self._limits) if known is None else [used + known.in_flight for used in known.used],
            reports=reports,
            renewed=renewed,
            asked=[waiter.member for waiter in asked],
        )
        names = keys(f"{self._prefix}:{{{(self._identity or 'none')[:32]}}}", len(self._limits))
        try:
            reply = told(await self._server.run(LUA, names, argument))
        except NotReachedError as error:
            self._reports.put_back(reports)
            self._not_reached(error, asyncio.get_running_loop().time())
            return
        except BaseException:
            self._reports.put_back(reports)
            raise
        if renewed:
            self._renewed_at = now
        self._reached(reply, asked, began=now, now=asyncio.get_running_loop().time())

    def _reached(self, reply: Told, asked: Sequence[_Waiter], *, began: float, now: float) -> None:
        if self._down_since is not None:
            log.warning("%r is back after %.1f s", self, now - self._down_since)
        if self._told is not None and self._told.epoch != reply.epoch and now - self._told_at < self._limits[-1].window:
            log.warning("%r has lost its data; nothing is sent for %.0f s", self, reply.gate)
        self._down_since, self._apart, self._pause = None, False, _FIRST_PAUSE
        self._told, self._told_at, self._come_back = reply, now, now + reply.back
        if self._reports:
            self._report_by = min(self._report_by, now)
        if not self._out:
            self._renewed_at = now
        # A process that was paused meanwhile may hold what is no longer its own.
        late = now - began > self._timing.lease / 2
        waits: dict[Priority, float] = {}
        for waiter, granted in zip(asked, reply.granted, strict=True):
            if granted > 0 and (late or waiter.slot.done()):
                self._report(given_up=waiter.member)
                waiter.member, waiter.asked = self._member(waiter.priority), False
                self._come_back = now
            elif granted > 0:
                self._lines[waiter.priority].remove(waiter)
                self._out.add(waiter.member)
                self._acquired += 1
                waited = now - waiter.since if waiter.told else 0.0
                waiter.slot.set_result(SharedSlot(now, waited, waiter.priority, waiter.member, granted))
            else:
                waiter.told = True
                _check_ceiling(waiter, -granted, now)
                waits[waiter.priority] = -granted
        for priority, wait in waits.items():
            for behind in self._lines[priority]:
                if not behind.asked:
                    _check_ceiling(behind, wait, now)

    def _not_reached(self, error: NotReachedError, now: float) -> None:
        if self._closing:
            # The slots that are still out end with their leases.
            self._reports = Reports()
            return
        if self._down_since is None:
            self._down_since = now
            log.warning("%r cannot be reached: %s", self, error)
        for waiter in list(self._waiting()):
            if now - max(self._down_since, waiter.since) >= self._unavailable_after or error.lasting:
                self._give_up(waiter, error, now)
        expiries = [max(self._down_since, waiter.since) + self._unavailable_after for waiter in self._waiting()]
        self._retry_at = min([now + self._pause, *expiries])
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    def _give_up(self, waiter: _Waiter, error: NotReachedError, now: float) -> None:
        if self._fallback is not None and not error.lasting:
            if not self._apart:
                self._stand_apart(now)
            self._lines[waiter.priority].remove(waiter)
            if not waiter.slot.done():
                waiter.slot.set_result(None)
            if waiter.asked:
                self._report(given_up=waiter.member)
            return
        waiter.fail(
            RateLimiterUnavailableError(
                f"The shared rate limit at {self._server} cannot be had: {error}. Nothing was sent. See whether Redis runs and "
                "its password is right; RedisRateLimiter(fallback='local_share') goes on without it."
            )
        )

    def _stand_apart(self, now: float) -> None:
        """Go on with a part of the limits, of which the same part is used that was used of the whole."""
        self._apart = True
        log.warning("%r is away; going on with %.0f %% of the limits", self, 100 * self._local_share)
        known = self._told
        if known is None:
            return
        for part, used in zip(self._state.logs, known.used, strict=True):
            if now - self._told_at < part.limit.window:
                for _ in range(math.ceil((used + known.in_flight) * self._local_share) - part.used(now)):
                    part.record(now)


def _check_ceiling(waiter: _Waiter, wait: float, now: float) -> None:
    # An infinite wait only says that answers are outstanding, which come within the timeout of a request.
    if waiter.ceiling is not None and waiter.since + waiter.ceiling - now < wait < math.inf:
        waiter.fail(RateLimitWaitTooLong(retry_after=wait, ceiling=waiter.ceiling))
