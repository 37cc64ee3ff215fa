"""How environments differ from what most of them have."""

from typing import Any

from aioposthog_env import Environment, TeamSettings
from aioposthog_env.bulk.drift import drift, majority


def environment(id: int, **settings: Any) -> Environment:
    return Environment(id=id, name=f"e{id}", settings=TeamSettings(name=f"e{id}", **settings))


def test_the_most_frequent_value_is_usual_and_names_are_not_compared() -> None:
    fleet = [
        environment(1, timezone="UTC"),
        environment(2, timezone="Asia/Tokyo"),
        environment(3, timezone="UTC", surveys_opt_in=None),
    ]
    usual = majority(fleet)
    assert usual == {"surveys_opt_in": None, "timezone": "UTC"}
    assert [[(one.name, one.value, one.usual) for one in drift(each, usual)] for each in fleet] == [
        [], [("timezone", "Asia/Tokyo", "UTC")], []
    ]  # fmt: skip
    assert majority(fleet, ignore={"timezone"}) == {"surveys_opt_in": None}
    assert drift(fleet[1], usual, ignore={"timezone"}) == ()
    assert majority([]) == {}
    assert majority([environment(2, timezone="B"), environment(1, timezone="A")]) == {"timezone": "A"}
    assert majority([environment(1, default_data_theme=3)]) == {}


def test_objects_are_compared_whole_whatever_the_order_of_their_keys() -> None:
    fleet = [environment(n, survey_config={"a": 1, "b": 2}) for n in (1, 2)] + [environment(3, survey_config={"b": 2, "a": 1})]
    assert drift(fleet[2], majority(fleet)) == ()


def test_sensitive_settings_are_compared_by_digest() -> None:
    fleet = [environment(n, slack_incoming_webhook=f"https://hooks.example.com/{'a' if n < 3 else 'b'}") for n in (1, 2, 3)]
    usual = majority(fleet)
    (found,) = drift(fleet[2], usual)
    assert found.sensitive
    assert "hooks" not in f"{usual} {found}"
    assert drift(fleet[0], usual) == ()
