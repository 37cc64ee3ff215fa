"""Printing: data to stdout, words and progress to stderr, no colours where NO_COLOR asks for none."""

import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from aioposthog_env.errors import ConfigurationError
from aioposthog_env.harmless import harmless, harmless_json


class Output:
    """Where a command prints."""

    def __init__(self, *, json: bool) -> None:
        self.json = json
        self.words: Console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._data = Console(highlight=False)

    def say(self, sentence: str) -> None:
        """Print words; text from outside cannot style them or move the cursor."""
        for line in sentence.splitlines():
            self.words.print(Text(harmless(line)))

    def data(self, value: object) -> None:
        """Print a value as JSON."""
        sys.stdout.write(harmless_json(msgspec.json.format(msgspec.json.encode(value), indent=2)) + "\n")

    def text(self, text: str) -> None:
        """Print lines of text as they are, made harmless."""
        for line in text.splitlines():
            sys.stdout.write(harmless(line) + "\n")

    def line(self, value: object) -> None:
        """Print a value as one line of JSON, at once."""
        sys.stdout.write(harmless_json(msgspec.json.encode(value)) + "\n")
        sys.stdout.flush()

    def ask(self, question: str) -> None:
        """Print a question; the answer is typed behind it."""
        self.words.print(Text(harmless(question)), end="")

    def flush(self) -> None:
        """Let what was printed be seen now, also through a pipe."""
        sys.stdout.flush()

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str | None = None) -> None:
        """Print a table; plain tab-separated lines where stdout is no terminal."""
        if not self._data.is_terminal:
            for row in rows:
                sys.stdout.write("\t".join(harmless(str(cell)) for cell in row) + "\n")
            return
        table = Table(*columns, title=None if title is None else Text(harmless(title)), title_justify="left")
        for row in rows:
            table.add_row(*(Text(harmless(str(cell))) for cell in row))
        self._data.print(table)


def check_place(path: Path | None) -> None:
    """Look whether a file can be written there, before anything is asked, which may take minutes.

    Raises:
        ConfigurationError: It cannot.
    """
    if path is not None and (path.is_dir() or not path.parent.is_dir()):
        raise ConfigurationError(f"{path} cannot be written: it is a folder, or its folder is not there.")
