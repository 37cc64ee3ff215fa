"""How JSON values become the attrs classes: the hooks of the one cattrs converter.

They are ours in three respects:

* **Strict.** ``5`` is not a text and ``"5"`` is not a number. A reply of another type than documented is a ``DecodeError``
  with its path, never a silent conversion.
* **Nothing is lost.** A key that no field knows is kept in ``extra``, on every level. A wire key that happens to be called
  ``extra`` or ``settings`` is such a key too.
* **Open.** A closed choice is checked when it is written, not when it is read: a newer server's value decodes.

Most of a payload is numbers, texts, booleans and nulls, which need no more than a look at their type. So each declared type
has a table, made once: the exact JSON types that it takes, each with the hook that reads it, or None where the value passes
as it is. From these tables the code that reads a class is generated, as attrs and cattrs generate theirs: one look-up, one
check and one assignment a field. ``docs/performance.md`` tells what else was tried.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import cache
from itertools import filterfalse
from types import NoneType
from typing import Any, Final, TypeAlias, TypeVar, cast, get_args

import attrs
from cattrs import Converter
from msgspec import UNSET, UnsetType

from aioposthog_env.auth import Secret
from aioposthog_env.errors import DecodeError
from aioposthog_env.models.fields import UnknownFields, wire_name
from aioposthog_env.models.types import JSON_TYPES, described, is_json, members, named, step, type_of

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


def _mismatch(value: object, kind: Any) -> _Mismatch:
    # The value itself is not quoted: it may be a secret.
    return _Mismatch(f"expected {described(kind)}, got {named(value)}")


def _refuse(value: object, kind: Any) -> Any:
    raise _mismatch(value, kind)


def _read_datetime(value: str, _: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is UTC:
            return moment
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
    passing = _passing(hooks)

    def read(value: list[Any], _: Any) -> Any:
        if passing.issuperset(map(type, value)):
            return value
        result: list[Any] = []
        for number, item in enumerate(value):
            hook: _Hook | None = hooks.get(type(item), _refuse)
            try:
                result.append(item if hook is None else hook(item, item_kind))
            except _Mismatch as error:
                raise error.within(f"[{number}]") from None
        return result

    return read


def _passing(hooks: _Hooks) -> frozenset[Any]:
    """The types of the values that pass as they are."""
    return frozenset(of for of, hook in hooks.items() if hook is None)


def _class_hook(kind: Any) -> _Hook:
    declared = attrs.fields_dict(kind)
    known, names, rest = _wire_names(kind), dict[str, Any](), list[str]()
    if "settings" in declared:
        # The settings of an environment stand among its other keys; `name` is both.
        inner: Any = declared["settings"].type
        known |= _wire_names(inner)
        names["read_settings"] = _generated(inner, {}, [])
        # A newer server always sends some key more than are known, so there is no look first whether it does.
        rest += ["made.settings = read_settings(value, None)", "made.extra = unknown(value, known)"]
    elif "extra" in declared:
        rest.append("made.extra = UnknownFields() if known.issuperset(value) else unknown(value, known)")
    else:
        rest.append("if not known.issuperset(value): refuse_unknown(value, known)")
    return _generated(
        kind,
        names | {"known": known, "unknown": _unknown, "refuse_unknown": _refuse_unknown, "UnknownFields": UnknownFields},
        rest,
    )


def _unknown(value: dict[str, Any], known: frozenset[str]) -> UnknownFields:
    if len(value) <= 4 * len(known):
        return UnknownFields((key, value[key]) for key in filterfalse(known.__contains__, value))
    # Of a hostile number of keys, a copy takes a fraction of the time.
    rest = UnknownFields(value)
    for key in known:
        rest.pop(key, None)
    return rest


def _refuse_unknown(value: dict[str, Any], known: frozenset[str]) -> None:
    raise _Mismatch("this key is not known").within(step(next(iter(_unknown(value, known)))))


def _building(kind: Any) -> Any:
    """A frozen class as long as an object of it is being built: the same layout, and attributes can be assigned.

    Assigning is ten times cheaper than what a frozen class has to do instead, and the object becomes its frozen class at the
    end.
    """
    plain = {name: getattr(object, name) for name in ("__init__", "__setattr__", "__delattr__")}

    def half_built(made: object) -> str:
        """A traceback may show the object before it has all attributes."""
        return f"<{kind.__name__}, half built>"

    return type(kind.__name__, (kind,), {"__slots__": (), **plain, "__repr__": half_built})


def _wire_names(kind: Any) -> frozenset[str]:
    return frozenset(wire_name(field) for field in attrs.fields(kind) if not field.metadata.get("off_wire"))


_MISSING: Final = object()
"""Stands for a key that is missing and has no default of its own type."""


_PASSES: Final[Mapping[Any, str]] = {
    bool: "item is True or item is False",
    NoneType: "item is None",
    str: "type(item) is str",
    int: "type(item) is int",
    float: "type(item) is float",
    list: "type(item) is list",
    dict: "type(item) is dict",
    UnsetType: "item is UNSET",
}
"""How generated code tells that a value is of a type, the frequent ones first."""

_UNSET_TYPE: Final[frozenset[Any]] = frozenset({UnsetType})


def _generated(kind: Any, names: dict[str, Any], rest: list[str]) -> _Hook:
    """A function that reads a JSON object into a class: generated code, two lines a field.

    For example::

        item = get("timezone", UNSET)
        made.timezone = item if type(item) is str or item is UNSET else convert9(item)

    A loop over the fields takes twice the time: only straight lines have their look-ups and assignments specialised by the
    interpreter.

    Args:
        kind: The class.
        names: What ``rest`` uses.
        rest: What follows after the fields.
    """
    names |= {"UNSET": UNSET, "MISSING": _MISSING, "building": _building(kind), "kind": kind}
    lines = ["made = building()", "get = value.get"]
    for number, field in enumerate(attrs.fields(kind)):
        if field.metadata.get("off_wire"):
            continue
        optional = field.default is UNSET
        passing: frozenset[Any] = _passing(_hooks_of(field)) | (_UNSET_TYPE if optional else frozenset())
        passes = " or ".join(test for of, test in _PASSES.items() if of in passing) or "False"
        names[f"convert{number}"] = _converting(field)
        lines += [
            f"item = get({wire_name(field)!r}, {'UNSET' if optional else 'MISSING'})",
            f"made.{field.name} = item if {passes} else convert{number}(item)",
        ]
    body = "\n    ".join(["def read(value, _):", *lines, *rest, "made.__class__ = kind", "return made"])
    exec(body, names)  # noqa: S102  the names are those of our own classes
    return cast("_Hook", names["read"])


def _hooks_of(field: "attrs.Attribute[Any]") -> _Hooks:
    kind: Any = field.type
    return _hooks(kind)


def _converting(field: "attrs.Attribute[Any]") -> Callable[[Any], Any]:
    """What is done with a value that does not pass as it is."""
    kind, default, hooks, where = field.type, field.default, _hooks_of(field), step(wire_name(field))

    def convert(item: Any) -> Any:
        if (hook := hooks.get(type(item))) is not None:
            try:
                return hook(item, kind)
            except _Mismatch as error:
                raise error.within(where) from None
        if item is not _MISSING:
            raise _mismatch(item, kind).within(where)
        if default is attrs.NOTHING:
            raise _Mismatch(f"the key {wire_name(field)!r} is missing")
        return default

    return convert


def read(value: object, kind: type[T]) -> T:
    """Turn a plain JSON value into what is declared.

    Raises:
        DecodeError: A value of the wrong type, or a missing key.
    """
    hook: _Hook | None = _hooks(cast("Any", kind)).get(type(value), _refuse)
    try:
        return cast("T", value if hook is None else hook(value, kind))
    except _Mismatch as error:
        problem = error.as_error()
    # Without the value, and not inside the handler: a traceback with local variables would show secrets of a payload.
    del value
    raise problem
