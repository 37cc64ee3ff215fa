"""A condition on environments, written as a person would say it: ``timezone == "UTC" and not anonymize_ips``.

The text is parsed by Python's own parser and never run: of what the parser understands, the condition takes names of settings
and of the environment's identity, keys of nested settings, plain values, comparisons, and ``and``, ``or``, ``not``. Everything
else is refused with its place. What is taken becomes a tree of small functions, made once and used for every environment.

A setting that is null, or that the server did not show, is ``null`` here: it equals nothing but ``null``, and no comparison of
size holds for it. Secrets can be compared with ``null`` only, so that a condition is no way to guess them.

Values of kinds that are never equal are not compared: ``id != "42"`` would hold for every environment, 42 among them. Where the
declared types tell, that is refused when the condition is read; settings that hold any JSON are compared as they are.
"""

import ast
import difflib
import warnings
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from types import NoneType
from typing import Any, Final, Self, TypeAlias, cast, get_args

import attrs

from aioposthog_env.bulk.comparisons import COMPARISONS, inside, time_of, value_of
from aioposthog_env.errors import ConfigurationError
from aioposthog_env.models.comparing import SENSITIVE
from aioposthog_env.models.environment import Environment, EnvironmentSummary
from aioposthog_env.models.fields import wire_name
from aioposthog_env.models.settings import FACTS, TeamSettings
from aioposthog_env.models.types import is_json, members, type_of
from aioposthog_env.redacted import printable_half_built

_Value: TypeAlias = Callable[[Environment | EnvironmentSummary], Any]

_LONGEST: Final = 2_000
_MOST_PARTS: Final = 300
_DEEPEST: Final = 40

_IDENTITY: Final = frozenset(
    field.name
    for field in attrs.fields(Environment)
    if field.name not in {"settings", "extra", "name"} and field.name not in FACTS
) | {"name"}
_LISTED: Final = frozenset(field.name for field in attrs.fields(EnvironmentSummary)) - {"extra"}
_SECRET: Final = SENSITIVE | {"api_token", "secret_api_token", "secret_api_token_backup", "live_events_token"}
_CONSTANTS: Final[Mapping[str, object]] = {"true": True, "false": False, "null": None}
_KNOWN: Final = sorted(_IDENTITY | set(FACTS))
_ANY_JSON: Final[Any] = attrs.fields_dict(TeamSettings)["extra_settings"].type
_KINDS: Final[Mapping[Any, str]] = {
    str: "a text",
    bool: "true or false",
    int: "a number",
    float: "a number",
    Decimal: "a number",
    datetime: "a time",
    list: "a list",
    tuple: "a list",
}


@printable_half_built
@attrs.frozen
class Where:
    """A condition on environments.

    Attributes:
        text: As it was written.
        names: The settings and parts of the identity that it reads.
    """

    text: str
    names: frozenset[str]
    _test: _Value = attrs.field(repr=False, eq=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a condition.

        Raises:
            ConfigurationError: It is none; says where, and names the nearest known setting.
        """
        return cls(*_Parser(text).parse())

    def __reduce__(self) -> tuple[Any, ...]:
        # The test is made of functions, which do not pickle; the text gives it again.
        return (type(self).parse, (self.text,))

    @property
    def needs_settings(self) -> bool:
        """Whether the environment must be read; False where what the list shows is enough."""
        return not self.names <= _LISTED

    def holds(self, environment: Environment | EnvironmentSummary) -> bool:
        """Whether an environment meets it.

        Raises:
            ConfigurationError: Values that cannot be compared, such as a text with a number; or a list item, which does not
                show the settings that the condition reads.
        """
        if self.needs_settings and isinstance(environment, EnvironmentSummary):
            words = "reads settings that the list does not show; retrieve it first"
            raise ConfigurationError(f"The condition {self.text!r} {words}.")
        try:
            return bool(self._test(environment))
        except RecursionError:
            raise ConfigurationError("The condition compares settings that are nested too deep.") from None


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text.strip()
        self._names: set[str] = set()
        self._beside_null: set[ast.expr] = set()

    def parse(self) -> tuple[str, frozenset[str], _Value]:
        if not self._text or len(self._text) > _LONGEST or not self._text.isprintable():
            raise ConfigurationError(f"A condition is one line of 1 to {_LONGEST} printable characters.")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(self._text, mode="eval")
            if sum(1 for _ in ast.walk(tree)) > _MOST_PARTS:
                raise ConfigurationError("The condition is too long; split it, or name the environments.")
            self._check_end(tree.body)
            test = self._value(tree.body, 0)
        except SyntaxError as error:
            raise self._error((error.offset or 1) - 1, f"{error.msg}") from None
        except (ValueError, RecursionError, MemoryError):
            raise ConfigurationError(
                "The condition cannot be read: it is nested too deep, or holds a number too large."
            ) from None
        return self._text, frozenset(self._names), test

    def _check_end(self, body: ast.expr) -> None:
        """The parser takes what follows a # for a comment, which is a part of the condition that nobody would miss."""
        rest = self._text.encode()[body.end_col_offset or 0 :].decode(errors="ignore")
        if rest.strip(") "):
            raise self._error(len(self._text) - len(rest.lstrip(") ")), "this is not part of a condition")

    def _error(self, column: int, what: str) -> ConfigurationError:
        return ConfigurationError(f"The condition, column {column + 1}: {what}.\n  {self._text}\n  {' ' * column}^")

    def _refuse(self, node: ast.AST, what: str) -> ConfigurationError:
        # The parser counts bytes.
        offset = getattr(node, "col_offset", 0)
        return self._error(len(self._text.encode()[:offset].decode(errors="ignore")), what)

    def _value(self, node: ast.expr, depth: int) -> _Value:
        if depth > _DEEPEST:
            raise self._refuse(node, "nested too deep")
        match node:
            case ast.Constant(value=str() | int() | float() | bool() | None as value):
                return lambda _: value
            case ast.Name(id=name) if name in _CONSTANTS:
                constant = _CONSTANTS[name]
                return lambda _: constant
            case ast.Name():
                return self._named(node)
            case ast.Attribute() | ast.Subscript():
                return self._inside(node, depth)
            case ast.BoolOp(op=op, values=values):
                parts = [self._value(value, depth + 1) for value in values]
                choose = all if isinstance(op, ast.And) else any
                return lambda environment: choose(part(environment) for part in parts)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                inner = self._value(operand, depth + 1)
                return lambda environment: not inner(environment)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
                return lambda _: -number
            case ast.Compare():
                return self._comparison(node, depth)
            case ast.List(elts=items) | ast.Tuple(elts=items):
                made = [self._value(item, depth + 1) for item in items]
                return lambda environment: [one(environment) for one in made]
            case _:
                what = "takes settings, values, comparisons, and, or, not"
                raise self._refuse(node, f"this is not part of a condition, which {what}")

    def _named(self, node: ast.Name) -> _Value:
        name = node.id
        if name not in _IDENTITY and name not in FACTS:
            near = difflib.get_close_matches(name, _KNOWN, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            quoted = "" if near else f'. A text stands in quotes: "{name}"'
            raise self._refuse(node, f"there is no setting {name!r}{hint}{quoted}")
        if name in _SECRET and node not in self._beside_null:
            raise self._refuse(node, f"{name} holds a secret and can only be compared with null")
        self._names.add(name)
        return lambda environment: value_of(environment, name)

    def _inside(self, node: ast.Attribute | ast.Subscript, depth: int) -> _Value:
        """A key of a nested setting."""
        base, keys = cast("ast.expr", node), list[str | int]()
        while isinstance(base, ast.Attribute | ast.Subscript):
            if isinstance(base, ast.Attribute):
                keys.insert(0, base.attr)
            elif isinstance(base.slice, ast.Constant) and type(base.slice.value) in {str, int}:
                keys.insert(0, cast("str | int", base.slice.value))
            else:
                raise self._refuse(base.slice, 'a key is a text or a number, such as ["appearance"]')
            base = base.value
        if not isinstance(base, ast.Name) or base.id not in FACTS:
            raise self._refuse(node, "only settings have keys inside")
        if base.id in _SECRET:
            raise self._refuse(node, f"{base.id} holds a secret and can only be compared with null")
        self._declared_inside(node, base.id, keys)
        whole = self._value(base, depth + 1)

        def read(environment: Environment | EnvironmentSummary) -> Any:
            value = whole(environment)
            for key in keys:
                value = inside(value, key)
            return value

        return read

    def _declared_inside(self, node: ast.AST, setting: str, keys: list[str | int]) -> Any:
        """The declared type of a key of a setting."""
        kind: Any = attrs.fields_dict(TeamSettings)[setting].type
        for key in keys:
            types = members(kind)
            config = next((member for member in types if attrs.has(member)), None)
            if config is not None:
                kind = self._field(node, setting, config, key)
            elif is_json(kind) or dict in map(type_of, types):
                return _ANY_JSON
            elif isinstance(key, int) and list in map(type_of, types):
                kind = next(get_args(member)[0] for member in types if type_of(member) is list)
            else:
                raise self._refuse(node, f"{setting} has nothing inside that is called {key!r}")
        return kind

    def _field(self, node: ast.AST, setting: str, config: Any, key: str | int) -> Any:
        fields = [field for field in attrs.fields(config) if field.name != "extra"]
        if found := [field.type for field in fields if key in {field.name, wire_name(field)}]:
            return found[0]
        known = [field.name for field in fields]
        near = difflib.get_close_matches(str(key), known, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; it has {', '.join(known)}"
        raise self._refuse(node, f"{setting} has no key {key!r}{hint}")

    def _declared(self, node: ast.expr) -> Any:
        """The declared type of an operand that is a setting, a part of the identity, or a key inside."""
        keys = list[str | int]()
        while isinstance(node, ast.Attribute | ast.Subscript):
            keys.insert(0, node.attr if isinstance(node, ast.Attribute) else cast("Any", node.slice).value)
            node = node.value
        name = cast("ast.Name", node).id
        if keys:
            return self._declared_inside(node, name, keys)
        return attrs.fields_dict(TeamSettings if name in FACTS else Environment)[name].type

    def _kinds(self, node: ast.expr) -> frozenset[str] | None:
        """The kinds of values that an operand can have, null aside; None for any."""
        match node:
            case ast.Constant(value=value):
                return frozenset() if value is None else frozenset({_KINDS[type(value)]})
            case ast.Name(id=name) if name in _CONSTANTS:
                return frozenset() if name == "null" else frozenset({"true or false"})
            case ast.Name() | ast.Attribute() | ast.Subscript():
                kind = self._declared(node)
                if is_json(kind):
                    return None
                return frozenset(_KINDS.get(type_of(one), "an object") for one in members(kind) if one is not NoneType)
            case ast.List() | ast.Tuple():
                return frozenset({"a list"})
            case ast.UnaryOp(op=ast.USub()):
                return frozenset({"a number"})
            case _:
                return frozenset({"true or false"})

    def _check_kinds(self, one: ast.expr, op: ast.cmpop, other: ast.expr) -> None:
        if isinstance(op, ast.In | ast.NotIn):
            if isinstance(other, ast.List | ast.Tuple):
                for item in other.elts:
                    self._check_kinds(one, ast.Eq(), item)
                return
            holders = self._kinds(other)
            if holders is not None and not holders & {"a list", "a text", "an object"}:
                raise self._refuse(other, f"this is {_or(holders)}, which holds nothing")
            if holders == frozenset({"a text"}) and "a text" not in (self._kinds(one) or {"a text"}):
                raise self._refuse(one, f"this is {_or(self._kinds(one))}, and only a text can be in a text")
            return
        left, right = self._kinds(one), self._kinds(other)
        for time, text in ((left, other), (right, one)):
            if time == frozenset({"a time"}) and isinstance(text, ast.Constant) and isinstance(text.value, str):
                self._check_time(text, text.value)
                return
        if left and right and not left & right:
            verb = "the same as" if isinstance(op, ast.Eq | ast.NotEq | ast.Is | ast.IsNot) else "comparable in size with"
            raise self._refuse(other, f"this is {_or(right)}, which is never {verb} {_or(left)}")

    def _check_time(self, node: ast.expr, text: str) -> None:
        try:
            time_of(text)
        except ConfigurationError:
            raise self._refuse(node, 'this is no time by ISO 8601, such as "2026-01-31"') from None

    def _comparison(self, node: ast.Compare, depth: int) -> _Value:
        operands = [node.left, *node.comparators]
        for one, other in pairwise(operands):
            for secret, beside in ((one, other), (other, one)):
                if _is_null(beside):
                    self._beside_null.add(secret)
        for one, other in pairwise(operands):
            # In a chain both neighbours must be null.
            self._beside_null -= {secret for secret, beside in ((one, other), (other, one)) if not _is_null(beside)}
        values = [self._value(operand, depth + 1) for operand in operands]
        for (one, other), op in zip(pairwise(operands), node.ops, strict=True):
            self._check_kinds(one, op, other)
        tests = [COMPARISONS[type(op)] for op in node.ops]

        def holds(environment: Environment | EnvironmentSummary) -> bool:
            found = [value(environment) for value in values]
            return all(test(found[number], found[number + 1]) for number, test in enumerate(tests))

        return holds


def _or(kinds: frozenset[str] | None) -> str:
    return " or ".join(sorted(kinds or ()))


def _is_null(node: ast.expr) -> bool:
    return (isinstance(node, ast.Constant) and node.value is None) or (isinstance(node, ast.Name) and node.id == "null")
