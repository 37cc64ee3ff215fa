"""Desired settings held against those of an environment: what differs, what cannot be reached, and digests for later.

A difference is judged by what PATCH would do in the server's generation. Objects that are replaced must be equal. Objects that
are merged must hold what is asked; keys that are there and not asked for stay whatever is sent, which is said and not
promised. Whether the generation merges is taken as yes where it is not known.

What PostHog changes by itself is no setting, or is left out: the keys of the conversations settings that it manages.
"""

import hashlib
from collections.abc import Collection, Mapping
from typing import Final, TypeAlias

import msgspec

from aioposthog_env.models.applied import as_asked, is_compared_by_keys, rewritten, without_nulls_inside
from aioposthog_env.models.converter import unstructure
from aioposthog_env.models.fields import JSONValue
from aioposthog_env.models.settings import FACTS, SERVER_MANAGED_CONVERSATION_KEYS, TeamSettings

Digests: TypeAlias = Mapping[str, str]
"""Setting to a digest of its value. A setting that the server did not show has none."""

SENSITIVE: Final = frozenset(name for name, facts in FACTS.items() if facts.secret)
"""Settings whose values are never written to a plan or a journal, but as digests."""


def digests(settings: TeamSettings, names: Collection[str]) -> dict[str, str]:
    """Digests that tell later whether some settings are still the same.

    Args:
        settings: Of an environment, as it was read.
        names: Which settings.
    """
    shown = unstructure(settings)
    return {name: digest(name, shown[name]) for name in sorted(names) if name in shown}


def digest(name: str, value: JSONValue) -> str:
    """A SHA-256 digest of one setting; the keys of objects in any order."""
    text = msgspec.json.encode(rewritten(name, value), order="deterministic")
    return hashlib.sha256(text).hexdigest()


def differing(wanted: TeamSettings, got: TeamSettings, era: str) -> list[str]:
    """The settings that a PATCH would have to change, sorted.

    Args:
        wanted: What is desired; unset settings are not.
        got: What an environment has.
        era: The letter of the server's generation; any other text where it is not known.
    """
    asked, shown = unstructure(wanted), unstructure(got)
    return sorted(name for name, value in asked.items() if name not in shown or not _is(name, value, shown[name], era))


def _is(name: str, wanted: JSONValue, got: JSONValue, era: str) -> bool:
    if name == "default_data_theme":
        return wanted == got
    if is_compared_by_keys(name) and isinstance(wanted, dict) and not merges(name, era):
        return without_nulls_inside(rewritten(name, wanted)) == without_nulls_inside(rewritten(name, got))
    return as_asked(name, wanted, got)


def merges(name: str, era: str) -> bool:
    """Whether PATCH merges an object into the stored one, as far as is known."""
    facts = FACTS[name]
    return facts.merge != "replace" and (era in facts.merge_eras or era not in "ABCD")


def kept_keys(name: str, wanted: JSONValue, got: JSONValue, era: str) -> list[str]:
    """The keys of a merged object that stay although they are not asked for, sorted."""
    if not (isinstance(wanted, dict) and isinstance(got, dict) and FACTS[name].merge == "merge" and merges(name, era)):
        return []
    return sorted(key for key, value in got.items() if key not in wanted and value is not None)


def managed_keys(name: str, wanted: JSONValue) -> list[str]:
    """The keys that are asked for and that the server keeps for itself, sorted."""
    if name != "conversations_settings" or not isinstance(wanted, dict):
        return []
    return sorted(key for key in wanted if key.startswith(SERVER_MANAGED_CONVERSATION_KEYS))
