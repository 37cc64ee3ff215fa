"""Settings that are given as NAME=VALUE."""

import difflib
from collections.abc import Sequence

import msgspec

from aioposthog_env.cli.choice import LONGEST
from aioposthog_env.errors import ConfigurationError, DecodeError
from aioposthog_env.models.comparing import SENSITIVE
from aioposthog_env.models.converter import structure
from aioposthog_env.models.settings import FACTS, JSONValue, TeamSettings
from aioposthog_env.models.validation import check
from aioposthog_env.settings_file import unknown_keys


def parse_assignments(what: Sequence[str]) -> tuple[list[int], TeamSettings]:
    """Ids and NAME=VALUE, in any order.

    Raises:
        ConfigurationError: No id, no setting, an unknown setting, or a value that no PostHog takes.
    """
    ids: list[int] = []
    assignments: list[str] = []
    for item in what:
        if "=" in item:
            assignments.append(item)
        elif item.isascii() and item.isdigit() and len(item) < LONGEST and int(item) > 0:
            ids.append(int(item))
        else:
            raise ConfigurationError(f"{item[:40]!r} is neither the id of an environment nor NAME=VALUE.")
    _must_name(ids)
    return ids, assigned(assignments)


def assigned(assignments: Sequence[str]) -> TeamSettings:
    """Settings from NAME=VALUE.

    Raises:
        ConfigurationError: No setting, an unknown one, or a value that no PostHog takes.
    """
    wire: dict[str, JSONValue] = {}
    for item in assignments:
        name, equals, text = item.partition("=")
        if not equals:
            raise ConfigurationError(f"{item!r} is not NAME=VALUE.")
        _must_be_known(name)
        wire[name] = _value(name, text)
        if name in SENSITIVE and wire[name] is not None:
            raise ConfigurationError(
                f"{name} is a secret, and arguments can be seen by others. Take it from a variable: a file with "
                f"`settings: {{{name}: {{env: NAME}}}}`, given as --settings FILE --allow-env NAME."
            )
    if not wire:
        raise ConfigurationError("No setting was given; add NAME=VALUE, for example anonymize_ips=true.")
    settings = structure(wire, TeamSettings)
    check(settings)
    for name, value in settings.set_fields():
        for place, what in unknown_keys(value, name):
            raise ConfigurationError(f"{place} {what}")
    return settings


def _must_name(ids: Sequence[int]) -> None:
    if not ids:
        raise ConfigurationError("No environment was named; give at least one id.")


def _must_be_known(name: str) -> None:
    if name in FACTS:
        return
    near = difflib.get_close_matches(name, FACTS, n=1)
    hint = f"; did you mean {near[0]}?" if near else "."
    raise ConfigurationError(f"There is no setting {name!r}{hint}")


def _value(name: str, text: str) -> JSONValue:
    """JSON where that fits the setting, else the text itself: name=5 means the text 5."""
    problem = "not a value"
    try:
        candidates: list[JSONValue] = [msgspec.json.decode(text), text]
    except (msgspec.DecodeError, RecursionError):
        candidates = [text]
    for candidate in candidates:
        try:
            structure({name: candidate}, TeamSettings)
        except (DecodeError, ConfigurationError) as error:
            problem = error.message
        else:
            return candidate
    raise ConfigurationError(f"{name} cannot be {text!r}: {problem}")
