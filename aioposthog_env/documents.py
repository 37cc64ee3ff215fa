"""Files in YAML, TOML or JSON as plain values, with the places of their keys, so that errors name the line."""

import json
import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

import attrs

from aioposthog_env.errors import ConfigurationError
from aioposthog_env.redacted import RedactedBytes, RedactedText

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
            content = RedactedBytes(file.read(_LARGEST + 1))  # a file may hold secrets, and a traceback must not show them
        if len(content) > _LARGEST:
            raise ConfigurationError(f"{path} is larger than {_LARGEST >> 20} MB, and no file of settings.")
        text = RedactedText(content.decode("utf-8-sig"))
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
        from ruamel.yaml.error import YAMLError
    except ModuleNotFoundError:
        raise ConfigurationError("YAML files need the extra: pip install 'aioposthog-env[cli]'") from None
    try:
        return _YamlReader(text).read()
    except (YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        said = str(getattr(error, "problem", None) or "not YAML").splitlines()[0]
        raise _SyntaxProblem(f"{'' if mark is None else _place(mark)}{said}") from None


def _place(mark: Any) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}: "


@attrs.define
class _Open:
    """A mapping or a list whose end has not come yet.

    Attributes:
        holder: What is in it so far.
        steps: The way to it.
        key: The key of a mapping that waits for its value.
    """

    holder: dict[str, object] | list[object]
    steps: Steps
    key: str | None = None


class _YamlReader:
    """Builds plain values from the events of ruamel.yaml's parser, in one pass and with the places of keys.

    The loaders of ruamel.yaml that know places also keep comments, in a time that grows with the square of their length: 1 MB
    takes 20 s and more. The parser for plain values skips comments.
    """

    def __init__(self, text: str) -> None:
        from ruamel.yaml import YAML

        self._text = text
        self._yaml: Any = YAML(typ="safe", pure=True)
        self._root: object = None
        self._open: list[_Open] = []
        self._places: dict[Steps, tuple[int, int]] = {}
        self._resolved: dict[str, object] = {}

    def read(self) -> Document:
        """Read the whole text.

        Raises:
            _SyntaxProblem: It holds what no file of settings needs: aliases, tags, several documents, keys that are not texts.
            YAMLError: It is not YAML.
        """
        from ruamel.yaml import events

        documents = 0
        for event in self._yaml.parse(self._text):
            if isinstance(event, events.ScalarEvent):
                self._scalar(event)
            elif isinstance(event, events.CollectionStartEvent):
                self._begin(event, {} if isinstance(event, events.MappingStartEvent) else [])
            elif isinstance(event, events.CollectionEndEvent):
                self._open.pop()
            elif isinstance(event, events.AliasEvent):
                # An alias may hold itself, or multiply.
                raise _SyntaxProblem(f"line {cast('Any', event).start_mark.line + 1}: aliases (*name) are not taken")
            elif isinstance(event, events.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise _SyntaxProblem(f"{_place(cast('Any', event).start_mark)}a second document begins")
        return Document(self._root, self._places, self._text)

    def _begin(self, event: Any, holder: dict[str, object] | list[object]) -> None:
        if event.tag is not None:
            raise _SyntaxProblem(f"{_place(event.start_mark)}tags (!name) are not taken")
        if len(self._open) >= _DEEPEST:
            raise _SyntaxProblem("it is nested too deep")
        around = self._open[-1] if self._open else None
        if around is not None and around.key is None and isinstance(around.holder, dict):
            raise _SyntaxProblem(f"{_place(event.start_mark)}a key must be a text")
        self._open.append(_Open(holder, self._put(holder, event.start_mark)))

    def _scalar(self, event: Any) -> None:
        around = self._open[-1] if self._open else None
        if around is None or around.key is not None or isinstance(around.holder, list):
            self._put(self._value(event), event.start_mark)
            return
        key = str(event.value)
        if key in around.holder:
            raise _SyntaxProblem(f"{_place(event.start_mark)}found duplicate key {key!r}")
        self._places[*around.steps, key] = (event.start_mark.line, event.start_mark.column)
        around.key = key

    def _put(self, value: object, mark: Any) -> Steps:
        """Put a value where the parser is, and return the way to it."""
        if not self._open:
            self._root = value
            return ()
        around = self._open[-1]
        if isinstance(around.holder, list):
            steps = (*around.steps, len(around.holder))
            self._places[steps] = (mark.line, mark.column)
            around.holder.append(value)
            return steps
        key, around.key = cast("str", around.key), None
        around.holder[key] = value
        return (*around.steps, key)

    def _value(self, event: Any) -> object:
        """The value of a scalar: what is quoted is a text, anything else is what YAML 1.2 says."""
        text = str(event.value)
        if event.tag is not None:
            raise _SyntaxProblem(f"{_place(event.start_mark)}tags (!name) are not taken")
        if not event.implicit[0]:
            return text
        if text not in self._resolved:
            from ruamel.yaml.nodes import ScalarNode

            tag = self._yaml.resolver.resolve(ScalarNode, text, event.implicit)
            node = ScalarNode(tag, text, event.start_mark, event.end_mark)
            self._resolved[text] = self._yaml.constructor.construct_object(node) if str(tag) in _NO_TEXTS else text
        return self._resolved[text]


_NO_TEXTS: Final = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "bool", "null", "timestamp"))


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
