"""Hostile servers: each kind against a read, a list, a write, and a call that must not happen twice.

Whatever comes, a call ends within its timeouts with a good value or an error of our tree, memory stays bounded, no connection
or task is left, the next call works, and no credential reaches another origin.
"""

import asyncio
import json
import logging
import ssl
import tracemalloc
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, TypeAlias

import attrs
import pytest
import trustme

from aioposthog_env import (
    ApiError,
    AsyncEnvironments,
    ConfigurationError,
    Environment,
    OutcomeUnknownError,
    PersonalAPIKey,
    PostHogEnvError,
    RetryPolicy,
    SessionCookie,
    SettingsNotAppliedError,
    TeamSettings,
    Timeout,
)
from aioposthog_env.telemetry import Event, Hook
from tests.figures import Count
from tests.wire.hostile import KINDS, Asked, Kind
from tests.wire.raw import RawServer, http

KEY: Final = PersonalAPIKey("phx_" + "Hk7" * 14, scopes=["*"])
SESSION: Final = SessionCookie("s8K" * 11, "c3T" * 11)
SHORT: Final = Timeout(connect=2, read=0.25, total=0.5)
PATIENT: Final = Timeout(read=10, total=10)
POLICY: Final = RetryPolicy(
    max_attempts=2, first_wait=0.001, longest_wait=0.002, settle=0.02, settle_after_500=0.02, wait_ceiling=0.1
)
MOST_BODY: Final = 2**20
MOST_MEMORY: Final = 16 * 2**20
"""Of five calls at once: bodies of the largest size, read in pieces and decoded, and what the servers themselves hold. How much
of a flood stands in the buffers depends on whose turn it is; it is 10 MiB mostly, and what is not bounded takes hundreds."""

ENVIRONMENT: Final = {
    "id": 42,
    "name": "Mine",
    "anonymize_ips": True,
    "secret_api_token": "phs_" + "o" * 40,
    "secret_api_token_backup": None,
}
SECRETS: Final = (
    *(secret.reveal() for secret in (KEY.value, SESSION.session_id, SESSION.csrf_token)),
    str(ENVIRONMENT["secret_api_token"]),
)
PAGE: Final = {"count": 1, "next": None, "previous": None, "results": [{"id": 42, "name": "Mine"}]}

Call: TypeAlias = Callable[[AsyncEnvironments], Awaitable[Any]]


async def listed(environments: AsyncEnvironments) -> list[Any]:
    return [one async for one in environments.list()]


CALLS: Final[dict[str, Call]] = {
    "retrieve": lambda environments: environments.retrieve(42),
    "list": listed,
    "update": lambda environments: environments.update(42, TeamSettings(anonymize_ips=True)),
    "create": lambda environments: environments.create(TeamSettings(name="Mine")),
    "rotate_secret_token": lambda environments: environments.rotate_secret_token(42),
}


@attrs.define
class Server:
    """Answers well until it is told otherwise.

    Attributes:
        kind: How it answers now; None for well.
        spared: How many requests are still answered well.
        serving: What serves the connections that are open.
    """

    elsewhere: str = "http://127.0.0.1:9"
    url: str = ""
    kind: Kind | None = None
    spared: int = 0
    serving: set["asyncio.Task[None] | None"] = attrs.field(factory=set["asyncio.Task[None] | None"])
    heads: list[str] = attrs.field(factory=list[str])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.serving.add(asyncio.current_task())
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                self.heads.append(head)
                lines = [line for line in head.lower().splitlines() if line.startswith("content-length")]
                await reader.readexactly(int(lines[0].split(":")[1]) if lines else 0)
                await self._answer(head, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            self.serving.discard(asyncio.current_task())

    async def _answer(self, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        verb, path = head.split(" ")[:2]
        good = json.dumps(PAGE if verb == "GET" and path.partition("?")[0] == "/api/environments/" else ENVIRONMENT).encode()
        if self.kind is None or self.spared > 0:
            self.spared -= 1
            head_of_answer = f"HTTP/1.1 200 OK\r\nContent-Length: {len(good)}\r\n\r\n".encode()
            writer.write(head_of_answer + good)
            await writer.drain()
            return
        writing = asyncio.ensure_future(self.kind.write(Asked(verb, path, good, len(self.heads), self.elsewhere), writer))
        # A client that goes away ends what would be written for ever.
        leaving = asyncio.ensure_future(until_gone(reader))
        try:
            await asyncio.wait({writing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (writing, leaving):
                task.cancel()
            await asyncio.gather(writing, leaving, return_exceptions=True)

    @property
    def writes(self) -> list[str]:
        """The requests that are no reads."""
        return [head for head in self.heads if not head.startswith("GET")]


async def until_gone(reader: asyncio.StreamReader) -> None:
    while not reader.at_eof() and reader.exception() is None:
        await asyncio.sleep(0.005)


@asynccontextmanager
async def listening(server: Server) -> AsyncGenerator[Server, None]:
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listener.close()


@contextmanager
def memory_bounded(count: Count) -> Generator[None, None, None]:
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MOST_MEMORY, f"{peak / 2**20:.1f} MiB at the most"
    count("hostile", MiB_at_most=peak / 2**20)


def shown(ended: PostHogEnvError) -> str:
    """All that a person may see of an error."""
    return f"{ended} {ended.args!r} {getattr(ended, 'observations', '')} {ended.__cause__!r} {ended.__context__!r}"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
async def test_a_hostile_server(kind: Kind, caplog: pytest.LogCaptureFixture, count: Count) -> None:
    caplog.set_level(logging.DEBUG, "aioposthog_env")
    events: list[Event] = []
    tasks = asyncio.all_tasks()
    with memory_bounded(count):
        endings = dict(zip(CALLS, await asyncio.gather(*(one_call(kind, call, events.append) for call in CALLS)), strict=True))
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == tasks
    if kind.harmless:
        assert isinstance(endings["retrieve"], Environment)
    else:
        assert all(isinstance(ended, PostHogEnvError) for ended in endings.values()), endings
    told = [*caplog.messages, *(str(value) for event in events for value in attrs.asdict(event).values())]
    told += [shown(ended) for ended in endings.values() if isinstance(ended, PostHogEnvError)]
    assert [line for line in told if not line.isprintable()] == []
    assert not any(secret in line for secret in SECRETS for line in told)
    errors = [ended for ended in endings.values() if isinstance(ended, PostHogEnvError)]
    count("hostile", kinds=1, calls=len(CALLS), typed_errors=len(errors), read_all_the_same=len(CALLS) - len(errors))


async def one_call(kind: Kind, call: str, hook: Hook) -> object:
    """The value or the error that the call ends with."""
    token_call = call == "rotate_secret_token"
    async with listening(Server()) as elsewhere, listening(Server(elsewhere.url)) as server:
        client = AsyncEnvironments(
            server.url,
            auth=SESSION if token_call else KEY,
            routes="root",
            retry=POLICY,
            timeout=SHORT,
            limiter=None,
            max_connections=1,
            max_body=MOST_BODY,
            hooks=[hook],
        )
        async with client as environments:
            # The look that precedes a token call is answered well where the call would else not be made.
            server.kind, server.spared = kind, int(token_call and not kind.harmless)
            async with asyncio.timeout(30):  # far beyond its own timeouts: a flood is slow to read where memory is measured
                try:
                    ended: object = await CALLS[call](environments)
                except PostHogEnvError as error:
                    ended = error
            writes = len(server.writes)
            server.kind = None
            after = await environments.with_options(timeout=PATIENT).retrieve(42)
            assert (after.id, after.name) == (42, "Mine"), "the next call has to work over the same connections"
        async with asyncio.timeout(5):
            while server.serving:
                await asyncio.sleep(0.001)
    assert elsewhere.heads == []
    if token_call or call == "create":
        assert writes <= (POLICY.max_refusals if kind.refuses else 1)
        assert writes or kind.harmless
        assert kind.harmless or kind.refuses or isinstance(ended, OutcomeUnknownError), ended
    return ended


def test_each_kind_has_a_name_of_its_own() -> None:
    assert len({kind.name for kind in KINDS}) == len(KINDS) >= 40


async def test_https_is_never_left_for_http() -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with listening(Server()) as bare:
        port = bare.url.rpartition(":")[2]
        answer = http(307, Location=f"http://localhost:{port}/api/environments/42/")
        raw = RawServer(default=answer)
        listener = await asyncio.start_server(raw.serve, "127.0.0.1", 0, ssl=context)
        url = f"https://localhost:{listener.sockets[0].getsockname()[1]}"
        async with AsyncEnvironments(url, auth=KEY, routes="root", limiter=None, ssl=trusting) as environments:
            with pytest.raises(ApiError, match="redirects to http://localhost, which was not followed"):
                await environments.retrieve(42)
        listener.close()
    assert len(raw.requests) == 1
    assert bare.heads == []


@pytest.mark.parametrize(
    "host", ["http://posthog.example.com", "http://192.0.2.1", "http://localhost.example.com", "http://[::2]"]
)
def test_plain_http_beyond_this_machine_is_refused_before_anything_is_sent(host: str) -> None:
    with pytest.raises(ConfigurationError, match="unencrypted"):
        AsyncEnvironments(host, auth=KEY)


@pytest.mark.parametrize("bad", ["\r\nX-Injected: 1", "\n", "\x00", "\x1b[2J", "\u202e", " HTTP/1.1\r\n\r\nGET /"])
async def test_no_text_of_the_caller_injects_into_a_request(bad: str) -> None:
    refused: list[Callable[[], object]] = [
        lambda: PersonalAPIKey("phx_" + "k" * 20 + bad),
        lambda: SessionCookie("s" * 20 + bad, "c" * 20),
        lambda: SessionCookie("s" * 20, "c" * 20 + bad),
        lambda: AsyncEnvironments(f"http://127.0.0.1{bad}:9", auth=KEY),
    ]
    for attempt in refused:
        with pytest.raises(ConfigurationError) as caught:
            attempt()
        assert str(caught.value).isprintable()
    async with (
        listening(Server()) as server,
        AsyncEnvironments(server.url, auth=KEY, routes="root", limiter=None) as environments,
    ):
        _ = [one async for one in environments.list(search=f"x{bad}")]
        await environments.with_options(retry=POLICY).update(42, TeamSettings(anonymize_ips=True))
        with pytest.raises(ConfigurationError, match="UUID"):
            _ = [one async for one in environments.list(organization_id=f"x{bad}")]
        with pytest.raises(SettingsNotAppliedError):
            await environments.update(42, TeamSettings(name=f"x{bad}"))
    assert len(server.heads) == 3
    for head in server.heads:
        assert "Injected" not in head.replace("%20", " ").split("\r\n", 1)[1]
        assert "".join(head.split("\r\n")).isprintable()
