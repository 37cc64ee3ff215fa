"""An exact model of PostHog's throttle on a virtual clock, and clients that run into it.

The server keeps two sliding logs per key: 480 in 60 s and 4,800 in 3,600 s. Both are asked for every request and each
records what it lets through, so a request that the minute refuses is still charged to the hour. A 429 carries
``Retry-After``: whole seconds, rounded up, of the log that takes longer. The server stamps a request at some instant between
its departure and its answer.

The clients run on a virtual event loop with the real ``RateLimiter`` (or a rival with the same methods), and a refused
request waits as the real retry decision says. The least possible time comes from a client that sees into the server's logs,
knows no latency, and sends whenever both logs have room.
"""

import asyncio
import math
import random
from collections import deque
from collections.abc import Callable, Iterator
from itertools import count
from typing import Final, Protocol

import anyio
import attrs
import looptime

from aioposthog_env.api.endpoints import Repeat
from aioposthog_env.policy.delivery import Reply, Throttled
from aioposthog_env.policy.rate_limit import SERVER_LIMITS, RateLimit, Slot
from aioposthog_env.policy.retry import Again, Attempts, RetryPolicy, decide

_PATIENT: Final = RetryPolicy(max_refusals=10**9, wait_ceiling=None)
_REFUSED: Final = Reply(429, {}, b"")


class Server:
    """The throttle of one key.

    Attributes:
        stamps: The time and the fate of every request, the other program's included, where they are kept.
        refused: How many requests of the clients were refused.
    """

    def __init__(self, limits: tuple[RateLimit, ...] = SERVER_LIMITS, *, keep: bool = False) -> None:
        self._logs: list[tuple[RateLimit, deque[float]]] = [(limit, deque()) for limit in limits]
        self.stamps: list[tuple[float, bool]] | None = [] if keep else None
        self.refused = 0

    def wait(self, now: float) -> float:
        """Seconds until a request would be let through."""
        waits = [0.0]
        for limit, log in self._logs:
            while log and log[0] <= now - limit.window:
                log.popleft()
            if len(log) >= limit.count:
                waits.append(log[0] + limit.window - now)
        return max(waits)

    def used(self, now: float) -> list[int]:
        """How many requests each window holds."""
        self.wait(now)
        return [len(log) for _, log in self._logs]

    def ask(self, now: float) -> float:
        """Let a request through, which gives 0, or refuse it, which gives the seconds to wait."""
        wait = self.wait(now)
        for limit, log in self._logs:
            if len(log) < limit.count:
                log.append(now)
        if self.stamps is not None:
            self.stamps.append((now, wait == 0))
        return wait


class Limiter(Protocol):
    """What the clients need of a limiter."""

    async def acquire(self) -> Slot: ...
    def answered(self, slot: Slot) -> None: ...
    def refused(self, slot: Slot, wait: float) -> None: ...


@attrs.frozen(kw_only=True)
class Scenario:
    """What happens around the clients.

    Attributes:
        clients: How many share the key without knowing of each other.
        concurrency: How many calls each has under way at most.
        stagger: They start at random times within so many seconds.
        latency: The bounds of the time from departure to answer, in seconds.
        spikes: The share of requests that take 5 s instead.
        drift: By which part of itself the server's clock runs faster than the clients'.
        cancelled: The share of the waits for a slot that are cancelled at a random instant; the caller asks again.
        other: When another program with the same key sends, whatever it is told; at the server it is served at once.
    """

    name: str
    clients: int = 1
    concurrency: int = 32
    stagger: float = 0.0
    latency: tuple[float, float] = (0.05, 0.2)
    spikes: float = 0.0
    drift: float = 0.0
    cancelled: float = 0.0
    other: Callable[[], Iterator[float]] | None = None


@attrs.frozen
class Run:
    """What came of it: seconds until the last answer, the least possible seconds, requests refused."""

    seconds: float
    least: float
    refusals: int
    stamps: list[tuple[float, bool]] | None = None

    @property
    def efficiency(self) -> float:
        """The least possible time as a part of the time taken."""
        return self.least / self.seconds if self.seconds else 1.0


def least(
    calls: int, other: Callable[[], Iterator[float]] | None = None, limits: tuple[RateLimit, ...] = SERVER_LIMITS
) -> float:
    """The least possible seconds until the server has let so many calls through."""
    server, now = Server(limits), 0.0
    others = other() if other is not None else iter(())
    next_other = next(others, math.inf)
    while True:
        while (wait := server.wait(now)) == 0:
            server.ask(now)
            calls -= 1
            if not calls:
                return now
        if next_other <= now + wait:
            now = max(now, next_other)
            server.ask(now)
            next_other = next(others, math.inf)
        else:
            # The sum may round to a hair before the oldest stamp leaves.
            now = math.nextafter(now + wait, math.inf)


class _Play:
    """One run of all clients against one server."""

    def __init__(self, scenario: Scenario, calls: int, seed: int, server: Server) -> None:
        self._scenario = scenario
        self._calls = calls
        self._random = random.Random(seed)
        self._server = server
        self._left = calls
        self.ended = 0.0

    async def run(self, make: Callable[[], Limiter]) -> None:
        clients = self._scenario.clients
        starts = [0.0] + [self._random.uniform(0, self._scenario.stagger) for _ in range(clients - 1)]
        other = asyncio.create_task(self._send_for_the_other())
        async with anyio.create_task_group() as tasks:
            for number, start in enumerate(starts):
                mine = self._calls // clients + (number < self._calls % clients)
                tasks.start_soon(self._client, make(), mine, start)
        other.cancel()

    async def _client(self, limiter: Limiter, calls: int, start: float) -> None:
        await asyncio.sleep(start)
        left = iter(range(calls))

        async def worker() -> None:
            for _ in left:
                await self._call(limiter)

        await asyncio.gather(*(worker() for _ in range(self._scenario.concurrency)))
        self.ended = anyio.current_time()

    async def _call(self, limiter: Limiter) -> None:
        attempts = Attempts()
        while True:
            slot = await self._acquire(limiter)
            wait = await self._request()
            if not wait:
                limiter.answered(slot)
                return
            retry_after = float(math.ceil(wait))
            limiter.refused(slot, retry_after)
            refusal = Throttled(_REFUSED, retry_after)
            attempts.count(refusal)
            again = decide(
                refusal,
                repeat=Repeat.SAFE,
                attempts=attempts,
                policy=_PATIENT,
                jitter=lambda bound: self._random.uniform(0, bound),
            )
            assert isinstance(again, Again)
            await asyncio.sleep(again.wait)

    async def _acquire(self, limiter: Limiter) -> Slot:
        while self._scenario.cancelled and self._random.random() < self._scenario.cancelled:
            with anyio.move_on_after(self._random.expovariate(1 / 20)):
                return await limiter.acquire()
        return await limiter.acquire()

    async def _request(self) -> float:
        """Seconds to wait that the server asks for; 0 when the request was let through."""
        chance = self._random
        latency = 5.0 if chance.random() < self._scenario.spikes else chance.uniform(*self._scenario.latency)
        before = latency * chance.random()
        await asyncio.sleep(before)
        wait = self._server.ask(anyio.current_time() * (1 + self._scenario.drift))
        self._server.refused += wait > 0
        await asyncio.sleep(latency - before)
        return wait

    async def _send_for_the_other(self) -> None:
        if self._scenario.other is not None:
            for moment in self._scenario.other():
                await asyncio.sleep(moment - anyio.current_time())
                self._server.ask(moment * (1 + self._scenario.drift))


def play(make: Callable[[], Limiter], scenario: Scenario, calls: int, seed: int, *, keep: bool = False) -> Run:
    """Run all clients of a scenario until every call is answered."""
    loop = looptime.new_event_loop(noop_cycles=0)
    server = Server(keep=keep)
    game = _Play(scenario, calls, seed, server)
    try:
        loop.run_until_complete(game.run(make))
    finally:
        loop.close()
    return Run(game.ended, least(calls, scenario.other), server.refused, server.stamps)


def steadily(per_second: float) -> Callable[[], Iterator[float]]:
    """Another program that sends at a steady rate."""
    return lambda: (number / per_second for number in count(1))


def in_bursts(size: int, every: float) -> Callable[[], Iterator[float]]:
    """Another program that sends so many at once, again and again."""
    return lambda: (every * number for number in count() for _ in range(size))
