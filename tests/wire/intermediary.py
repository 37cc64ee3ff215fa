"""Something between client and server that neither of them knows: a proxy, a gateway, a cache or a replica, on raw sockets.

It reads one request after the other, may forward it, and answers what its rule says. The sandbox behind it only counts effects.
"""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, closing, suppress
from typing import Final, TypeAlias
from urllib.parse import urlsplit

import attrs

from tests.wire.raw import http

PAGE: Final = b"<html><body>Something between you and PostHog answers</body></html>"
GATEWAY: Final = b'{"message": "Too many requests", "request_id": "f3a1"}'


@attrs.frozen
class Request:
    """One request, as it came."""

    verb: str
    target: str
    raw: bytes

    @property
    def environment_id(self) -> int | None:
        """The environment in the path of the root or the project style."""
        found = re.match(r"/api/(?:environments|projects)/(\d+)/", self.target)
        return int(found[1]) if found else None


@attrs.frozen
class Answer:
    """One response of the server: what a client reads from it."""

    status: int
    head: bytes
    body: bytes

    def wire(self) -> bytes:
        """The bytes of the response, on a connection that stays open."""
        return re.sub(rb"(?i)\r\nconnection: close", b"", self.head) + b"\r\n\r\n" + self.body


Rule: TypeAlias = Callable[["Intermediary", Request], Awaitable[bytes]]


@attrs.define
class Intermediary:
    """A server of raw sockets in front of another server.

    Attributes:
        upstream: The URL of the server behind it.
        rule: What it does with a request; None forwards each.
        url: Its own URL.
        seen: The last body that a read of each environment showed, and the one before.
        written: When a write of each environment was forwarded last.
    """

    upstream: str
    rule: Rule | None = None
    url: str = ""
    seen: dict[int, tuple[bytes, bytes]] = attrs.field(factory=dict[int, tuple[bytes, bytes]])
    written: dict[int, float] = attrs.field(factory=dict[int, float])

    async def forward(self, request: Request, target: str | None = None) -> Answer:
        """Let the server behind it answer."""
        where = urlsplit(self.upstream)
        reader, writer = await asyncio.open_connection(where.hostname, where.port)
        raw = request.raw
        if target is not None:
            # A read of something else with the same credential.
            lines = raw.partition(b"\r\n\r\n")[0].split(b"\r\n")
            kept = [line for line in lines[1:] if not line.lower().startswith((b"content-length", b"content-type"))]
            raw = b"\r\n".join([f"GET {target} HTTP/1.1".encode(), *kept]) + b"\r\n\r\n"
        with closing(writer):
            writer.write(raw.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
            await writer.drain()
            got = await reader.read(-1)
        if not got:
            raise ConnectionResetError("the server behind it closed the connection without a response")
        head, _, body = got.partition(b"\r\n\r\n")
        answer = Answer(int(head.split(b" ", 2)[1]), head, body)
        id = request.environment_id
        if id is not None and target is None:
            if request.verb != "GET":
                self.written[id] = time.monotonic()
            elif answer.status == 200:
                self.seen[id] = self.seen.get(id, (body, body))[1], body
        return answer

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        with closing(writer), suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
                body = await reader.readexactly(int(length[1]) if length else 0)
                verb, target, _ = head.decode("latin-1").split(" ", 2)
                request = Request(verb, target, head + body)
                rule = self.rule
                writer.write((await self.forward(request)).wire() if rule is None else await rule(self, request))
                await writer.drain()


@asynccontextmanager
async def intermediary(upstream: str, rule: Rule | None = None) -> AsyncGenerator[Intermediary, None]:
    """Something in front of a server. Its rule may be changed at any time."""
    between = Intermediary(upstream, rule)
    connections: set[asyncio.Task[None]] = set()

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(asyncio.create_task(between.serve(reader, writer)))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    between.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield between
    finally:
        server.close()
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


def page(status: int, body: bytes, *, after_effect: bool, **headers: str) -> Rule:
    """A page of its own instead of the response, after the request took effect or before."""

    async def rule(between: Intermediary, request: Request) -> bytes:
        if after_effect:
            await between.forward(request)
        where = {"Location": request.target} if status == 307 else {}
        return http(status, body, Content_Type="application/json" if body == GATEWAY else "text/html", **where, **headers)

    return rule


def stale(*, after_effect: bool) -> Rule:
    """The last body that a read of the environment showed, with the status of a success, as a cache answers."""

    async def rule(between: Intermediary, request: Request) -> bytes:
        if after_effect:
            await between.forward(request)
        old = between.seen.get(request.environment_id or 0)
        return http(200, old[1]) if old else http(502, PAGE)

    return rule


def crossed(other: int, *, after_effect: bool) -> Rule:
    """The response that describes another environment."""

    async def rule(between: Intermediary, request: Request) -> bytes:
        if after_effect:
            await between.forward(request)
        answer = await between.forward(request, f"/api/projects/{other}/")
        return http(201 if request.verb == "POST" else 200, answer.body)

    return rule


INTERMEDIARIES: Final[Mapping[str, Rule]] = {
    f"{status} {kind}, {'after' if after else 'before'} the effect": page(status, body, after_effect=after, **headers)
    for status, headers in (
        (200, {}),
        (307, {}),
        (401, {}),
        (403, {}),
        (404, {}),
        (429, {"Retry_After": "0"}),
        (500, {}),
        (502, {}),
        (503, {"Retry_After": "0"}),
        (504, {}),
    )
    for kind, body in (("page", PAGE), ("JSON of a gateway", GATEWAY), ("without a body", b""))
    for after in (True, False)
}
"""Pages that something between client and server sends, after the request took effect and before."""
