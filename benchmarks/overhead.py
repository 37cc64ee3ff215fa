"""What the library adds around one call: scopes, limit, retry policy, URL, headers, timeouts. Nothing goes over a wire.

There are two seams, both replaced here only. ``ReadyTransport`` answers where the library hands a request to its transport.
``ReadySession`` answers one floor below, in the place of aiohttp's session, so that what the transport itself does is in
the figure: making the URL and the timeouts, and waiting for a free connection. Neither suspends.

The call asks for ingestion restrictions and gets an empty list, so almost nothing is decoded; that little is measured alone.

Microseconds differ from machine to machine, and on one that others use. So a yardstick runs in the same rounds: reading 6 KB
of JSON into a dict, which takes 15 µs on a quiet core of 2.8 GHz.

``large_bodies`` adds what a response of 16 MiB costs.
"""

import asyncio
import cProfile
import pstats
import sys
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Final

import msgspec
from multidict import CIMultiDict, CIMultiDictProxy

from aioposthog_env import AsyncEnvironments, PersonalAPIKey, RateLimit, RateLimiter, Timeout
from aioposthog_env.api import replies
from aioposthog_env.api.endpoints import EVENT_INGESTION_RESTRICTIONS
from aioposthog_env.policy.delivery import Reply
from aioposthog_env.transport import Transport
from benchmarks import large_bodies
from benchmarks.measure import Clock, Rounds, Row, Run, Spent, interleaved, repeated, rows_of, spread
from benchmarks.payload import payload

BODY: Final = b"[]"
HEADERS: Final = CIMultiDictProxy(CIMultiDict({"Content-Type": "application/json", "Content-Length": str(len(BODY))}))
_WIDE: Final = RateLimit(10_000_000, 60.0), RateLimit(10_000_000, 3_600.0)
"""Two limits that keep their logs and never make a call wait."""


class ReadyTransport(Transport):
    """Answers where the library's transport would send."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1", max_connections=32, max_body=2**20)
        self._reply = Reply(200, HEADERS, BODY)

    async def send(self, *_: Any, **__: Any) -> Reply:
        return self._reply


class ReadyContent:
    """The body of an answer, whole."""

    def __init__(self) -> None:
        self.left = BODY

    def is_eof(self) -> bool:
        return True

    def at_eof(self) -> bool:
        return not self.left

    async def readany(self) -> bytes:
        piece, self.left = self.left, b""
        return piece


class ReadyResponse:
    """What aiohttp's session would have answered."""

    status = 200
    headers = HEADERS
    content_length = len(BODY)

    def __init__(self) -> None:
        self.content = ReadyContent()

    async def __aenter__(self) -> "ReadyResponse":
        self.content.left = BODY
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None


class ReadySession:
    """Answers where aiohttp's session would send."""

    def __init__(self) -> None:
        self._response = ReadyResponse()

    def request(self, *_: Any, **__: Any) -> ReadyResponse:
        return self._response

    async def close(self) -> None:
        return None


def environments(*, limited: bool, scoped: bool = True, hooks: tuple[Callable[[object], None], ...] = ()) -> AsyncEnvironments:
    return AsyncEnvironments(
        "http://127.0.0.1",
        auth=PersonalAPIKey("phx_" + "k" * 40, scopes=["project:read"]),
        routes="root",
        limiter=RateLimiter(_WIDE) if limited else None,
        enforce_scopes=scoped,
        hooks=hooks,
    )


async def at_transport(client: AsyncEnvironments) -> None:
    """Replace the transport."""
    client._session._host.transport = ReadyTransport()
    await client._session._host.transport.open()


async def at_aiohttp(client: AsyncEnvironments) -> None:
    """Replace aiohttp's session."""
    transport = client._session._host.transport
    assert transport._session is not None
    await transport._session.close()
    transport._session = ReadySession()  # type: ignore[assignment]


Seam = Callable[[AsyncEnvironments], Coroutine[Any, Any, None]]


def library(calls: int, seam: Seam, **options: Any) -> Run:
    """So many calls of the library, one after the other."""

    async def spend() -> Spent:
        async with environments(**options) as client:
            first = client._session._host.transport
            await seam(client)
            for number in range(1, 101):
                await client.event_ingestion_restrictions(number)
            clock = Clock()
            for number in range(1, calls + 1):
                await client.event_ingestion_restrictions(number)
            spent = clock.spent(calls)
            await first.close()
            return spent

    return lambda: asyncio.run(spend())


def stand_in(calls: int) -> Run:
    """The replaced transport alone."""

    async def spend() -> Spent:
        transport, headers, timeout = ReadyTransport(), {"Accept": "application/json"}, Timeout()
        clock = Clock()
        for _ in range(calls):
            await transport.send("GET", "/api/environments/1/", headers=headers, body=None, timeout=timeout)
        return clock.spent(calls)

    return lambda: asyncio.run(spend())


_BARE: Final = "the stand-in alone"
_DECODE: Final = "its decode alone"
_YARDSTICK: Final = "the yardstick: msgspec.json.decode of 6 KB"
_TO_TRANSPORT: Final = "down to the transport: scopes, limiter"
_TO_AIOHTTP: Final = "down to aiohttp: scopes, limiter"


def rows(quick: bool) -> list[Row]:
    calls, rounds = (50, 2) if quick else (2_000, 15)
    body = payload(6)
    rivals: dict[str, Run] = {
        _YARDSTICK: repeated(lambda: msgspec.json.decode(body), calls),
        _BARE: stand_in(calls),
        _DECODE: repeated(lambda: replies.decode_success(EVENT_INGESTION_RESTRICTIONS, BODY), calls),
        "down to the transport: scopes": library(calls, at_transport, limited=False),
        _TO_TRANSPORT: library(calls, at_transport, limited=True),
        "down to aiohttp: scopes": library(calls, at_aiohttp, limited=False),
        "down to aiohttp: limiter": library(calls, at_aiohttp, limited=True, scoped=False),
        _TO_AIOHTTP: library(calls, at_aiohttp, limited=True),
        "down to aiohttp: scopes, limiter, one hook": library(calls, at_aiohttp, limited=True, hooks=(lambda event: None,)),
    }
    taken = interleaved(rivals, rounds)
    return [*rows_of(taken, floor=None), _work(taken, _TO_TRANSPORT), _work(taken, _TO_AIOHTTP), *large_bodies.rows(quick)]


def _work(taken: Rounds, name: str) -> Row:
    """The figure: the whole call without the stand-in and without decoding."""
    rounds = zip(taken[name], taken[_BARE], taken[_DECODE], strict=True)
    left = [whole.cpu / whole.pieces - bare.cpu / bare.pieces - decode.cpu / decode.pieces for whole, bare, decode in rounds]
    yardsticks = [one / (yard.cpu / yard.pieces) for one, yard in zip(left, taken[_YARDSTICK], strict=True)]
    row: Row = {"name": f"work around one call, {name}"}
    return row | spread("cpu_us", left, "us") | spread("yardsticks", yardsticks)


def profile() -> None:
    """Print where the time of one call goes."""
    spend = library(20_000, at_aiohttp, limited=True)
    profiler = cProfile.Profile()
    profiler.runcall(spend)
    pstats.Stats(profiler, stream=sys.stdout).strip_dirs().sort_stats("tottime").print_stats(30)
