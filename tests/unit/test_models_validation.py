"""What no PostHog takes is found before sending; what some take passes."""

import pickle
from decimal import Decimal
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioposthog_env.auth import Secret
from aioposthog_env.errors import ConfigurationError, InvalidSettingsError
from aioposthog_env.models.configs import (
    CustomerAnalyticsConfig,
    FeatureFlagPolicyConfig,
    LogsSettings,
    MarketingAnalyticsConfig,
    MaskingConfig,
    NetworkPayloadCaptureConfig,
    RevenueAnalyticsConfig,
    SessionRecordingLinkedFlag,
    SessionReplayAIConfig,
    SessionReplayConfig,
    TriggerGroup,
    TriggerGroups,
    WorkflowsConfig,
)
from aioposthog_env.models.converter import decode, encode, unstructure
from aioposthog_env.models.environment import Environment
from aioposthog_env.models.settings import FACTS, UNSET, TeamSettings
from aioposthog_env.models.validation import check, problems_of


def problems(**values: Any) -> list[tuple[str, str]]:
    return problems_of(TeamSettings(**values))


def groups(**values: Any) -> TriggerGroups:
    return TriggerGroups(**{"version": 2, "groups": [], **values})


GOOD: dict[str, list[Any]] = {
    "name": ["a", "  a  ", "x" * 200, " " * 9 + "x" * 200, "Ünïcode"],
    "app_urls": [[], [None], ["x" * 200]],
    "slack_incoming_webhook": [None, "", "x" * 500],
    "test_account_filters": [[], {"any": "thing"}],
    "person_display_name_properties": [None, ["x" * 400]],
    "autocapture_exceptions_errors_to_ignore": [[], ["x" * 296]],
    "session_recording_sample_rate": [None, 0, 1, "0.4", "1.00", 0.25, Decimal("4E-1")],
    "session_recording_minimum_duration_milliseconds": [None, 0, 30_000],
    "session_recording_linked_flag": [
        None,
        SessionRecordingLinkedFlag(id=1, key="a"),
        SessionRecordingLinkedFlag(id="1", key="a", variant=None),
    ],
    "session_recording_network_payload_capture_config": [
        NetworkPayloadCaptureConfig(),
        NetworkPayloadCaptureConfig(record_body=None),
    ],
    "session_recording_masking_config": [MaskingConfig(block_selector=".x")],
    "session_recording_event_trigger_config": [["a", None]],
    "session_recording_trigger_match_type_config": [None, "all", "any"],
    "session_recording_trigger_groups": [
        groups(),
        groups(
            groups=[TriggerGroup(id="a", sample_rate=1, min_duration_ms=30_000, conditions={"a": [1]})],
            fallback_sample_rate=0.5,
        ),
    ],
    "session_recording_retention_period": ["30d", "90d", "1y", "5y"],
    "session_replay_config": [None, SessionReplayConfig(ai_config=SessionReplayAIConfig(preferred_events=["a"]))],
    "week_start_day": [None, 0, 1],
    "recording_domains": [None, [None]],
    "cookieless_server_hash_mode": [0, 1, 2],
    "timezone": ["Mars/Olympus"],
    "base_currency": ["ZZZ"],
    "extra_settings": [None, True, 1.5, "x", [], {"a": {"b": [None, 2**80]}}],
    "marketing_analytics_config": [
        MarketingAnalyticsConfig(attribution_window_days=1, attribution_mode="newer", sources_map={"a": None}),
        MarketingAnalyticsConfig(attribution_window_days=90),
    ],
    "customer_analytics_config": [CustomerAnalyticsConfig(account_group_type_index=None)],
    "workflows_config": [WorkflowsConfig(email_tracking_consent_mode="opt_in")],
    "business_model": [None, "b2b"],
    "logs_settings": [None, LogsSettings(), LogsSettings(retention_days=14)],
}
WRONG: dict[str, Any] = {"mask_all_inputs": "yes"}
NO_JSON: Any = {"a": {1}}
BAD: list[tuple[str, Any, str, str]] = [
    ("name", None, "name", "null is not taken"),
    ("name", " \t", "name", "must not be blank"),
    ("name", "x" * 201, "name", "is longer than 200 characters"),
    ("name", 5, "name", "expected a text, got a whole number"),
    ("name", Secret("x" * 20), "name", "expected a text, got a Secret"),
    ("name", "\ud800", "name", "holds half of a character (a lone surrogate)"),
    ("timezone", Decimal(1), "timezone", "expected a text, got a Decimal"),
    ("anonymize_ips", None, "anonymize_ips", "null is not taken"),
    ("anonymize_ips", "true", "anonymize_ips", "expected true or false, got a text"),
    ("anonymize_ips", 1, "anonymize_ips", "expected true or false, got a whole number"),
    ("app_urls", ("a",), "app_urls", "expected a list, got a tuple"),
    ("app_urls", "https://a.example", "app_urls", "expected a list, got a text"),
    ("app_urls", ["a", "x" * 201], "app_urls[1]", "is longer than 200 characters"),
    ("app_urls", [5], "app_urls[0]", "expected a text or null, got a whole number"),
    ("recording_domains", ["x" * 201], "recording_domains[0]", "is longer than 200 characters"),
    ("person_display_name_properties", ["x" * 401], "person_display_name_properties[0]", "is longer than 400 characters"),
    ("slack_incoming_webhook", "x" * 501, "slack_incoming_webhook", "is longer than 500 characters"),
    ("slack_incoming_webhook", 5, "slack_incoming_webhook", "expected a text or null, got a whole number"),
    ("slack_incoming_webhook", "\ud800", "slack_incoming_webhook", "holds half of a character (a lone surrogate)"),
    ("autocapture_exceptions_errors_to_ignore", None, "autocapture_exceptions_errors_to_ignore", "null is not taken"),
    (
        "autocapture_exceptions_errors_to_ignore",
        ["x" * 297],
        "autocapture_exceptions_errors_to_ignore",
        "is longer than 300 characters of JSON",
    ),
    (
        "autocapture_exceptions_errors_to_ignore",
        ["é" * 60],
        "autocapture_exceptions_errors_to_ignore",
        "is longer than 300 characters of JSON",
    ),
    ("session_recording_sample_rate", 1.01, "session_recording_sample_rate", "must be from 0 to 1"),
    ("session_recording_sample_rate", "-0.1", "session_recording_sample_rate", "must be from 0 to 1"),
    ("session_recording_sample_rate", "NaN", "session_recording_sample_rate", "must be from 0 to 1"),
    ("session_recording_sample_rate", "Infinity", "session_recording_sample_rate", "must be from 0 to 1"),
    ("session_recording_sample_rate", "0.123", "session_recording_sample_rate", "takes two decimals at most"),
    (
        "session_recording_minimum_duration_milliseconds",
        -1,
        "session_recording_minimum_duration_milliseconds",
        "must be from 0 to 30000",
    ),
    (
        "session_recording_minimum_duration_milliseconds",
        30_001,
        "session_recording_minimum_duration_milliseconds",
        "must be from 0 to 30000",
    ),
    ("session_recording_linked_flag", SessionRecordingLinkedFlag(id=1), "session_recording_linked_flag.key", "is missing"),
    ("session_recording_linked_flag", SessionRecordingLinkedFlag(key="a"), "session_recording_linked_flag.id", "is missing"),
    (
        "session_recording_linked_flag",
        {"id": 1, "key": "a"},
        "session_recording_linked_flag",
        "expected a SessionRecordingLinkedFlag or null, got an object",
    ),
    (
        "session_replay_config",
        MaskingConfig(),
        "session_replay_config",
        "expected a SessionReplayConfig or null, got a MaskingConfig",
    ),
    (
        "session_recording_masking_config",
        MaskingConfig(**WRONG),
        "session_recording_masking_config.mask_all_inputs",
        "expected true or false or null, got a text",
    ),
    (
        "session_recording_trigger_match_type_config",
        "some",
        "session_recording_trigger_match_type_config",
        "must be one of all, any",
    ),
    ("session_recording_trigger_groups", TriggerGroups(groups=[]), "session_recording_trigger_groups.version", "must be 2"),
    ("session_recording_trigger_groups", TriggerGroups(version=2), "session_recording_trigger_groups.groups", "is missing"),
    (
        "session_recording_trigger_groups",
        groups(groups=[TriggerGroup()]),
        "session_recording_trigger_groups.groups[0].id",
        "is missing",
    ),
    (
        "session_recording_trigger_groups",
        groups(groups=[TriggerGroup(id="a", sample_rate=2)]),
        "session_recording_trigger_groups.groups[0].sample_rate",
        "must be from 0 to 1",
    ),
    (
        "session_recording_trigger_groups",
        groups(groups=[TriggerGroup(id="a", sample_rate=float("nan"))]),
        "session_recording_trigger_groups.groups[0].sample_rate",
        "is not a finite number",
    ),
    (
        "session_recording_trigger_groups",
        groups(groups=[TriggerGroup(id="a", min_duration_ms=30_001)]),
        "session_recording_trigger_groups.groups[0].min_duration_ms",
        "must be from 0 to 30000",
    ),
    (
        "session_recording_trigger_groups",
        groups(fallback_sample_rate=-1),
        "session_recording_trigger_groups.fallback_sample_rate",
        "must be from 0 to 1",
    ),
    ("session_recording_retention_period", "2y", "session_recording_retention_period", "must be one of 30d, 90d, 1y, 5y"),
    ("session_recording_retention_period", None, "session_recording_retention_period", "null is not taken"),
    ("week_start_day", 2, "week_start_day", "must be one of 0, 1"),
    ("week_start_day", True, "week_start_day", "expected a whole number or null, got true or false"),
    ("cookieless_server_hash_mode", 3, "cookieless_server_hash_mode", "must be one of 0, 1, 2"),
    ("extra_settings", {"a": [{1}]}, "extra_settings.a[0]", "a set is no JSON"),
    ("extra_settings", {"a": float("nan")}, "extra_settings.a", "is not a finite number"),
    (
        "session_recording_url_trigger_config",
        [{1: 2}],
        "session_recording_url_trigger_config[0]",
        "has a key that is a whole number; JSON takes texts",
    ),
    ("base_currency", None, "base_currency", "null is not taken"),
    ("revenue_analytics_config", None, "revenue_analytics_config", "null is not taken"),
    (
        "marketing_analytics_config",
        MarketingAnalyticsConfig(attribution_window_days=0),
        "marketing_analytics_config.attribution_window_days",
        "must be from 1 to 90",
    ),
    (
        "marketing_analytics_config",
        MarketingAnalyticsConfig(attribution_window_days=91),
        "marketing_analytics_config.attribution_window_days",
        "must be from 1 to 90",
    ),
    (
        "marketing_analytics_config",
        MarketingAnalyticsConfig(sources_map=NO_JSON),
        "marketing_analytics_config.sources_map.a",
        "a set is no JSON",
    ),
    (
        "workflows_config",
        WorkflowsConfig(email_tracking_consent_mode="maybe"),
        "workflows_config.email_tracking_consent_mode",
        "must be one of off, opt_out, opt_in",
    ),
    ("business_model", "b2g", "business_model", "must be one of b2b, b2c, other"),
    ("logs_settings", LogsSettings(retention_days=7), "logs_settings.retention_days", "must be one of 14, 30"),
]


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in GOOD.items() for value in values])
def test_what_some_server_takes_passes(name: str, value: Any) -> None:
    assert problems(**{name: value}) == []


@pytest.mark.parametrize(
    ("name", "value", "field", "problem"), BAD, ids=[f"{row[2]}-{number}" for number, row in enumerate(BAD)]
)
def test_what_no_server_takes_is_found(name: str, value: Any, field: str, problem: str) -> None:
    assert problems(**{name: value}) == [(field, problem)]


@pytest.mark.parametrize("name", sorted(FACTS))
def test_null_is_refused_exactly_where_the_server_has_none(name: str) -> None:
    assert bool(problems(**{name: None})) is not FACTS[name].nullable


def test_all_problems_come_at_once() -> None:
    bad = TeamSettings(name="", app_urls=["x" * 201, "y" * 201], week_start_day=9)
    with pytest.raises(InvalidSettingsError) as caught:
        check(bad)
    assert caught.value.problems == (
        ("name", "must not be blank"),
        ("app_urls[0]", "is longer than 200 characters"),
        ("app_urls[1]", "is longer than 200 characters"),
        ("week_start_day", "must be one of 0, 1"),
    )
    assert "Nothing was sent" in str(caught.value)


def test_good_settings_and_none_at_all_pass() -> None:
    check(TeamSettings(name="a"))
    check(TeamSettings())
    assert problems_of(TeamSettings(name=UNSET)) == []


@pytest.mark.parametrize("wrong", [{"name": "a"}, None, "name=a"])
def test_only_settings_are_settings(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="given as TeamSettings"):
        check(wrong)


def test_what_is_not_given_on_creation() -> None:
    settings = TeamSettings(
        name="a",
        primary_dashboard=5,
        revenue_analytics_config=RevenueAnalyticsConfig(),
        marketing_analytics_config=MarketingAnalyticsConfig(),
        customer_analytics_config=CustomerAnalyticsConfig(),
        workflows_config=WorkflowsConfig(),
        feature_flag_policy_config=FeatureFlagPolicyConfig(),
    )
    assert problems_of(settings) == []
    found = problems_of(settings, creating=True)
    assert [field for field, _ in found] == [name for name in FACTS if not FACTS[name].on_create]
    assert {problem for _, problem in found} == {"cannot be given when an environment is created; update it afterwards"}
    check(TeamSettings(name="a", timezone="UTC"), creating=True)


def test_an_endless_value_is_a_problem() -> None:
    endless: dict[str, Any] = {}
    endless["again"] = endless
    assert problems(extra_settings=endless) == [("extra_settings", "is nested too deep")]


def test_a_pickled_webhook_has_no_value_to_send() -> None:
    settings = pickle.loads(pickle.dumps(TeamSettings(slack_incoming_webhook="https://hooks.slack.example/T000")))
    ((field, problem),) = problems_of(settings)
    assert field == "slack_incoming_webhook"
    assert "pickled" in problem


def test_no_problem_quotes_a_secret() -> None:
    token = "phs_verysecretverysecret"
    for name in FACTS:
        if name != "session_recording_sample_rate":
            assert token not in str(problems(**{name: (token, Secret(token))}))


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary() | st.decimals(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=3)
        | st.tuples(inner)
        | st.builds(Secret, st.text())
    ),
    max_leaves=6,
)


@given(st.sampled_from([field.name for field in attrs.fields(TeamSettings)]), anything)
def test_what_passes_goes_out_and_comes_back_as_it_was(name: str, value: Any) -> None:
    try:
        settings = TeamSettings(**{name: value})
    except ConfigurationError:
        return
    if problems_of(settings):
        return
    wire = unstructure(settings)
    read = decode(encode({"id": 1, "name": "a", **wire}), Environment)
    assert unstructure(read.settings) == {"name": "a", **wire}
    assert getattr(read.settings, name) == getattr(settings, name)
