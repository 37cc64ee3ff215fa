"""Between JSON and the attrs classes: msgspec reads and writes the JSON, ``reading`` makes the classes."""

import re
from collections.abc import Collection
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, TypeVar, cast

import attrs
import msgspec
from msgspec import UNSET

from aioposthog_env.auth import Secret
from aioposthog_env.errors import ConfigurationError, DecodeError
from aioposthog_env.models.fields import JSONValue, wire_name
from aioposthog_env.models.reading import read
from aioposthog_env.models.types import named, not_json
from aioposthog_env.redacted import RedactedBytes

T = TypeVar("T")

MOST_VALUES: Final = 400_000
"""How many values a body may hold, where an object counts as five.

The event loop waits while a body is decoded, which takes time per value and not per byte: here at most half a second. A list
of 10,000 environments holds about 350,000.
"""


structure: Final = read
"""Turns a plain JSON value into a class, or raises ``DecodeError``. An alias, since one frame more would hold the value."""


def decode(body: bytes, kind: type[T]) -> T:
    """Read a JSON body into a class.

    Raises:
        DecodeError: Not JSON, not UTF-8, nested too deep, too many values, a value of the wrong type, or a missing key.
    """
    return structure(_read_json(body), kind)


def decode_list(body: bytes, kind: type[T]) -> list[T]:
    """Read a JSON body that is a list.

    Raises:
        DecodeError: As for ``decode``.
    """
    return read(_read_json(body), list[kind])  # type: ignore[valid-type]


def decode_object(body: bytes) -> dict[str, JSONValue]:
    """Read a JSON body that is an object of any kind.

    Raises:
        DecodeError: As for ``decode``.
    """
    value = _read_json(body)
    if isinstance(value, dict):
        return value
    problem = f"expected an object, got {named(value)}"
    del value  # a traceback with local variables would show it
    raise DecodeError(problem)


def decode_keys(body: bytes) -> Collection[str]:
    """Read only the keys of a JSON body that is an object; the values are skipped.

    Raises:
        DecodeError: As for ``decode``.
    """
    return cast("dict[str, msgspec.Raw]", _read_json(body, dict[str, msgspec.Raw]))


def _read_json(body: bytes, kind: Any = Any) -> JSONValue:
    # Two bytes for each value that is counted: a small body needs no count.
    if 2 * len(body) > MOST_VALUES and _values_in(body) > MOST_VALUES:
        raise DecodeError("the body holds too many values")
    try:
        return cast("JSONValue", msgspec.json.decode(body, type=kind))
    except (msgspec.DecodeError, UnicodeDecodeError):
        # Which of the two msgspec raises for bad UTF-8 depends on its version, so the body decides.
        problem = _problem(body)
    except RecursionError:
        problem = "the body is nested too deep"
    # Not inside the handlers: what msgspec has raised may quote the body.
    raise DecodeError(problem)


def _problem(body: bytes) -> str:
    if is_html(body):
        return "the body is not JSON but an HTML page, probably of a login or of a proxy in front of PostHog"
    try:
        body.decode()
    except UnicodeDecodeError:
        return "the body is not UTF-8"
    return "the body is not JSON"


def is_html(body: bytes) -> bool:
    """Whether a body begins as an HTML page does."""
    return _HTML.match(body) is not None


_HTML: Final = re.compile(rb"\s*(?:<!--.*?-->\s*)*<(?:!doctype html|html|head|body)\b", re.I | re.S)


def _values_in(body: bytes) -> int:
    """Return about how many values a body holds. Commas and brackets inside texts count, too: a guess too high is safe."""
    return body.count(b",") + body.count(b"[") + 5 * body.count(b"{")


def encode(value: JSONValue) -> RedactedBytes:
    """Write a JSON body.

    Raises:
        ConfigurationError: As for ``check_json``.
    """
    problem = _problem_of_json(value)
    if problem is None:
        return RedactedBytes(msgspec.json.encode(value))
    del value  # a traceback with local variables would show it
    raise ConfigurationError(problem)


def check_json(value: Any) -> None:
    """Refuse what cannot be sent.

    Raises:
        ConfigurationError: Something in it is no JSON. msgspec alone would write a NaN as null, bytes as base64 and a set as
            a list, and the server would store that.
    """
    if (problem := _problem_of_json(value)) is not None:
        raise ConfigurationError(problem)


def _problem_of_json(value: Any) -> str | None:
    try:
        for where, problem in not_json(value, "$"):
            return f"This cannot be sent as JSON: at {where}, {problem}."
    except RecursionError:
        return "This cannot be sent as JSON: it is nested too deep."
    return None


def unstructure(value: object) -> dict[str, JSONValue]:
    """The fields that are set, as they go over the wire. ``None`` is null; ``extra`` is never sent; secrets are revealed."""
    wire: dict[str, JSONValue] = {}
    for field in attrs.fields(cast("Any", type(value))):
        item: object = getattr(value, field.name)
        if item is not UNSET and not field.metadata.get("off_wire"):
            wire[wire_name(field)] = _to_wire(item)
    return wire


def _to_wire(item: Any) -> JSONValue:
    if isinstance(item, Secret):
        return item.reveal()
    if isinstance(item, Decimal):
        return str(item)
    if isinstance(item, datetime):
        return item.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(item, list):
        items = cast("list[Any]", item)  # type: ignore[redundant-cast]
        return [_to_wire(one) if _is_class(one) else one for one in items]
    if _is_class(item):
        return unstructure(item)
    return cast("JSONValue", item)


def _is_class(item: object) -> bool:
    return attrs.has(type(item))
