"""Clients that read many environments at once: this library, and what a good engineer would write without it.

Each is a context that connects and gives a function: read the environments 1 to so many, each once.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from threading import local
from typing import Any, Final, TypeAlias

import aiohttp
import httpx
import orjson
import pydantic
import requests
from requests.adapters import HTTPAdapter

from aioposthog_env import AsyncEnvironments, PersonalAPIKey

KEY: Final = "phx_" + "k" * 40
HEADERS: Final = {"Authorization": f"Bearer {KEY}", "Accept": "application/json"}

Read: TypeAlias = Callable[[int], Awaitable[None]]
"""Reads so many environments."""
Client: TypeAlias = Callable[[str, int], AbstractAsyncContextManager[Read]]
"""Takes the host and the concurrency."""


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


async def _work_off(concurrency: int, count: int, fetch: Callable[[int], Awaitable[object]]) -> None:
    """Workers over one iterator, the cheapest way there is."""
    numbers = iter(range(1, count + 1))

    async def worker() -> None:
        for number in numbers:
            await fetch(number)

    await asyncio.gather(*(worker() for _ in range(concurrency)))


@asynccontextmanager
async def aiohttp_orjson(url: str, concurrency: int) -> AsyncGenerator[Read, None]:
    """The floor: a plain dict, nothing checked, nothing repeated."""
    async with aiohttp.ClientSession(
        headers=HEADERS,
        connector=aiohttp.TCPConnector(limit=concurrency),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=120),
    ) as http:

        async def fetch(number: int) -> object:
            async with http.get(f"{url}/api/environments/{number}/", allow_redirects=False) as answer:
                answer.raise_for_status()
                return orjson.loads(await answer.read())

        async def read(count: int) -> None:
            await _work_off(concurrency, count, fetch)

        yield read


@asynccontextmanager
async def httpx_pydantic(url: str, concurrency: int) -> AsyncGenerator[Read, None]:
    limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
    async with httpx.AsyncClient(base_url=url, headers=HEADERS, limits=limits, trust_env=False, timeout=120) as http:

        async def fetch(number: int) -> object:
            answer = await http.get(f"/api/environments/{number}/")
            return Typed.model_validate_json(answer.raise_for_status().content)

        async def read(count: int) -> None:
            await _work_off(concurrency, count, fetch)

        yield read


@asynccontextmanager
async def requests_threads(url: str, concurrency: int) -> AsyncGenerator[Read, None]:
    """A pool of threads with a session each. It blocks the event loop, which has nothing else to do."""
    own = local()

    def connect() -> None:
        own.http = requests.Session()
        own.http.headers.update(HEADERS)
        own.http.trust_env = False
        own.http.mount("http://", HTTPAdapter(pool_connections=1, pool_maxsize=1))

    def fetch(number: int) -> object:
        answer = own.http.get(f"{url}/api/environments/{number}/", timeout=120, allow_redirects=False)
        answer.raise_for_status()
        return orjson.loads(answer.content)

    with ThreadPoolExecutor(concurrency, initializer=connect) as pool:

        async def read(count: int) -> None:
            for _ in pool.map(fetch, range(1, count + 1)):
                pass

        yield read


def _environments(url: str, concurrency: int) -> AsyncEnvironments:
    key = PersonalAPIKey(KEY, scopes=["project:read"])
    return AsyncEnvironments(url, auth=key, routes="root", limiter=None, max_connections=concurrency)


@asynccontextmanager
async def ours_streamed(url: str, concurrency: int) -> AsyncGenerator[Read, None]:
    async with _environments(url, concurrency) as environments:

        async def read(count: int) -> None:
            async with environments.each(range(1, count + 1), concurrency=concurrency).retrieve() as outcomes:
                async for outcome in outcomes:
                    if outcome.status != "succeeded":
                        raise RuntimeError(str(outcome.error))

        yield read


@asynccontextmanager
async def ours_awaited(url: str, concurrency: int) -> AsyncGenerator[Read, None]:
    async with _environments(url, concurrency) as environments:

        async def read(count: int) -> None:
            run: Any = environments.each(range(1, count + 1), concurrency=concurrency).retrieve()
            (await run).raise_for_failures()

        yield read


FLOOR: Final = "aiohttp + orjson, a dict"
OURS: Final[dict[str, Client]] = {
    "aioposthog_env, async for": ours_streamed,
    "aioposthog_env, awaited": ours_awaited,
}
OTHERS: Final[dict[str, Client]] = {"httpx + pydantic": httpx_pydantic, "requests in threads": requests_threads}
