"""Files of desired settings, in YAML, TOML or JSON (extra ``cli``).

For example::

    settings:                 # for all that are selected
      anonymize_ips: true
      slack_incoming_webhook: {env: SLACK_WEBHOOK}
    overrides:                # later ones win
      - select: {names: ["staging-*"], where: 'timezone == "UTC"'}
        settings: {session_recording_opt_in: false}
    ignore: [surveys_opt_in]
    environments:             # what `export` writes
      - id: 42
        settings: {timezone: Europe/Berlin}

Everything is checked when the file is read, and every problem is told at once with its line. A sensitive setting is best taken
from an environment variable, which the caller has to allow by name: a file from somewhere else must not send any secret of this
machine. ``dump_settings`` never writes a sensitive setting.
"""

import difflib
import io
import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, Self, TypeAlias, cast

import attrs

from aioposthog_env.bulk.selection import Selection
from aioposthog_env.bulk.where import Where
from aioposthog_env.documents import Document, Steps, read_document
from aioposthog_env.errors import ConfigurationError, DecodeError
from aioposthog_env.harmless import harmless_json
from aioposthog_env.models.comparing import SENSITIVE
from aioposthog_env.models.converter import structure, unstructure
from aioposthog_env.models.environment import Environment
from aioposthog_env.models.fields import JSONValue, wire_name
from aioposthog_env.models.settings import FACTS, TeamSettings
from aioposthog_env.models.validation import problems_of
from aioposthog_env.redacted import printable_half_built

Format: TypeAlias = Literal["yaml", "toml", "json"]
_SECTIONS: Final = ("settings", "overrides", "ignore", "environments")
_CRITERIA: Final = ("ids", "names", "where", "organization", "project")


@attrs.frozen
class Override:
    """Other settings for some environments."""

    selection: Selection
    settings: TeamSettings


@printable_half_built
@attrs.frozen(kw_only=True)
class SettingsFile:
    """Desired settings, for all environments and for some.

    Attributes:
        settings: For all.
        overrides: For some; where several match, later ones win.
        ignore: Settings that are left as they are, whatever is desired.
    """

    settings: TeamSettings = attrs.field(factory=TeamSettings)
    overrides: tuple[Override, ...] = ()
    ignore: frozenset[str] = frozenset()

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, allow_env: Collection[str] = ()) -> Self:
        """Read a file ending in ``.yaml``, ``.yml``, ``.toml`` or ``.json``.

        Args:
            path: The file.
            allow_env: The environment variables that ``{env: NAME}`` may name. The file decides where their values are sent.

        Raises:
            ConfigurationError: It cannot be read; or all that is wrong in it, with lines and the nearest known names.
        """
        if isinstance(allow_env, str):
            raise ConfigurationError("allow_env takes a collection of names, such as ['SLACK_WEBHOOK'], not one text.")
        source = read_document(Path(path))
        reader = _Reader(source, frozenset(allow_env))
        made = reader.file(source.value)
        if reader.problems:
            raise ConfigurationError(f"{path} cannot be used:\n" + "\n".join(f"  {problem}" for problem in reader.problems))
        return cls(**made)

    @property
    def ids(self) -> tuple[int, ...]:
        """The environments that the file names by id."""
        return tuple(sorted({one for override in self.overrides for one in override.selection.ids}))

    def desired(self, environment: Environment) -> TeamSettings:
        """What is desired of an environment; ``environments.plan`` takes this method as it is."""
        wanted = dict(self.settings.set_fields())
        for override in self.overrides:
            if override.selection.matches(environment):
                wanted |= dict(override.settings.set_fields())
        return TeamSettings(**{name: cast("Any", value) for name, value in wanted.items() if name not in self.ignore})


def dump_settings(environments: Iterable[Environment], *, format: Format = "yaml") -> str:
    """The settings of environments as a file that ``SettingsFile.load`` reads.

    Left out are sensitive settings, names, and what no PostHog takes back.
    """
    document: dict[str, JSONValue] = {"environments": [_described(environment) for environment in environments]}
    if format == "json":
        return harmless_json(json.dumps(document, indent=2, ensure_ascii=False).encode()) + "\n"
    left_out = f"# Left out, because they hold secrets: {', '.join(sorted(SENSITIVE))}\n"
    if format == "toml":
        import tomli_w

        no_null = "# Left out, because TOML has no null: what is null, and lists that hold it\n"
        return left_out + no_null + tomli_w.dumps(_without_null(document))
    from ruamel.yaml import YAML

    yaml: Any = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    # Where a text would turn the direction of what follows, all that is not ASCII is escaped.
    yaml.allow_unicode = json.dumps(document, ensure_ascii=False).isprintable()
    yaml.sort_base_mapping_type_on_output = False
    written = io.StringIO()
    yaml.dump(document, written)
    return left_out + written.getvalue()


def _without_null(value: Any) -> Any:
    """A value without what TOML cannot hold: keys whose value is null, or a list that holds it."""
    if isinstance(value, list):
        return [_without_null(one) for one in value]  # pyright: ignore[reportUnknownVariableType]
    if not isinstance(value, dict):
        return value
    given = cast("dict[str, Any]", value)
    return {name: _without_null(one) for name, one in given.items() if one is not None and not _holds_null(one)}


def _holds_null(value: Any) -> bool:
    return isinstance(value, list) and None in value


def _described(environment: Environment) -> JSONValue:
    settings = unstructure(environment.settings)
    # Some settings read as null until they are set, and take no null.
    unwritable = {re.split(r"[.\[]", place)[0] for place, _ in problems_of(environment.settings)}
    left_out = SENSITIVE | {"name"} | unwritable
    kept: dict[str, JSONValue] = {name: settings[name] for name in sorted(settings) if name not in left_out}
    return {"id": environment.id, "name": environment.name, "settings": kept}


class _Reader:
    """Turns what a file holds into selections and settings, and collects what is wrong."""

    def __init__(self, source: Document, allow_env: frozenset[str]) -> None:
        self._source = source
        self._allow_env = allow_env
        self.problems: list[str] = []

    def _problem(self, steps: Steps, what: str) -> None:
        self.problems.append(f"{self._source.place(steps)}: {what}")

    def _mapping(self, value: object, steps: Steps, known: Sequence[str], what: str) -> dict[str, object]:
        """An object whose keys are known."""
        if value is None:
            return {}
        if not isinstance(value, dict):
            self._problem(steps, f"{what} must be a mapping")
            return {}
        found = cast("dict[str, object]", value)
        for key in found:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else f"; it takes {', '.join(known)}" if len(known) < 8 else ""
                self._problem((*steps, key), f"{what} has no {key!r}{hint}")
        return {key: item for key, item in found.items() if key in known}

    def _list(self, value: object, steps: Steps, what: str) -> list[object]:
        if value is None:
            return []
        if isinstance(value, list):
            return cast("list[object]", value)
        self._problem(steps, f"{what} must be a list")
        return []

    def file(self, value: object) -> dict[str, Any]:
        """What ``SettingsFile`` is made with."""
        sections = self._mapping(value, (), _SECTIONS, "the file")
        if not sections and not self.problems:
            self._problem((), f"nothing is in it; it takes {', '.join(_SECTIONS)}")
        overrides = [
            Override(
                self._selection(part.get("select"), ("overrides", number, "select")),
                self._settings(part.get("settings"), ("overrides", number, "settings")),
            )
            for number, part in self._parts(sections, "overrides", ("select", "settings"))
        ]
        overrides += [
            Override(
                self._selection({"ids": [part.get("id")]}, ("environments", number, "id")),
                self._settings(part.get("settings"), ("environments", number, "settings")),
            )
            for number, part in self._parts(sections, "environments", ("id", "name", "settings"))
        ]
        ignored = self._list(sections.get("ignore"), ("ignore",), "ignore")
        for number, name in enumerate(ignored):
            if not isinstance(name, str) or name not in FACTS:
                self._unknown(str(name), ("ignore", number))
        settings = self._settings(sections.get("settings"), ("settings",))
        return {"settings": settings, "overrides": tuple(overrides), "ignore": frozenset(map(str, ignored))}

    def _parts(self, sections: Mapping[str, object], name: str, keys: Sequence[str]) -> list[tuple[int, dict[str, object]]]:
        parts = self._list(sections.get(name), (name,), name)
        return [(number, self._mapping(part, (name, number), keys, f"one of {name}")) for number, part in enumerate(parts)]

    def _unknown(self, name: str, steps: Steps) -> None:
        near = difflib.get_close_matches(name, FACTS, n=1)
        self._problem(steps, f"there is no setting {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))

    def _settings(self, value: object, steps: Steps) -> TeamSettings:
        if value is not None and not isinstance(value, dict):
            self._problem(steps, "settings must be a mapping")
            return TeamSettings()
        taken: dict[str, Any] = {}
        for name, item in cast("dict[str, Any]", value or {}).items():
            where = (*steps, name)
            if name not in FACTS:
                self._unknown(name, where)
                continue
            try:
                settings = structure({name: self._from_environment(name, item, where)}, TeamSettings)
            except (DecodeError, ConfigurationError) as error:
                self._problem(where, f"{name}: {error.message}")
                continue
            # An unknown key would be left out in silence, and an object that is replaced would lose what was there.
            wrong = [*problems_of(settings), *unknown_keys(getattr(settings, name), name)]
            for place, what in wrong:
                self._problem(where, f"{place} {what}")
            if not wrong:
                taken[name] = getattr(settings, name)
        return TeamSettings(**taken)

    def _from_environment(self, name: str, item: object, where: Steps) -> Any:
        """A sensitive setting that is to be taken from an environment variable; any other as it is."""
        if name not in SENSITIVE or not isinstance(item, dict):
            return item
        given = cast("dict[str, object]", item)
        if list(given) != ["env"]:
            return given
        variable = given["env"]
        if not isinstance(variable, str) or not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", variable):
            self._problem(where, f"{name}: env takes the name of an environment variable")
            return None
        if variable not in self._allow_env:
            self._problem(
                where,
                f"{name}: the environment variable {variable} would be sent to the server; if it may be, allow it with "
                f"--allow-env {variable} (from Python: allow_env=[{variable!r}])",
            )
            return None
        text = os.environ.get(variable)
        if text is None:
            self._problem(where, f"{name}: the environment variable {variable} is not set")
            return None
        if name == "slack_incoming_webhook":
            return text
        try:
            return json.loads(text)
        except ValueError:
            self._problem(where, f"{name}: the environment variable {variable} holds no JSON")
            return None

    def _selection(self, value: object, steps: Steps) -> Selection:
        found = self._mapping(value, steps, _CRITERIA, "select")
        ids, names = (self._list(found.get(key), (*steps, key), key) for key in ("ids", "names"))
        # A selection without a criterion would mean every environment, and one that is left blank more than was meant.
        if not found:
            self._problem(steps, f"select needs one of {', '.join(_CRITERIA)}")
        for key in [key for key, item in found.items() if not item]:
            self._problem((*steps, key), f"{key} is blank; give it a value, or leave it out")
        project, organization = found.get("project"), found.get("organization")
        for key, numbers in (("ids", ids), ("project", [] if project is None else [project])):
            if bad := [one for one in numbers if type(one) is not int or not 1 <= one < 2**63]:
                self._problem((*steps, key), f"{str(bad[0])[:40]!r} is not an id, which is a whole number from 1")
        for key, texts in (("names", names), ("where", [found.get("where")]), ("organization", [organization])):
            if any(text and not isinstance(text, str) for text in texts):
                self._problem((*steps, key), f"{key} takes texts")
        where = None
        if (condition := found.get("where")) and isinstance(condition, str):
            try:
                where = Where.parse(condition)
            except ConfigurationError as error:
                self._problem((*steps, "where"), error.message)
        return Selection(
            ids=[one for one in ids if type(one) is int],
            names=[str(one) for one in names],
            where=where,
            project_id=project if type(project) is int else None,
            organization_id=None if organization is None else str(organization),
        )


def unknown_keys(value: object, path: str) -> Iterator[tuple[str, str]]:
    """The keys of nested settings that no class knows, and that would not be sent."""
    if isinstance(value, list):
        for number, item in enumerate(cast("list[object]", value)):
            yield from unknown_keys(item, f"{path}[{number}]")
    elif attrs.has(kind := cast("Any", type(value))):
        fields = [field for field in attrs.fields(kind) if field.name != "extra"]
        known = {field.name: wire_name(field) for field in fields}
        for key in cast("dict[str, object]", cast("Any", value).extra):
            near = [known[key]] if key in known else difflib.get_close_matches(key, known.values(), n=1)
            yield path, f"has no key {key!r}" + (f"; did you mean {near[0]!r}?" if near else "")
        for field in fields:
            yield from unknown_keys(getattr(value, field.name), f"{path}.{wire_name(field)}")
