"""Blocking work on files, off the event loop."""

import asyncio
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import anyio

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


async def in_thread(function: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
    """Run a function in a thread, to its end, whatever cancels the caller meanwhile.

    A thread cannot be cancelled, so a caller that does not wait would go on while its file is still being written.

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
    cancelled = False
    with anyio.CancelScope(shield=True):
        while not work.done():
            try:
                await asyncio.wait([work])
            except asyncio.CancelledError:
                cancelled = True
    if cancelled:
        work.exception()  # taken, or asyncio would log it, and with it whatever secret its words hold
        raise asyncio.CancelledError
    return work.result()
