"""Did it take effect? Every equivalence of the server, and what is none."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioposthog_env.models.applied import not_applied
from aioposthog_env.models.converter import decode, structure
from aioposthog_env.models.environment import Environment
from aioposthog_env.models.settings import TeamSettings


def differs(name: str, asked: Any, got: Any) -> bool:
    """Whether one setting, both in JSON, counts as not applied."""
    settings = structure({name: asked}, TeamSettings)
    reply = decode(json.dumps({"id": 1, "name": "Shop"} | {name: got}).encode(), Environment)
    found = not_applied(settings, reply)
    assert found in ([], [name])
    return bool(found)


SAME: list[tuple[str, Any, Any]] = [
    ("anonymize_ips", True, True),
    ("name", "  Shop ", "Shop"),
    ("feature_flag_confirmation_message", " Sure? ", "Sure?"),
    ("app_urls", ["https://a.example ", None], ["https://a.example"]),
    ("app_urls", [None], [None]),
    ("recording_domains", [None], []),
    ("recording_domains", None, None),
    ("session_recording_sample_rate", "0.4", "0.40"),
    ("session_recording_sample_rate", 1, "1.00"),
    ("session_recording_sample_rate", None, None),
    ("slack_incoming_webhook", "", None),
    ("slack_incoming_webhook", None, ""),
    ("experiment_recalculation_time", "02:00", "02:00:00"),
    ("experiment_recalculation_time", None, None),
    ("session_recording_linked_flag", {"id": "5", "key": "a"}, {"id": 5, "key": "a"}),
    ("session_recording_linked_flag", None, None),
    ("session_recording_masking_config", {"maskAllInputs": True}, {"maskAllInputs": True, "blockSelector": None}),
    (
        "session_replay_config",
        {"ai_config": {"opt_in": True}},
        {"record_canvas": True, "ai_config": {"opt_in": True, "excluded_events": []}},
    ),
    ("session_replay_config", None, {}),
    ("survey_config", {"a": 1}, {"a": 1, "b": 2}),
    ("survey_config", {"a": None}, {"b": 2}),
    ("survey_config", {}, None),
    ("modifiers", {"debug": {}}, {"other": 1}),
    (
        "marketing_analytics_config",
        {"sources_map": {"gone": None, "new": {"x": "y"}}},
        {"sources_map": {"old": {}, "new": {"x": "y"}}},
    ),
    (
        "session_recording_trigger_groups",
        {"version": 2, "groups": [{"id": "a"}]},
        {"version": 2, "groups": [{"id": "a", "name": "x"}]},
    ),
    (
        "conversations_settings",
        {"widget_public_token": "x", "slack_a": 1, "teams_b": 2, "color": "red"},
        {"color": "red", "slack_a": 9},
    ),
    ("conversations_settings", {"slack_a": 1}, None),
    ("default_data_theme", 5, 1),
    ("default_data_theme", 5, None),
]
DIFFERENT: list[tuple[str, Any, Any]] = [
    ("anonymize_ips", True, False),
    ("name", "Shop 2", "Shop"),
    ("app_urls", ["a"], ["a", "b"]),
    ("app_urls", ["a", "b"], ["b", "a"]),
    ("session_recording_sample_rate", "0.4", "0.5"),
    ("session_recording_sample_rate", "0.4", None),
    ("session_recording_sample_rate", None, "0.4"),
    ("slack_incoming_webhook", "", "https://x"),
    ("slack_incoming_webhook", "https://x", None),
    ("experiment_recalculation_time", "02:00", "03:00:00"),
    ("experiment_recalculation_time", "02:00", None),
    ("session_recording_linked_flag", {"id": 5, "key": "a"}, {"id": 6, "key": "a"}),
    ("session_recording_linked_flag", {"id": 5, "key": "a"}, None),
    ("session_recording_linked_flag", None, {"id": 5, "key": "a"}),
    ("session_recording_masking_config", {"maskAllInputs": True}, {"maskAllInputs": False}),
    ("session_recording_masking_config", {"maskAllInputs": True}, {}),
    ("session_recording_masking_config", {"maskAllInputs": True}, None),
    ("session_recording_masking_config", None, {}),
    ("session_replay_config", {"ai_config": {"opt_in": True}}, {"ai_config": {"opt_in": False}}),
    ("session_replay_config", {"ai_config": {"excluded_events": ["a"]}}, {"ai_config": {"excluded_events": ["b"]}}),
    ("session_replay_config", None, {"record_canvas": True}),
    ("survey_config", {"a": None}, {"a": 1}),
    ("survey_config", {"a": {"b": 1}}, {"a": 1}),
    ("survey_config", {"a": [1]}, {"a": 1}),
    ("marketing_analytics_config", {"sources_map": {"gone": None}}, {"sources_map": {"gone": {"x": "y"}}}),
    ("session_recording_trigger_groups", {"version": 2, "groups": [{"id": "a"}]}, {"version": 2, "groups": []}),
    ("session_recording_trigger_groups", {"version": 2, "groups": [{"id": "a"}]}, {"version": 2, "groups": [{"id": "b"}]}),
    ("conversations_settings", {"color": "red"}, {"color": "blue"}),
    ("has_completed_onboarding_for", {"a": True}, {"a": True, "b": True}),
    ("week_start_day", 0, None),
]


@pytest.mark.parametrize(("name", "asked", "got"), SAME)
def test_what_the_server_writes_its_own_way_is_no_difference(name: str, asked: Any, got: Any) -> None:
    assert not differs(name, asked, got)


@pytest.mark.parametrize(("name", "asked", "got"), DIFFERENT)
def test_what_the_server_did_not_take(name: str, asked: Any, got: Any) -> None:
    assert differs(name, asked, got)


def test_what_the_reply_does_not_show_was_not_taken() -> None:
    reply = Environment(id=1, name="Shop", settings=TeamSettings(name="Shop"))
    asked = TeamSettings(surveys_opt_in=None, anonymize_ips=False, default_data_theme=5, name="Shop")
    assert not_applied(asked, reply) == ["anonymize_ips", "default_data_theme", "surveys_opt_in"]
    assert not_applied(TeamSettings(), reply) == []


def test_a_hostile_number_costs_nothing() -> None:
    assert differs("session_recording_sample_rate", "0.4", "1E+99999999999")


@given(st.dictionaries(st.text(), st.integers() | st.none()), st.dictionaries(st.text(), st.integers()))
def test_a_merge_always_holds_what_was_asked(asked: dict[str, Any], stored: dict[str, Any]) -> None:
    assert not differs("survey_config", asked, stored | asked)
