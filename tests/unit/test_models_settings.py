"""The table of settings, pinned to the contract, and the conversions on construction."""

from decimal import Decimal
from typing import Any

import pytest

from aioposthog_env.auth import Secret
from aioposthog_env.errors import ConfigurationError
from aioposthog_env.models.settings import CONFIG_FIELDS_B, FACTS, MEMBER_SAFE_FIELDS, UNSET, TeamSettings

ERAS = {
    "ABC": "slack_incoming_webhook",
    "BCD": """
        capture_dead_clicks session_recording_masking_config session_recording_url_trigger_config
        session_recording_url_blocklist_config session_recording_event_trigger_config
        session_recording_trigger_match_type_config session_recording_retention_period survey_config
        cookieless_server_hash_mode human_friendly_comparison_periods onboarding_tasks flags_persistence_default
        feature_flag_confirmation_enabled feature_flag_confirmation_message default_data_theme revenue_analytics_config
        marketing_analytics_config base_currency web_analytics_pre_aggregated_tables_enabled
    """,
    "B": "default_evaluation_environments_enabled experiment_recalculation_time",
    "CD": """
        session_recording_trigger_groups default_evaluation_contexts_enabled require_evaluation_contexts
        customer_analytics_config workflows_config receive_org_level_activity_logs business_model conversations_enabled
        conversations_settings logs_settings proactive_tasks_enabled
    """,
    "D": "feature_flag_policy_config",
    "ABCD": """
        name app_urls anonymize_ips completed_snippet_onboarding test_account_filters test_account_filters_default_checked
        path_cleaning_filters is_demo timezone data_attributes person_display_name_properties correlation_config
        autocapture_opt_out autocapture_exceptions_opt_in autocapture_web_vitals_opt_in
        autocapture_web_vitals_allowed_metrics autocapture_exceptions_errors_to_ignore capture_console_log_opt_in
        capture_performance_opt_in session_recording_opt_in session_recording_sample_rate
        session_recording_minimum_duration_milliseconds session_recording_linked_flag
        session_recording_network_payload_capture_config session_replay_config surveys_opt_in week_start_day
        primary_dashboard live_events_columns recording_domains inject_web_apps extra_settings modifiers
        has_completed_onboarding_for heatmaps_opt_in
    """,
}
NOT_NULL = """
    name app_urls anonymize_ips completed_snippet_onboarding test_account_filters is_demo timezone data_attributes
    autocapture_exceptions_errors_to_ignore session_recording_opt_in session_recording_retention_period
    revenue_analytics_config marketing_analytics_config customer_analytics_config workflows_config
    feature_flag_policy_config base_currency
"""
PER_KEY = """
    revenue_analytics_config marketing_analytics_config customer_analytics_config workflows_config feature_flag_policy_config
"""


def test_every_setting_with_its_generations() -> None:
    assert {name: facts.eras for name, facts in FACTS.items()} == {
        name: eras for eras, names in ERAS.items() for name in names.split()
    }


def test_what_takes_null() -> None:
    assert {name for name, facts in FACTS.items() if not facts.nullable} == set(NOT_NULL.split())


def test_what_is_merged() -> None:
    rules = {name: (facts.merge, facts.merge_eras) for name, facts in FACTS.items() if facts.merge != "replace"}
    assert rules == {
        "session_replay_config": ("merge", "ABCD"),
        "survey_config": ("merge", "ABCD"),
        "modifiers": ("merge", "CD"),
        "conversations_settings": ("merge", "ABCD"),
        **dict.fromkeys(PER_KEY.split(), ("merge_per_key", "ABCD")),
    }


def test_what_is_not_given_on_creation_and_what_is_secret() -> None:
    assert {name for name, facts in FACTS.items() if not facts.on_create} == {"primary_dashboard", *PER_KEY.split()}
    assert {name for name, facts in FACTS.items() if facts.secret} == {"slack_incoming_webhook", "conversations_settings"}


def test_who_may_write_what() -> None:
    in_b = {name for eras, names in ERAS.items() if "B" in eras for name in names.split()}
    assert in_b - {"name"} == CONFIG_FIELDS_B
    assert {
        "completed_snippet_onboarding",
        "has_completed_onboarding_for",
        "onboarding_tasks",
        "session_recording_opt_in",
        "autocapture_exceptions_opt_in",
        "autocapture_web_vitals_opt_in",
        "autocapture_web_vitals_allowed_metrics",
        "surveys_opt_in",
        "primary_dashboard",
    } == MEMBER_SAFE_FIELDS


@pytest.mark.parametrize(
    ("given", "kept"),
    [(0.4, Decimal("0.4")), ("0.40", Decimal("0.4")), (1, Decimal(1)), (Decimal("0.5"), Decimal("0.5")), (None, None)],
)
def test_a_sample_rate_is_a_decimal(given: Any, kept: Decimal | None) -> None:
    assert TeamSettings(session_recording_sample_rate=given).session_recording_sample_rate == kept


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("half", "not 'half'"),
        (True, "not a bool"),
        ([], "not a list"),
        ("x" * 50, "a str"),
        pytest.param(10**5000, "a int", id="huge"),
    ],
)
def test_what_is_no_number_is_refused_by_name(given: Any, shown: str) -> None:
    with pytest.raises(ConfigurationError, match="session_recording_sample_rate takes a number") as caught:
        TeamSettings(session_recording_sample_rate=given)
    assert shown in str(caught.value)


def test_a_webhook_is_a_secret() -> None:
    url = "https://hooks.slack.example/services/T000"
    for given in (url, Secret(url)):
        settings = TeamSettings(slack_incoming_webhook=given)
        assert settings.slack_incoming_webhook == Secret(url)
        assert "T000" not in repr(settings)
    assert TeamSettings(slack_incoming_webhook=None).slack_incoming_webhook is None
    assert TeamSettings().slack_incoming_webhook is UNSET


def test_only_what_is_set_is_listed_and_shown() -> None:
    settings = TeamSettings(timezone="UTC", surveys_opt_in=None)
    assert dict(settings.set_fields()) == {"timezone": "UTC", "surveys_opt_in": None}
    assert repr(settings) == "TeamSettings(timezone='UTC', surveys_opt_in=None)"
