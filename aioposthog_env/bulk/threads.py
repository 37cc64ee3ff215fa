"""Blocking work on files, off the event loop."""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable, Generator
from typing import Final, TypeVar, TypeVarTuple

import anyio

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

_AGAIN: Final = 0.02
"""Seconds between two interrupts: SQLite forgets one that comes between two statements."""


class Interruption:
    """Interrupts the statements that one call runs on a SQLite connection in another thread.

    Calls share the connection, so it is interrupted only while this call holds it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._requested = False

    @contextlib.contextmanager
    def covering(self, db: sqlite3.Connection) -> Generator[None, None, None]:
        """Let the statements that run inside be interrupted.

        Raises:
            InterruptedError: The interrupt came first.
        """
        with self._lock:
            if self._requested:
                raise InterruptedError
            self._db = db
        try:
            yield
        finally:
            with self._lock:
                self._db = None

    def request(self) -> None:
        """Interrupt the call, now or when it begins."""
        with self._lock:
            self._requested = True
            if self._db is not None:
                self._db.interrupt()


async def in_thread(function: Callable[[*Arguments], T], *arguments: *Arguments, interruption: Interruption | None = None) -> T:
    """Run a function in a thread, to its end, whatever cancels the caller meanwhile.

    A thread cannot be cancelled, so a caller that does not wait would go on while its file is still being written.

    Args:
        function: The function.
        arguments: Its arguments.
        interruption: What ends the function early when the caller is cancelled; it must change nothing then.

    Raises:
        RuntimeError: The function has raised StopIteration.
    """

    def call() -> T:
        try:
            return function(*arguments)
        except StopIteration as error:
            # No future takes it, so whoever waits would wait for ever. It ends a coroutine in the same way.
            raise RuntimeError("The function raised StopIteration.") from error

    work = asyncio.ensure_future(asyncio.to_thread(call))
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=interruption is None) as scope:
        while not work.done():
            try:
                await asyncio.wait([work], timeout=None if cancelled is None or interruption is None else _AGAIN)
            except asyncio.CancelledError as error:
                cancelled, scope.shield = error, True
            if cancelled is not None and interruption is not None:
                interruption.request()
    if cancelled is not None:
        work.exception()  # taken, or asyncio would log it, and with it whatever secret its words hold
        raise cancelled
    return work.result()
