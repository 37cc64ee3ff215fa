"""From a verb and a path to the endpoint that is meant."""

import re
from typing import Final

import attrs

from aioposthog_env.api.endpoints import CURRENT_KEY, ENDPOINTS, UPDATE, Endpoint, Target
from aioposthog_env.sandbox.eras import EraRules
from aioposthog_env.sandbox.more_endpoints import CHANGE_ORGANIZATION, MORE_ENDPOINTS

_PATHS: Final = (
    ("nested", re.compile(r"/api/projects/(?P<project>[^/]+)/environments(?:/(?P<id>[^/]+)(?P<rest>/.*)?)?")),
    ("root", re.compile(r"/api/environments(?:/(?P<id>[^/]+)(?P<rest>/.*)?)?")),
    ("project", re.compile(r"/api/organizations/(?P<organization>[^/]+)/projects(?:/(?P<id>[^/]+)(?P<rest>/.*)?)?")),
    ("project", re.compile(r"/api/projects(?:/(?P<id>[^/]+)(?P<rest>/.*)?)?")),
)
_BY_PATH: Final[dict[tuple[Target, str], dict[str, Endpoint]]] = {}
for _row in (*ENDPOINTS, *MORE_ENDPOINTS):
    _BY_PATH.setdefault((_row.target, _row.suffix), {})[_row.verb] = _row


@attrs.frozen
class Route:
    """What a path names.

    Attributes:
        style: ``nested``, ``root``, ``project``, ``key``, ``login``, or ``none`` where it names nothing.
        verb: The verb as it is handled: HEAD reads.
        endpoint: The endpoint; None where the path does not take the verb.
        rows: All endpoints of the path, by verb.
        id: The id in the path, as it stands there.
        project: The project in a nested path.
        organization: The organization in the path.
    """

    style: str
    verb: str
    endpoint: Endpoint | None = None
    rows: dict[str, Endpoint] = attrs.field(factory=dict[str, Endpoint])
    id: str | None = None
    project: str | None = None
    organization: str | None = None

    @property
    def has_suffix(self) -> bool:
        """Whether the path goes on below the environment."""
        return any(row.suffix for row in self.rows.values())

    @property
    def allow(self) -> str:
        """What the ``Allow`` header says."""
        if self.style == "none":
            return "OPTIONS, PUT, HEAD, PATCH, DELETE, POST, GET"
        if self.style == "login":
            return "POST, OPTIONS"
        verbs = set(self.rows)
        if self.style == "key":
            verbs |= {"PUT", "PATCH", "DELETE"}  # of the person's own browser session
        if UPDATE in self.rows.values():
            verbs.add("PUT")
        if "GET" in verbs:
            verbs.add("HEAD")
        order = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
        return ", ".join(verb for verb in order if verb in verbs or verb == "OPTIONS")


def route(verb: str, path: str, rules: EraRules) -> Route:
    """Find what a request is about. A slash at the end changes nothing."""
    verb = "GET" if verb == "HEAD" else verb
    plain = path.rstrip("/")
    if plain == "/api/login":
        return Route("login", verb)
    if plain == "/api/personal_api_keys/@current":
        return Route("key", verb, CURRENT_KEY if verb == "GET" else None, {"GET": CURRENT_KEY})
    for style, pattern in _PATHS:
        if (match := pattern.fullmatch(plain)) is None:
            continue
        found = match.groupdict()
        suffix = (found.get("rest") or "").strip("/")
        target = Target.COLLECTION if found["id"] is None else Target.ENVIRONMENT
        rows = _BY_PATH.get((target, f"{suffix}/" if suffix else ""), {})
        rows = {method: row for method, row in rows.items() if row.name in rules.endpoints}
        absent = rules.not_on_project if style == "project" else {CHANGE_ORGANIZATION.name}
        rows = {method: row for method, row in rows.items() if row.name not in absent}
        if not rows:
            break
        # PUT is a PATCH that most servers refuse; the client never sends it.
        endpoint = rows.get("PATCH" if verb == "PUT" and not suffix else verb)
        return Route(style, verb, endpoint, rows, found["id"], found.get("project"), found.get("organization"))
    return Route("none", verb)
