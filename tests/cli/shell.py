"""A command as a shell would run it, in this process: at a terminal or not, interrupted or not."""

import contextlib
import io
import os
import pty
import re
import shlex
import signal
import threading
from collections.abc import Callable

import attrs
import pytest

from aioposthog_env.cli.app import run

_QUESTION = re.compile(r"Type '([^']+)' to go on: $")

_MOMENT = 0.1
"""Seconds. An interrupt in the instant before an event loop begins to sleep may not wake it."""


@attrs.frozen
class Ran:
    """What came of a command."""

    code: int
    out: str
    err: str


def typed(line: str) -> Ran:
    """Run it with its output to a pipe and nobody at a terminal."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(shlex.split(line))
    return Ran(code, out.getvalue(), err.getvalue())


def interrupted(line: str, when: Callable[[str], bool]) -> Ran:
    """The same, with Ctrl-C a moment after something has happened; ``when`` is asked with what was said so far."""
    out, err, ended = io.StringIO(), io.StringIO(), threading.Event()

    def interrupt() -> None:
        while not when(err.getvalue()):
            if ended.wait(0.002):
                return
        ended.wait(_MOMENT)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            thread.start()
            code = run(shlex.split(line))
            ended.set()
            thread.join()  # an interrupt that comes late reaches no other test
    except KeyboardInterrupt:
        pytest.fail(f"{line} ended before its interrupt")
    return Ran(code, out.getvalue(), err.getvalue())


def at_a_terminal(line: str, monkeypatch: pytest.MonkeyPatch, *, columns: int = 200) -> Ran:
    """Run it at a terminal, where somebody types what is asked for. All it shows counts as ``err``."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm-256color")
    parent, child = pty.openpty()
    seen: list[str] = []

    def watch() -> None:
        while True:
            try:
                piece = os.read(parent, 65_536)
            except OSError:  # the other end has closed
                return
            seen.append(piece.decode("utf-8", "replace"))
            if asked := _QUESTION.search("".join(seen)):
                os.write(parent, f"{asked[1]}\n".encode())

    person = threading.Thread(target=watch)
    person.start()
    try:
        with (
            open(child, encoding="utf-8", closefd=False) as keys,
            open(child, "w", encoding="utf-8") as screen,
            monkeypatch.context() as at,
        ):
            for name, file in (("stdin", keys), ("stdout", screen), ("stderr", screen)):
                at.setattr(f"sys.{name}", file)
            code = run(shlex.split(line))
    finally:
        person.join(10)
        os.close(parent)
    return Ran(code, "", "".join(seen))
