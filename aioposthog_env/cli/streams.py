"""The standard streams, which may be closed, full, read by nobody, or of an encoding that lacks most characters."""

import codecs
import contextlib
import os
import sys
from io import TextIOWrapper
from typing import Any, Final, TextIO

from rich.console import Console


def prepare() -> None:
    """Let stdout and stderr escape what their encoding lacks, so that printing never fails for a character."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def stdin() -> TextIO | None:
    """Where input comes from; None where it is closed, as with ``<&-``."""
    return sys.stdin


LARGEST: Final = 16 * 2**20
"""Characters that are read at most from standard input or a list of ids: a device such as /dev/zero never ends."""


def from_stdin() -> str:
    """Return what comes from there, without the mark of UTF-8 that some programs put first.

    Raises:
        OSError: It is closed, cannot be read, or is too large.
        UnicodeDecodeError: It is not text.
    """
    stream = stdin()
    if stream is None:
        raise OSError("standard input is closed")
    return read_text(stream)


def read_text(stream: TextIO) -> str:
    """Return what a stream holds, without the mark of UTF-8.

    Raises:
        OSError: It cannot be read, or is too large.
        UnicodeDecodeError: It is not text.
    """
    text = stream.read(LARGEST + 1)
    if len(text) > LARGEST:
        raise OSError(f"it is larger than {LARGEST >> 20} MiB")
    return text.removeprefix("\ufeff")


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
