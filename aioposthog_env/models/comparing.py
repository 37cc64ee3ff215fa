"""Is it the same value? The only place that knows how PostHog stores, completes and rewrites settings.

All values here are JSON as it goes over the wire. There are two questions:

* ``same``: do two values mean the same state of an environment? They do if they have the same *canonical form*. A digest is
  made from that form, so two values are the same if and only if their digests are equal. Plans, journals and audits keep
  digests.
* ``unsatisfied``: which part of a request does a state not show? An object may hold more keys than were requested, and a
  null in a request asks for the absence of a key.

PostHog ignores silently, with status 200, what its version does not know and what the plan does not include. It also writes
some values in its own way, which makes no difference:

* ``0.4`` comes back as ``"0.40"``, texts trimmed, ``02:00`` as ``02:00:00``, an empty webhook as null;
* nulls in lists of sites are dropped;
* cohort filters among the test account filters get a read-only ``cohort_name`` (PostHog 2026-09);
* the id of a linked flag becomes a number, and its ``key`` the flag's current key (PostHog 2026-09);
* the conversations settings lose the 16 keys that the server manages (PostHog 2026-09);
* keys that are null inside an object are keys that are not there, and an object that is merged may be empty instead of null;
* ``default_data_theme`` reads back the server's default if the organization lacks colour themes.
"""

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Final, TypeAlias

import attrs
import msgspec

from aioposthog_env.models.converter import unstructure
from aioposthog_env.models.environment import Environment
from aioposthog_env.models.fields import JSONValue
from aioposthog_env.models.settings import FACTS, SERVER_MANAGED_CONVERSATION_KEYS, TeamSettings
from aioposthog_env.models.types import members, step

Digests: TypeAlias = Mapping[str, str]
"""Setting to a digest of its value. A setting that the server did not show has none."""

_DEEPEST: Final = 100
"""Levels of nesting that are compared key by key; no setting of PostHog has as many."""

SENSITIVE: Final = frozenset(name for name, facts in FACTS.items() if facts.secret)
"""Settings whose values a plan or a journal holds as digests only."""


def same(name: str, one: JSONValue, other: JSONValue, era: str = "") -> bool:
    """Return whether two values of a setting mean the same state of an environment.

    Args:
        name: The setting.
        one: A value.
        other: Another value.
        era: The letter of the server's generation; any other text if it is not known.
    """
    return _text(canonical(name, one, era)) == _text(canonical(name, other, era))


def canonical(name: str, value: JSONValue, era: str = "") -> JSONValue:
    """Return the one form of all values that mean the same state of an environment."""
    stored = _stored(name, value, era)
    if name not in _OBJECTS:
        return stored
    held = _walked(stored, nulls=False)
    return None if held == {} and FACTS[name].merge != "replace" else held


def digest(name: str, value: JSONValue) -> str:
    """Return a SHA-256 digest of the state that a value means, as 64 hexadecimal digits."""
    return hashlib.sha256(_text(canonical(name, value))).hexdigest()


def digests(settings: TeamSettings, names: Collection[str]) -> dict[str, str]:
    """Return the digests of some settings of an environment, for those that it shows.

    Args:
        settings: Of an environment, as it was read.
        names: Which settings.
    """
    shown = unstructure(settings)
    return {name: digest(name, shown[name]) for name in sorted(names) if name in shown}


def exact_digest(value: JSONValue) -> str:
    """Return a SHA-256 digest of a value as it is, with the keys of objects in any order.

    A request is more than the state that it leads to: a null removes a key of a merged object, and a missing key does not.
    """
    return hashlib.sha256(_text(value)).hexdigest()


def unsatisfied(name: str, requested: JSONValue, shown: JSONValue, era: str = "") -> Iterator[str]:
    """Yield the parts of a request that a state does not show: the setting, or the keys inside it.

    Args:
        name: The setting.
        requested: Its value in the request.
        shown: Its value in the environment.
        era: The letter of the server's generation; any other text if it is not known.
    """
    if name in _READS_BACK_OTHERWISE:
        return
    if requested is None:
        if canonical(name, shown, era) is not None:
            yield name
        return
    requested, shown = _stored(name, requested, era), _stored(name, shown, era)
    if name in _OBJECTS:
        yield from _missing(requested, shown, name)
    elif _text(requested) != _text(shown):
        yield name


def satisfies(name: str, requested: JSONValue, shown: JSONValue, era: str = "") -> bool:
    """Return whether a state shows all of a request; see ``unsatisfied``."""
    return next(unsatisfied(name, requested, shown, era), None) is None


def not_applied(requested: TeamSettings, environment: Environment) -> list[str]:
    """Return what the server did not apply, sorted: settings, and keys inside settings, such as ``survey_config.color``.

    A setting that the response does not show counts as not applied.

    Args:
        requested: The settings that were sent.
        environment: The environment in the response.
    """
    wanted, shown = unstructure(requested), unstructure(environment.settings)
    parts = [unsatisfied(name, value, shown[name]) if name in shown else (name,) for name, value in wanted.items()]
    return sorted(part for some in parts for part in some)


def differing(wanted: TeamSettings, got: TeamSettings, era: str) -> list[str]:
    """Return the settings that a PATCH would have to change, sorted.

    An object that PATCH replaces must be the same. An object that PATCH merges must show what is wanted; its other keys stay
    whatever is sent. If the generation is not known, PATCH is taken to merge.

    Args:
        wanted: What is desired; settings that are not set do not differ.
        got: What an environment has.
        era: The letter of the server's generation; any other text if it is not known.
    """
    requested, shown = unstructure(wanted), unstructure(got)
    return sorted(name for name, value in requested.items() if name not in shown or not _is(name, value, shown[name], era))


def _is(name: str, wanted: JSONValue, got: JSONValue, era: str) -> bool:
    return satisfies(name, wanted, got, era) if merges(name, era) else same(name, wanted, got, era)


def merges(name: str, era: str) -> bool:
    """Return whether PATCH merges an object into the stored one, as far as is known."""
    facts = FACTS[name]
    return facts.merge != "replace" and _may_be(era, facts.merge_eras)


def kept_keys(name: str, wanted: JSONValue, got: JSONValue, era: str) -> list[str]:
    """Return the keys of a merged object that stay although they are not wanted, sorted."""
    if not (isinstance(wanted, dict) and isinstance(got, dict) and FACTS[name].merge == "merge" and merges(name, era)):
        return []
    return sorted(key for key, value in got.items() if key not in wanted and value is not None)


def managed_keys(name: str, wanted: JSONValue) -> list[str]:
    """Return the keys that are requested and that the server keeps for itself, sorted."""
    if name != "conversations_settings" or not isinstance(wanted, dict):
        return []
    return sorted(wanted.keys() & SERVER_MANAGED_CONVERSATION_KEYS)


def _may_be(era: str, eras: str) -> bool:
    """Return whether a server may be of some generations; one that is not known may be of any."""
    return era in eras or era not in "ABCD"


def _text(value: JSONValue) -> bytes:
    # Python takes True for 1; as JSON they are two values.
    return msgspec.json.encode(value, order="deterministic")


def _missing(requested: JSONValue, shown: JSONValue, path: str, depth: int = _DEEPEST) -> Iterator[str]:
    """Yield the paths of what is requested and not shown. The absence of a key also satisfies a null or an empty object."""
    if isinstance(requested, dict) and depth:
        held = {} if shown is None and not any(map(_asks, requested.values())) else shown
        if not isinstance(held, dict):
            yield path
            return
        for key, value in requested.items():
            if key in held:
                yield from _missing(value, held[key], path + step(key), depth - 1)
            elif _asks(value):
                yield path + step(key)
    elif isinstance(requested, list) and isinstance(shown, list) and len(requested) == len(shown) and depth:
        # A list is replaced as a whole, so it is named as a whole.
        pairs = zip(requested, shown, strict=True)
        if any(True for one, other in pairs for _ in _missing(one, other, path, depth - 1)):
            yield path
    elif _text(requested) != _text(shown):
        yield path


def _asks(value: JSONValue) -> bool:
    return value is not None and value != {}


def _stored(name: str, value: JSONValue, era: str) -> JSONValue:
    """Return a value as the server stores it, without what the server decides by itself."""
    for rule in _RULES.get(name, ()):
        if _may_be(era, rule.eras):
            value = rule.apply(value)
    return _walked(value, nulls=True)


def _walked(value: JSONValue, *, nulls: bool, depth: int = _DEEPEST) -> JSONValue:
    """Return a value in which numbers without a fraction are integers: 1.0 and 1 are one number in JSON.

    Args:
        value: The value. Parts that are nested deeper than any setting stay as they are.
        nulls: Whether objects keep keys that are null.
        depth: How many levels to go down.
    """
    if isinstance(value, dict) and depth:
        kept = value.items() if nulls else [(key, item) for key, item in value.items() if item is not None]
        return {key: _walked(item, nulls=nulls, depth=depth - 1) for key, item in kept}
    if isinstance(value, list) and depth:
        return [_walked(item, nulls=nulls, depth=depth - 1) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


def _two_decimals(value: JSONValue) -> JSONValue:
    if value is None or isinstance(value, bool | list | dict):
        return value
    try:
        given = Decimal(str(value))
        rounded = given.quantize(_CENT)
    except InvalidOperation:
        return value
    # Adding zero turns -0.00 into 0.00.
    return str(rounded + 0) if rounded == given else value


_CENT: Final = Decimal("0.01")


def _trimmed(value: JSONValue) -> JSONValue:
    if isinstance(value, list):
        return [one.strip() if isinstance(one, str) else one for one in value]
    return value.strip() if isinstance(value, str) else value


def _without_null_items(value: JSONValue) -> JSONValue:
    return [one for one in value if one is not None] if isinstance(value, list) else value


def _null_for_empty(value: JSONValue) -> JSONValue:
    return None if value == "" else value


def _with_seconds(value: JSONValue) -> JSONValue:
    return f"{value}:00" if isinstance(value, str) and value.count(":") == 1 else value


def _without_cohort_names(value: JSONValue) -> JSONValue:
    if not isinstance(value, list):
        return value
    return [_without(one, {"cohort_name"}) if isinstance(one, dict) and one.get("type") == "cohort" else one for one in value]


def _id_as_text(value: JSONValue) -> JSONValue:
    return value | {"id": str(value["id"])} if isinstance(value, dict) and "id" in value else value


def _without_key(value: JSONValue) -> JSONValue:
    return _without(value, {"key"}) if isinstance(value, dict) and "id" in value else value


def _without_managed(value: JSONValue) -> JSONValue:
    return _without(value, SERVER_MANAGED_CONVERSATION_KEYS)


def _without(value: JSONValue, keys: Collection[str]) -> JSONValue:
    return {key: part for key, part in value.items() if key not in keys} if isinstance(value, dict) else value


@attrs.frozen
class _Rule:
    """Something that the server does to a value.

    Attributes:
        apply: The same done to a value; doing it twice changes nothing more.
        eras: The generations that do it.
    """

    apply: Callable[[JSONValue], JSONValue]
    eras: str = "ABCD"


_TRIM: Final = _Rule(_trimmed)
_SITES: Final = (_Rule(_without_null_items), _TRIM)

_RULES: Final[Mapping[str, tuple[_Rule, ...]]] = {
    "name": (_TRIM,),
    "app_urls": _SITES,
    "recording_domains": _SITES,
    "slack_incoming_webhook": (_TRIM, _Rule(_null_for_empty)),
    "test_account_filters": (_Rule(_without_cohort_names),),
    "person_display_name_properties": (_TRIM,),
    "live_events_columns": (_TRIM,),
    "feature_flag_confirmation_message": (_TRIM,),
    "session_recording_event_trigger_config": (_TRIM,),
    "session_recording_sample_rate": (_Rule(_two_decimals),),
    # A recent server of 2026 may look like the one before it, and servers up to 2025 keep the key that was written.
    "session_recording_linked_flag": (_Rule(_id_as_text), _Rule(_without_key, "CD")),
    "experiment_recalculation_time": (_Rule(_with_seconds),),
    "conversations_settings": (_Rule(_without_managed),),
}
"""What the server does to the values of a setting, in this order."""

_OBJECTS: Final = frozenset(
    field.name
    for field in attrs.fields(TeamSettings)
    if FACTS[field.name].merge != "replace" or any(map(attrs.has, members(field.type)))
)
"""Settings that are objects with known keys, or that are merged: a key that is null in them is a key that is not there."""

_READS_BACK_OTHERWISE: Final = frozenset({"default_data_theme"})
"""Settings that may show another value although the request was applied."""
