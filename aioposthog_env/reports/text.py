"""Text from outside, made harmless: a name of an environment is anybody's text."""

import json
import re
from typing import Final

from aioposthog_env.models.fields import JSONValue
from aioposthog_env.reports.model import NOT_SHOWN, OTHER_SECRET, SECRET


def plain(text: str) -> str:
    """Without control characters, such as those that turn the direction of what follows."""
    return text if text.isprintable() else "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def shown(value: JSONValue) -> str:
    """A value as JSON; what stands in the place of a value as it is."""
    if value in (SECRET, OTHER_SECRET, NOT_SHOWN):
        return str(value)
    return plain(json.dumps(value, ensure_ascii=False))


def cell(text: str) -> str:
    """For a cell of a table that a spreadsheet opens: never a formula."""
    text = plain(text)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text


def sentence(text: str) -> str:
    """For Markdown, outside of code: nothing in it is markup or a link."""
    return _MARKUP.sub(r"\\\g<0>", plain(text))


def code(text: str) -> str:
    """For Markdown, as code."""
    text = plain(text)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    space = " " if text.startswith("`") or text.endswith("`") or not text.strip() else ""
    return f"{fence}{space}{text}{space}{fence}"


# A spreadsheet takes the wide forms for the same characters. Tabs and line ends are no longer there.
_FORMULA: Final = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "\N{REPLACEMENT CHARACTER}")  # noqa: RUF001
_MARKUP: Final = re.compile(r"[\\`*_{}\[\]<>#!~&$@]|:(?=//)|(?<=www)\.|^[-+](?=\s)|(?<=^\d)[.)]")
