"""The standard streams, which may be closed, full, read by nobody, or of an encoding that lacks most characters."""

import codecs
import contextlib
import os
import sys
from io import TextIOWrapper
from typing import Any, TextIO

from rich.console import Console


def prepare() -> None:
    """Let stdout and stderr escape what their encoding lacks, so that printing never fails for a character."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def stdin() -> TextIO | None:
    """Where input comes from; None where it is closed, as with ``<&-``."""
    return sys.stdin


def from_stdin() -> str:
    """All that comes from there, without the mark of UTF-8 that some programs put first.

    Raises:
        OSError: It is closed, or cannot be read.
        UnicodeDecodeError: It is no text.
    """
    stream = stdin()
    if stream is None:
        raise OSError("standard input is closed")
    return stream.read().removeprefix("\ufeff")


def stdout() -> TextIO | None:
    """Where data goes; None where it is closed, as with ``>&-``."""
    return sys.stdout


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a person sits there."""
    return stream is not None and stream.isatty()


def takes_everything(stream: TextIO | None) -> bool:
    """Whether a stream takes every character."""
    encoding = getattr(stream, "encoding", None)
    return encoding is None or codecs.lookup(encoding).name.startswith("utf")


def silence(stream: TextIO | None) -> None:
    """Let what is still to be written to a stream that has failed go nowhere, also what Python writes at its end."""
    if stream is None:
        return
    with contextlib.suppress(OSError, ValueError):
        place = stream.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, place)
        os.close(nowhere)


class Words(Console):
    """Standard error. Where it cannot be written to, nobody is there to be told, and what is done is done all the same."""

    def __init__(self) -> None:
        super().__init__(stderr=True, highlight=False, soft_wrap=True)

    def print(self, *objects: Any, **how: Any) -> None:
        """Print, unless that fails."""
        try:
            super().print(*objects, **how)
        except OSError:
            self.on_broken_pipe()

    def on_broken_pipe(self) -> None:
        """Print nothing more. Rich would end the program."""
        self.quiet = True
        silence(sys.stderr)
