"""``TeamSettings``: every setting of an environment, in every generation of PostHog.

Built by hand it is a patch: what is not set is not sent, ``None`` is sent as null. Read from a reply it holds what the
server said, and what the server did not say is unset. A setting that a server's generation does not know is ignored by it
silently; the comparison of the reply with what was asked finds that.
"""

import copy
import functools
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal, TypeAlias, cast

import attrs
from msgspec import UNSET, UnsetType

from aioposthog_env.auth import Secret
from aioposthog_env.errors import ConfigurationError
from aioposthog_env.models.configs import (
    CustomerAnalyticsConfig,
    FeatureFlagPolicyConfig,
    LogsSettings,
    MarketingAnalyticsConfig,
    MaskingConfig,
    NetworkPayloadCaptureConfig,
    RevenueAnalyticsConfig,
    SessionRecordingLinkedFlag,
    SessionReplayConfig,
    TriggerGroups,
    WorkflowsConfig,
)
from aioposthog_env.models.fields import FieldFacts, JSONValue, keys_only, setting
from aioposthog_env.redacted import printable_half_built

__all__ = [
    "CONFIG_FIELDS_B",
    "FACTS",
    "MEMBER_SAFE_FIELDS",
    "UNSET",
    "JSONValue",
    "TeamSettings",
    "UnsetType",
]

Flag: TypeAlias = bool | UnsetType
OptionalFlag: TypeAlias = bool | None | UnsetType


def _as_decimal(value: Decimal | float | str | None | UnsetType) -> Decimal | None | UnsetType:
    if value is None or isinstance(value, UnsetType | Decimal):
        return value
    try:
        # A float by its shortest text: 0.4 is meant, not the binary fraction next to it.
        return Decimal(str(value))
    except (InvalidOperation, ValueError):
        given = repr(value) if isinstance(value, str) and len(value) <= 20 else f"a {type(value).__name__}"
        raise ConfigurationError(f"session_recording_sample_rate takes a number from 0 to 1, not {given}.") from None


def _as_secret(value: Secret | str | None | UnsetType) -> Secret | None | UnsetType:
    return Secret(value) if isinstance(value, str) else value


@printable_half_built
@attrs.frozen(kw_only=True, repr=False)
class TeamSettings:
    """The settings of an environment; see the module for unset and null."""

    name: str | UnsetType = setting(nullable=False)
    """1 to 200 characters, trimmed by the server; in the newest generation unique within the organization."""
    app_urls: list[str | None] | UnsetType = setting(nullable=False)
    """Sites that may use the toolbar, 200 characters each; nulls are dropped."""
    slack_incoming_webhook: Secret | None | UnsetType = attrs.field(
        default=UNSET, converter=_as_secret, metadata={"facts": FieldFacts(eras="ABC", secret=True)}
    )
    """A webhook of Slack, up to 500 characters. Gone in the newest generation."""
    anonymize_ips: Flag = setting(nullable=False)
    """Drop the IP addresses of events."""
    completed_snippet_onboarding: Flag = setting(nullable=False)
    """The snippet was installed."""
    test_account_filters: JSONValue | UnsetType = setting(nullable=False)
    """Filters that tell internal users; a list of property filters."""
    test_account_filters_default_checked: OptionalFlag = setting()
    """New insights leave internal users out."""
    path_cleaning_filters: JSONValue | UnsetType = setting()
    """A list of ``{alias, regex}``."""
    is_demo: Flag = setting(nullable=False)
    """A demo environment; one per organization."""
    timezone: str | UnsetType = setting(nullable=False)
    """A name of the time zone database, such as ``Europe/Berlin``, with its exact case."""
    data_attributes: JSONValue | UnsetType = setting(nullable=False)
    """HTML attributes that name elements; a list of texts."""
    person_display_name_properties: list[str] | None | UnsetType = setting()
    """Properties that name a person, 400 characters each."""
    correlation_config: JSONValue | UnsetType = setting()
    """What correlation analysis leaves out."""
    autocapture_opt_out: OptionalFlag = setting()
    """Switch autocapture off."""
    autocapture_exceptions_opt_in: OptionalFlag = setting()
    """Capture exceptions."""
    autocapture_web_vitals_opt_in: OptionalFlag = setting()
    """Capture web vitals."""
    autocapture_web_vitals_allowed_metrics: JSONValue | UnsetType = setting()
    """Which web vitals; a list of texts."""
    autocapture_exceptions_errors_to_ignore: list[str] | None | UnsetType = setting(nullable=False)
    """Exceptions to leave out, 300 characters of JSON in all. Reads as null until set; null cannot be written."""
    capture_console_log_opt_in: OptionalFlag = setting()
    """Record console logs."""
    capture_performance_opt_in: OptionalFlag = setting()
    """Record network performance."""
    capture_dead_clicks: OptionalFlag = setting(eras="BCD")
    """Capture clicks that do nothing."""
    session_recording_opt_in: Flag = setting(nullable=False)
    """Record sessions."""
    session_recording_sample_rate: Decimal | None | UnsetType = attrs.field(
        default=UNSET, converter=_as_decimal, metadata={"facts": FieldFacts()}
    )
    """The part of sessions to record: 0 to 1, two decimals."""
    session_recording_minimum_duration_milliseconds: int | None | UnsetType = setting()
    """Record only sessions that last this long: 0 to 30,000."""
    session_recording_linked_flag: SessionRecordingLinkedFlag | None | UnsetType = setting()
    """Record only where a feature flag is on."""
    session_recording_network_payload_capture_config: NetworkPayloadCaptureConfig | None | UnsetType = setting()
    """What of network requests is recorded."""
    session_recording_masking_config: MaskingConfig | None | UnsetType = setting(eras="BCD")
    """What is masked."""
    session_recording_url_trigger_config: list[JSONValue] | None | UnsetType = setting(eras="BCD")
    """Pages on which recording starts; a list of ``{url, matching}``."""
    session_recording_url_blocklist_config: list[JSONValue] | None | UnsetType = setting(eras="BCD")
    """Pages on which recording pauses."""
    session_recording_event_trigger_config: list[str | None] | None | UnsetType = setting(eras="BCD")
    """Events with which recording starts."""
    session_recording_trigger_match_type_config: Literal["all", "any"] | str | None | UnsetType = setting(eras="BCD")
    """Whether all triggers or any must match."""
    session_recording_trigger_groups: TriggerGroups | None | UnsetType = setting(eras="CD")
    """Groups of recording conditions."""
    session_recording_retention_period: Literal["30d", "90d", "1y", "5y"] | str | UnsetType = setting(
        eras="BCD", nullable=False
    )
    """How long recordings are kept; depends on the plan."""
    session_replay_config: SessionReplayConfig | None | UnsetType = setting(merge="merge")
    """Canvas and AI; merged with what is stored."""
    survey_config: JSONValue | UnsetType = setting(eras="BCD", merge="merge")
    """Appearance of surveys; the top level is merged with what is stored, null clears."""
    surveys_opt_in: OptionalFlag = setting()
    """Switch surveys on."""
    week_start_day: Literal[0, 1] | int | None | UnsetType = setting()
    """0 Sunday, 1 Monday."""
    primary_dashboard: int | None | UnsetType = setting(on_create=False)
    """The id of a dashboard of this environment."""
    live_events_columns: list[str] | None | UnsetType = setting()
    """Columns of the live view."""
    recording_domains: list[str | None] | None | UnsetType = setting()
    """Domains that may be recorded, 200 characters each; nulls are dropped."""
    cookieless_server_hash_mode: Literal[0, 1, 2] | int | None | UnsetType = setting(eras="BCD")
    """0 off, 1 stateless, 2 stateful."""
    human_friendly_comparison_periods: OptionalFlag = setting(eras="BCD")
    """Compare with 4 weeks rather than a month."""
    inject_web_apps: OptionalFlag = setting()
    """Kept by the server."""
    extra_settings: JSONValue | UnsetType = setting()
    """Anything."""
    modifiers: JSONValue | UnsetType = setting(merge="merge", merge_eras="CD")
    """Query modifiers; replaced up to 2025, merged since; null clears."""
    has_completed_onboarding_for: JSONValue | UnsetType = setting()
    """Product to true; replaced as a whole, so read before writing."""
    onboarding_tasks: JSONValue | UnsetType = setting(eras="BCD")
    """Task to state; replaced as a whole, so read before writing."""
    heatmaps_opt_in: OptionalFlag = setting()
    """Switch heatmaps on."""
    flags_persistence_default: OptionalFlag = setting(eras="BCD")
    """New flags persist across login."""
    feature_flag_confirmation_enabled: OptionalFlag = setting(eras="BCD")
    """Ask before a flag changes."""
    feature_flag_confirmation_message: str | None | UnsetType = setting(eras="BCD")
    """What is asked then."""
    default_evaluation_environments_enabled: OptionalFlag = setting(eras="B")
    """New flags get evaluation environments; renamed in 2026."""
    default_evaluation_contexts_enabled: OptionalFlag = setting(eras="CD")
    """New flags get evaluation contexts."""
    require_evaluation_contexts: OptionalFlag = setting(eras="CD")
    """Flags must have evaluation contexts."""
    default_data_theme: int | None | UnsetType = setting(eras="BCD")
    """The id of a colour theme; without that feature it reads back the server's default whatever was written."""
    revenue_analytics_config: RevenueAnalyticsConfig | UnsetType = setting(
        eras="BCD", nullable=False, merge="merge_per_key", on_create=False
    )
    """Revenue analytics."""
    marketing_analytics_config: MarketingAnalyticsConfig | UnsetType = setting(
        eras="BCD", nullable=False, merge="merge_per_key", on_create=False
    )
    """Marketing analytics."""
    customer_analytics_config: CustomerAnalyticsConfig | UnsetType = setting(
        eras="CD", nullable=False, merge="merge_per_key", on_create=False
    )
    """Customer analytics."""
    workflows_config: WorkflowsConfig | UnsetType = setting(eras="CD", nullable=False, merge="merge_per_key", on_create=False)
    """Workflows."""
    feature_flag_policy_config: FeatureFlagPolicyConfig | UnsetType = setting(
        eras="D", nullable=False, merge="merge_per_key", on_create=False
    )
    """Rules for feature flags."""
    base_currency: str | UnsetType = setting(eras="BCD", nullable=False)
    """Currency code, such as ``EUR``."""
    web_analytics_pre_aggregated_tables_enabled: OptionalFlag = setting(eras="BCD")
    """Use prepared tables for web analytics."""
    experiment_recalculation_time: str | None | UnsetType = setting(eras="B")
    """``HH:MM:SS`` in UTC; moved elsewhere in 2026."""
    receive_org_level_activity_logs: OptionalFlag = setting(eras="CD")
    """Show the organization's activity here; an organization's admin may set it."""
    business_model: Literal["b2b", "b2c", "other"] | str | None | UnsetType = setting(eras="CD")
    """Whom the product is for."""
    conversations_enabled: OptionalFlag = setting(eras="CD")
    """Switch conversations on, which makes a widget token; switching off removes it."""
    conversations_settings: JSONValue | UnsetType = setting(eras="CD", merge="merge", secret=True)
    """The top level is merged with what is stored, null clears. Holds a token, so it is not shown."""
    logs_settings: LogsSettings | None | UnsetType = setting(eras="CD")
    """How logs are kept."""
    proactive_tasks_enabled: OptionalFlag = setting(eras="CD")
    """Refused for most organizations."""

    def set_fields(self) -> Iterator[tuple[str, object]]:
        """The settings that are set, with their values."""
        for name in FACTS:
            value: object = getattr(self, name)
            if value is not UNSET:
                yield name, value

    def __repr__(self) -> str:
        shown = (f"{name}={_shown(name, value)}" for name, value in self.set_fields())
        return f"TeamSettings({', '.join(shown)})"

    def __copy__(self) -> "TeamSettings":
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "TeamSettings":
        return TeamSettings(**copy.deepcopy(dict(self.set_fields()), memo))  # type: ignore[arg-type]

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, ({name: _pickled(name, value) for name, value in self.set_fields()},)


def _hide_arguments(made: Callable[..., None]) -> Callable[..., None]:
    """An ``__init__`` that turns the secret among its arguments into a ``Secret`` before any of them can be refused.

    Otherwise the traceback of a value that is refused would show the webhook among the local variables.
    """

    @functools.wraps(made)
    def __init__(self: TeamSettings, **settings: Any) -> None:  # noqa: N807
        if "slack_incoming_webhook" in settings:
            settings["slack_incoming_webhook"] = _as_secret(settings["slack_incoming_webhook"])
        made(self, **settings)

    return __init__


setattr(TeamSettings, "__init__", _hide_arguments(TeamSettings.__init__))  # noqa: B010  no type checker takes an assignment


def _unpickled(values: Mapping[str, Any]) -> TeamSettings:
    return TeamSettings(**values)


def _pickled(name: str, value: object) -> object:
    """Secrets pickle without their value; the one among the conversations settings is left out."""
    if name == "conversations_settings" and isinstance(value, dict):
        settings = cast("dict[str, object]", value)
        return {key: item for key, item in settings.items() if key not in SERVER_MANAGED_CONVERSATION_KEYS}
    return value


def _shown(name: str, value: object) -> str:
    return keys_only(value) if name == "conversations_settings" and value is not None else repr(value)


SERVER_MANAGED_CONVERSATION_KEYS: Final = frozenset(
    {
        "widget_public_token",
        "slack_bot_token",
        "slack_team_id",
        "slack_enabled",
        "slack_scopes",
        "email_enabled",
        "teams_enabled",
        "teams_tenant_id",
        "teams_team_id",
        "teams_team_name",
        "teams_channel_id",
        "teams_channel_name",
        "teams_channels",
        "github_enabled",
        "github_integration_id",
        "github_repos",
    }
)
"""The keys of ``conversations_settings`` that the server keeps for itself (PostHog 2026-09): it drops them when they are
written, and two tokens are among them. Users may write every other key."""


FACTS: Final[Mapping[str, FieldFacts]] = {field.name: field.metadata["facts"] for field in attrs.fields(TeamSettings)}
"""The facts of every setting, by its name."""

CONFIG_FIELDS_B: Final = frozenset(name for name, facts in FACTS.items() if "B" in facts.eras) - {"name"}
"""For a PATCH of these alone the servers of 2025 ask for ``project:read`` only."""

MEMBER_SAFE_FIELDS: Final = frozenset(
    {
        "autocapture_exceptions_opt_in",
        "autocapture_web_vitals_allowed_metrics",
        "autocapture_web_vitals_opt_in",
        "completed_snippet_onboarding",
        "has_completed_onboarding_for",
        "onboarding_tasks",
        "primary_dashboard",
        "session_recording_opt_in",
        "surveys_opt_in",
    }
)
"""Since 2026 a project's admin alone may change any other setting."""
