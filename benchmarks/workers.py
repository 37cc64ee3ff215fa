"""Several processes with one key, through the shared limiter: a real Valkey, and the sandbox's own throttle with short windows.

Each process is an interpreter of its own and so is the sandbox. The windows are PostHog's, ten times smaller in time or more:
the figures that count do not depend on the length, but what is lost to timers and commands weighs ten times as much.

* Workers take their environments from one pool. Least is the time that a client needs which sees into the server's logs,
  knows no latency, and sends whenever both have room.
* The same as a bulk run on a task queue: a coordinator plans a change of each environment, submits it to workers that share the
  limit, and collects what became of them. Least is counted for all requests that were sent, the coordinator's too.
* A service of two replicas makes single calls at random moments while a bulk run uses all that is left. What each single call
  took from beginning to end is compared: bulk like the others, interactive, and interactive with a part that the bulk run
  always leaves free. The first calls find full windows, since nobody expected them.
"""

import asyncio
import contextlib
import multiprocessing
import random
import statistics
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any, Final

from aioposthog_env import (
    AsyncEnvironments,
    PersonalAPIKey,
    RateLimit,
    RedisRateLimiter,
    RetryPolicy,
    Sandbox,
    TeamSettings,
    Workers,
)
from aioposthog_env.policy.priority import Priority
from aioposthog_env.sandbox import Throttle
from aioposthog_env.telemetry import AttemptFinished, Event
from aioposthog_env.workers import work_forever
from aioposthog_env.workers.coordinator import load_engine
from benchmarks.companion import companion, first_word
from benchmarks.measure import Row
from benchmarks.rate_limit_model import least
from benchmarks.valkey import valkey

LIMITS: Final = (RateLimit(48, 6.0), RateLimit(120, 30.0))
SHORT: Final = (RateLimit(24, 0.6), RateLimit(60, 3.0))
"""For ``--quick``."""
FLEET: Final = (RateLimit(48, 6.0), RateLimit(480, 60.0))
"""For the run on a task queue: as many requests a second as PostHog lets through in a minute."""
TASKS: Final = 10
SEED: Final = 20_260


def play_sandbox(pipe: Connection, limits: tuple[RateLimit, RateLimit], environments: int) -> None:
    """Tell address and key; on a word, how many requests were refused."""

    async def serve() -> None:
        minute, hour = limits
        throttle = Throttle(minute=(minute.count, minute.window), hour=(hour.count, hour.window))
        async with Sandbox(environments, throttle=throttle) as sandbox:
            pipe.send((sandbox.url, sandbox.key()))
            await asyncio.to_thread(pipe.recv)
            pipe.send((sandbox.refusals, len(sandbox.calls)))

    asyncio.run(serve())


def _client(url: str, key: str, redis: str, limits: tuple[RateLimit, ...], kept_free: float = 0.0) -> AsyncEnvironments:
    limiter = RedisRateLimiter(redis, limits=limits, kept_free=kept_free)
    return AsyncEnvironments(url, auth=PersonalAPIKey(key, scopes=["*"]), limiter=limiter, routes="root")


def work(pipe: Connection, pool: Any, url: str, key: str, redis: str, limits: tuple[RateLimit, ...], kept_free: float) -> None:
    """On a word, read environments from the pool until it is empty. Tells how many, and when the last was answered."""

    async def run() -> tuple[int, float]:
        async with _client(url, key, redis, limits, kept_free) as environments:
            bulk = environments.with_options(priority="bulk")
            done = 0

            async def task() -> None:
                nonlocal done
                while (number := _next(pool)) > 0:
                    await _patient(bulk).retrieve(number)
                    done += 1

            pipe.send("ready")
            await asyncio.to_thread(pipe.recv)
            await asyncio.gather(*(task() for _ in range(TASKS)))
            return done, time.monotonic()

    pipe.send(asyncio.run(run()))


def work_on_jobs(pipe: Connection, url: str, key: str, redis: str, limits: tuple[RateLimit, ...]) -> None:
    """Take jobs from the queue until a word comes. Tells how many requests that took."""

    async def run() -> int:
        sent = 0

        def count(event: Event) -> None:
            nonlocal sent
            sent += isinstance(event, AttemptFinished)

        async with _client(url, key, redis, limits) as environments:
            working = asyncio.create_task(work_forever(environments.with_options(hooks=[count]), redis, allow_open_queue=True))
            pipe.send("ready")
            await asyncio.to_thread(pipe.recv)
            working.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await working
        return sent

    pipe.send(asyncio.run(run()))


def serve(
    pipe: Connection, seed: int, seconds: float, rate: float, url: str, key: str, redis: str, limits: Any, priority: Priority
) -> None:
    """On a word, make single calls at random moments. Tells when each began, and how long it took."""

    async def run() -> list[tuple[float, float]]:
        chance = random.Random(seed)
        async with _client(url, key, redis, limits) as environments:
            single = _patient(environments.with_options(priority=priority))
            took: list[tuple[float, float]] = []

            async def call() -> None:
                began = time.monotonic()
                await single.retrieve(1)
                took.append((began, time.monotonic() - began))

            pipe.send("ready")
            await asyncio.to_thread(pipe.recv)
            until = time.monotonic() + seconds
            async with asyncio.TaskGroup() as calls:
                while time.monotonic() < until:
                    await asyncio.sleep(chance.expovariate(rate))
                    calls.create_task(call())
            return took

    pipe.send(asyncio.run(run()))


def _patient(environments: AsyncEnvironments) -> AsyncEnvironments:
    return environments.with_options(retry=RetryPolicy(wait_ceiling=None))


def _next(pool: Any) -> int:
    with pool.get_lock():
        pool.value -= 1
        return int(pool.value) + 1


@contextlib.contextmanager
def _stage(limits: tuple[RateLimit, RateLimit], calls: int) -> Iterator[tuple[str, str, str, Connection]]:
    with valkey() as redis, companion(play_sandbox, limits, calls) as sandbox:
        url, key = first_word(sandbox)
        yield redis, url, key, sandbox


def _pool(calls: int) -> Any:
    return multiprocessing.get_context("spawn").Value("i", calls)


def workers(limits: tuple[RateLimit, RateLimit], calls: int, processes: int) -> Row:
    """So many calls by so many processes."""
    with _stage(limits, calls) as (redis, url, key, sandbox), contextlib.ExitStack() as stack:
        arguments = (work, _pool(calls), url, key, redis, limits, 0.0)
        pipes = [stack.enter_context(companion(*arguments)) for _ in range(processes)]
        for pipe in pipes:
            first_word(pipe)
        began = time.monotonic()
        for pipe in pipes:
            pipe.send("go")
        told = [pipe.recv() for pipe in pipes]
        sandbox.send("end")
        refusals, _ = sandbox.recv()
    seconds, fair, shares = max(ended for _, ended in told) - began, calls / processes, [done for done, _ in told]
    possible = least(calls, limits=limits)
    return {
        "case": f"{processes} processes, {calls} calls",
        "name": "one pool",
        "seconds": seconds,
        "efficiency": possible / seconds,
        "refusals": refusals,
        "share_low": min(shares) / fair,
        "share": statistics.median(shares) / fair,
        "share_high": max(shares) / fair,
    }


def fleet(limits: tuple[RateLimit, RateLimit], environments: int, processes: int) -> Row:
    """So many environments are planned here, and changed by workers that take jobs from a queue."""

    load_engine()  # which takes a second, once

    async def submit(url: str, key: str, redis: str) -> float:
        began = time.monotonic()
        async with _client(url, key, redis, limits) as client:
            plan = await client.plan(TeamSettings(timezone="Europe/Berlin"), range(1, environments + 1))
            (await client.apply(plan, on=Workers(redis, allow_open_queue=True))).raise_for_failures()
        return time.monotonic() - began

    with _stage(limits, environments) as (redis, url, key, sandbox), contextlib.ExitStack() as stack:
        pipes = [stack.enter_context(companion(work_on_jobs, url, key, redis, limits)) for _ in range(processes)]
        for pipe in pipes:
            first_word(pipe)
        seconds = asyncio.run(submit(url, key, redis))
        for pipe in pipes:
            pipe.send("end")
        shares = [pipe.recv() for pipe in pipes]
        sandbox.send("end")
        refusals, calls = sandbox.recv()
    fair, possible = sum(shares) / processes, least(calls, limits=limits)
    return {
        "case": f"{processes} processes, {environments} environments",
        "name": "on a task queue",
        "seconds": seconds,
        "efficiency": possible / seconds,
        "refusals": refusals,
        "calls": calls,
        "share_low": min(shares) / fair,
        "share": statistics.median(shares) / fair,
        "share_high": max(shares) / fair,
    }


def service(
    limits: tuple[RateLimit, RateLimit], calls: int, name: str, *, priority: Priority, kept_free: float, rate: float
) -> Row:
    """Two replicas that make single calls beside a bulk run."""
    with _stage(limits, calls) as (redis, url, key, sandbox), contextlib.ExitStack() as stack:
        seconds = least(calls, limits=limits)
        bulk = stack.enter_context(companion(work, _pool(calls), url, key, redis, limits, kept_free))
        replicas = [
            stack.enter_context(companion(serve, SEED + number, seconds, rate, url, key, redis, limits, priority))
            for number in range(2)
        ]
        for pipe in (bulk, *replicas):
            first_word(pipe)
        began = time.monotonic()
        for pipe in (bulk, *replicas):
            pipe.send("go")
        took = sorted(one for pipe in replicas for one in pipe.recv())
        done, ended = bulk.recv()
        sandbox.send("end")
        refusals, _ = sandbox.recv()
    waits = [seconds for _, seconds in took]
    # When everybody has been seen for one longest window, nobody comes unexpected.
    later = [seconds for at, seconds in took if at - began > limits[1].window] or [0.0]
    return {
        "case": f"2 replicas and a bulk run of {done} calls",
        "name": name,
        "seconds": ended - began,
        "refusals": refusals,
        "singles": len(waits),
        "median_ms": statistics.median(waits) * 1_000,
        "worst_ms": max(waits) * 1_000,
        "worst_later_ms": max(later) * 1_000,
    }


_SINGLES: Final[tuple[tuple[str, Priority, float], ...]] = (
    ("bulk like the others", "bulk", 0.0),
    ("interactive", "interactive", 0.0),
    ("interactive, a tenth kept free", "interactive", 0.1),
)


def rows(quick: bool) -> list[Row]:
    if quick:  # starting interpreters is what takes long here
        return [workers(SHORT, 48, 2)]
    return [
        workers(LIMITS, 216, 4),
        fleet(FLEET, 500, 4),
        *(
            service(LIMITS, 168, name, priority=priority, kept_free=kept_free, rate=0.25)
            for name, priority, kept_free in _SINGLES
        ),
    ]
