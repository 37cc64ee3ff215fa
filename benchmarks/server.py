"""A server that is too fast to be measured: another process, answers made in advance, a bare protocol, uvloop if it is there.

It reads no more of a request than where it ends, so it takes requests without a body only.
"""

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator, Sequence
from functools import partial
from multiprocessing.connection import Connection
from time import process_time
from typing import Any, cast

import attrs

from benchmarks.companion import companion, first_word

_END = b"\r\n\r\n"


@attrs.frozen
class Answers:
    """What one port answers, and after how many seconds."""

    body: bytes
    latency: float = 0.0

    @property
    def message(self) -> bytes:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(self.body)}\r\n\r\n"
        return head.encode() + self.body


class Answering(asyncio.Protocol):
    """Keeps connections alive and answers every request alike."""

    def __init__(self, message: bytes, latency: float) -> None:
        self._message = message
        self._latency = latency
        self._seen = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._loop = asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        self._seen += data
        count = self._seen.count(_END)
        if not count:
            return
        self._seen = self._seen[self._seen.rindex(_END) + len(_END) :]
        message = self._message if count == 1 else self._message * count
        if self._latency:
            self._loop.call_later(self._latency, self._transport.write, message)
        else:
            self._transport.write(message)


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
                made = await loop.create_server(partial(Answering, one.message, one.latency), "127.0.0.1", 0)
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
