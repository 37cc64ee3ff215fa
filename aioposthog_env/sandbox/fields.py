"""The settings of an environment as the servers know them: default, check, merge rule and eras, one row each.

The checks answer in the words of Django REST framework, which PostHog uses: they coerce what can be coerced (``"true"`` is a
boolean, ``5`` a text) and refuse the rest with a code. They are the server's own and share nothing with the client's.
"""

import copy
import math
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from zoneinfo import available_timezones

import attrs
import msgspec

from aioposthog_env.sandbox.errors import invalid
from aioposthog_env.sandbox.json import is_list, is_object

Check = Callable[[str, Any], Any]


def anything(attr: str, value: Any) -> Any:
    """Unchecked JSON."""
    return value


def boolean(attr: str, value: Any) -> bool:
    """A boolean, also as a text or number."""
    if isinstance(value, str | int | float):
        text = str(value).lower()
        if text in {"true", "1", "1.0", "t", "yes", "y", "on"}:
            return True
        if text in {"false", "0", "0.0", "f", "no", "n", "off"}:
            return False
    raise invalid("Must be a valid boolean.", attr)


def text(longest: int | None = None, *, blank: bool = True) -> Check:
    """A text, trimmed; numbers become texts."""

    def check(attr: str, value: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise invalid("Not a valid string.", attr)
        trimmed = str(value).strip()
        if not trimmed and not blank:
            raise invalid("This field may not be blank.", attr, "blank")
        if longest is not None and len(trimmed) > longest:
            raise invalid(f"Ensure this field has no more than {longest} characters.", attr, "max_length")
        return trimmed

    return check


def whole(least: int | None = None, most: int | None = None) -> Check:
    """A whole number within bounds."""

    def check(attr: str, value: Any) -> int:
        try:
            number = int(str(value))
        except ValueError:
            raise invalid("A valid integer is required.", attr) from None
        if isinstance(value, bool):
            raise invalid("A valid integer is required.", attr)
        if most is not None and number > most:
            raise invalid(f"Ensure this value is less than or equal to {most}.", attr, "max_value")
        if least is not None and number < least:
            raise invalid(f"Ensure this value is greater than or equal to {least}.", attr, "min_value")
        return number

    return check


def primary_key(attr: str, value: Any) -> int:
    """The id of something else."""
    if isinstance(value, bool) or not str(value).isdigit():
        raise invalid(f"Incorrect type. Expected pk value, received {type(value).__name__}.", attr, "incorrect_type")
    return int(value)


def sample_rate(attr: str, value: Any) -> str:
    """A decimal from 0 to 1 with two places, kept as a text."""
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise invalid("A valid number is required.", attr) from None
    if isinstance(value, bool) or not number.is_finite():
        raise invalid("A valid number is required.", attr)
    places = max(0, -int(number.as_tuple().exponent))
    digits = max(len(number.as_tuple().digits), places)
    if digits > 3:
        raise invalid("Ensure that there are no more than 3 digits in total.", attr, "max_digits")
    if places > 2:
        raise invalid("Ensure that there are no more than 2 decimal places.", attr, "max_decimal_places")
    if digits - places > 1:
        raise invalid("Ensure that there are no more than 1 digits before the decimal point.", attr, "max_whole_digits")
    if number > 1:
        raise invalid("Ensure this value is less than or equal to 1.", attr, "max_value")
    if number < 0:
        raise invalid("Ensure this value is greater than or equal to 0.", attr, "min_value")
    return f"{number:.2f}"


def choice(*choices: Any) -> Check:
    """One of a closed set."""

    def check(attr: str, value: Any) -> Any:
        for known in choices:
            if str(known) == str(value) and not isinstance(value, bool):
                return known
        raise invalid(f'"{value}" is not a valid choice.', attr, "invalid_choice")

    return check


_TIMEZONES: Final = frozenset(available_timezones())


def timezone(attr: str, value: Any) -> str:
    """A name of the time zone database."""
    if value not in _TIMEZONES:
        raise invalid(f'"{value}" is not a valid choice.', attr, "invalid_choice")
    return str(value)


def texts(longest: int | None = None, *, drop_nulls: bool = False) -> Check:
    """A list of texts; nulls are taken, and dropped where later generations do so."""
    item = text(longest)

    def check(attr: str, value: Any) -> list[Any]:
        if not is_list(value):
            raise invalid(f'Expected a list of items but got type "{type(value).__name__}".', attr, "not_a_list")
        checked = [None if one is None else item(f"{attr}__{number}", one) for number, one in enumerate(value)]
        return [one for one in checked if one is not None] if drop_nulls else checked

    return check


def any_list(attr: str, value: Any) -> list[Any]:
    """A list of anything."""
    if not is_list(value):
        raise invalid(f'Expected a list of items but got type "{type(value).__name__}".', attr, "not_a_list")
    return value


def errors_to_ignore(attr: str, value: Any) -> Any:
    """A list of texts, 300 characters in all. Its errors name no field."""
    if not is_list(value):
        raise invalid("Must provide a list for field: autocapture_exceptions_errors_to_ignore.")
    if not all(isinstance(one, str) for one in value):
        raise invalid("Must provide a list of strings for field: autocapture_exceptions_errors_to_ignore.")
    if len(msgspec.json.encode(value)) > 300:
        raise invalid(
            "Field autocapture_exceptions_errors_to_ignore must be less than 300 characters. Complex config should be provided "
            "in posthog-js initialization."
        )
    return value


def keyed(*known: str, refusal: str = "") -> Check:
    """An object with known keys only."""
    only = refusal or f"Must provide a dictionary with only known keys. One or more of {', '.join(known)}."

    def check(attr: str, value: Any) -> dict[str, Any]:
        if not is_object(value):
            raise invalid("Must provide a dictionary or None.", attr)
        if not set(value) <= set(known):
            raise invalid(only, attr)
        return value

    return check


def linked_flag(attr: str, value: Any) -> dict[str, Any]:
    """A flag by id and key, with or without a variant."""
    if not is_object(value):
        raise invalid("Must provide a dictionary or None.", attr)
    if set(value) not in ({"id", "key"}, {"id", "key", "variant"}):
        raise invalid(
            "Must provide a dictionary with only 'id' and 'key' keys. _or_ only 'id', 'key', and 'variant' keys.", attr
        )
    return value


def config(**checks: Check) -> Check:
    """A nested config: each known key is checked by itself, unknown keys are ignored."""

    def check(attr: str, value: Any) -> dict[str, Any]:
        if not is_object(value):
            raise invalid(f"Invalid data. Expected a dictionary, but got {type(value).__name__}.", attr)
        return {key: checks[key](f"{attr}__{key}", one) for key, one in value.items() if key in checks}

    return check


def replay(attr: str, value: Any) -> Any:
    """The replay config and its AI part have known keys."""
    keyed("record_canvas", "ai_config")(attr, value)
    if is_object(value.get("ai_config")):
        keyed("included_event_properties", "opt_in", "preferred_events", "excluded_events", "important_user_properties")(
            attr, value["ai_config"]
        )
    return value


def trigger_groups(attr: str, value: Any) -> Any:
    """Version 2 with groups."""
    if not is_object(value) or value.get("version") != 2 or not isinstance(value.get("groups"), list):
        raise invalid("Must be an object of version 2 with groups.", attr)
    for group in value["groups"]:
        rate = group.get("sampleRate") if is_object(group) else math.nan
        if "id" not in group or (rate is not None and not 0 <= rate <= 1):
            raise invalid("Each group needs an id and a sampleRate from 0 to 1.", attr)
    return value


@attrs.frozen(kw_only=True)
class Row:
    """One setting.

    Attributes:
        check: How a value that is not null is checked and coerced.
        default: The value of a new environment.
        nullable: Whether null is taken.
        eras: In which generations it exists, as letters.
        early: Whether the project style of 2024 and 2025 shows it.
        merge: ``replace``, ``top`` (its keys into the stored object), ``two`` (also one level down) or ``config``.
        merge_eras: In which generations it is merged.
        on_create: Whether it can be given on creation.
    """

    check: Check = boolean
    default: Any = None
    nullable: bool = True
    eras: str = "ABD"
    early: bool = True
    merge: str = "replace"
    merge_eras: str = "ABD"
    on_create: bool = True
    first_check: Check | None = None
    """The check of 2024, where it was another one."""

    def check_in(self, letter: str) -> Check:
        """The check of a generation."""
        return self.first_check if letter == "A" and self.first_check is not None else self.check

    def new(self) -> Any:
        """The default, not shared with any other environment."""
        return copy.deepcopy(self.default) if type(self.default) in {list, dict} else self.default


def _flag(default: bool | None = None, **facts: Any) -> Row:
    return Row(default=default, nullable=default is None, **facts)


ROWS: Final[dict[str, Row]] = {
    "name": Row(check=text(200, blank=False), default="Default project", nullable=False),
    "app_urls": Row(check=texts(200, drop_nulls=True), default=[], nullable=False),
    "slack_incoming_webhook": Row(check=text(500), eras="AB"),
    "anonymize_ips": _flag(False),
    "completed_snippet_onboarding": _flag(False),
    "test_account_filters": Row(check=anything, default=[], nullable=False),
    "test_account_filters_default_checked": _flag(),
    "path_cleaning_filters": Row(check=anything, default=[]),
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
    "session_recording_minimum_duration_milliseconds": Row(check=whole(0, 30_000), first_check=whole(0, 15_000)),
    "session_recording_linked_flag": Row(check=linked_flag),
    "session_recording_network_payload_capture_config": Row(
        check=keyed(
            "recordHeaders",
            "recordBody",
            refusal="Must provide a dictionary with only 'recordHeaders' and/or 'recordBody' keys.",
        )
    ),
    "session_recording_masking_config": Row(
        check=keyed("maskAllInputs", "maskTextSelector", "blockSelector"), eras="BD", early=False
    ),
    "session_recording_url_trigger_config": Row(check=any_list, default=[], eras="BD", early=False),
    "session_recording_url_blocklist_config": Row(check=any_list, default=[], eras="BD", early=False),
    "session_recording_event_trigger_config": Row(check=texts(), default=[], eras="BD", early=False),
    "session_recording_trigger_match_type_config": Row(check=choice("all", "any"), eras="BD", early=False),
    "session_recording_trigger_groups": Row(check=trigger_groups, eras="D"),
    "session_recording_retention_period": Row(
        check=choice("30d", "90d", "1y", "5y"), default="30d", nullable=False, eras="BD", early=False
    ),
    "session_replay_config": Row(check=replay, merge="two"),
    "survey_config": Row(check=anything, eras="BD", early=False, merge="top"),
    "surveys_opt_in": _flag(),
    "week_start_day": Row(check=choice(0, 1), default=0),
    "primary_dashboard": Row(check=primary_key, on_create=False),
    "live_events_columns": Row(check=texts()),
    "recording_domains": Row(check=texts(200, drop_nulls=True)),
    "cookieless_server_hash_mode": Row(check=choice(0, 1, 2), default=0, eras="BD", early=False),
    "human_friendly_comparison_periods": Row(default=False, eras="BD", early=False),
    "inject_web_apps": _flag(),
    "extra_settings": Row(check=anything),
    "modifiers": Row(check=anything, merge="top", merge_eras="D"),
    "has_completed_onboarding_for": Row(check=anything),
    "onboarding_tasks": Row(check=anything, eras="BD", early=False),
    "heatmaps_opt_in": _flag(),
    "flags_persistence_default": Row(default=False, eras="BD", early=False),
    "feature_flag_confirmation_enabled": Row(default=False, eras="BD", early=False),
    "feature_flag_confirmation_message": Row(check=text(), eras="BD", early=False),
    "default_evaluation_environments_enabled": Row(default=False, eras="B", early=False),
    "default_evaluation_contexts_enabled": Row(default=False, eras="D"),
    "require_evaluation_contexts": Row(default=False, eras="D"),
    "default_data_theme": Row(check=whole(), default=1, eras="BD", early=False),
    "revenue_analytics_config": Row(
        check=config(base_currency=text(3), events=any_list, goals=any_list, filter_test_accounts=boolean),
        default={"base_currency": "USD", "events": [], "filter_test_accounts": False},
        nullable=False,
        eras="BD",
        early=False,
        merge="config",
        on_create=False,
    ),
    "marketing_analytics_config": Row(
        check=config(
            sources_map=anything,
            conversion_goals=any_list,
            attribution_window_days=whole(1, 90),
            attribution_mode=choice("first_touch", "last_touch", "linear", "time_decay", "position_based"),
            campaign_name_mappings=anything,
        ),
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
    "base_currency": Row(check=text(3), default="USD", nullable=False, eras="BD", early=False),
    "web_analytics_pre_aggregated_tables_enabled": Row(default=False, eras="BD", early=False),
    "experiment_recalculation_time": Row(check=text(8), eras="B", early=False),
    "receive_org_level_activity_logs": Row(default=False, eras="D"),
    "business_model": Row(check=choice("b2b", "b2c", "other"), eras="D"),
    "conversations_enabled": _flag(eras="D"),
    "conversations_settings": Row(check=anything, eras="D", merge="top"),
    "logs_settings": Row(check=config(retention_days=choice(14, 30)), eras="D"),
    "proactive_tasks_enabled": _flag(eras="D"),
}

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
