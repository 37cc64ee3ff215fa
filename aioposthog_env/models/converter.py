"""The one converter between JSON and the attrs classes.

msgspec reads the JSON, cattrs turns plain objects into classes. Its hooks are ours in three respects:

* **Strict.** ``5`` is not a text and ``"5"`` is not a number. A reply of another type than documented is a ``DecodeError``
  with its path, never a silent conversion.
* **Nothing is lost.** A key that no field knows is kept in ``extra``, on every level. A wire key that happens to be called
  ``extra`` or ``settings`` is such a key too.
* **Open.** A closed choice is checked when it is written, not when it is read: a newer server's value decodes.

Most of a payload is numbers, texts, booleans and nulls, so the hook of a class keeps a table: wire key to attribute, the
exact JSON types that pass as they are, and a hook for everything else.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import cache, partial
from types import NoneType, UnionType
from typing import Any, Final, Literal, TypeVar, Union, cast, get_args, get_origin

import attrs
import msgspec
from cattrs import Converter
from msgspec import UNSET, UnsetType

from aioposthog_env.auth import Secret
from aioposthog_env.errors import DecodeError
from aioposthog_env.models.fields import JSONValue, wire_name

T = TypeVar("T")

_JSON_LIST: Final = next(member for member in get_args(JSONValue) if get_origin(member) is list)
_PLAIN: Final = frozenset({str, int, float, bool, NoneType})
_NAMES: Final[Mapping[type, str]] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    NoneType: "null",
    list: "a list",
    dict: "an object",
}


class _Mismatch(Exception):  # noqa: N818  never leaves this module
    """A value of the wrong type; collects its path on the way out."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        self.path: list[str] = []

    def within(self, step: str) -> "_Mismatch":
        self.path.insert(0, step)
        return self

    def as_error(self) -> DecodeError:
        return DecodeError(self.message, path="$" + "".join(self.path))


def _wrong(value: object, expected: str) -> _Mismatch:
    # The value itself is not quoted: it may be a secret.
    return _Mismatch(f"expected {expected}, got {_NAMES.get(type(value), type(value).__name__)}")


_Hook = Callable[[Any, Any], Any]


@attrs.frozen
class _Field:
    """How one wire key is read."""

    name: str
    plain: frozenset[type]
    hook: _Hook
    kind: Any


def _plain_types(kind: Any) -> frozenset[type]:
    """The JSON types that a field of this type takes as they are."""
    if get_origin(kind) in {Union, UnionType}:
        return frozenset[type]().union(*(_plain_types(member) for member in get_args(kind)))
    if get_origin(kind) is Literal:
        return frozenset[type](type(cast("object", choice)) for choice in get_args(kind))
    if kind is float:
        return frozenset({float, int})
    return frozenset({kind}) if kind in _PLAIN else frozenset()


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in {Union, UnionType}


def _is_literal(kind: Any) -> bool:
    return get_origin(kind) is Literal


def _is_list(kind: Any) -> bool:
    return get_origin(kind) is list


def _is_dict(kind: Any) -> bool:
    return get_origin(kind) is dict


def _make_converter() -> Converter:
    converter = Converter(detailed_validation=False, prefer_attrib_converters=False)
    for plain in (str, int, bool, NoneType):
        converter.register_structure_hook(plain, _strict(plain))
    converter.register_structure_hook(float, _strict(float, int))
    converter.register_structure_hook(datetime, _read_datetime)
    converter.register_structure_hook(Decimal, _read_decimal)
    converter.register_structure_hook(Secret, _read_secret)
    factories: tuple[tuple[Callable[[Any], bool], Callable[[Converter, Any], _Hook]], ...] = (
        (_is_union, _union_hook),
        (_is_literal, _literal_hook),
        (_is_list, _list_hook),
        (_is_dict, _dict_hook),
        (attrs.has, _class_hook),
    )
    for accepts, make in factories:
        converter.register_structure_hook_factory(accepts, partial(make, converter))
    # The last one registered is asked first.
    converter.register_structure_hook_func(_is_json, lambda value, _: value)
    return converter


def _is_json(kind: Any) -> bool:
    """Whether a type takes any JSON value, perhaps among others."""
    members = get_args(kind) if _is_union(kind) else (kind,)
    return kind is Any or _JSON_LIST in members


def _strict(*accepted: type) -> _Hook:
    expected = _NAMES[accepted[0]]

    def read(value: Any, _: Any) -> Any:
        if type(value) in accepted:
            return value
        raise _wrong(value, expected)

    return read


def _read_datetime(value: Any, _: Any) -> datetime:
    if type(value) is str:
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise _Mismatch("expected a time by ISO 8601, got another text") from None
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    raise _wrong(value, "a time by ISO 8601")


def _read_decimal(value: Any, _: Any) -> Decimal:
    if type(value) in (str, int, float):
        try:
            number = Decimal(str(value))
        except InvalidOperation:
            raise _Mismatch("expected a decimal number, got another text") from None
        if number.is_finite():
            return number
    raise _wrong(value, "a decimal number")


def _read_secret(value: Any, _: Any) -> Secret:
    if type(value) is str:
        return Secret(value)
    raise _wrong(value, "a text")


def _literal_hook(_converter: Converter, kind: Any) -> _Hook:
    choices = get_args(kind)

    def read(value: Any, _: Any) -> Any:
        if any(value == choice and type(value) is type(choice) for choice in choices):
            return value
        raise _wrong(value, " or ".join(repr(choice) for choice in choices))

    return read


def _union_hook(converter: Converter, kind: Any) -> _Hook:
    """Plain members by their exact type, then the one member that takes this JSON type."""
    plain = _plain_types(kind)
    members = [member for member in get_args(kind) if member is not UnsetType]
    others = [(member, converter.get_structure_hook(member)) for member in members if not _plain_types(member)]
    expected = " or ".join(dict.fromkeys(_expected(member) for member in members))

    def read(value: Any, _: Any) -> Any:
        if type(value) in plain:
            return value
        # A field has at most one member beside plain ones, so its own message is the telling one.
        for member, hook in others:
            if value is not None and _takes(member, value):
                return hook(value, member)
        raise _wrong(value, expected)

    return read


def _takes(member: Any, value: object) -> bool:
    origin = get_origin(member)
    if origin is list:
        return type(value) is list
    if origin is dict or attrs.has(member):
        return type(value) is dict
    return type(value) in (str, int, float)


def _expected(member: Any) -> str:
    if get_origin(member) is Literal:
        return _NAMES[type(get_args(member)[0])]
    if attrs.has(member):
        return "an object"
    if member is Decimal:
        return "a decimal number"
    if member is datetime:
        return "a time by ISO 8601"
    return _NAMES.get(cast("type", get_origin(member) or member), "a text")


def _list_hook(converter: Converter, kind: Any) -> _Hook:
    (item_kind,) = get_args(kind)
    hook, plain = converter.get_structure_hook(item_kind), _plain_types(item_kind)

    def read(value: Any, _: Any) -> Any:
        if type(value) is not list:
            raise _wrong(value, "a list")
        items = cast("list[Any]", value)  # type: ignore[redundant-cast]
        result: list[Any] = []
        for number, item in enumerate(items):
            if type(item) in plain:
                result.append(item)
                continue
            try:
                result.append(hook(item, item_kind))
            except _Mismatch as error:
                raise error.within(f"[{number}]") from None
        return result

    return read


def _dict_hook(converter: Converter, kind: Any) -> _Hook:
    _, item_kind = get_args(kind)
    hook = converter.get_structure_hook(item_kind)

    def read(value: Any, _: Any) -> Any:
        if type(value) is not dict:
            raise _wrong(value, "an object")
        result: dict[str, Any] = {}
        for key, item in cast("dict[str, Any]", value).items():
            try:
                result[key] = hook(item, item_kind)
            except _Mismatch as error:
                raise error.within(_step(key)) from None
        return result

    return read


def _step(key: str) -> str:
    return f".{key}" if key.isidentifier() else f"[{key[:80]!r}]"


def _fields_of(converter: Converter, kind: type) -> dict[str, _Field]:
    fields: dict[str, _Field] = {}
    for field in attrs.fields(cast("Any", kind)):
        if field.init and not field.metadata.get("off_wire"):
            hook = converter.get_structure_hook(field.type)
            fields[wire_name(field)] = _Field(field.name, _plain_types(field.type), hook, field.type)
    return fields


def _class_hook(converter: Converter, kind: type) -> _Hook:
    fields = _fields_of(converter, kind)
    required = {
        wire_name(field): field.name
        for field in attrs.fields(cast("Any", kind))
        if field.init and field.default is attrs.NOTHING and not field.metadata.get("off_wire")
    }
    keeps_extra = "extra" in attrs.fields_dict(cast("Any", kind))
    # The settings of an environment stand among its other keys; `name` is both.
    settings = attrs.fields_dict(cast("Any", kind)).get("settings")
    inner_class = settings.type if settings is not None else None
    inner = _fields_of(converter, inner_class) if inner_class is not None else {}
    both = fields.keys() & inner.keys()
    inner = {key: field for key, field in inner.items() if key not in both}

    def read(value: Any, _: Any) -> Any:
        if type(value) is not dict:
            raise _wrong(value, "an object")
        taken: dict[str, Any] = {}
        settings_taken: dict[str, Any] = {}
        extra: dict[str, Any] = {}
        for key, item in cast("dict[str, Any]", value).items():
            if (field := fields.get(key)) is not None:
                target = taken
            elif (field := inner.get(key)) is not None:
                target = settings_taken
            else:
                extra[key] = item
                continue
            if type(item) in field.plain:
                target[field.name] = item
                continue
            try:
                target[field.name] = field.hook(item, field.kind)
            except _Mismatch as error:
                raise error.within(_step(key)) from None
        for key, name in required.items():
            if name not in taken:
                raise _Mismatch(f"the key {key!r} is missing")
        if keeps_extra:
            taken["extra"] = extra
        if inner_class is not None:
            for key in both:
                settings_taken[key] = taken[key]
            taken["settings"] = inner_class(**settings_taken)
        return kind(**taken)

    return read


@cache
def _converter() -> Converter:
    """Made when first needed: building the hooks costs more than importing the module."""
    return _make_converter()


def structure(value: JSONValue, kind: type[T]) -> T:
    """Turn a plain JSON value into a class.

    Raises:
        DecodeError: A value of the wrong type, or a missing key.
    """
    try:
        return _converter().structure(value, kind)
    except _Mismatch as error:
        raise error.as_error() from None
    except RecursionError:
        raise DecodeError("the body is nested too deep") from None


def check_type(value: object, kind: Any) -> None:
    """Hold a value in wire form against a declared type.

    Raises:
        DecodeError: It is of another type.
    """
    structure(cast("JSONValue", value), kind)


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
    return cast("list[T]", structure(_read_json(body), list[kind]))  # type: ignore[valid-type]


def _read_json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except UnicodeDecodeError:
        raise DecodeError("the body is not UTF-8") from None
    except (msgspec.DecodeError, ValueError):
        raise DecodeError("the body is not JSON") from None
    except RecursionError:
        raise DecodeError("the body is nested too deep") from None


def encode(value: JSONValue) -> bytes:
    """Write a JSON body."""
    return msgspec.json.encode(value)


def unstructure(value: object) -> dict[str, JSONValue]:
    """The fields that are set, as they go over the wire. ``None`` is null; ``extra`` is never sent; secrets are revealed."""
    wire: dict[str, JSONValue] = {}
    for field in attrs.fields(cast("Any", type(value))):
        item: object = getattr(value, field.name)
        if item is not UNSET and not field.metadata.get("off_wire"):
            wire[wire_name(field)] = _to_wire(item)
    return wire


def _to_wire(item: object) -> JSONValue:
    if isinstance(item, Secret):
        return item.reveal()
    if isinstance(item, Decimal):
        return format(item, "f")
    if isinstance(item, datetime):
        return item.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(item, list | tuple):
        return [_to_wire(one) for one in cast("list[object]", item)]
    if isinstance(item, Mapping):
        return {str(key): _to_wire(one) for key, one in cast("Mapping[object, object]", item).items()}
    if attrs.has(type(item)):
        return unstructure(item)
    return cast("JSONValue", item)
