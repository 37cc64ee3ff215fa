"""Bulk `retrieve` with typed results, against raw aiohttp + orjson giving a dict, and against httpx + pydantic.

The server runs in another process and answers from memory, so that the clients are what is measured. The figure is CPU
time of the client process per call.
"""

import asyncio
import contextlib
import multiprocessing
import sys
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from time import process_time
from typing import Any

import aiohttp
import httpx
import orjson
import pydantic

from aioposthog_env import AsyncEnvironments, PersonalAPIKey
from benchmarks.measure import interleaved, table, versions
from benchmarks.payload import six_kilobytes

CALLS = 1_000
KEY = "phx_" + "k" * 40


class Answering(asyncio.Protocol):
    """The least HTTP server that keeps connections alive."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._seen = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._seen += data
        count = self._seen.count(b"\r\n\r\n")
        if count:
            self._seen = self._seen[self._seen.rindex(b"\r\n\r\n") + 4 :]
            self._transport.write(self._answer * count)  # type: ignore[attr-defined]


def serve(body: bytes, pipe: Connection) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"

    async def run() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Answering(head.encode() + body), "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


@contextlib.contextmanager
def server(body: bytes) -> Iterator[str]:
    here, there = multiprocessing.Pipe()
    process = multiprocessing.Process(target=serve, args=(body, there), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}"
    finally:
        process.terminate()
        process.join()


async def shared_iterator(concurrency: int, fetch: Callable[[int], Any]) -> None:
    ids = iter(range(1, CALLS + 1))

    async def worker() -> None:
        for number in ids:
            await fetch(number)

    await asyncio.gather(*(worker() for _ in range(concurrency)))


async def raw(url: str, concurrency: int) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    connector = aiohttp.TCPConnector(limit=concurrency)
    async with aiohttp.ClientSession(headers=headers, connector=connector) as session:

        async def fetch(number: int) -> object:
            async with session.get(f"{url}/api/environments/{number}/") as reply:
                return orjson.loads(await reply.read())

        await shared_iterator(concurrency, fetch)


class Typed(pydantic.BaseModel):
    """What a user would write: the fields that matter, the rest kept."""

    model_config = pydantic.ConfigDict(extra="allow")

    id: int
    name: str
    uuid: str
    organization: str
    project_id: int
    app_urls: list[str]
    anonymize_ips: bool
    timezone: str
    session_recording_opt_in: bool


async def httpx_pydantic(url: str, concurrency: int) -> None:
    limits = httpx.Limits(max_connections=concurrency)
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {KEY}"}, limits=limits, trust_env=False) as client:

        async def fetch(number: int) -> object:
            return Typed.model_validate_json((await client.get(f"{url}/api/environments/{number}/")).content)

        await shared_iterator(concurrency, fetch)


def ours(url: str, concurrency: int) -> AsyncEnvironments:
    key = PersonalAPIKey(KEY, scopes=["project:read"])
    return AsyncEnvironments(url, auth=key, routes="root", limiter=None, max_connections=concurrency)


async def ours_streamed(url: str, concurrency: int) -> None:
    async with (
        ours(url, concurrency) as environments,
        environments.each(range(1, CALLS + 1), concurrency=concurrency).retrieve() as outcomes,
    ):
        async for outcome in outcomes:
            if outcome.status != "succeeded":
                raise RuntimeError(str(outcome.error))


async def ours_awaited(url: str, concurrency: int) -> None:
    async with ours(url, concurrency) as environments:
        (await environments.each(range(1, CALLS + 1), concurrency=concurrency).retrieve()).raise_for_failures()


def timed(work: Callable[[str, int], Any], url: str, concurrency: int) -> Callable[[], float]:
    def run() -> float:
        began = process_time()
        asyncio.run(work(url, concurrency))
        return process_time() - began

    return run


def main() -> None:
    body = six_kilobytes()
    versions("aiohttp", "orjson", "httpx", "pydantic", "sniffio")
    sys.stdout.write(f"{CALLS} calls of {len(body)} bytes\n")
    with server(body) as url:
        for concurrency in (16, 64):
            rivals = {
                "aiohttp + orjson, a dict": raw,
                "aioposthog_env, async for": ours_streamed,
                "aioposthog_env, awaited": ours_awaited,
            }
            if concurrency == 16:
                rivals["httpx + pydantic"] = httpx_pydantic
            seconds = interleaved({name: timed(work, url, concurrency) for name, work in rivals.items()})
            table(f"CPU per call, concurrency {concurrency}", seconds, per=CALLS, unit="µs", floor="aiohttp + orjson, a dict")


if __name__ == "__main__":
    main()
