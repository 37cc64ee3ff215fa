"""Did it take effect? The settings that were asked for, held against what the server returned.

PostHog ignores silently what its version does not know and what the plan does not include, with status 200. It also writes
some values in its own way; those are no differences:

* ``0.4`` comes back as ``"0.40"``, a name trimmed, ``02:00`` as ``02:00:00``, an empty webhook as null;
* nulls in lists of sites are dropped;
* objects that are merged hold more than was asked;
* keys of the conversations settings that the server manages are dropped;
* ``default_data_theme`` reads back the server's default where the organization lacks colour themes.
"""

from collections.abc import Mapping
from typing import Final

from aioposthog_env.models.converter import unstructure
from aioposthog_env.models.environment import Environment
from aioposthog_env.models.fields import JSONValue
from aioposthog_env.models.settings import FACTS, TeamSettings

_DROPS_NULLS: Final = frozenset({"app_urls", "recording_domains"})
_SERVER_MANAGED: Final = ("widget_public_token", "slack_", "teams_")


def not_applied(asked: TeamSettings, environment: Environment) -> list[str]:
    """The settings that the server did not take, sorted.

    Args:
        asked: What was sent.
        environment: What came back.
    """
    wanted, got = unstructure(asked), unstructure(environment.settings)
    return sorted(name for name, value in wanted.items() if name not in got or not _as_asked(name, value, got[name]))


def _as_asked(name: str, wanted: JSONValue, got: JSONValue) -> bool:
    if name == "default_data_theme":
        return True
    if name == "session_recording_sample_rate" and isinstance(wanted, str) and isinstance(got, str):
        return float(wanted) == float(got)
    if name == "name" and isinstance(wanted, str):
        return wanted.strip() == got
    if name == "slack_incoming_webhook":
        return (wanted or None) == (got or None)
    if name == "experiment_recalculation_time" and isinstance(wanted, str) and isinstance(got, str):
        return _padded(wanted) == _padded(got)
    if name in _DROPS_NULLS and isinstance(wanted, list) and isinstance(got, list):
        return [one for one in wanted if one is not None] == [one for one in got if one is not None]
    if name == "session_recording_linked_flag" and isinstance(wanted, dict) and isinstance(got, dict):
        return _texts(wanted) == _texts(got)
    if name == "conversations_settings" and isinstance(wanted, dict):
        wanted = {key: value for key, value in wanted.items() if not key.startswith(_SERVER_MANAGED)}
    if FACTS[name].merge != "replace":
        return _contained(wanted, got)
    return wanted == got


def _padded(time: str) -> str:
    return time if time.count(":") == 2 else f"{time}:00"


def _texts(flag: Mapping[str, JSONValue]) -> dict[str, str]:
    # Newer servers turn an id of digits into a number.
    return {key: str(value) for key, value in flag.items()}


def _contained(wanted: JSONValue, got: JSONValue) -> bool:
    """Whether a merged object holds what was asked. A null asked for is also fulfilled by the absence of the key."""
    if not isinstance(wanted, dict):
        return wanted == got
    if not isinstance(got, dict):
        return not wanted
    return all(_contained(value, got[key]) if key in got else value is None or value == {} for key, value in wanted.items())
