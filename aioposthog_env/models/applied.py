"""Did it take effect? The settings that were asked for, held against what the server returned.

PostHog ignores silently what its version does not know and what the plan does not include, with status 200. It also writes
some values in its own way; those are no differences:

* ``0.4`` comes back as ``"0.40"``, texts trimmed, ``02:00`` as ``02:00:00``, an empty webhook as null;
* nulls in lists of sites are dropped;
* a flag's id of digits becomes a number;
* objects that are merged hold more than was asked, and a null removes a key;
* keys of the conversations settings that the server manages are dropped;
* ``default_data_theme`` reads back the server's default where the organization lacks colour themes.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Final

import attrs

from aioposthog_env.models.converter import unstructure
from aioposthog_env.models.environment import Environment
from aioposthog_env.models.fields import JSONValue
from aioposthog_env.models.settings import FACTS, SERVER_MANAGED_CONVERSATION_KEYS, TeamSettings
from aioposthog_env.models.types import members


def not_applied(asked: TeamSettings, got: Environment) -> list[str]:
    """The settings that the server did not take, sorted. A setting that the reply does not show is one.

    Args:
        asked: What was sent.
        got: What came back.
    """
    wanted, shown = unstructure(asked), unstructure(got.settings)
    return sorted(name for name, value in wanted.items() if name not in shown or not as_asked(name, value, shown[name]))


def as_asked(name: str, wanted: JSONValue, got: JSONValue) -> bool:
    """Whether a setting, as it goes over the wire, came back as it was asked for."""
    if name == "default_data_theme":
        return True
    if name == "session_recording_sample_rate" and isinstance(wanted, str) and isinstance(got, str):
        return Decimal(wanted) == Decimal(got)
    wanted, got = rewritten(name, wanted), rewritten(name, got)
    if wanted is None:
        # Clearing an object that is merged may leave an empty one.
        return got is None or (got == {} and FACTS[name].merge != "replace")
    return _contained(wanted, got) if name in _COMPARED_BY_KEYS else _trimmed(wanted) == _trimmed(got)


def rewritten(name: str, value: JSONValue) -> JSONValue:
    """A value as the server writes it."""
    rewrite = _REWRITES.get(name)
    return value if rewrite is None else rewrite(value)


def is_compared_by_keys(name: str) -> bool:
    """Whether a setting is an object of which the keys that were asked for are compared, whatever else it holds."""
    return name in _COMPARED_BY_KEYS


def without_nulls_inside(value: JSONValue) -> JSONValue:
    """An object without keys that are null, which to the server are keys that are not there."""
    if isinstance(value, dict):
        return {key: without_nulls_inside(item) for key, item in value.items() if item is not None}
    return value


def _trimmed(value: JSONValue) -> JSONValue:
    if isinstance(value, list):
        return [one.strip() if isinstance(one, str) else one for one in value]
    return value.strip() if isinstance(value, str) else value


def _contained(wanted: JSONValue, got: JSONValue) -> bool:
    """Whether an object holds what was asked. A null asked for is also fulfilled by the absence of the key."""
    if isinstance(wanted, dict):
        # Nothing asked for is held by nothing.
        held: JSONValue = {} if got is None else got
        return isinstance(held, dict) and all(
            _contained(value, held[key]) if key in held else value is None or value == {} for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return isinstance(got, list) and len(wanted) == len(got) and all(map(_contained, wanted, got))
    return wanted == got


def _without_nulls(value: JSONValue) -> JSONValue:
    return [one for one in value if one is not None] if isinstance(value, list) else value


def _null_for_empty(value: JSONValue) -> JSONValue:
    return value or None


def _with_seconds(value: JSONValue) -> JSONValue:
    return f"{value}:00" if isinstance(value, str) and value.count(":") == 1 else value


def _id_as_text(value: JSONValue) -> JSONValue:
    return {key: str(part) if key == "id" else part for key, part in value.items()} if isinstance(value, dict) else value


def _without_managed(value: JSONValue) -> JSONValue:
    if not isinstance(value, dict):
        return value
    return {key: part for key, part in value.items() if not key.startswith(SERVER_MANAGED_CONVERSATION_KEYS)}


_REWRITES: Final[Mapping[str, Callable[[JSONValue], JSONValue]]] = {
    "app_urls": _without_nulls,
    "recording_domains": _without_nulls,
    "slack_incoming_webhook": _null_for_empty,
    "experiment_recalculation_time": _with_seconds,
    "session_recording_linked_flag": _id_as_text,
    "conversations_settings": _without_managed,
}
"""What the server makes of some values, done to both sides."""

_COMPARED_BY_KEYS: Final = frozenset(
    field.name
    for field in attrs.fields(TeamSettings)
    if FACTS[field.name].merge != "replace" or any(map(attrs.has, members(field.type)))
)
"""Objects of which the keys that were asked for must be there, whatever else is."""
