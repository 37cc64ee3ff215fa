"""How environments differ from each other: from what most of them have, or from what is desired. Pure.

Sensitive settings are compared by their digests, and never shown.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Final

import attrs

from aioposthog_env.models.comparing import SENSITIVE, digest
from aioposthog_env.models.converter import unstructure
from aioposthog_env.models.environment import Environment
from aioposthog_env.models.fields import JSONValue

OWN: Final = frozenset({"name", "primary_dashboard", "default_data_theme"})
"""Settings that differ by their nature, or that read back otherwise than they were written."""


@attrs.frozen(kw_only=True)
class Drift:
    """One setting that is not as it is in most environments.

    Attributes:
        name: The setting.
        value: What the environment has; a digest where the setting is sensitive.
        usual: What most have; likewise.
        sensitive: Whether digests stand for the values.
    """

    name: str
    value: JSONValue
    usual: JSONValue
    sensitive: bool


def comparable(environment: Environment, *, ignore: Collection[str] = ()) -> dict[str, JSONValue]:
    """The settings that an environment shows and that can be compared with those of others."""
    shown = unstructure(environment.settings)
    return {
        name: digest(name, value) if name in SENSITIVE and value is not None else value
        for name, value in sorted(shown.items())
        if name not in OWN and name not in ignore
    }


def majority(environments: Iterable[Environment], *, ignore: Collection[str] = ()) -> dict[str, JSONValue]:
    """What most environments have, setting by setting; of values that are equally frequent, that of the lowest id.

    A setting that only some servers show is judged among those that show it.
    """
    counted: dict[str, Counter[str]] = {}
    values: dict[tuple[str, str], JSONValue] = {}
    for environment in sorted(environments, key=lambda one: one.id):
        for name, value in comparable(environment, ignore=ignore).items():
            key = digest(name, value)
            counted.setdefault(name, Counter())[key] += 1
            values.setdefault((name, key), value)
    return {name: values[name, counts.most_common(1)[0][0]] for name, counts in sorted(counted.items())}


def drift(environment: Environment, usual: Mapping[str, JSONValue], *, ignore: Collection[str] = ()) -> tuple[Drift, ...]:
    """Where an environment differs from what is usual; settings that it does not show are left out."""
    found = comparable(environment, ignore=ignore)
    return tuple(
        Drift(name=name, value=value, usual=usual[name], sensitive=name in SENSITIVE)
        for name, value in found.items()
        if name in usual and digest(name, value) != digest(name, usual[name])
    )
