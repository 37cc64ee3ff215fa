"""A server of raw sockets that counts the requests it really gets. aiohttp's own test client would hide a re-send."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

import attrs

Answer: TypeAlias = bytes | None
"""What is written; None closes the connection without a word."""


def http(status: int, body: bytes = b"", **headers: str) -> bytes:
    """A whole answer."""
    lines = {"Content-Length": str(len(body)), "Content-Type": "application/json"}
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} Whatever\r\n{head}\r\n".encode() + body


@attrs.define
class RawServer:
    """What it got, and what it answers next."""

    url: str = ""
    requests: list[str] = attrs.field(factory=list[str])
    bodies: list[bytes] = attrs.field(factory=list[bytes])
    heads: list[str] = attrs.field(factory=list[str])
    answers: list[Answer] = attrs.field(factory=list[Answer])
    default: Answer = None
    after: Callable[[asyncio.StreamWriter], Awaitable[None]] | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = next(
                    (line.split(":")[1] for line in head.lower().splitlines() if line.startswith("content-length")), "0"
                )
                self.bodies.append(await reader.readexactly(int(length)))
                self.heads.append(head)
                self.requests.append(head.partition(" HTTP/")[0])
                answer = self.answers.pop(0) if self.answers else self.default
                if answer is None:
                    return
                writer.write(answer)
                await writer.drain()
                if self.after is not None:
                    await self.after(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def raw_server(*answers: Answer, default: Answer = None) -> AsyncGenerator[RawServer, None]:
    """A server that gives these answers, then the default one for ever."""
    raw = RawServer(answers=list(answers), default=default)
    server = await asyncio.start_server(raw.serve, "127.0.0.1", 0)
    raw.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield raw
    finally:
        server.close()
