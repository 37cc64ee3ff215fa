"""What no PostHog takes, found before anything is sent, and all of it at once.

Only what every generation that has the setting refuses is refused here: null where there is none, ranges,
lengths, closed choices, known keys, and values of another type than declared. Time zones, currencies, product types and
attribution modes differ between servers and pass.
"""

import json
from collections.abc import Callable, Collection, Mapping
from decimal import Decimal
from typing import Any, Final, TypeAlias

import attrs
from msgspec import UNSET

from aioposthog_env.auth import Secret
from aioposthog_env.errors import ConfigurationError, InvalidSettingsError
from aioposthog_env.models.configs import (
    SessionRecordingLinkedFlag,
    TriggerGroup,
    TriggerGroups,
)
from aioposthog_env.models.settings import FACTS, TeamSettings
from aioposthog_env.models.types import Problems, misfits, not_json

Rule: TypeAlias = Callable[[str, Any], Problems]

_LONGEST_NAME: Final = 200


def check(settings: TeamSettings, *, creating: bool = False) -> None:
    """Refuse settings that no PostHog takes.

    Args:
        settings: What is to be sent.
        creating: Whether an environment is to be created with it.

    Raises:
        ConfigurationError: Not a ``TeamSettings``.
        InvalidSettingsError: Lists every problem.
    """
    if not isinstance(settings, TeamSettings):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigurationError(f"Settings are given as TeamSettings(…), not as a {type(settings).__name__}.")
    if problems := problems_of(settings, creating=creating):
        raise InvalidSettingsError(problems)


def problems_of(settings: TeamSettings, *, creating: bool = False) -> list[tuple[str, str]]:
    """Every problem, as field and sentence."""
    return [problem for name, value in settings.set_fields() for problem in _problems_of(name, value, creating=creating)]


def _problems_of(name: str, value: object, *, creating: bool) -> Problems:
    facts = FACTS[name]
    if creating and not facts.on_create:
        yield name, "cannot be given when an environment is created; update it afterwards"
    elif value is None:
        if not facts.nullable:
            yield name, "null is not taken"
    elif wrong := _wrong_types(name, value):
        yield from wrong
    elif (rule := _RULES.get(name)) is not None:
        yield from rule(name, value)


def _wrong_types(name: str, value: object) -> list[tuple[str, str]]:
    try:
        return list(misfits(value, _TYPES[name], name))
    except RecursionError:
        return [(name, "is nested too deep")]


_TYPES: Final[Mapping[str, Any]] = {field.name: field.type for field in attrs.fields(TeamSettings)}


def _within(least: float, most: float) -> Rule:
    def rule(name: str, value: Any) -> Problems:
        if not least <= value <= most:
            yield name, f"must be from {least:g} to {most:g}"

    return rule


def _one_of(*choices: object) -> Rule:
    def rule(name: str, value: Any) -> Problems:
        if value not in choices:
            yield name, f"must be one of {', '.join(map(str, choices))}"

    return rule


def _items_up_to(most: int) -> Rule:
    def rule(name: str, value: Collection[str | None]) -> Problems:
        for number, item in enumerate(value):
            if item is not None and len(item) > most:
                yield f"{name}[{number}]", f"is longer than {most} characters"

    return rule


def _name(name: str, value: str) -> Problems:
    if not value.strip():
        yield name, "must not be blank"
    elif len(value.strip()) > _LONGEST_NAME:
        yield name, f"is longer than {_LONGEST_NAME} characters"


def _webhook(name: str, value: Secret) -> Problems:
    try:
        url = value.reveal()
    except ConfigurationError as pickled:
        yield name, pickled.message
    else:
        if len(url) > 500:
            yield name, "is longer than 500 characters"
        yield from not_json(url, name)


def _sample_rate(name: str, value: Decimal) -> Problems:
    exponent = value.as_tuple().exponent
    # The exponent of NaN and infinity is a letter.
    if isinstance(exponent, str) or not 0 <= value <= 1:
        yield name, "must be from 0 to 1"
    elif exponent < -2:
        yield name, "takes two decimals at most"


def _errors_to_ignore(name: str, value: list[str]) -> Problems:
    # As Python's json writes it, which is what the server measures.
    if len(json.dumps(value)) > 300:
        yield name, "is longer than 300 characters of JSON"


def _linked_flag(name: str, value: SessionRecordingLinkedFlag) -> Problems:
    for part in ("id", "key"):
        if getattr(value, part) is UNSET:
            yield f"{name}.{part}", "is missing"


def _parts(**rules: Rule) -> Rule:
    def rule(name: str, value: Any) -> Problems:
        for part, inner in rules.items():
            item = getattr(value, part)
            if item is not UNSET and item is not None:
                yield from inner(f"{name}.{part}", item)

    return rule


_trigger_group: Final = _parts(sample_rate=_within(0, 1), min_duration_ms=_within(0, 30_000))


def _trigger_groups(name: str, value: TriggerGroups) -> Problems:
    if value.version != 2:
        yield f"{name}.version", "must be 2"
    if value.groups is UNSET:
        yield f"{name}.groups", "is missing"
    else:
        groups: list[TriggerGroup] = value.groups
        for number, group in enumerate(groups):
            if group.id is UNSET:
                yield f"{name}.groups[{number}].id", "is missing"
            yield from _trigger_group(f"{name}.groups[{number}]", group)
    yield from _parts(fallback_sample_rate=_within(0, 1))(name, value)


_RULES: Final[Mapping[str, Rule]] = {
    "name": _name,
    "app_urls": _items_up_to(200),
    "recording_domains": _items_up_to(200),
    "person_display_name_properties": _items_up_to(400),
    "slack_incoming_webhook": _webhook,
    "autocapture_exceptions_errors_to_ignore": _errors_to_ignore,
    "session_recording_sample_rate": _sample_rate,
    "session_recording_minimum_duration_milliseconds": _within(0, 30_000),
    "session_recording_linked_flag": _linked_flag,
    "session_recording_trigger_match_type_config": _one_of("all", "any"),
    "session_recording_trigger_groups": _trigger_groups,
    "session_recording_retention_period": _one_of("30d", "90d", "1y", "5y"),
    "week_start_day": _one_of(0, 1),
    "cookieless_server_hash_mode": _one_of(0, 1, 2),
    "marketing_analytics_config": _parts(attribution_window_days=_within(1, 90)),
    "workflows_config": _parts(email_tracking_consent_mode=_one_of("off", "opt_out", "opt_in")),
    "business_model": _one_of("b2b", "b2c", "other"),
    "logs_settings": _parts(retention_days=_one_of(14, 30)),
}
