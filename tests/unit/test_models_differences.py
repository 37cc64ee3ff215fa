"""What differs between desired settings and those of an environment, by the rules of each generation."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioposthog_env import TeamSettings
from aioposthog_env.models.configs import MarketingAnalyticsConfig, MaskingConfig, RevenueAnalyticsConfig, SessionReplayConfig
from aioposthog_env.models.differences import SENSITIVE, differing, digest, digests, kept_keys, managed_keys, merges
from aioposthog_env.models.fields import JSONValue

S = TeamSettings
MASK = MaskingConfig(mask_all_inputs=True, mask_text_selector=".x")


@pytest.mark.parametrize(
    ("wanted", "got", "era", "names"),
    [
        (S(timezone="UTC"), S(timezone="UTC"), "D", []),
        (S(timezone="UTC"), S(timezone="Asia/Tokyo"), "D", ["timezone"]),
        (S(timezone="UTC"), S(), "D", ["timezone"]),
        (S(session_recording_sample_rate=0.4), S(session_recording_sample_rate="0.40"), "D", []),
        (S(app_urls=["https://a", None]), S(app_urls=["https://a"]), "D", []),
        (S(app_urls=[]), S(app_urls=["https://a"]), "D", ["app_urls"]),
        (S(default_data_theme=1), S(default_data_theme=1), "D", []),
        (S(default_data_theme=2), S(default_data_theme=1), "D", ["default_data_theme"]),
        # replaced as a whole: a key that is left out goes
        (S(session_recording_masking_config=MaskingConfig(mask_all_inputs=True)), S(session_recording_masking_config=MASK), "D",
         ["session_recording_masking_config"]),
        (S(session_recording_masking_config=MASK), S(session_recording_masking_config=MASK), "D", []),
        (S(session_recording_masking_config=MaskingConfig(mask_all_inputs=True, block_selector=None)),
         S(session_recording_masking_config=MaskingConfig(mask_all_inputs=True)), "D", []),
        (S(modifiers={"a": 1}), S(modifiers={"a": 1, "b": 2}), "B", ["modifiers"]),
        # merged: a key that is left out stays
        (S(modifiers={"a": 1}), S(modifiers={"a": 1, "b": 2}), "D", []),
        (S(modifiers={"a": 1}), S(modifiers={"a": 1, "b": 2}), "UNKNOWN", []),
        (S(modifiers={"a": 2}), S(modifiers={"a": 1}), "D", ["modifiers"]),
        (S(modifiers=None), S(modifiers={"a": 1}), "D", ["modifiers"]),
        (S(session_replay_config=SessionReplayConfig(record_canvas=True)),
         S(session_replay_config=SessionReplayConfig(record_canvas=True, ai_config=None)), "A", []),
        (S(revenue_analytics_config=RevenueAnalyticsConfig(base_currency="EUR")),
         S(revenue_analytics_config=RevenueAnalyticsConfig(base_currency="EUR", filter_test_accounts=True)), "B", []),
        (S(marketing_analytics_config=MarketingAnalyticsConfig(sources_map={"x": None})),
         S(marketing_analytics_config=MarketingAnalyticsConfig(sources_map={})), "B", []),
        # what the server keeps for itself is no difference
        (S(conversations_settings={"slack_team": "x"}), S(conversations_settings={"widget_public_token": "phc_x"}), "D", []),
    ],
)  # fmt: skip
def test_differing(wanted: TeamSettings, got: TeamSettings, era: str, names: list[str]) -> None:
    assert differing(wanted, got, era) == names


@pytest.mark.parametrize(
    ("name", "era", "expected"),
    [
        ("modifiers", "A", False),
        ("modifiers", "C", True),
        ("modifiers", "", True),
        ("timezone", "", False),
        ("survey_config", "B", True),
    ],
)
def test_merges(name: str, era: str, expected: bool) -> None:
    assert merges(name, era) is expected


@pytest.mark.parametrize(
    ("name", "wanted", "got", "expected"),
    [
        ("survey_config", {"a": 1}, {"a": 1, "c": 3, "b": 2, "n": None}, ["b", "c"]),
        ("survey_config", None, {"a": 1}, []),
        ("survey_config", {"a": 1}, None, []),
        ("onboarding_tasks", {"a": 1}, {"b": 1}, []),
        ("revenue_analytics_config", {"base_currency": "EUR"}, {"events": []}, []),
    ],
)
def test_kept_keys(name: str, wanted: JSONValue, got: JSONValue, expected: list[str]) -> None:
    assert kept_keys(name, wanted, got, "D") == expected


def test_managed_keys() -> None:
    asked: dict[str, Any] = {"widget_public_token": "x", "slack_team": "y", "color": "red"}
    assert managed_keys("conversations_settings", asked) == ["slack_team", "widget_public_token"]
    assert managed_keys("conversations_settings", None) == []
    assert managed_keys("survey_config", asked) == []


def test_sensitive() -> None:
    assert {"slack_incoming_webhook", "conversations_settings"} == SENSITIVE


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=3), JSON, max_size=5))
def test_digests_do_not_depend_on_the_order_of_keys(value: dict[str, Any]) -> None:
    assert digest("extra_settings", value) == digest("extra_settings", dict(reversed(value.items())))


@given(JSON, JSON)
def test_digests_tell_values_apart(one: Any, other: Any) -> None:
    same = digest("extra_settings", one) == digest("extra_settings", other)
    assert same == (repr(one) == repr(other) or (one == other and isinstance(one, dict | list)))


def test_digests_of_what_is_shown() -> None:
    settings = S(timezone="UTC", conversations_settings={"color": "red", "widget_public_token": "phc_old"})
    renewed = S(timezone="UTC", conversations_settings={"color": "red", "widget_public_token": "phc_new"})
    names = ["timezone", "conversations_settings", "anonymize_ips"]
    assert set(digests(settings, names)) == {"timezone", "conversations_settings"}
    assert digests(settings, names) == digests(renewed, names)


@given(JSON, JSON)
def test_what_is_there_does_not_differ(value: Any, other: Any) -> None:
    if value is not None:
        assert differing(S(extra_settings=value), S(extra_settings=value), "D") == []
    if isinstance(value, dict) and isinstance(other, dict):
        merged = {key: item for key, item in (other | value).items() if item is not None}
        wanted = {key: item for key, item in value.items() if item is not None}
        assert differing(S(survey_config=wanted), S(survey_config=merged), "D") == []
