"""A traceback with local variables shows objects that are half built, and formatting must not raise then."""

import inspect
from collections.abc import Iterator
from importlib import import_module
from typing import Any, cast

import pytest

from aioposthog_env.errors import PostHogEnvError
from aioposthog_env.models.environment import Environment
from aioposthog_env.models.reading import _building
from tests.sweep import with_locals
from tests.unit.public_api import PUBLIC, names_of


def classes() -> Iterator[type[Any]]:
    """The public classes."""
    found: set[type[Any]] = set()
    for module in PUBLIC:
        home = import_module(module)
        named = (getattr(home, name, None) for name in names_of(module))
        found |= {one for one in named if inspect.isclass(one) and one.__module__.startswith("aioposthog_env")}
    yield from sorted(found, key=lambda one: (one.__module__, one.__qualname__))


@pytest.mark.parametrize("kind", list(classes()), ids=lambda kind: f"{kind.__module__}.{kind.__qualname__}")
def test_an_object_that_was_not_initialized_can_be_shown(kind: type[Any]) -> None:
    try:
        made: object = cast("Any", kind).__new__(kind)
    except (TypeError, ValueError):  # an enum, a protocol, or what takes its arguments when it is made
        pytest.skip("no object without arguments")
    assert repr(made)
    str(made)


def test_an_error_that_was_not_initialized_can_be_formatted() -> None:
    with pytest.raises(PostHogEnvError) as caught:
        raise PostHogEnvError.__new__(PostHogEnvError)
    assert with_locals(caught.value).startswith("PostHogEnvError")


def test_the_plain_class_behind_a_frozen_one_can_be_shown() -> None:
    """A frame of the generated readers holds the object before it has all attributes; no public name reaches it."""
    building = _building(Environment)
    assert repr(building.__new__(building)) == "<Environment, half built>"
