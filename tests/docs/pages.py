"""Pages of the documentation, and a reader who does what stands there: every block of code is run, or written to its file.

A block with a title is a file. ``python`` without a title is a program, ``sh`` are commands, and ``console`` is what a person
sees at a terminal; ``UPDATE_DOCS=1`` writes the latter anew.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import metadata
from pathlib import Path
from typing import Final

import attrs
from markdown_it import MarkdownIt

from aioposthog_env.cli.app import run
from tests.cli.test_tutorial import at_a_terminal, tidied

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = ROOT / "docs"


@attrs.frozen
class Block:
    """A block of code."""

    language: str
    title: str | None
    text: str


def blocks_of(page: str) -> Iterator[Block]:
    """The blocks of a page, in order."""
    for token in MarkdownIt().parse((DOCS / page).read_text(encoding="utf-8")):
        if token.type in {"fence", "code_block"}:
            language, _, rest = token.info.partition(" ")
            title = re.fullmatch(r'title="(\S+)"', rest.strip())
            assert bool(title) == bool(rest), f"{page}: ```{token.info}"
            yield Block(language, title[1] if title else None, token.content)


class Reader:
    """Does what stands on a page, in a folder of their own, which must be the current one.

    Args:
        url: The host that is asked.
        replaced: What a reader would put in place of what stands there.
    """

    def __init__(self, folder: Path, url: str, replaced: Mapping[str, str]) -> None:
        self.codes: list[int] = []
        self._folder = folder
        self._url = url
        self._replaced = dict(replaced)
        self._unused = set(replaced)

    def follow(self, page: str, done: int = 0) -> None:
        """Do all of it, but for the first blocks that are done already."""
        for block in list(blocks_of(page))[done:]:
            self._do(page, block)
        assert not self._unused, f"{page} has no {self._unused}"

    def _do(self, page: str, block: Block) -> None:
        text = block.text
        for given, meant in self._replaced.items():
            if given in text:
                self._unused.discard(given)
                text = text.replace(given, meant)
        if block.title is not None:
            (self._folder / block.title).write_text(text, encoding="utf-8")
        elif block.language == "python":
            exec(compile(text, page, "exec"), {"__name__": "__main__"})
        elif block.language == "console":
            self._compare(page, block)
        else:
            assert block.language == "sh", f"{page}: nobody runs ```{block.language}"
            for line in text.splitlines():
                self._command(line)

    def _command(self, line: str) -> None:
        words = shlex.split(line, comments=True)
        match words:
            case ["aioposthog-env", *arguments]:
                self.codes.append(run(arguments))
            case ["pytest", *arguments]:
                plugins = ("-p", "pytest_asyncio.plugin", "-p", "aioposthog_env.pytest_plugin", "-p", "no:cacheprovider")
                command = [sys.executable, "-m", "pytest", *plugins, *arguments]
                lean = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
                self.codes.append(subprocess.run(command, cwd=self._folder, env=lean, timeout=50, check=False).returncode)
            case ["pip", "install", package]:
                name, _, extras = package.removesuffix("]").partition("[")
                assert set(extras.split(",")) <= set(metadata(name).get_all("Provides-Extra") or ())
            case ["export", assignment]:
                assert os.environ[assignment.partition("=")[0]]
            case _:
                raise AssertionError(f"nobody runs {line!r}")

    def _compare(self, page: str, block: Block) -> None:
        commands = [line[2:] for line in block.text.splitlines() if line.startswith("$ ")]
        seen = "".join(f"$ {one}\n{tidied(at_a_terminal(one, self._folder, {}), self._url)}" for one in commands)
        if os.environ.get("UPDATE_DOCS"):
            path = DOCS / page
            path.write_text(path.read_text(encoding="utf-8").replace(block.text, seen, 1), encoding="utf-8")
        else:
            assert seen == block.text
