"""Which environments are meant: by id, by name, by a condition, by organization or project."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

import attrs
from msgspec import UnsetType

from aioposthog_env.api.routes import Place
from aioposthog_env.bulk.each import Each
from aioposthog_env.bulk.where import Where
from aioposthog_env.errors import ConfigurationError
from aioposthog_env.models.environment import Environment, EnvironmentRef, EnvironmentSummary
from aioposthog_env.paging import list_all
from aioposthog_env.redacted import printable_half_built
from aioposthog_env.session import PostHogSession


def _as_ids(ids: Iterable[int]) -> tuple[int, ...]:
    return tuple(ids)


def _as_names(names: Iterable[str]) -> tuple[str, ...]:
    # A single text would be taken letter by letter.
    return (names,) if isinstance(names, str) else tuple(names)


@printable_half_built
@attrs.frozen(kw_only=True)
class Selection:
    """What was chosen. Every criterion that is given must hold; of several ids, or several names, any one may.

    Attributes:
        ids: Ids of environments.
        names: Patterns of names, such as ``prod-*``; upper and lower case are the same.
        where: A condition.
        organization_id: Only this organization.
        project_id: Only this project.
        everything: All that the credential can see; without it, a selection without a criterion is an error.
    """

    ids: tuple[int, ...] = attrs.field(default=(), converter=_as_ids)
    names: tuple[str, ...] = attrs.field(default=(), converter=_as_names)
    where: Where | None = None
    organization_id: str | None = None
    project_id: int | None = None
    everything: bool = False

    @property
    def by_id_only(self) -> bool:
        """Whether the ids are all that was given, so that nothing need be listed."""
        return bool(self.ids) and not (self.names or self.where or self.organization_id or self.project_id)

    @property
    def is_empty(self) -> bool:
        """Whether no criterion was given."""
        return not (self.ids or self.names or self.where or self.organization_id or self.project_id or self.everything)

    def matches(self, environment: Environment | EnvironmentSummary) -> bool:
        """Whether an environment is meant.

        Raises:
            ConfigurationError: The condition compares what cannot be compared.
        """
        return self.lists(environment) and (self.where is None or self.where.holds(environment))

    def lists(self, environment: Environment | EnvironmentSummary) -> bool:
        """Whether it is meant as far as the list tells, before the condition is asked."""
        name = environment.name.casefold()
        return (
            (not self.ids or environment.id in self.ids)
            and (not self.names or any(fnmatchcase(name, pattern.casefold()) for pattern in self.names))
            and (self.organization_id is None or environment.organization == self.organization_id)
            and (self.project_id is None or self.project_id == _project_of(environment))
        )

    def __str__(self) -> str:
        said = [
            f"ids {', '.join(map(str, self.ids))}" if self.ids else "",
            f"names {', '.join(self.names)}" if self.names else "",
            f"where {self.where.text}" if self.where else "",
            f"organization {self.organization_id}" if self.organization_id else "",
            f"project {self.project_id}" if self.project_id else "",
        ]
        return "; ".join(filter(None, said)) or ("all environments" if self.everything else "nothing")


def _project_of(environment: Environment | EnvironmentSummary) -> int:
    # Newer servers do not show the project of an environment: it is the environment.
    return environment.id if isinstance(environment.project_id, UnsetType) else environment.project_id


@printable_half_built
@attrs.frozen(kw_only=True)
class Selected:
    """One environment that was selected.

    Attributes:
        ref: How to name it in a call.
        name: Its name; empty where only its id was given, and it was not read.
        environment: As it was read, where the condition needed that.
        summary: As it was listed, where it was, and not read.
    """

    ref: EnvironmentRef
    name: str = ""
    environment: Environment | None = None
    summary: EnvironmentSummary | None = None


async def select(session: PostHogSession, selection: Selection, *, concurrency: int, with_names: bool) -> list[Selected]:
    """The selected environments, by id; ``AsyncEnvironments.select`` describes it."""
    if selection.is_empty:
        raise ConfigurationError("Nothing was selected: give ids, names, a condition, an organization, a project, or say all.")
    if selection.ids:
        refs = [EnvironmentRef(one) for one in sorted(set(selection.ids))]
        if selection.by_id_only and not with_names:
            return [Selected(ref=ref) for ref in refs]
        # A key that is limited to projects cannot list, and reading what was named tells all that is asked.
        return await _read(session, refs, selection, concurrency)
    listed = await list_all(session, Place(project_id=selection.project_id, organization_id=selection.organization_id), None)
    candidates = sorted((one for one in listed if selection.lists(one)), key=lambda one: one.id)
    if selection.where is not None and selection.where.needs_settings:
        return await _read(session, [one.ref for one in candidates], selection, concurrency)
    return [Selected(ref=one.ref, name=one.name, summary=one) for one in candidates if selection.matches(one)]


async def _read(
    session: PostHogSession, refs: Iterable[EnvironmentRef], selection: Selection, concurrency: int
) -> list[Selected]:
    report = await Each(session, list(refs), concurrency=concurrency, stop_after_failures=None).retrieve()
    report.raise_for_failures()
    found = [
        Selected(ref=one.ref, name=one.value.name, environment=one.value)
        for one in report
        if one.value is not None and selection.matches(one.value)
    ]
    return sorted(found, key=lambda one: one.ref.id)
