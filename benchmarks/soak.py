"""Many calls with faults among them: whether memory and descriptors stay flat, and whether the client tells what happened.

The sandbox runs in another process, so that the memory is the client's own. Every fiftieth request meets a fault, drawn
with a fixed seed. In the end, what the client says of each environment is held against what the sandbox has counted:

* A rotation that is said to have succeeded happened once; one that failed, never; an unknown one, at most once.
* A change of a name is a repeatable write: one that succeeded happened once, one that failed at most once.
"""

import asyncio
import contextlib
import os
import random
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

import attrs

from aioposthog_env import (
    AsyncEnvironments,
    OutcomeUnknownError,
    PostHogEnvError,
    RetryPolicy,
    Sandbox,
    SessionCookie,
    TeamSettings,
    Timeout,
)
from benchmarks.companion import companion, first_word
from benchmarks.measure import Clock, Row

CONCURRENCY: Final = 64
FAULTY: Final = 0.02
SEED: Final = 20_260
LIMIT: Final = 3_600.0
"""Seconds after which it ends, whatever happens."""

FAULTS: Final = (
    "drop_unread",
    "drop_midway",
    "drop_after_effect",
    "500_before_effect",
    "500_after_effect",
    "502_before_effect",
    "502_after_effect",
    "truncate",
    "wrong_length",
    "stall",
    "html",
    "bad_json",
    "throttle",
    "database_unavailable",
    "close_idle",
)
POLICY: Final = RetryPolicy(first_wait=0.01, longest_wait=0.1, settle=0.3, settle_after_500=0.2)
TIMEOUT: Final = Timeout(connect=10, read=5, total=20)


@attrs.frozen
class Counts:
    """What the sandbox has counted."""

    requests: int
    rotations: dict[int, int]
    renamings: dict[int, int]


@attrs.define
class Told:
    """What the client said: by endpoint and outcome, for each environment."""

    outcomes: Counter[tuple[str, str, int]] = attrs.field(factory=Counter[tuple[str, str, int]])
    errors: Counter[tuple[str, str]] = attrs.field(factory=Counter[tuple[str, str]])
    unexplained: int = 0

    def of(self, endpoint: str, outcome: str, environment: int) -> int:
        return self.outcomes[endpoint, outcome, environment]


def serve(pipe: Connection, environments: int) -> None:
    """A sandbox that tells its address, and its counts when asked."""

    async def run() -> None:
        async with Sandbox(environments, seed=SEED, throttle=False) as sandbox:
            login = sandbox.session()
            for name in FAULTS:
                sandbox.fault(name, times=None, probability=FAULTY / len(FAULTS))
            pipe.send((sandbox.url, login.session_id, login.csrf_token))
            await asyncio.to_thread(pipe.recv)
            ids = sandbox.environment_ids
            rotations = {id: sandbox.effects["rotate_secret_token", id] for id in ids}
            renamings = {id: sandbox.effects["setting name", id] for id in ids}
            pipe.send(Counts(len(sandbox.calls), rotations, renamings))

    asyncio.run(run())


async def call(client: AsyncEnvironments, number: int, environment: int, rng: random.Random) -> str:
    """One call of three kinds; gives its name."""
    share = rng.random()
    if share < 0.7:
        await client.retrieve(environment)
        return "retrieve"
    if share < 0.9:
        await client.update(environment, TeamSettings(name=f"Soak {number}"))
        return "update"
    await client.rotate_secret_token(environment)
    return "rotate_secret_token"


async def soak(url: str, login: SessionCookie, calls: int, environments: int, told: Told) -> list[Row]:
    """All calls, with a sample of memory and descriptors at each twentieth."""
    samples: list[Row] = []
    numbers, rng, clock = iter(range(calls)), random.Random(SEED), Clock()
    requests = 0

    async def worker(client: AsyncEnvironments) -> None:
        nonlocal requests
        for number in numbers:
            if number % (calls // 20) == 0:
                samples.append(sample(number, clock))
            environment = number % environments + 1
            try:
                name, outcome = await call(client, number, environment, rng), "succeeded"
            except PostHogEnvError as error:
                name = error.endpoint or "?"
                outcome = "unknown" if isinstance(error, OutcomeUnknownError) else "failed"
                told.errors[name, type(error).__name__] += 1
            except Exception as error:
                name, outcome = "?", "unexplained"
                told.errors[name, type(error).__name__] += 1
                told.unexplained += 1
            told.outcomes[name, outcome, environment] += 1

    client = AsyncEnvironments(
        url, auth=login, routes="root", retry=POLICY, timeout=TIMEOUT, limiter=None, max_connections=CONCURRENCY
    )
    async with asyncio.timeout(LIMIT), client:
        await asyncio.gather(*(worker(client) for _ in range(CONCURRENCY)))
        samples.append(sample(calls, clock))
    return samples


def sample(calls: int, clock: Clock) -> Row:
    spent = clock.spent(max(1, calls))
    return {
        "case": f"after {calls:,} calls",
        "rss_mib": round(rss(), 2),
        "descriptors": descriptors(),
        "cpu_us": round(spent.cpu / spent.pieces * 1e6, 1),
    }


def rss() -> float:
    """Resident memory in MiB; 0 where this system does not tell."""
    with contextlib.suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    return 0.0


def descriptors() -> int:
    with contextlib.suppress(OSError):
        return len(os.listdir("/dev/fd"))
    return 0


def rows(quick: bool) -> list[Row]:
    calls, environments = (2_000, 50) if quick else (200_000, 500)
    told = Told()
    with companion(serve, environments) as pipe:
        url, session_id, csrf_token = first_word(pipe)
        samples = asyncio.run(soak(url, SessionCookie(session_id, csrf_token), calls, environments, told))
        pipe.send(True)
        counts: Counts = first_word(pipe)
    return [*samples, *_outcomes(told), *_verdicts(samples, told, counts)]


def _outcomes(told: Told) -> list[Row]:
    totals: Counter[tuple[str, str]] = Counter()
    for (endpoint, outcome, _), count in told.outcomes.items():
        totals[endpoint, outcome] += count
    return [_count(*what, count) for counter in (totals, told.errors) for what, count in sorted(counter.items())]


def _count(endpoint: str, name: str, count: int) -> Row:
    return {"case": endpoint, "name": name, "count": count}


def _verdicts(samples: list[Row], told: Told, counts: Counts) -> list[Row]:
    half, last = float(samples[len(samples) // 2]["rss_mib"]), float(samples[-1]["rss_mib"])
    doubled = wrong = 0
    for id, happened in counts.rotations.items():
        said = told.of("rotate_secret_token", "succeeded", id)
        doubled += max(0, happened - said - told.of("rotate_secret_token", "unknown", id))
        wrong += max(0, said - happened)
    for id, happened in counts.renamings.items():
        said = told.of("update", "succeeded", id)
        doubled += max(0, happened - said - told.of("update", "failed", id) - told.of("update", "unknown", id))
        wrong += max(0, said - happened)
    figures: dict[str, float] = {
        "memory, growth over the last half, in %": round(100 * (last - half) / half, 2) if half else 0.0,
        "requests that the sandbox saw": counts.requests,
        "effects beyond what was told": doubled,
        "told to have succeeded without an effect": wrong,
        "outcomes that no error explains": told.unexplained,
    }
    return [{"name": name, "figure": figure} for name, figure in figures.items()]
