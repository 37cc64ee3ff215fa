"""What a declared type takes, and how to say so: shared by ``reading`` and ``validation``.

The models are declared with plain types, ``list`` and ``dict``, nested attrs classes, ``Literal``, and unions of these.
Everything here judges by the exact type, since ``True`` is no number and a text of digits is no number either.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from math import isfinite
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, cast, get_args, get_origin

import attrs
from msgspec import UnsetType

from aioposthog_env.auth import Secret
from aioposthog_env.models.fields import JSONValue

Problems = Iterator[tuple[str, str]]
"""Where, and what: the place is relative to the value that was given."""

JSON_TYPES: Final[frozenset[type]] = frozenset({str, int, float, bool, NoneType, list, dict})

_NAMES: Final[Mapping[Any, str]] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    NoneType: "null",
    list: "a list",
    dict: "an object",
    Secret: "a text",
    Decimal: "a decimal number",
    datetime: "a time by ISO 8601",
}
_JSON_LIST: Final = next(member for member in get_args(JSONValue) if get_origin(member) is list)


def members(kind: Any) -> tuple[Any, ...]:
    """The types that a field takes: those of a union, each choice of a ``Literal`` as its type, and never ``UnsetType``."""
    if get_origin(kind) in {Union, UnionType}:
        found = [one for member in get_args(kind) for one in members(member)]
        return tuple(dict.fromkeys(found))
    if get_origin(kind) is Literal:
        return tuple(dict.fromkeys(type(cast("object", choice)) for choice in get_args(kind)))
    return () if kind is UnsetType else (kind,)


def is_json(kind: Any) -> bool:
    """Whether a field takes any JSON value."""
    return _JSON_LIST in members(kind)


def type_of(member: Any) -> Any:
    """The Python type of a member: ``list`` of ``list[str]``."""
    return get_origin(member) or member


def described(kind: Any) -> str:
    """A field's types in words, null last."""
    names = [_NAMES.get(type_of(member)) or f"a {member.__name__}" for member in members(kind)]
    return " or ".join(sorted(dict.fromkeys(names), key="null".__eq__))


def named(value: object) -> str:
    """A value's type in words. Never the value itself, which may be a secret."""
    return _NAMES[type(value)] if type(value) in JSON_TYPES else f"a {type(value).__name__}"


def step(key: str) -> str:
    """A key as a step of a path."""
    return f".{key}" if key.isidentifier() and len(key) <= 80 else f"[{key[:80]!r}]"


def misfits(value: object, kind: Any, path: str = "") -> Problems:
    """Where a Python value is not what a field declares. Nothing is converted to make it fit."""
    if is_json(kind):
        yield from not_json(value, path)
        return
    found = next((member for member in members(kind) if _fits(value, type_of(member))), None)
    if found is None:
        yield path, f"expected {described(kind)}, got {named(value)}"
    elif type(value) is list:
        for number, item in enumerate(cast("list[object]", value)):
            yield from misfits(item, get_args(found)[0], f"{path}[{number}]")
    elif type(value) is dict:
        # The objects of the models hold any JSON.
        yield from not_json(cast("object", value), path)
    elif attrs.has(found):
        for field in attrs.fields(found):
            if not field.metadata.get("off_wire") and not isinstance(item := getattr(value, field.name), UnsetType):
                yield from misfits(item, field.type, f"{path}.{field.name}")
    elif type(value) in {str, float}:
        yield from not_json(value, path)


def _fits(value: object, kind: Any) -> bool:
    return type(value) is kind or (kind is float and type(value) is int)


def not_json(value: object, path: str = "") -> Problems:
    """Where a Python value is no JSON: other types, keys that are no text, numbers and texts that cannot be written."""
    if type(value) is str:
        if not _is_unicode(value):
            yield path, "holds half of a character (a lone surrogate)"
    elif type(value) is float:
        if not isfinite(value):
            yield path, "is not a finite number"
    elif type(value) is list:
        for number, item in enumerate(cast("list[object]", value)):
            yield from not_json(item, f"{path}[{number}]")
    elif type(value) is dict:
        for key, item in cast("dict[object, object]", value).items():
            if type(key) is not str or not _is_unicode(key):
                yield path, f"has a key that is {named(key)}; JSON takes texts"
            else:
                yield from not_json(item, path + step(key))
    elif type(value) not in JSON_TYPES:
        yield path, f"{named(value)} is no JSON"


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
