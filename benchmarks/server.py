"""A server that is too fast to be measured: another process, answers made in advance, a bare protocol, uvloop if it is there.

It reads no more of a request than where it ends, so it takes requests without a body only.
"""

import asyncio
import contextlib
import re
from collections.abc import Coroutine, Iterator, Sequence
from functools import partial
from multiprocessing.connection import Connection
from time import process_time
from typing import Any, Final, cast

import attrs

from benchmarks.companion import companion, first_word

_END: Final = b"\r\n\r\n"
_NUMBER: Final = re.compile(rb"/(\d+)/")


_ID: Final = b'"id":1,'


@attrs.frozen
class Answers:
    """What one port answers, and after how many seconds. An ``id`` of 1 becomes the number in the path that was asked."""

    body: bytes
    latency: float = 0.0

    def message(self, number: bytes = b"1") -> bytes:
        """A whole answer about an environment."""
        before, id, after = self.body.partition(_ID)
        body = before + b'"id":' + number + b"," + after if id else self.body
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body


class Answering(asyncio.Protocol):
    """Keeps connections alive and answers every request alike, but for the id."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._latency = answers.latency
        self._seen = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._loop = asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        self._seen += data
        *requests, self._seen = self._seen.split(_END)
        if not requests:
            return
        message = b"".join(map(self._message, requests))
        if self._latency:
            self._loop.call_later(self._latency, self._transport.write, message)
        else:
            self._transport.write(message)

    def _message(self, request: bytes) -> bytes:
        asked = _NUMBER.search(request)
        return self._answers.message(asked[1] if asked else b"1")


def _run(coroutine: Coroutine[Any, Any, None]) -> None:
    try:
        import uvloop
    except ImportError:
        asyncio.run(coroutine)
    else:
        uvloop.run(coroutine)


def serve(pipe: Connection, ports: Sequence[Answers]) -> None:
    """Serve until the pipe is closed. It tells the port numbers, and then its CPU seconds whenever it is asked."""

    async def run() -> None:
        loop, gone = asyncio.get_running_loop(), asyncio.Event()

        def answer() -> None:
            try:
                pipe.recv()
                pipe.send(process_time())
            except (EOFError, OSError):  # whoever asked is gone, perhaps killed
                loop.remove_reader(pipe.fileno())
                gone.set()

        numbers: list[int] = []
        async with contextlib.AsyncExitStack() as stack:
            for one in ports:
                made = await loop.create_server(partial(Answering, one), "127.0.0.1", 0)
                stack.callback(made.close)
                numbers.append(made.sockets[0].getsockname()[1])
            pipe.send(numbers)
            loop.add_reader(pipe.fileno(), answer)
            await gone.wait()

    _run(run())


@attrs.frozen
class Server:
    """A running server."""

    urls: tuple[str, ...]
    _pipe: Connection

    def cpu(self) -> float:
        """Seconds of CPU that it has used."""
        self._pipe.send(True)
        return float(self._pipe.recv())


@contextlib.contextmanager
def serving(ports: Sequence[Answers]) -> Iterator[Server]:
    """A server in another process; each entry gets a port of its own."""
    with companion(serve, ports) as pipe:
        yield Server(tuple(f"http://127.0.0.1:{number}" for number in first_word(pipe)), pipe)
