"""What it costs to spread work over many environments, apart from the work: CPU time for each item, and memory.

The work is a coroutine that returns a ready result. In the case *ready* it never suspends, and its floor is a bare loop that
awaits one item after the other. In the case *suspends once* it lets the event loop go round, as a real call would, and its
floor is a set of workers that share one iterator, since a bare loop would then measure the event loop.

Rivals: what people write. ``gather`` behind a semaphore makes all tasks at once; so does a task group behind a
``CapacityLimiter``.
"""

import asyncio
import gc
import inspect
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

import anyio

from aioposthog_env.bulk.run import BulkRun
from aioposthog_env.models.environment import EnvironmentRef
from aioposthog_env.session import Result
from benchmarks.measure import Clock, Row, Run, Spent, interleaved, rows_of

WORKERS: Final = 64

Work: TypeAlias = Callable[[int | EnvironmentRef], Awaitable[Result[int]]]
Fan: TypeAlias = Callable[[int, Work], Awaitable[object]]


async def ready(_: int | EnvironmentRef) -> Result[int]:
    return Result(1, 1, 0.0)


async def suspends_once(_: int | EnvironmentRef) -> Result[int]:
    await asyncio.sleep(0)
    return Result(1, 1, 0.0)


async def bare_loop(items: int, work: Work) -> None:
    for number in range(1, items + 1):
        await work(number)


async def shared_iterator(items: int, work: Work) -> None:
    numbers = iter(range(1, items + 1))

    async def worker() -> None:
        for number in numbers:
            await work(number)

    await asyncio.gather(*(worker() for _ in range(WORKERS)))


async def gather_and_semaphore(items: int, work: Work) -> object:
    free = asyncio.Semaphore(WORKERS)

    async def one(number: int) -> Result[int]:
        async with free:
            return await work(number)

    return await asyncio.gather(*(one(number) for number in range(1, items + 1)))


async def task_per_item(items: int, work: Work) -> object:
    free = anyio.CapacityLimiter(WORKERS)
    results: list[Result[int]] = []

    async def one(number: int) -> None:
        async with free:
            results.append(await work(number))

    async with anyio.create_task_group() as tasks:
        for number in range(1, items + 1):
            tasks.start_soon(one, number)
    return results


def bulk_run(items: int, work: Work, **options: Any) -> BulkRun[int]:
    return BulkRun(range(1, items + 1), work, concurrency=WORKERS, stop_after_failures=None, **options)


async def iterated(items: int, work: Work) -> None:
    async with bulk_run(items, work) as outcomes:
        async for _ in outcomes:
            pass


def awaited(**options: Any) -> Fan:
    async def fan(items: int, work: Work) -> object:
        return await bulk_run(items, work, **options)

    return fan


def ours() -> dict[str, Fan]:
    found: dict[str, Fan] = {"aioposthog_env, async for": iterated}
    if "keep" not in inspect.signature(BulkRun).parameters:
        return found | {"aioposthog_env, awaited": awaited()}
    return found | {f"aioposthog_env, awaited, keep={keep}": awaited(keep=keep) for keep in ("values", "outcomes", "counts")}


def rivals() -> dict[str, Fan]:
    return {
        "shared iterator": shared_iterator,
        **ours(),
        "gather + semaphore": gather_and_semaphore,
        "task per item + CapacityLimiter": task_per_item,
    }


def timed(fan: Fan, items: int, work: Work) -> Run:
    items = items // 10 if fan is task_per_item else items  # the slowest by far, and as slow for each

    async def spend() -> Spent:
        clock = Clock()
        kept = await fan(items, work)
        spent = clock.spent(items)
        del kept
        return spent

    return lambda: asyncio.run(spend())


def memory(fan: Fan, items: int) -> float:
    """The most memory that was held above what was held before, in MiB."""

    async def spend() -> float:
        gc.collect()
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        kept = await fan(items, ready)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        del kept
        return (peak - before) / 2**20

    return asyncio.run(spend())


def rows(quick: bool) -> list[Row]:
    items, rounds = (300, 2) if quick else (100_000, 5)
    fans = {"bare loop": bare_loop, **rivals()}
    taken = interleaved({name: timed(fan, items, ready) for name, fan in fans.items()}, rounds, warm=quick)
    found = rows_of(taken, floor="bare loop", case=f"ready, {items:,} items")
    suspending = {name: timed(fan, items // 5, suspends_once) for name, fan in rivals().items()}
    taken = interleaved(suspending, rounds)
    found += rows_of(taken, floor="shared iterator", case=f"suspends once, {items // 5:,} items")
    least = memory(bare_loop, items)
    found += [
        {"case": f"memory for {items:,} items", "name": name, "mib": round(memory(fan, items) - least, 2)}
        for name, fan in rivals().items()
    ]
    return found
