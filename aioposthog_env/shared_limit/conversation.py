"""What a process and Redis say to each other about the limit.

Calls wait in two lines, interactive ones first. One task speaks with Redis: it asks for the first few of each line, hands out
what was granted, tells what became of the slots, and sleeps until Redis said to come back, or something is to be told. So one
command serves many calls, and what was answered mostly travels with the next question, or a moment later alone.

The task exists only while somebody waits, a slot is out, or something is to be told, and never outlives the last client: when
that leaves, what is left is told within two seconds, and the connection is closed. Cancelling a call never disturbs a command;
what it was granted meanwhile is given back.

While Redis is away nothing is lost: questions and reports are repeated as they were.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import count, islice
from typing import Final
from uuid import uuid4

import anyio
import attrs

from aioposthog_env.errors import ClientStateError, PostHogEnvError, RateLimiterUnavailableError, RateLimitWaitTooLong
from aioposthog_env.policy.priority import Priority
from aioposthog_env.policy.rate_limit import HELD, RateLimit, Slot
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


class Conversation:
    """Waits for slots, and tells what became of them.

    Args:
        server: Where Redis is.
        limits: The limits to keep, the shortest window first.
        kept_free: The part of each limit that bulk calls leave free.
        timing: When to come back.
        prefix: What the names of its keys begin with.
        unavailable_after: How many seconds a call waits for a Redis that cannot be reached.
        stand_in: Told that calls go on without Redis from now on; None where they are to fail.

    Attributes:
        identity: A digest of host and key; None before the first client.
        told: What Redis told last.
        told_at: When it did, by the clock of the event loop.
        apart: Calls go on without Redis, until it is back.
        acquired: Slots that Redis gave since the start.
    """

    def __init__(
        self,
        server: Server,
        *,
        limits: Sequence[RateLimit],
        kept_free: float,
        timing: Timing,
        prefix: str,
        unavailable_after: float,
        stand_in: Callable[[float], None] | None,
    ) -> None:
        self.identity: str | None = None
        self.told: Told | None = None
        self.told_at: float = -math.inf
        self.apart: bool = False
        self.acquired: int = 0

        self._server = server
        self._limits = limits
        self._kept_free = kept_free
        self._timing = timing
        self._prefix = prefix
        self._unavailable_after = unavailable_after
        self._stand_in = stand_in

        self._client = uuid4().hex[:12]
        self._numbers = count(1)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._wake_up = asyncio.Event()
        self._closing = False

        self._lines: dict[Priority, deque[_Waiter]] = {"interactive": deque(), "bulk": deque()}
        self._reports = Reports()
        self._out: set[str] = set()
        self._come_back = -math.inf
        self._report_by = math.inf
        self._renewed_at = -math.inf

        self._down_since: float | None = None
        self._retry_at = -math.inf
        self._pause = _FIRST_PAUSE

    @property
    def open(self) -> bool:
        """Whether a client is here, and the last one is not about to leave."""
        return self._loop is not None and not self._closing

    @property
    def waiting(self) -> int:
        """How many calls wait."""
        return sum(map(len, self._lines.values()))

    def begin(self, identity: str) -> None:
        """The first client has come.

        Args:
            identity: A digest of its host and credential.
        """
        if identity != self.identity:
            self.told, self._come_back = None, -math.inf  # of another key
        self.identity, self._loop = identity, asyncio.get_running_loop()
        self._wake_up, self._closing = asyncio.Event(), False

    async def end(self) -> None:
        """The last client has left: whoever waits fails, what is to be told is told, and the connection is closed."""
        self._closing = True
        try:
            for waiter in self._in_line():
                waiter.fail(ClientStateError("The client was closed while this call waited for the rate limit."))
            with anyio.CancelScope(shield=True):
                task = self._task
                if task is not None:
                    self._wake_up.set()
                    await asyncio.wait({task}, timeout=_CLOSING)
                    task.cancel()
                    await asyncio.wait({task})
                await self._server.close()
        finally:
            self._reports, self._out, self.apart, self._down_since, self._loop = Reports(), set(), False, None, None

    async def slot(self, ceiling: float | None, priority: Priority) -> SharedSlot | None:
        """Wait for a slot; None where calls go on without Redis.

        Raises:
            RateLimitWaitTooLong: The wait would be longer than the ceiling, as far as can be told now.
            RateLimiterUnavailableError: Redis could not be reached for the time that was stated.
            ClientStateError: The last client has left.
        """
        loop = asyncio.get_running_loop()
        waiter = _Waiter(self.member(priority), priority, loop.time(), ceiling, loop.create_future())
        line = self._lines[priority]
        line.append(waiter)
        self._stir()
        try:
            return await waiter.slot
        except BaseException:
            if waiter in line:
                line.remove(waiter)
            if waiter.asked:  # it may have been granted by now
                self.report(given_up=waiter.member)
            raise

    def member(self, priority: Priority) -> str:
        """A name for a slot that nobody else has used."""
        return f"{priority[0]}:{self._client}:{next(self._numbers)}"

    def report(self, *, answered: str = "", given_up: str = "", refused: tuple[str, float, float] | None = None) -> None:
        """Tell Redis soon what became of a slot.

        Args:
            answered: The name of a slot whose request was answered, or lost.
            given_up: The name of a slot that was not used.
            refused: The name of a slot whose request was refused, when Redis gave it, and for how long PostHog asks to wait.
        """
        reports = self._reports
        self._out.difference_update((answered, given_up, refused[0] if refused else ""))
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

    def _in_line(self) -> Iterator[_Waiter]:
        for line in self._lines.values():
            yield from line

    async def _speak(self) -> None:
        """Ask and tell, as long as there is something to."""
        try:
            while (any(self._lines.values()) or self._reports or self._out or self.apart) and not self._closed():
                now = asyncio.get_running_loop().time()
                if (due := self._due(now)) > now:
                    self._wake_up.clear()
                    with anyio.CancelScope(deadline=due):
                        await self._wake_up.wait()
                else:
                    await self._ask(now)
        except Exception as error:
            log.exception("The shared limiter stopped")
            for waiter in self._in_line():
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
        fresh = now - self.told_at < self._limits[-1].window * HELD
        for waiter in asked:
            waiter.asked = True
        known = self.told
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
        names = keys(f"{self._prefix}:{{{(self.identity or 'none')[:32]}}}", len(self._limits))
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
            log.warning("The shared rate limit at %s is back after %.1f s", self._server, now - self._down_since)
        if self.told is not None and self.told.epoch != reply.epoch and now - self.told_at < self._limits[-1].window:
            log.warning("The shared rate limit at %s has lost its data; nothing is sent for %.0f s", self._server, reply.gate)
        self._down_since, self.apart, self._pause = None, False, _FIRST_PAUSE
        self.told, self.told_at, self._come_back = reply, now, now + reply.back
        if self._reports:
            self._report_by = min(self._report_by, now)
        if not self._out:
            self._renewed_at = now
        # A process that was paused meanwhile may hold what is no longer its own.
        late = now - began > self._timing.lease / 2
        waits: dict[Priority, float] = {}
        for waiter, granted in zip(asked, reply.granted, strict=True):
            if granted > 0 and (late or waiter.slot.done()):
                self.report(given_up=waiter.member)
                waiter.member, waiter.asked = self.member(waiter.priority), False
                self._come_back = now
            elif granted > 0:
                self._lines[waiter.priority].remove(waiter)
                self._out.add(waiter.member)
                self.acquired += 1
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
            log.warning("The shared rate limit at %s cannot be reached: %s", self._server, error)
        for waiter in list(self._in_line()):
            if now - max(self._down_since, waiter.since) >= self._unavailable_after or error.lasting:
                self._give_up(waiter, error, now)
        expiries = [max(self._down_since, waiter.since) + self._unavailable_after for waiter in self._in_line()]
        self._retry_at = min([now + self._pause, *expiries])
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    def _give_up(self, waiter: _Waiter, error: NotReachedError, now: float) -> None:
        if self._stand_in is not None and not error.lasting:
            if not self.apart:
                self.apart = True
                self._stand_in(now)
            self._lines[waiter.priority].remove(waiter)
            if not waiter.slot.done():
                waiter.slot.set_result(None)
            if waiter.asked:
                self.report(given_up=waiter.member)
            return
        waiter.fail(
            RateLimiterUnavailableError(
                f"The shared rate limit at {self._server} cannot be had: {error}. Nothing was sent. See whether Redis runs and "
                "its password is right. From Python, RedisRateLimiter(fallback='local_share') goes on without it."
            )
        )


def _check_ceiling(waiter: _Waiter, wait: float, now: float) -> None:
    # An infinite wait only says that answers are outstanding, which come within the timeout of a request.
    if waiter.ceiling is not None and waiter.since + waiter.ceiling - now < wait < math.inf:
        waiter.fail(RateLimitWaitTooLong(retry_after=wait, ceiling=waiter.ceiling))
