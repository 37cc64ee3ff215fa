"""The three URL styles, and which one to try next.

PostHog has served environments under three paths, and which of them works depends on its age:

* ``root`` ``/api/environments/{id}/``: works up to 2026, deprecated in 2026, an alias of the next one since July 2026;
* ``project`` ``/api/projects/{id}/``: today's canonical one; on older servers it shows fewer fields, and **deleting
  through it deletes the whole project**;
* ``nested`` ``/api/projects/{project}/environments/{id}/``, the documented one. On every PostHog that was tried it is broken or
  closed: 500 in 2024-10; 404, 200 or 500 in 2025-08, by the number of event definitions; 403 since 2026. So whatever it answers
  proves nothing about an environment.

``routes="auto"`` finds the style by reading: it asks for the environment in root and in project style until one answers. It
asks in nested style only if both others answer something that PostHog does not write, as a mock or a gateway made from
PostHog's documentation does. A refusal that means "other style" is told apart from a genuine 403 or 404, which is an answer.
"""

import enum
import re
from collections.abc import Iterator
from typing import Final, Literal, TypeAlias, get_args

import attrs

from aioposthog_env.api.endpoints import CREATE, LIST, RETRIEVE, Endpoint, Target
from aioposthog_env.api.era import Era
from aioposthog_env.errors import ConfigurationError
from aioposthog_env.models.environment import EnvironmentRef

Style: TypeAlias = Literal["nested", "root", "project"]
Routes: TypeAlias = Literal["auto", "nested", "root", "project"]

NESTED_REFUSAL: Final = b"Multiple environments per project are no longer available"
"""How current servers refuse the nested path, before they even look at the credential."""
ENDPOINT_NOT_FOUND: Final = b"Endpoint not found."
PROJECT_NOT_FOUND: Final = b"Project not found."
TEAM_SCOPE: Final = b"missing required scope 'team:"
"""PostHog 2025-08 asks for ``team:read``, which no key can be given, where other servers ask for ``project:read``."""
_NOT_FOUND: Final = re.compile(rb'"code"\s*:\s*"not_found"')

_KEY_PATH: Final = "/api/personal_api_keys/@current/"


def check_routes(routes: str) -> Routes:
    """Refuse anything that is no way to choose a URL style.

    Raises:
        ConfigurationError: It is none.
    """
    for known in get_args(Routes):
        if routes == known:
            return known  # type: ignore[no-any-return]
    raise ConfigurationError(f"routes={routes!r} is not known; use one of {', '.join(get_args(Routes))}.")


@attrs.frozen
class Place:
    """What a path is about: an environment, or a collection of them."""

    environment_id: int | None = None
    project_id: int | None = None
    organization_id: str | None = None

    @property
    def named(self) -> bool:
        """Whether the caller named the project, without which there is no nested path."""
        return self.project_id is not None


def place_of(ref: EnvironmentRef) -> Place:
    """Where the calls to an environment go."""
    return Place(environment_id=ref.id, project_id=ref.project_id)


def path(style: Style, endpoint: Endpoint, place: Place) -> str:
    """The path of an endpoint in one style.

    Raises:
        ConfigurationError: The style needs a project id and has none.
    """
    if endpoint.target is Target.KEY:
        return _KEY_PATH
    if endpoint.target is Target.COLLECTION:
        return _collection(style, place)
    environment = place.environment_id
    if style == "nested":
        # In 2025 the first environment of a project has the project's own id.
        project = place.project_id if place.named else environment
        return f"/api/projects/{project}/environments/{environment}/{endpoint.suffix}"
    if style == "root":
        return f"/api/environments/{environment}/{endpoint.suffix}"
    return f"/api/projects/{environment}/{endpoint.suffix}"


def _collection(style: Style, place: Place) -> str:
    if style == "nested":
        if place.project_id is None:
            raise ConfigurationError("The nested URL style needs project_id= here, because its path names the project.")
        return f"/api/projects/{place.project_id}/environments/"
    if style == "root":
        return "/api/environments/"
    if place.organization_id is not None:
        return f"/api/organizations/{place.organization_id}/projects/"
    return "/api/projects/"


class Verdict(enum.Enum):
    """What an answer to a probe says about the URL style."""

    ANSWERS = "answers"
    """The route exists here; the answer, good or bad, is genuine."""
    OTHER_STYLE = "other style"
    """The route does not exist, or is closed."""
    FAILED = "failed"
    """A 5xx: it says "other style" only if another style answers."""


def judge(style: Style, *, status: int, opening: bytes) -> Verdict:
    """Tell a refusal of the style from a genuine answer.

    Args:
        style: The style that was tried.
        status: The status of the answer.
        opening: The beginning of its body.
    """
    if status >= 500:
        return Verdict.FAILED
    if status == 403 and style == "nested" and NESTED_REFUSAL in opening:
        return Verdict.OTHER_STYLE
    if status == 404 and (ENDPOINT_NOT_FOUND in opening or not _NOT_FOUND.search(opening)):
        return Verdict.OTHER_STYLE
    if status not in {401, 403, 429} and not opening.lstrip().startswith((b"{", b"[")):
        # PostHog answers in JSON; a page of HTML comes from whatever else serves this path.
        return Verdict.OTHER_STYLE
    return Verdict.ANSWERS


def candidates(endpoint: Endpoint, place: Place) -> tuple[Style, ...]:
    """Return the styles to try, in order. The nested path comes last, and only for references that name their project."""
    return ("root", "project", "nested") if place.named else ("root", "project")


def probe_of(endpoint: Endpoint) -> Endpoint:
    """The read that finds out the style for a call."""
    return LIST if endpoint.target is Target.COLLECTION else RETRIEVE


@attrs.define
class RouteMemory:
    """What was found out about one host. Shared by all calls of a client."""

    routes: Routes = "auto"
    era: Era = Era.UNKNOWN
    found: dict[tuple[Target, bool], Style] = attrs.field(factory=dict[tuple[Target, bool], Style])
    deprecated: set[str] = attrs.field(factory=set[str])
    asks_for_team_scope: bool = False
    """The server asks for ``team:read``, which no key can be given, to change config settings alone."""
    null_dashboard_crashes: bool = False
    """The server answers 500 to ``primary_dashboard: null``, every time."""

    def style_for(self, endpoint: Endpoint, place: Place) -> Style | None:
        """The style of a call; None: find out first.

        Raises:
            ConfigurationError: The call cannot be made on this host.
        """
        if self.routes != "auto":
            return self.routes
        if endpoint is CREATE:
            return self._style_of_create(place)
        style = self.found.get((endpoint.target, place.named))
        return style if self._harmless(endpoint, style) else None

    def _harmless(self, endpoint: Endpoint, style: Style | None) -> bool:
        """Whether a call acts on no more than it names. Only on the newest era is a project its one environment."""
        return not (endpoint.destroys and style == "project") or self.era is Era.D or self.routes == "project"

    def settle(self, endpoint: Endpoint, place: Place, answering: Style) -> Style:
        """Keep the style that answered a probe, and give the one to use for this call.

        Raises:
            ConfigurationError: The call would destroy more than it names, or cannot be made on this host.
        """
        # Root and project style serve every reference, nested only those that name their project.
        for named in (place.named,) if answering == "nested" else (False, True):
            if self.found.get((endpoint.target, named)) != "project":  # a Deprecation header may have moved it on already
                self.found[endpoint.target, named] = answering
        style = self.style_for(endpoint, place)
        if style is not None:
            return style
        if self._harmless(endpoint, answering):
            return answering
        raise ConfigurationError(
            f"Nothing was deleted. This host serves environment {place.environment_id} under /api/projects/ only, where "
            "deleting means deleting the whole project, and it was not recognised as the newest PostHog, where the two "
            "are the same. If that is what you want, pass routes='project'."
        )

    def gone(self, endpoint: Endpoint, place: Place, verdict: Verdict) -> bool:
        """Whether the style that used to answer is refused now; forget it then.

        Creating is left out: its path follows from its arguments alone.
        """
        if self.routes != "auto" or endpoint is CREATE or verdict is not Verdict.OTHER_STYLE:
            return False
        for named in (False, True):
            self.found.pop((endpoint.target, named), None)
        return True

    def _style_of_create(self, place: Place) -> Style | None:
        if place.named:
            return "nested"
        style = self.found.get((Target.COLLECTION, False))
        if style == "root":
            raise ConfigurationError(
                "Nothing was created. This PostHog creates environments inside a project only: pass project_id=. "
                "(With routes='project' a new project is created, with its environment.)"
            )
        return style

    def known(self, era: Era) -> None:
        """Take note of evidence for an era; better evidence replaces weaker."""
        if era.rank > self.era.rank:
            self.era = era

    def succeed(self, endpoint: Endpoint, place: Place, successor: str) -> bool:
        """Follow a ``Link`` to the successor path, where that is a style that is known.

        Returns:
            Whether the host now uses the project style for such calls.
        """
        known = path("project", endpoint, place)
        plain = path("project", endpoint, attrs.evolve(place, organization_id=None))
        if self.routes != "auto" or successor.partition("?")[0] not in {known, plain}:
            return False
        for target in (Target.ENVIRONMENT, Target.COLLECTION):
            for named in (False, True):
                self.found[target, named] = "project"
        return True


def successor_of(link: str) -> str | None:
    """The path that a ``Link`` header names as successor; None where it names none on this server.

    Only a plain path is taken: a link to another host is never followed.
    """
    for target, relation in _links(link):
        if relation == "successor-version" and target.startswith("/") and not target.startswith("//"):
            return target
    return None


def _links(link: str) -> Iterator[tuple[str, str]]:
    for part in link.split(","):
        target, _, parameters = part.strip().partition(";")
        for parameter in parameters.split(";"):
            name, _, value = parameter.strip().partition("=")
            if name.lower() == "rel":
                yield target.strip().removeprefix("<").removesuffix(">"), value.strip('" ')
