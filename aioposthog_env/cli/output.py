"""Printing: data to stdout, words and progress to stderr, no colours where NO_COLOR asks for none."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from aioposthog_env.bulk.atomic_write import check_target
from aioposthog_env.cli.streams import Words, silence, stdout, takes_everything
from aioposthog_env.errors import ConfigurationError, PostHogEnvError
from aioposthog_env.harmless import harmless, harmless_json


class Output:
    """Where a command prints.

    Attributes:
        json: Whether data is printed as JSON.
        words: Standard error.
        lost: Why data could not be printed, in a command that has changed something; empty where it could.
    """

    def __init__(self, *, json: bool) -> None:
        self.json = json
        self.words: Console = Words()
        self.lost: str = ""
        self._data = Console(highlight=False)
        self._changes = False

    def begin_changes(self) -> None:
        """From here on something is changed, which goes on also when nobody reads what is printed."""
        self._changes = True

    def say(self, sentence: str) -> None:
        """Print words, as one line: text from outside cannot end it, style it, or move the cursor."""
        self.words.print(Text(harmless(sentence)))

    def say_lines(self, text: str) -> None:
        """Print words of several lines, in which text from outside was made harmless already."""
        for line in text.split("\n"):
            self.say(line)

    def data(self, value: object) -> None:
        """Print a value as JSON."""
        self._write(_json(msgspec.json.format(msgspec.json.encode(value), indent=2)) + "\n")

    def text(self, text: str) -> None:
        """Print lines, in which text from outside was made harmless already."""
        self._write("".join(harmless(line) + "\n" for line in text.split("\n")))

    def document(self, text: str) -> None:
        """Print what is to be read again, made harmless.

        Raises:
            ConfigurationError: Standard output lacks a character of it.
        """
        if not (text.isascii() or takes_everything(stdout())):
            raise ConfigurationError("Standard output takes no UTF-8: write to a file, with -o, or set PYTHONIOENCODING=utf-8.")
        self.text(text)

    def line(self, value: object) -> None:
        """Print a value as one line of JSON, at once."""
        self._write(_json(msgspec.json.encode(value)) + "\n")

    def ask(self, question: str) -> None:
        """Print a question; the answer is typed behind it."""
        self.words.print(Text(harmless(question)), end="")

    def flush(self) -> None:
        """Let what was printed be seen now, also through a pipe."""
        self._write("")

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str | None = None) -> None:
        """Print a table; plain tab-separated lines where stdout is no terminal."""
        if not self._data.is_terminal:
            self._write("".join("\t".join(harmless(str(cell)) for cell in row) + "\n" for row in rows))
            return
        table = Table(title=None if title is None else Text(harmless(title)), title_justify="left")
        for name in columns:
            table.add_column(name, overflow="fold")  # what is cut cannot be copied, nor told apart
        for row in rows:
            table.add_row(*(Text(harmless(str(cell))) for cell in row))
        self._print(lambda: self._data.print(table))

    def _write(self, text: str) -> None:
        """Write to stdout, at once."""

        def write() -> None:
            stream = stdout()
            if stream is None:
                raise OSError("it is closed")
            stream.write(text)
            stream.flush()

        self._print(write)

    def _print(self, write: Callable[[], None]) -> None:
        """Print data.

        Raises:
            BrokenPipeError: The reader has gone, and nothing is being changed.
            PostHogEnvError: It cannot be written for another reason, and nothing is being changed.
        """
        if self.lost:
            return
        try:
            write()
        except OSError as error:
            why = error.strerror or str(error)
            silence(stdout())
            if self._changes:
                self.lost = why
            elif isinstance(error, BrokenPipeError):
                raise
            else:
                raise PostHogEnvError(f"Standard output cannot be written: {why}.") from None


def _json(encoded: bytes) -> str:
    """JSON that harms no terminal, in characters that stdout takes."""
    text = harmless_json(encoded)
    if takes_everything(stdout()):
        return text
    return "".join(char if char.isascii() else json.dumps(char)[1:-1] for char in text)


def check_place(path: Path | None) -> None:
    """Look whether a file can be written there, before anything is asked, which may take minutes.

    Raises:
        ConfigurationError: It cannot.
    """
    if path is not None and (path.is_dir() or not path.parent.is_dir()):
        raise ConfigurationError(f"{path} cannot be written: it is a folder, or its folder is not there.")
    if path is not None:
        try:
            check_target(path)
        except OSError as error:
            raise ConfigurationError(f"{path} cannot be written: {error.strerror}.") from None
