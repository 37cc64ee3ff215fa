"""What does not vary with the machine: memory that is kept and needed, requests per operation, modules that are loaded."""

import gc
import subprocess
import sys
import tracemalloc
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Final, TypeAlias

import pytest

from aioposthog_env import AsyncEnvironments, RetryPolicy, Sandbox, TeamSettings
from aioposthog_env.bulk.run import BulkRun
from aioposthog_env.models.environment import EnvironmentRef
from aioposthog_env.session import Result
from benchmarks.overhead import at_aiohttp, environments
from tests.conftest import QUICK, logged_in

CALLS: Final = 1_000
Operation: TypeAlias = Callable[[AsyncEnvironments], Awaitable[object]]


async def blocks_kept(work: Callable[[], Coroutine[Any, Any, object]]) -> int:
    """How many more blocks of memory are allocated after the work than before it."""
    await work()
    gc.collect()
    before = sys.getallocatedblocks()
    await work()
    gc.collect()
    return sys.getallocatedblocks() - before


async def peak(work: Callable[[], Coroutine[Any, Any, object]]) -> int:
    """The most bytes that the work holds at one time, beyond what was held before."""
    await work()
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        await work()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


# Memory: a call whose requests are answered where aiohttp would send them


async def test_calls_leave_nothing_behind() -> None:
    async with environments(limited=False) as client:
        await at_aiohttp(client)

        async def work() -> None:
            for number in range(1, CALLS + 1):
                await client.event_ingestion_restrictions(number)

        assert await blocks_kept(work) < 50  # the same for any number of calls


async def test_a_call_needs_little_memory() -> None:
    async with environments(limited=True) as client:
        await at_aiohttp(client)

        async def work() -> object:
            return await client.event_ingestion_restrictions(1)

        assert await peak(work) < 12_000


async def answered(_: EnvironmentRef) -> Result[int]:
    return Result(1, 1, 0.0)


async def consume(refs: Iterable[int]) -> None:
    async with BulkRun(refs, answered, concurrency=16, stop_after_failures=None) as outcomes:
        async for _ in outcomes:
            pass


async def test_a_run_that_is_iterated_keeps_no_outcomes() -> None:
    # An outcome takes more than 150 bytes; an id that was seen, less than 100.
    few, many = await peak(lambda: consume(range(1, 1_001))), await peak(lambda: consume(range(1, 11_001)))
    assert (many - few) / 10_000 < 130


async def test_a_bulk_run_leaves_nothing_behind() -> None:
    assert await blocks_kept(lambda: consume(range(1, CALLS + 1))) < 50


# Requests: what the server sees for one operation, once scopes and URL style are known

PHYSICAL: Final[dict[str, tuple[Operation, dict[str, int]]]] = {
    "retrieve": (lambda client: client.retrieve(1), {"retrieve": 1}),
    "update": (lambda client: client.update(1, TeamSettings(timezone="Europe/Berlin")), {"update": 1}),
    "is_generating_demo_data": (lambda client: client.is_generating_demo_data(1), {"is_generating_demo_data": 1}),
    "event_ingestion_restrictions": (
        lambda client: client.event_ingestion_restrictions(1),
        {"event_ingestion_restrictions": 1},
    ),
    "add_product_intent": (lambda client: client.add_product_intent(1, "surveys"), {"add_product_intent": 1}),
    "rotate_secret_token": (lambda client: client.rotate_secret_token(1), {"retrieve": 1, "rotate_secret_token": 1}),
    "reset_token": (lambda client: client.reset_token(1), {"retrieve": 1, "reset_token": 1}),
    "delete": (lambda client: client.delete(1), {"delete": 1}),
}


@pytest.mark.parametrize("name", PHYSICAL)
@pytest.mark.parametrize("routes", ["root", "project"])
async def test_requests_of_one_call(name: str, routes: Any) -> None:
    operation, expected = PHYSICAL[name]
    async with Sandbox(2) as sandbox, logged_in(sandbox, routes=routes, retry=RetryPolicy()) as client:
        await operation(client)
        assert Counter(call.endpoint for call in sandbox.calls) == expected


async def test_rotating_many_costs_two_requests_each_and_one_without_reading_back() -> None:
    async with Sandbox(10) as sandbox, logged_in(sandbox, routes="root", retry=RetryPolicy()) as client:
        (await client.each(sandbox.environment_ids).rotate_secret_token()).raise_for_failures()
        assert Counter(call.endpoint for call in sandbox.calls) == {"retrieve": 10, "rotate_secret_token": 10}
        sandbox.calls.clear()
        unread = client.with_options(retry=QUICK)
        (await unread.each(sandbox.environment_ids).rotate_secret_token()).raise_for_failures()
        assert Counter(call.endpoint for call in sandbox.calls) == {"rotate_secret_token": 10}


# Modules

HELP: Final = """
import sys
from aioposthog_env.cli import main
try:
    main(["--help"])
finally:
    sys.stderr.write(" ".join(sys.modules))
"""


def test_help_loads_neither_the_http_client_nor_the_converter() -> None:
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, timeout=50)
    loaded = set(done.stderr.split())
    assert done.returncode == 0
    assert "aioposthog_env.cli.app" in loaded
    assert not loaded & {"aiohttp", "cattrs", "aioposthog_env.environments", "aioposthog_env.sandbox"}
