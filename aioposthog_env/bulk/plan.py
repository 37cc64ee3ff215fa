"""A plan: what would have to be changed, environment by environment, before anything is.

It is made from one read of each environment, holds no secret, and can be looked at, saved, reviewed and applied later. What it
holds of the present values is enough to see later whether somebody has changed them since.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, TypedDict

import attrs
import msgspec
from msgspec import UNSET

from aioposthog_env.access import is_admin
from aioposthog_env.api.era import Era
from aioposthog_env.bulk.atomic_write import replace_file
from aioposthog_env.errors import ConfigurationError, DecodeError
from aioposthog_env.harmless import harmless, harmless_json
from aioposthog_env.models.comparing import SENSITIVE, differing, digests, exact_digest, kept_keys, managed_keys
from aioposthog_env.models.converter import structure, unstructure
from aioposthog_env.models.environment import Environment, EnvironmentRef
from aioposthog_env.models.fields import JSONValue
from aioposthog_env.models.settings import MEMBER_SAFE_FIELDS, TeamSettings
from aioposthog_env.redacted import printable_half_built

Secrets: TypeAlias = TeamSettings | Mapping[int, TeamSettings]
"""The sensitive settings that were desired: the same for all environments, or those of each by its id."""
Kind: TypeAlias = Literal["admins only", "read-only", "keeps keys", "not shown", "may read back otherwise"]

_FORMAT: Final = 2
_LONGEST_SHOWN: Final = 60


@printable_half_built
@attrs.frozen(kw_only=True)
class FieldChange:
    """One setting that would change.

    Attributes:
        name: The setting.
        before: Its value now, as JSON; None also where it is not kept because it is sensitive, or where the server shows none.
        after: The value that is desired, as JSON; None also where it is sensitive.
        digest: A digest of the value now; None where the server shows none.
        desired: A digest of the value that is desired.
        sensitive: Whether the values are left out.
    """

    name: str
    before: JSONValue
    after: JSONValue
    digest: str | None
    desired: str
    sensitive: bool = False

    def __str__(self) -> str:
        if self.sensitive:
            return f"{self.name}: (secret) -> (secret)"
        return f"{self.name}: {'(not shown)' if self.digest is None else _shown(self.before)} -> {_shown(self.after)}"


@attrs.frozen(kw_only=True)
class Note:
    """Something to know before a setting is changed.

    Attributes:
        name: The setting.
        kind: ``admins only``: the credential's owner is none there, so the server will refuse; ``read-only``: keys that the
            server keeps for itself and ignores; ``keeps keys``: keys that are not desired and that PATCH cannot remove;
            ``not shown``: the server did not show the setting, so it may not know it; ``may read back otherwise``.
        text: The same in a sentence.
    """

    name: str
    kind: Kind
    text: str


@printable_half_built
@attrs.frozen(kw_only=True)
class EnvironmentPlan:
    """What would change in one environment.

    Attributes:
        ref: The environment.
        name: Its name.
        updated_at: When it was last changed, by the server's clock; None where the server does not say.
        read_at: When it was read.
        changes: The settings that would change, by name.
        notes: What to know before.
        settings: What would be sent. Without the sensitive values where the plan was loaded from a file.
    """

    ref: EnvironmentRef
    name: str
    updated_at: datetime | None
    read_at: datetime
    changes: tuple[FieldChange, ...] = ()
    notes: tuple[Note, ...] = ()
    settings: TeamSettings = attrs.field(factory=TeamSettings)

    @property
    def expected(self) -> dict[str, str]:
        """The digests of the present values."""
        return {change.name: change.digest for change in self.changes if change.digest is not None}

    @property
    def withheld(self) -> list[str]:
        """The sensitive settings whose values the plan does not have, because it was loaded from a file."""
        return [change.name for change in self.changes if getattr(self.settings, change.name) is UNSET]


@printable_half_built
@attrs.frozen(kw_only=True)
class Plan:
    """What would change in many environments.

    Attributes:
        host: The origin that it was made at.
        made_at: When it was begun.
        era: Which generation of PostHog answered.
        environments: Environment by environment, by id; those where nothing would change, too.
        unreadable: Environments that could not be read, with the reason.
    """

    host: str
    made_at: datetime
    era: Era
    environments: tuple[EnvironmentPlan, ...]
    unreadable: tuple[tuple[EnvironmentRef, str], ...] = ()

    def __len__(self) -> int:
        return len(self.environments)

    def __iter__(self) -> Iterator[EnvironmentPlan]:
        return iter(self.environments)

    @property
    def changing(self) -> tuple[EnvironmentPlan, ...]:
        """The environments in which something would change."""
        return tuple(one for one in self.environments if one.changes)

    @property
    def notes(self) -> tuple[tuple[EnvironmentRef, Note], ...]:
        """Everything to know before, with its environment."""
        return tuple((one.ref, note) for one in self.environments for note in one.notes)

    def __str__(self) -> str:
        per_setting = Counter(change.name for one in self.environments for change in one.changes)
        lines = [f"{len(self.changing)} of {len(self)} environments would change."]
        lines += [f"  {name}: {count}" for name, count in sorted(per_setting.items())]
        for one in self.changing:
            lines.append(f"{one.ref.id} {harmless(one.name)}")
            lines += [f"  {change}" for change in one.changes]
            lines += [f"  ! {harmless(note.text)}" for note in one.notes]
        kept = [(one.ref.id, note.text) for one in self.environments if not one.changes for note in one.notes]
        lines += [f"{id} ! {harmless(text)}" for id, text in kept]
        lines += [f"{ref.id} could not be read: {harmless(why)}" for ref, why in self.unreadable]
        return "\n".join(lines)

    def digest(self) -> str:
        """Tells whether two plans would do the same to the same environments."""
        text = [[one.ref.id, [[change.name, change.digest, change.desired] for change in one.changes]] for one in self.changing]
        return exact_digest(msgspec.json.decode(msgspec.json.encode(text)))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a JSON file that only its owner can read. What was there before stays whole until the new one is.

        No sensitive value is in it, so ``load`` needs these again; other settings are, as they are and as they are desired.

        Raises:
            ConfigurationError: It cannot be written.
        """
        # It is read by people before it is applied.
        content = harmless_json(msgspec.json.format(msgspec.json.encode(self.to_json()))) + "\n"
        try:
            replace_file(Path(path), content.encode())
        except OSError as error:
            raise ConfigurationError(f"The plan {path} cannot be written: {error.strerror}.") from None

    def to_json(self) -> dict[str, JSONValue]:
        """The plan as plain JSON, without secrets, and with a checksum over the whole."""
        content: dict[str, JSONValue] = {
            "format": _FORMAT,
            "host": self.host,
            "made_at": self.made_at.isoformat(),
            "era": self.era.value,
            "environments": [_environment_to_json(one) for one in self.environments],
            "unreadable": [
                {"environment": ref.id, "project": ref.project_id, "reason": reason} for ref, reason in self.unreadable
            ],
        }
        return {**content, "checksum": _checksum(content)}

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, secrets: Secrets | None = None) -> "Plan":
        """Read it from a JSON file.

        Args:
            path: The file.
            secrets: The sensitive settings that were desired, which the file does not hold.

        Raises:
            ConfigurationError: The file cannot be read, holds no plan, one of another version, or one that was changed after it
                was saved; or a secret is not the one that was planned.
        """
        try:
            value: Any = msgspec.json.decode(Path(path).read_bytes())
            if isinstance(found := value["format"], int) and found != _FORMAT:
                raise ConfigurationError(
                    f"{path} was saved by another version of this library (format {found}, and this one reads {_FORMAT}). "
                    "Make a new plan."
                )
            plan = cls.from_json(value)
        except OSError as error:
            raise ConfigurationError(f"The plan {path} cannot be read: {error.strerror}.") from None
        except (DecodeError, msgspec.MsgspecError, ValueError, LookupError, TypeError, RecursionError):
            raise ConfigurationError(f"{path} holds no plan that this version can read.") from None
        return plan if secrets is None else plan.with_secrets(secrets)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Plan":
        """Read it from what ``to_json`` gave; without the sensitive values.

        Raises:
            ValueError: It is none; also other errors of wrong data.
            ConfigurationError: It was changed since.
        """
        if value["format"] != _FORMAT:
            raise ValueError("another format")
        msgspec.convert(value, _PlanShape)
        if value.get("checksum") != _checksum(value):
            raise ConfigurationError("The plan was changed after it was saved. Make a new plan.")
        return cls(
            host=value["host"],
            made_at=datetime.fromisoformat(value["made_at"]),
            era=Era(value["era"]),
            environments=tuple(_environment_from_json(one) for one in value["environments"]),
            unreadable=tuple((_ref(one), one["reason"]) for one in value["unreadable"]),
        )

    def with_secrets(self, secrets: Secrets) -> "Plan":
        """The same plan with the sensitive values in it.

        Args:
            secrets: The sensitive settings that were desired.

        Raises:
            ConfigurationError: They are not the ones that were planned.
        """
        return attrs.evolve(self, environments=tuple(_with_secrets(one, secrets) for one in self.environments))


def differences(wanted: TeamSettings, environment: Environment, era: Era, read_at: datetime) -> EnvironmentPlan:
    """What would have to change in an environment.

    Args:
        wanted: The desired settings.
        environment: As it was read.
        era: The generation of PostHog.
        read_at: When it was read.
    """
    asked, shown = unstructure(wanted), unstructure(environment.settings)
    names = differing(wanted, environment.settings, era.name)
    seen = digests(environment.settings, names)
    changes = [
        FieldChange(
            name=name,
            before=None if name in SENSITIVE else shown.get(name),
            after=None if name in SENSITIVE else asked[name],
            digest=seen.get(name),
            desired=exact_digest(asked[name]),
            sensitive=name in SENSITIVE,
        )
        for name in names
    ]
    return EnvironmentPlan(
        ref=environment.ref,
        name=environment.name,
        updated_at=environment.updated_at if isinstance(environment.updated_at, datetime) else None,
        read_at=read_at,
        changes=tuple(changes),
        notes=tuple(_notes(asked, shown, names, environment, era)),
        settings=TeamSettings(**{name: getattr(wanted, name) for name in names}),
    )


def _notes(
    asked: Mapping[str, JSONValue], shown: Mapping[str, JSONValue], changing: Sequence[str], environment: Environment, era: Era
) -> Iterator[Note]:
    for name, value in sorted(asked.items()):
        if kept := kept_keys(name, value, shown.get(name), era.name):
            sure = "" if era.name in "ABCD" else ", if this server merges objects"
            text = f"{name} keeps {', '.join(kept)}: PATCH cannot remove a key by leaving it out{sure}"
            yield Note(name=name, kind="keeps keys", text=text)
        if managed := managed_keys(name, value):
            yield Note(name=name, kind="read-only", text=f"{name}: the server ignores {', '.join(managed)}")
        if name not in changing:
            continue
        if name not in shown:
            yield Note(name=name, kind="not shown", text=f"{name} is not among what the server shows; it may not know it")
        elif name == "default_data_theme":
            text = f"{name} reads back the server's default where the organization has no colour themes"
            yield Note(name=name, kind="may read back otherwise", text=text)
        needs_admin = era.rank >= Era.C.rank and name not in MEMBER_SAFE_FIELDS
        if (needs_admin or name == "receive_org_level_activity_logs") and is_admin(environment) is False:
            yield Note(name=name, kind="admins only", text=f"{name} may be changed by admins only, and the caller is none here")


class _ChangeShape(TypedDict):
    name: str
    digest: str | None
    desired: str
    sensitive: bool


class _NoteShape(TypedDict):
    name: str
    kind: Kind
    text: str


class _EnvironmentShape(TypedDict):
    name: str
    changes: list[_ChangeShape]
    notes: list[_NoteShape]


class _UnreadableShape(TypedDict):
    reason: str


class _PlanShape(TypedDict):
    """What of a saved plan is not checked by what is made of it: a file may have been edited."""

    host: str
    environments: list[_EnvironmentShape]
    unreadable: list[_UnreadableShape]


def _checksum(plan: Mapping[str, Any]) -> str:
    """A SHA-256 digest of a whole plan as JSON, whatever the order of its keys and its white space."""
    content = {name: value for name, value in plan.items() if name != "checksum"}
    return hashlib.sha256(msgspec.json.encode(content, order="deterministic")).hexdigest()


def _environment_to_json(one: EnvironmentPlan) -> dict[str, JSONValue]:
    return {
        "environment": one.ref.id,
        "project": one.ref.project_id,
        "name": one.name,
        "updated_at": None if one.updated_at is None else one.updated_at.isoformat(),
        "read_at": one.read_at.isoformat(),
        "changes": [msgspec.to_builtins(change) for change in one.changes],
        "notes": [msgspec.to_builtins(note) for note in one.notes],
    }


def _environment_from_json(value: Mapping[str, Any]) -> EnvironmentPlan:
    ref, changes = _ref(value), tuple(FieldChange(**change) for change in value["changes"])
    wire = {change.name: change.after for change in changes if not change.sensitive}
    return EnvironmentPlan(
        ref=ref,
        name=value["name"],
        updated_at=None if value["updated_at"] is None else datetime.fromisoformat(value["updated_at"]),
        read_at=datetime.fromisoformat(value["read_at"]),
        changes=changes,
        notes=tuple(Note(**note) for note in value["notes"]),
        settings=structure(wire, TeamSettings),
    )


def _with_secrets(one: EnvironmentPlan, secrets: Secrets) -> EnvironmentPlan:
    given = secrets if isinstance(secrets, TeamSettings) else secrets.get(one.ref.id, TeamSettings())
    if (other := _not_as_planned(one, given)) is not None:
        raise ConfigurationError(
            f"The {other} that is given for environment {one.ref.id} is not the one that was planned. Give the "
            "planned one, by environment id where they differ; or make a new plan."
        )
    names = {change.name for change in one.changes if change.sensitive and getattr(given, change.name) is not msgspec.UNSET}
    return attrs.evolve(one, settings=attrs.evolve(one.settings, **{name: getattr(given, name) for name in names}))


def _not_as_planned(one: EnvironmentPlan, given: TeamSettings) -> str | None:
    """Return a sensitive setting that is not the planned one. It raises nothing, so that no traceback shows the values."""
    wire = unstructure(given)
    sensitive = (change for change in one.changes if change.sensitive and change.name in wire)
    return next((change.name for change in sensitive if exact_digest(wire[change.name]) != change.desired), None)


def _ref(value: Mapping[str, Any]) -> EnvironmentRef:
    return EnvironmentRef(value["environment"], value["project"])


def _shown(value: JSONValue) -> str:
    text = msgspec.json.encode(value).decode()
    return harmless(text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 1]}…")
