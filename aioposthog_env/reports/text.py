"""Text from outside, made harmless: a name of an environment is anybody's text."""

import json
import re
import unicodedata
from collections.abc import Iterable
from typing import Any, Final

from aioposthog_env.models.fields import JSONValue

SECRET: Final = "(secret)"  # noqa: S105  what stands in the place of one
OTHER_SECRET: Final = "(another secret)"  # noqa: S105
NOT_SHOWN: Final = "(not shown)"


def plain(text: str) -> str:
    """Without control characters, such as those that turn the direction of what follows. Every space is an ordinary one.

    The joiners that Persian, Indian scripts and emoji are written with stay, but not after ASCII, where they only hide.
    """
    if text.isprintable():
        return text
    return "".join(_printable(char, before) for before, char in zip(f" {text}", text, strict=False))


def _printable(char: str, before: str) -> str:
    if char.isprintable() or (char in _JOINERS and not before.isascii()):
        return char
    return " " if unicodedata.category(char) == "Zs" else "\N{REPLACEMENT CHARACTER}"


def shown(value: JSONValue) -> str:
    """A value as JSON; what stands in the place of a value as it is."""
    if value in (SECRET, OTHER_SECRET, NOT_SHOWN):
        return str(value)
    return plain(json.dumps(value, ensure_ascii=False, sort_keys=True))


def cut(text: str, longest: int) -> str:
    """The opening of a text that is too long."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def room(texts: Iterable[str], most: int) -> int:
    """How many characters of each text may be shown so that all of them take about ``most`` bytes in a page, and at least 4."""
    sizes = [(len(text), len(embedded(text).encode("utf-8", "replace"))) for text in texts]
    return next((longest for longest in _LENGTHS if sum(size * min(1, longest / (n or 1)) for n, size in sizes) <= most), 4)


def embedded(value: Any) -> str:
    """JSON for a block of a page: nothing in it ends the block, or begins a comment or another block."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.translate(_OUTSIDE_OF_HTML)


def cell(text: str) -> str:
    """For a cell of a table that a spreadsheet opens: never a formula, nor where semicolons end cells, as in Europe."""
    text = _INNER_FORMULA.sub(";'", plain(text))
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text


def sentence(text: str) -> str:
    """For Markdown, outside of code: nothing in it is markup or a link."""
    return _NUMBERED.sub(r"\1\\", _MARKUP.sub(r"\\\g<0>", plain(text).strip()))


def code(text: str) -> str:
    """For Markdown, as code."""
    text = plain(text)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    space = " " if text.startswith("`") or text.endswith("`") or not text.strip() else ""
    return f"{fence}{space}{text}{space}{fence}"


# A spreadsheet takes the wide forms for the same characters. Tabs and line ends are no longer there.
_FORMULA: Final = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "\N{REPLACEMENT CHARACTER}")  # noqa: RUF001
_INNER_FORMULA: Final = re.compile(rf';(?=[\s"]*[{re.escape("".join(_FORMULA))}])')
_JOINERS: Final = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
_LENGTHS: Final = (400, 200, 100, 50, 25, 12, 8)
_OUTSIDE_OF_HTML: Final = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}
_MARKUP: Final = re.compile(r"[\\`*_{}\[\]<>#!~&$@]|:(?=//)|(?<=www)\.|^[-+]")
_NUMBERED: Final = re.compile(r"^(\d+)(?=[.)])")
