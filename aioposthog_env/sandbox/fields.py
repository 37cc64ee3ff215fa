"""The settings of an environment as the servers know them: default, check, merge rule and eras, one row each."""

import copy
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import attrs

from aioposthog_env.sandbox.checks import (
    Check,
    any_list,
    anything,
    boolean,
    boolean_or_null,
    choice,
    config,
    errors_to_ignore,
    keyed,
    linked_flag,
    masking,
    match_type,
    only_keys_of,
    primary_key,
    replay,
    sample_rate,
    text,
    texts,
    timezone,
    whole,
)
from aioposthog_env.sandbox.json_checks import (
    account_filters,
    app_urls,
    currency,
    mapping,
    marketing_analytics,
    merged_appearance,
    modifiers,
    numbered_flag,
    path_cleaning,
    revenue_analytics,
    trigger_groups,
)


@attrs.frozen(kw_only=True)
class Row:
    """One setting.

    Attributes:
        check: How a value that is not null is checked and coerced.
        earlier: Other checks, by the letter of the generation.
        default: The value of a new environment.
        nullable: Whether null is taken.
        eras: In which generations it exists, as letters.
        early: Whether the project style of 2024 and 2025 shows it.
        merge: ``replace``, ``top`` (its keys into the stored object), ``two`` (also one level down) or ``config``.
        merge_eras: In which generations it is merged.
        on_create: Whether it can be given on creation.
    """

    check: Check = boolean
    earlier: Mapping[str, Check] = attrs.field(factory=dict[str, Check])
    default: Any = None
    nullable: bool = True
    eras: str = "ABD"
    early: bool = True
    merge: str = "replace"
    merge_eras: str = "ABD"
    on_create: bool = True

    def new(self) -> Any:
        """The default, not shared with any other environment."""
        return copy.deepcopy(self.default) if type(self.default) in {list, dict} else self.default


def _until_2025(check: Check) -> dict[str, Check]:
    return {"A": check, "B": check}


def _flag(default: bool | None = None, **facts: Any) -> Row:
    return Row(default=default, nullable=default is None, **facts)


ROWS: Final[dict[str, Row]] = {
    "name": Row(check=text(200, blank=False), default="Default project", nullable=False),
    "app_urls": Row(check=app_urls, earlier=_until_2025(texts(200, nulls="keep")), default=[], nullable=False),
    "slack_incoming_webhook": Row(check=text(500), eras="AB"),
    "anonymize_ips": _flag(False),
    "completed_snippet_onboarding": _flag(False),
    "test_account_filters": Row(check=account_filters, earlier=_until_2025(anything), default=[], nullable=False),
    "test_account_filters_default_checked": _flag(),
    "path_cleaning_filters": Row(check=path_cleaning, earlier=_until_2025(anything), default=[]),
    "is_demo": _flag(False),
    "timezone": Row(check=timezone, default="UTC", nullable=False),
    "data_attributes": Row(check=anything, default=["data-attr"], nullable=False),
    "person_display_name_properties": Row(check=texts(400)),
    "correlation_config": Row(check=anything, default={}),
    "autocapture_opt_out": _flag(),
    "autocapture_exceptions_opt_in": _flag(),
    "autocapture_web_vitals_opt_in": _flag(),
    "autocapture_web_vitals_allowed_metrics": Row(check=anything),
    "autocapture_exceptions_errors_to_ignore": Row(check=errors_to_ignore),
    "capture_console_log_opt_in": Row(default=True),
    "capture_performance_opt_in": Row(default=True),
    "capture_dead_clicks": Row(default=False, eras="BD", early=False),
    "session_recording_opt_in": _flag(False),
    "session_recording_sample_rate": Row(check=sample_rate),
    "session_recording_minimum_duration_milliseconds": Row(check=whole(0, 30_000), earlier={"A": whole(0, 15_000)}),
    "session_recording_linked_flag": Row(check=numbered_flag, earlier=_until_2025(linked_flag)),
    "session_recording_network_payload_capture_config": Row(
        check=keyed(
            "recordHeaders",
            "recordBody",
            refusal="Must provide a dictionary with only 'recordHeaders' and/or 'recordBody' keys.",
        )
    ),
    "session_recording_masking_config": Row(check=masking, eras="BD"),
    "session_recording_url_trigger_config": Row(check=any_list, default=[], eras="BD", early=False),
    "session_recording_url_blocklist_config": Row(check=any_list, default=[], eras="BD", early=False),
    "session_recording_event_trigger_config": Row(check=texts(nulls="keep", blank=True), default=[], eras="BD", early=False),
    "session_recording_trigger_match_type_config": Row(check=match_type, eras="BD", early=False),
    "session_recording_trigger_groups": Row(check=trigger_groups, eras="D"),
    "session_recording_retention_period": Row(
        check=choice("30d", "90d", "1y", "5y"), default="30d", nullable=False, eras="BD", early=False
    ),
    "session_replay_config": Row(check=replay, merge="two"),
    "survey_config": Row(check=merged_appearance, eras="BD", merge="top"),
    "surveys_opt_in": _flag(),
    "week_start_day": Row(check=choice(0, 1), default=0),
    "primary_dashboard": Row(check=primary_key, on_create=False),
    "live_events_columns": Row(check=texts()),
    "recording_domains": Row(check=texts(200, nulls="drop"), earlier=_until_2025(texts(200, nulls="keep"))),
    "cookieless_server_hash_mode": Row(check=choice(0, 1, 2), default=0, eras="BD", early=False),
    "human_friendly_comparison_periods": Row(default=False, eras="BD", early=False),
    "inject_web_apps": _flag(),
    "extra_settings": Row(check=mapping, earlier=_until_2025(anything)),
    "modifiers": Row(check=modifiers, earlier=_until_2025(anything), merge="top", merge_eras="D"),
    "has_completed_onboarding_for": Row(check=anything),
    "onboarding_tasks": Row(check=anything, eras="BD", early=False),
    "heatmaps_opt_in": _flag(),
    "flags_persistence_default": Row(default=False, eras="BD"),
    "feature_flag_confirmation_enabled": Row(default=False, eras="BD", early=False),
    "feature_flag_confirmation_message": Row(check=text(), eras="BD", early=False),
    "default_evaluation_environments_enabled": Row(default=False, eras="B", early=False),
    "default_evaluation_contexts_enabled": Row(default=False, eras="D"),
    "require_evaluation_contexts": Row(default=False, eras="D"),
    "default_data_theme": Row(check=whole(), default=1, eras="BD", early=False),
    "revenue_analytics_config": Row(
        check=revenue_analytics("refuses"),
        earlier={"B": revenue_analytics("crashes")},
        default={"base_currency": "USD", "events": [], "goals": [], "filter_test_accounts": False},
        nullable=False,
        eras="BD",
        early=False,
        merge="config",
        on_create=False,
    ),
    "marketing_analytics_config": Row(
        check=marketing_analytics("refuses", "linear", "time_decay", "position_based"),
        earlier={"B": marketing_analytics("crashes")},
        default={
            "sources_map": {},
            "conversion_goals": [],
            "attribution_window_days": 90,
            "attribution_mode": "last_touch",
            "campaign_name_mappings": {},
        },
        nullable=False,
        eras="BD",
        early=False,
        merge="config",
        on_create=False,
    ),
    "customer_analytics_config": Row(
        check=config(
            activity_event=anything,
            signup_pageview_event=anything,
            signup_event=anything,
            subscription_event=anything,
            payment_event=anything,
            account_group_type_index=anything,
        ),
        default={"activity_event": {"event": "$pageview"}},
        nullable=False,
        eras="D",
        merge="config",
        on_create=False,
    ),
    "workflows_config": Row(
        check=config(
            capture_workflows_engagement_events=boolean, email_tracking_consent_mode=choice("off", "opt_out", "opt_in")
        ),
        default={"capture_workflows_engagement_events": False, "email_tracking_consent_mode": "off"},
        nullable=False,
        eras="D",
        merge="config",
        on_create=False,
    ),
    "feature_flag_policy_config": Row(
        check=config(require_tags=boolean),
        default={"require_tags": False},
        nullable=False,
        eras="D",
        merge="config",
        on_create=False,
    ),
    "base_currency": Row(check=currency, default="USD", nullable=False, eras="BD", early=False),
    "web_analytics_pre_aggregated_tables_enabled": Row(default=False, eras="BD", early=False),
    "experiment_recalculation_time": Row(check=text(8), eras="B", early=False),
    "receive_org_level_activity_logs": Row(default=False, eras="D"),
    "business_model": Row(check=choice("b2b", "b2c", "other"), eras="D"),
    "conversations_enabled": _flag(eras="D"),
    "conversations_settings": Row(check=anything, eras="D", merge="top"),
    "logs_settings": Row(check=config(retention_days=choice(14, 30)), eras="D"),
    "proactive_tasks_enabled": _flag(eras="D"),
}


@cache
def settings_of(letter: str, lacks: frozenset[str]) -> Mapping[str, Row]:
    """The settings of a generation, as it checks and merges them.

    Args:
        letter: The letter of the generation.
        lacks: Settings that it lacks all the same; ``config.key`` is a key of a nested config.
    """
    known: dict[str, Row] = {}
    for name, row in ROWS.items():
        if letter not in row.eras or name in lacks:
            continue
        check, default = row.earlier.get(letter, row.check), row.default
        if check is boolean and row.nullable:
            check = boolean_or_null
        if row.merge == "config":
            default = {key: value for key, value in default.items() if f"{name}.{key}" not in lacks}
            check = only_keys_of(default, check) if default.keys() < row.default.keys() else check
        merge = row.merge if letter in row.merge_eras else "replace"
        known[name] = attrs.evolve(row, check=check, default=default, merge=merge)
    return known


MEMBER_SAFE: Final = frozenset(
    {
        "completed_snippet_onboarding",
        "has_completed_onboarding_for",
        "onboarding_tasks",
        "session_recording_opt_in",
        "autocapture_exceptions_opt_in",
        "autocapture_web_vitals_opt_in",
        "autocapture_web_vitals_allowed_metrics",
        "surveys_opt_in",
        "primary_dashboard",
    }
)
"""What a member may change in the newest generation; everything else needs a project's admin."""
