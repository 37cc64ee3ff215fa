"""How environments are named, and what the classes refuse."""

import pickle
from typing import Any

import attrs
import pytest

from aioposthog_env.auth import Secret
from aioposthog_env.errors import ConfigurationError
from aioposthog_env.models.environment import Environment, EnvironmentRef, EnvironmentSummary, as_ref
from aioposthog_env.models.fields import JSONValue
from aioposthog_env.models.types import described


@pytest.mark.parametrize(
    ("value", "ref"),
    [
        (42, EnvironmentRef(42)),
        (EnvironmentRef(42, 7), EnvironmentRef(42, 7)),
        (EnvironmentSummary(id=42, name="a"), EnvironmentRef(42)),
        (EnvironmentSummary(id=42, name="a", project_id=7), EnvironmentRef(42, 7)),
        (Environment(id=42, name="a"), EnvironmentRef(42)),
        (Environment(id=42, name="a", project_id=7), EnvironmentRef(42, 7)),
    ],
)
def test_what_names_an_environment(value: object, ref: EnvironmentRef) -> None:
    assert as_ref(value) == ref


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("@current", "follows the clicks of a person in the browser"),
        ("42", "by its id, a whole number such as 42, and not by a str"),
        (True, "and not by a bool"),
        (42.0, "and not by a float"),
        (None, "and not by a NoneType"),
        ((42,), "and not by a tuple"),
        (0, "0 is not the id of an environment: ids begin with 1"),
        (-1, "-1 is not the id"),
        (2**63, "9223372036854775808 is not the id of an environment: ids begin with 1 and have 63 bits"),
        pytest.param(10**5000, "A number of that size is not the id", id="huge"),
    ],
)
def test_what_does_not(value: Any, sentence: str) -> None:
    for make in (as_ref, EnvironmentRef):
        with pytest.raises(ConfigurationError, match=sentence):
            make(value)


def test_a_project_is_named_in_the_same_way() -> None:
    for wrong in ("@current", "7", 0, False):
        with pytest.raises(ConfigurationError):
            EnvironmentRef(42, wrong)  # type: ignore[arg-type]


def test_a_token_in_place_of_an_id_is_not_quoted() -> None:
    with pytest.raises(ConfigurationError) as caught:
        as_ref("phx_1234567890abcdef")
    assert "phx_" not in str(caught.value)


def test_references_are_values() -> None:
    ref = EnvironmentRef(42, 7)
    assert {ref: 1}[EnvironmentRef(42, 7)] == 1
    assert pickle.loads(pickle.dumps(ref)) == ref
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        ref.id = 5  # type: ignore[misc]


def test_types_in_words() -> None:
    assert described(None | str | Secret) == "a text or null"
    assert described(float) == "a number"
    assert described(list[JSONValue]) == "a list"
    assert described(EnvironmentRef) == "a EnvironmentRef"
