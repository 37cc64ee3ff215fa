"""The nested objects among the settings. Keys that are not set are not sent; keys that no class knows are kept in ``extra``."""

from typing import Literal

import attrs
from msgspec import UNSET, UnsetType

from aioposthog_env.models.fields import JSONValue, extra, key


@attrs.frozen(kw_only=True)
class SessionRecordingLinkedFlag:
    """Record only where a feature flag is on. Servers take exactly ``id`` and ``key``, and perhaps ``variant``."""

    id: int | str | UnsetType = UNSET
    """The flag's id; a text of digits is turned into a number by newer servers."""
    key: str | UnsetType = UNSET
    """The flag's key."""
    variant: str | None | UnsetType = UNSET
    """One variant of the flag."""
    extra: dict[str, JSONValue] = extra()


@attrs.frozen(kw_only=True)
class NetworkPayloadCaptureConfig:
    """What of network requests is recorded. Replaced as a whole."""

    record_headers: bool | None | UnsetType = key("recordHeaders")
    """Record headers."""
    record_body: bool | None | UnsetType = key("recordBody")
    """Record bodies."""
    extra: dict[str, JSONValue] = extra()


@attrs.frozen(kw_only=True)
class MaskingConfig:
    """What is masked in recordings. Replaced as a whole."""

    mask_all_inputs: bool | None | UnsetType = key("maskAllInputs")
    """Mask every input."""
    mask_text_selector: str | None | UnsetType = key("maskTextSelector")
    """CSS selector of texts to mask."""
    block_selector: str | None | UnsetType = key("blockSelector")
    """CSS selector of elements to leave out."""
    extra: dict[str, JSONValue] = extra()


@attrs.frozen(kw_only=True)
class SessionReplayAIConfig:
    """What the AI sees of recordings. Lists inside are replaced."""

    opt_in: bool | None | UnsetType = UNSET
    """Whether AI may look at recordings."""
    preferred_events: list[str] | None | UnsetType = UNSET
    """Events that matter most."""
    excluded_events: list[str] | None | UnsetType = UNSET
    """Events to leave out."""
    included_event_properties: list[str] | None | UnsetType = UNSET
    """Properties of events to look at."""
    important_user_properties: list[str] | None | UnsetType = UNSET
    """Properties of persons to look at."""
    extra: dict[str, JSONValue] = extra()


@attrs.frozen(kw_only=True)
class SessionReplayConfig:
    """Merged with what is stored, one level deep; null clears all of it."""

    record_canvas: bool | None | UnsetType = UNSET
    """Record canvas elements."""
    ai_config: SessionReplayAIConfig | None | UnsetType = UNSET
    """What the AI sees."""
    extra: dict[str, JSONValue] = extra()


@attrs.frozen(kw_only=True)
class TriggerGroup:
    """One group of conditions under which sessions are recorded."""

    id: str | UnsetType = UNSET
    """The group's id."""
    name: str | None | UnsetType = UNSET
    """The group's name."""
    sample_rate: float | None | UnsetType = key("sampleRate")
    """The part of matching sessions to record, 0 to 1."""
    min_duration_ms: int | None | UnsetType = key("minDurationMs")
    """Record only sessions that last this many milliseconds, 0 to 30,000."""
    conditions: JSONValue | UnsetType = UNSET
    """What must hold; passed through."""
    extra: dict[str, JSONValue] = extra()


@attrs.frozen(kw_only=True)
class TriggerGroups:
    """Groups of recording conditions. Replaced as a whole."""

    version: int | UnsetType = UNSET
    """Always 2."""
    groups: list[TriggerGroup] | UnsetType = UNSET
    """The groups."""
    fallback_sample_rate: float | None | UnsetType = key("fallbackSampleRate")
    """The part of all other sessions to record, 0 to 1."""
    extra: dict[str, JSONValue] = extra()


@attrs.frozen(kw_only=True)
class RevenueAnalyticsConfig:
    """Each key is written by itself; lists inside are replaced; an empty object changes nothing."""

    base_currency: str | UnsetType = UNSET
    """Currency code, such as ``EUR``."""
    events: list[JSONValue] | UnsetType = UNSET
    """Events that carry revenue."""
    goals: list[JSONValue] | UnsetType = UNSET
    """Goals; servers up to 2025."""
    filter_test_accounts: bool | UnsetType = UNSET
    """Leave test accounts out."""
    extra: dict[str, JSONValue] = extra()


@attrs.frozen(kw_only=True)
class MarketingAnalyticsConfig:
    """Each key is written by itself. ``sources_map`` is merged per source; null removes a source."""

    sources_map: dict[str, JSONValue] | UnsetType = UNSET
    """How the columns of each source are read."""
    conversion_goals: list[JSONValue] | UnsetType = UNSET
    """What counts as a conversion."""
    attribution_window_days: int | UnsetType = UNSET
    """1 to 90."""
    attribution_mode: Literal["first_touch", "last_touch", "linear", "time_decay", "position_based"] | str | UnsetType = UNSET
    """Which touch a conversion is credited to; the last three since 2026."""
    campaign_name_mappings: dict[str, JSONValue] | UnsetType = UNSET
    """Campaign names that mean the same."""
    custom_source_mappings: dict[str, JSONValue] | UnsetType = UNSET
    """Sources that mean the same; since 2026."""
    campaign_field_preferences: dict[str, JSONValue] | UnsetType = UNSET
    """Which field names a campaign; since 2026."""
    filter_test_accounts: bool | UnsetType = UNSET
    """Leave test accounts out; since 2026."""
    extra: dict[str, JSONValue] = extra()


@attrs.frozen(kw_only=True)
class CustomerAnalyticsConfig:
    """Each key is written by itself. Since 2026."""

    activity_event: JSONValue | UnsetType = UNSET
    """What counts as activity."""
    signup_pageview_event: JSONValue | UnsetType = UNSET
    """What counts as a view of the sign-up page."""
    signup_event: JSONValue | UnsetType = UNSET
    """What counts as a sign-up."""
    subscription_event: JSONValue | UnsetType = UNSET
    """What counts as a subscription."""
    payment_event: JSONValue | UnsetType = UNSET
    """What counts as a payment."""
    account_group_type_index: int | None | UnsetType = UNSET
    """The group type of accounts; it must exist."""
    extra: dict[str, JSONValue] = extra()


@attrs.frozen(kw_only=True)
class WorkflowsConfig:
    """Each key is written by itself. Since 2026."""

    capture_workflows_engagement_events: bool | UnsetType = UNSET
    """Record what people do with workflow messages."""
    email_tracking_consent_mode: Literal["off", "opt_out", "opt_in"] | str | UnsetType = UNSET
    """How consent to e-mail tracking is asked for."""
    extra: dict[str, JSONValue] = extra()


@attrs.frozen(kw_only=True)
class FeatureFlagPolicyConfig:
    """Each key is written by itself. Newest servers."""

    require_tags: bool | UnsetType = UNSET
    """Flags must have tags."""
    extra: dict[str, JSONValue] = extra()


@attrs.frozen(kw_only=True)
class LogsSettings:
    """How logs are kept. Replaced as a whole. Since 2026."""

    retention_days: int | None | UnsetType = UNSET
    """14 or 30; may change once in 24 hours, and depends on the plan."""
    extra: dict[str, JSONValue] = extra()
