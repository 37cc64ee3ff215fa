"""How fast the sandbox is, so that it is not what bulk tests wait for, in each generation of PostHog that it plays.

The server runs in this process and the client in another, so that the server's CPU time is its own. The floor is aiohttp's
server giving the same bytes without a look at the request.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from multiprocessing.connection import Connection
from typing import Final, TypeAlias, get_args

import aiohttp
import attrs
from aiohttp import web

from aioposthog_env import Sandbox
from aioposthog_env.sandbox.eras import EraName
from benchmarks.companion import companion
from benchmarks.measure import Clock, Row, Run, Spent, interleaved, repeated, rows_of
from benchmarks.payload import payload

CONCURRENCY: Final = 16
ENVIRONMENTS: Final = 100
FLOOR: Final = "aiohttp's server, ready bytes"


@attrs.frozen
class Order:
    """What the client is to ask."""

    url: str
    key: str
    verb: str
    calls: int


Host: TypeAlias = Callable[[], AbstractAsyncContextManager[tuple[str, str]]]
"""Serves, and gives its URL and a key."""


def ready(body: bytes) -> Host:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        await request.read()
        return web.Response(body=body, content_type="application/json")

    @asynccontextmanager
    async def host() -> AsyncGenerator[tuple[str, str], None]:
        runner = web.ServerRunner(web.Server(answer, access_log=None), handle_signals=False)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}", "none"
        finally:
            await runner.cleanup()

    return host


def era(name: EraName) -> Host:
    @asynccontextmanager
    async def host() -> AsyncGenerator[tuple[str, str], None]:
        async with Sandbox(ENVIRONMENTS, era=name, throttle=False) as sandbox:
            yield sandbox.url, sandbox.key()

    return host


def hosts() -> dict[str, Host]:
    return {FLOOR: ready(payload(6))} | {f"sandbox, {name}": era(name) for name in get_args(EraName)}


async def _ask(order: Order) -> None:
    numbers = iter(range(order.calls))
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {order.key}"}) as http:

        async def worker() -> None:
            for number in numbers:
                url = f"{order.url}/api/projects/{number % ENVIRONMENTS + 1}/"
                body = {"name": f"Name {number}"} if order.verb == "PATCH" else None
                async with http.request(order.verb, url, json=body) as answer:
                    await answer.read()
                    answer.raise_for_status()

        await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))


def client(pipe: Connection) -> None:
    """Carry out orders, until it is ended."""
    while True:
        asyncio.run(_ask(pipe.recv()))
        pipe.send(True)


def timed(host: Host, verb: str, calls: int, ask: Callable[[Order], Awaitable[object]]) -> Run:
    async def spend() -> Spent:
        async with host() as (url, key):
            await ask(Order(url, key, verb, CONCURRENCY))
            clock = Clock()
            await ask(Order(url, key, verb, calls))
            return clock.spent(calls)

    return lambda: asyncio.run(spend())


def rows(quick: bool) -> list[Row]:
    calls, rounds = (100, 1) if quick else (3_000, 5)
    found: list[Row] = []
    with companion(client) as pipe:

        async def ask(order: Order) -> None:
            pipe.send(order)
            await asyncio.to_thread(pipe.recv)

        for title, verb in (("retrieve", "GET"), ("update the name", "PATCH")):
            runs = {name: timed(host, verb, calls, ask) for name, host in hosts().items()}
            found += rows_of(interleaved(runs, rounds, warm=False), floor=FLOOR, case=title)
    return found + _start(1_000 if quick else 10_000, rounds)


def _start(environments: int, rounds: int) -> list[Row]:
    taken = interleaved({"sandbox, current": repeated(lambda: Sandbox(environments), 1)}, rounds, warm=False)
    return rows_of(taken, floor=None, unit="ms", case=f"start with {environments:,} environments")
