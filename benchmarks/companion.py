"""Another process at the other end of a pipe: a server, or a client, whose CPU time and memory are not ours."""

import contextlib
import multiprocessing
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

_PATIENCE = 60.0
"""Seconds until it must have something to say after its start."""


@contextlib.contextmanager
def companion(work: Callable[..., None], *arguments: Any) -> Iterator[Connection]:
    """Run ``work(pipe, *arguments)`` in a fresh interpreter, and end it on the way out."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=work, args=(there, *arguments), daemon=True)
    process.start()
    there.close()
    try:
        yield here
    finally:
        process.terminate()
        process.join()
        here.close()


def first_word(pipe: Connection) -> Any:
    """What it says once it is ready.

    Raises:
        RuntimeError: It did not start.
    """
    if not pipe.poll(_PATIENCE):
        raise RuntimeError("The other process does not answer.")
    return pipe.recv()
