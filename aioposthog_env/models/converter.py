"""The one converter between JSON and the attrs classes.

msgspec reads the JSON, cattrs turns plain objects into classes. Its hooks are ours in three respects:

* **Strict.** ``5`` is not a text and ``"5"`` is not a number. A reply of another type than documented is a ``DecodeError``
  with its path, never a silent conversion.
* **Nothing is lost.** A key that no field knows is kept in ``extra``, on every level. A wire key that happens to be called
  ``extra`` or ``settings`` is such a key too.
* **Open.** A closed choice is checked when it is written, not when it is read: a newer server's value decodes.

Most of a payload is numbers, texts, booleans and nulls, which need no more than a look at their type. So each declared type
has a table, made once: the exact JSON types that it takes, each with the hook that reads it, or None where the value passes
as it is. The types are checked there alone; a hook gets a value of its own type.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Any, Final, TypeAlias, TypeVar, cast, get_args

import attrs
import msgspec
from cattrs import Converter
from msgspec import UNSET

from aioposthog_env.auth import Secret
from aioposthog_env.errors import ConfigurationError, DecodeError
from aioposthog_env.models.fields import JSONValue, wire_name
from aioposthog_env.models.types import JSON_TYPES, described, is_json, members, named, not_json, step, type_of

T = TypeVar("T")

_Hook: TypeAlias = Callable[[Any, Any], Any]
"""Takes a value and the declared type, as cattrs wants it."""

_Hooks: TypeAlias = Mapping[Any, _Hook | None]
"""What is done with each JSON type; None for values that pass as they are."""

_WRITTEN_AS: Final[Mapping[Any, tuple[type, ...]]] = {Secret: (str,), datetime: (str,), Decimal: (str, int, float)}
"""The JSON types of what is neither JSON itself nor a class of ours."""


class _Mismatch(Exception):  # noqa: N818  never leaves this module
    """A value of the wrong type; collects its path on the way out."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        self.path: list[str] = []

    def within(self, where: str) -> "_Mismatch":
        self.path.insert(0, where)
        return self

    def as_error(self) -> DecodeError:
        return DecodeError(self.message, path="$" + "".join(self.path))


def _refuse(value: object, kind: Any) -> Any:
    # The value itself is not quoted: it may be a secret.
    raise _Mismatch(f"expected {described(kind)}, got {named(value)}")


def _read_datetime(value: str, _: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise _Mismatch("expected a time by ISO 8601, got another text") from None


def _read_decimal(value: str | float, kind: Any) -> Decimal:
    try:
        number = Decimal(str(value) if isinstance(value, float) else value)
    except InvalidOperation:
        raise _Mismatch("expected a decimal number, got another text") from None
    return number if number.is_finite() else _refuse(value, kind)


def _read_secret(value: str, _: Any) -> Secret:
    return Secret(value)


@cache
def _converter() -> Converter:
    """Made when first needed: building the hooks costs more than importing the module."""
    converter = Converter(detailed_validation=False, prefer_attrib_converters=False)
    converter.register_structure_hook(datetime, _read_datetime)
    converter.register_structure_hook(Decimal, _read_decimal)
    converter.register_structure_hook(Secret, _read_secret)
    converter.register_structure_hook_factory(_is_list, _list_hook)
    converter.register_structure_hook_factory(attrs.has, _class_hook)
    return converter


def _is_list(kind: Any) -> bool:
    return type_of(kind) is list


@cache
def _hooks(kind: Any) -> _Hooks:
    """The JSON types that a declared type takes, each with its hook; None for values that pass as they are."""
    if is_json(kind):
        return dict.fromkeys(JSON_TYPES, None)
    hooks: dict[type, _Hook | None] = {}
    for member in members(kind):
        found = type_of(member)
        if found is float:
            hooks |= {float: None, int: None}
        # An object without a class of its own, like a list of anything, holds any JSON.
        elif found is dict or (found in JSON_TYPES and found is not list) or (found is list and is_json(*get_args(member))):
            hooks[found] = None
        else:
            types = (list,) if found is list else _WRITTEN_AS.get(found, (dict,))
            hooks |= dict.fromkeys(types, _converter().get_structure_hook(member))
    return hooks


def _list_hook(kind: Any) -> _Hook:
    (item_kind,) = get_args(kind)
    hooks = _hooks(item_kind)

    def read(value: list[Any], _: Any) -> Any:
        result: list[Any] = []
        for number, item in enumerate(value):
            hook: _Hook | None = hooks.get(type(item), _refuse)
            try:
                result.append(item if hook is None else hook(item, item_kind))
            except _Mismatch as error:
                raise error.within(f"[{number}]") from None
        return result

    return read


_Field: TypeAlias = tuple[str, _Hooks, Any]
"""How a wire key is read: the attribute, what is done with each JSON type, and the declared type."""


def _fields_of(kind: Any) -> dict[str, _Field]:
    return {
        wire_name(field): (field.name, _hooks(field.type), field.type)
        for field in attrs.fields(kind)
        if not field.metadata.get("off_wire")
    }


def _class_hook(kind: Any) -> _Hook:
    declared = attrs.fields_dict(kind)
    required = [name for name, field in declared.items() if field.default is attrs.NOTHING]
    keeps_extra = "extra" in declared
    fields = _fields_of(kind)
    # The settings of an environment stand among its other keys; `name` is both.
    settings = declared.get("settings")
    inner_class: Any = settings.type if settings is not None else None
    inner_fields = _fields_of(inner_class) if inner_class is not None else {}
    both = fields.keys() & inner_fields.keys()

    def read(value: dict[str, Any], _: Any) -> Any:
        taken: dict[str, Any] = {}
        of_settings: dict[str, Any] = {}
        extra: dict[str, Any] = {}
        for key, item in value.items():
            if (field := fields.get(key)) is not None:
                target = taken
            elif (field := inner_fields.get(key)) is not None:
                target = of_settings
            else:
                extra[key] = item
                continue
            name, hooks, field_kind = field
            hook: _Hook | None = hooks.get(type(item), _refuse)
            if hook is None:
                target[name] = item
                continue
            try:
                target[name] = hook(item, field_kind)
            except _Mismatch as error:
                raise error.within(step(key)) from None
        for name in required:
            if name not in taken:
                raise _Mismatch(f"the key {name!r} is missing")
        if keeps_extra:
            taken["extra"] = extra
        elif extra:
            raise _Mismatch("this key is not known").within(step(next(iter(extra))))
        if inner_class is not None:
            taken["settings"] = inner_class(**of_settings, **{key: taken[key] for key in both})
        return kind(**taken)

    return read


def structure(value: JSONValue, kind: type[T]) -> T:
    """Turn a plain JSON value into a class.

    Raises:
        DecodeError: A value of the wrong type, or a missing key.
    """
    hook: _Hook | None = _hooks(cast("Any", kind)).get(type(value), _refuse)
    try:
        return cast("T", value if hook is None else hook(value, kind))
    except _Mismatch as error:
        raise error.as_error() from None


def decode(body: bytes, kind: type[T]) -> T:
    """Read a JSON body into a class.

    Raises:
        DecodeError: Not JSON, not UTF-8, nested too deep, a value of the wrong type, or a missing key.
    """
    return structure(_read_json(body), kind)


def decode_list(body: bytes, kind: type[T]) -> list[T]:
    """Read a JSON body that is a list.

    Raises:
        DecodeError: As for ``decode``.
    """
    return structure(_read_json(body), list[kind])  # type: ignore[valid-type]


def decode_object(body: bytes) -> dict[str, JSONValue]:
    """Read a JSON body that is an object of any kind.

    Raises:
        DecodeError: As for ``decode``.
    """
    value = _read_json(body)
    if not isinstance(value, dict):
        raise DecodeError(f"expected an object, got {named(value)}")
    return value


def _read_json(body: bytes) -> JSONValue:
    try:
        return cast("JSONValue", msgspec.json.decode(body))
    except UnicodeDecodeError:
        raise DecodeError("the body is not UTF-8") from None
    except msgspec.DecodeError:
        raise DecodeError("the body is not JSON") from None
    except RecursionError:
        raise DecodeError("the body is nested too deep") from None


def encode(value: JSONValue) -> bytes:
    """Write a JSON body.

    Raises:
        ConfigurationError: Something in it is no JSON. msgspec alone would write a NaN as null, bytes as base64 and a set as
            a list, and the server would store that.
    """
    try:
        for where, problem in not_json(value, "$"):
            raise ConfigurationError(f"This cannot be sent as JSON: at {where}, {problem}.")
        return msgspec.json.encode(value)
    except RecursionError:
        raise ConfigurationError("This cannot be sent as JSON: it is nested too deep.") from None


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
