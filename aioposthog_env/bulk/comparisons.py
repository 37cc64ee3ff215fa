"""How a condition compares: what stands for a name in an environment, and what a comparison of two values gives.

``where`` says what the text of a condition may hold; here is what it means.
"""

import ast
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, cast

import attrs
from msgspec import UNSET

from aioposthog_env.errors import ConfigurationError
from aioposthog_env.models.environment import Environment, EnvironmentSummary
from aioposthog_env.models.fields import wire_name
from aioposthog_env.models.settings import FACTS


def value_of(environment: Environment | EnvironmentSummary, name: str) -> Any:
    """What a setting, or a part of the identity, is to a condition; None where it is null or was not shown."""
    return _plain(_read(environment, name))


def inside(value: Any, key: str | int) -> Any:
    """What a key, or a place in a list, holds; None where there is none."""
    return _plain(_step(value, key))


def _read(environment: Environment | EnvironmentSummary, name: str) -> object:
    if name == "project_id" and environment.project_id is UNSET:
        return environment.id  # where the server shows no project, the environment is the project
    if isinstance(environment, Environment) and name in FACTS and name != "name":
        return getattr(environment.settings, name)
    return getattr(environment, name, None)


def _plain(value: object) -> Any:
    if value is UNSET:
        return None
    return float(value) if isinstance(value, Decimal) else value


def _step(value: Any, key: str | int) -> object:
    if isinstance(value, dict):
        return cast("dict[str | int, object]", value).get(key)
    if isinstance(value, list):
        items = cast("list[object]", value)
        return items[key] if isinstance(key, int) and -len(items) <= key < len(items) else None
    kind = cast("Any", type(value))
    if attrs.has(kind):
        for field in attrs.fields(kind):
            if key in {field.name, wire_name(field)} and field.name != "extra":
                return cast("object", getattr(value, field.name))
        return cast("object", value.extra.get(key))
    return None


def _alike(one: Any, other: Any) -> tuple[Any, Any]:
    """A time beside a text that is one."""
    if isinstance(one, datetime) and isinstance(other, str):
        return one, time_of(other)
    if isinstance(other, datetime) and isinstance(one, str):
        return time_of(one), other
    return one, other


def time_of(text: str) -> datetime:
    """The time that a text names, in UTC where it names no zone.

    Raises:
        ConfigurationError: It names none.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(f"The condition compares a time with {text!r}, which is none by ISO 8601.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _equal(one: Any, other: Any) -> bool:
    one, other = _alike(one, other)
    # True is 1 to Python, and another value to JSON.
    if isinstance(one, bool) != isinstance(other, bool):
        return False
    return bool(one == other)


def _ordered(holds: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def compare(one: Any, other: Any) -> bool:
        if one is None or other is None:
            return False
        one, other = _alike(one, other)
        try:
            return bool(holds(one, other))
        except TypeError:
            kinds = f"{type(one).__name__} and {type(other).__name__}"
            raise ConfigurationError(f"The condition compares the size of values that have none in common: {kinds}.") from None

    return compare


def _contains(one: Any, other: Any) -> bool:
    if other is None:
        return False
    if isinstance(other, str) and not isinstance(one, str):
        return False
    if isinstance(other, list):
        return any(_equal(one, item) for item in cast("list[object]", other))
    try:
        return one in other
    except TypeError:
        raise ConfigurationError(f"The condition looks into a {type(other).__name__}, which holds nothing.") from None


COMPARISONS: Final[Mapping[type[ast.cmpop], Callable[[Any, Any], bool]]] = {
    ast.Eq: _equal,
    ast.NotEq: lambda one, other: not _equal(one, other),
    ast.Is: _equal,
    ast.IsNot: lambda one, other: not _equal(one, other),
    ast.Lt: _ordered(lambda one, other: one < other),
    ast.LtE: _ordered(lambda one, other: one <= other),
    ast.Gt: _ordered(lambda one, other: one > other),
    ast.GtE: _ordered(lambda one, other: one >= other),
    ast.In: _contains,
    ast.NotIn: lambda one, other: not _contains(one, other),
}
"""What each comparison of Python's parser gives for two values."""
