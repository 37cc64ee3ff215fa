"""Files in YAML, TOML or JSON as plain values, with the places of their keys, so that what is wrong is told by its line."""

import json
import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

import attrs

from aioposthog_env.errors import ConfigurationError

Steps: TypeAlias = tuple[str | int, ...]
"""The way to a value: keys, and numbers in lists."""

_LARGEST: Final = 32 * 2**20
_DEEPEST: Final = 50


@attrs.frozen
class Document:
    """What a file holds, as plain JSON, and where its keys stand."""

    value: object = attrs.field(repr=False)
    places: Mapping[Steps, tuple[int, int]]
    text: str = attrs.field(repr=False)

    def place(self, steps: Steps) -> str:
        """Line and column of a key, as far as they are known."""
        for length in range(len(steps), 0, -1):
            if (place := self.places.get(steps[:length])) is not None:
                return f"line {place[0] + 1}, column {place[1] + 1}"
        # TOML and JSON do not tell where a key stands; the first line that begins with it does.
        for step in reversed(steps):
            pattern = rf'^[\s{{,\[]*["\']?{re.escape(str(step))}["\']?\s*[:=\]]'
            if isinstance(step, str) and (found := re.search(pattern, self.text, re.MULTILINE)):
                return f"line {self.text.count(chr(10), 0, found.end()) + 1}"
        return "line 1"


def read_document(path: Path) -> Document:
    """Read a file ending in ``.yaml``, ``.yml``, ``.toml`` or ``.json``.

    Raises:
        ConfigurationError: It cannot be read, is too large or nested too deep, or is not what its ending promises.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise ConfigurationError(f"{path} is larger than {_LARGEST >> 20} MB, and no file of settings.")
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is not UTF-8.") from None
    read = {".yaml": _read_yaml, ".yml": _read_yaml, ".toml": _read_toml, ".json": _read_json}.get(path.suffix.lower())
    if read is None:
        raise ConfigurationError(f"{path} must end in .yaml, .yml, .toml or .json.")
    try:
        return read(text)
    except _SyntaxProblem as problem:
        raise ConfigurationError(f"{path} cannot be read: {problem}.") from None
    except RecursionError:
        raise ConfigurationError(f"{path} is nested too deep.") from None


class _SyntaxProblem(Exception):  # noqa: N818  never leaves this module
    """Not the language that the ending promises."""


def _read_yaml(text: str) -> Document:
    try:
        from ruamel.yaml import YAML
        from ruamel.yaml.error import YAMLError
        from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent
    except ModuleNotFoundError:
        raise ConfigurationError("YAML files need the extra: pip install 'aioposthog-env[cli]'") from None
    try:
        yaml: Any = YAML(typ="rt", pure=True)
        depth = 0
        for event in yaml.parse(text):
            # An alias may hold itself, or multiply; a file of settings needs none.
            if isinstance(event, AliasEvent):
                raise _SyntaxProblem(f"line {cast('Any', event).start_mark.line + 1}: aliases (*name) are not taken")
            depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
            if depth > _DEEPEST:
                raise _SyntaxProblem("it is nested too deep")
        loaded = yaml.load(text)
    except (YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
        # Of a key that stands twice, ruamel.yaml quotes both values, which may be secrets.
        said = str(getattr(error, "problem", None) or "not YAML").splitlines()[0].partition(" with value ")[0]
        raise _SyntaxProblem(f"{where}{said}") from None
    places: dict[Steps, tuple[int, int]] = {}
    return Document(_plain(loaded, (), places), places, text)


def _plain(value: Any, steps: Steps, places: dict[Steps, tuple[int, int]]) -> object:
    """A value of ruamel.yaml as plain JSON, with the places of its keys."""
    if isinstance(value, Mapping):
        mapping = cast("Any", value)
        # A key that was merged in stands elsewhere.
        for key, place in cast("dict[Any, Any]", mapping.lc.data or {}).items():
            places[*steps, str(key)] = (place[0], place[1])
        return {str(key): _plain(item, (*steps, str(key)), places) for key, item in mapping.items()}
    if isinstance(value, list):
        items = cast("Any", value)
        for number in range(len(items)):
            places[*steps, number] = items.lc.item(number)
        return [_plain(item, (*steps, number), places) for number, item in enumerate(items)]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value


def _read_toml(text: str) -> Document:
    try:
        return Document(tomllib.loads(text), {}, text)
    except tomllib.TOMLDecodeError as error:
        raise _SyntaxProblem(str(error)) from None
    except ValueError:
        raise _SyntaxProblem("it holds a number too large") from None


def _read_json(text: str) -> Document:
    try:
        return Document(json.loads(text, object_pairs_hook=_no_duplicates), {}, text)
    except json.JSONDecodeError as error:
        raise _SyntaxProblem(f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except ValueError:
        raise _SyntaxProblem("it holds a number too large") from None


def _no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    counts = Counter(key for key, _ in pairs)
    if twice := [key for key, count in counts.items() if count > 1]:
        raise _SyntaxProblem(f"the key {twice[0]!r} stands twice in one object")
    return dict(pairs)
