"""``Sandbox``: an embedded PostHog on a port of this machine.

A request goes through the server's order of evaluation: the nested path is refused in the newest generation before anything
else is looked at; then authentication, scopes, visibility, the rate limit, and last the action, which checks its input. So a
request that is refused by authentication or permission never counts against the limit, and one with bad input does.
"""

import asyncio
import random
import re
from collections import Counter, deque
from collections.abc import Collection, Mapping
from types import TracebackType
from typing import Any, Final, Self

import attrs
import msgspec
from aiohttp import web

from aioposthog_env.api.endpoints import CURRENT_KEY, ENDPOINTS, Endpoint, Target
from aioposthog_env.sandbox.access import Caller, authenticate, check_scopes, check_visible
from aioposthog_env.sandbox.actions import ACTIONS, Asked
from aioposthog_env.sandbox.eras import ERAS, NESTED_REFUSED, SUNSET, EraName
from aioposthog_env.sandbox.errors import Problem, crash, invalid, not_found
from aioposthog_env.sandbox.json import is_object
from aioposthog_env.sandbox.state import (
    ADMIN,
    MEMBER,
    OWNER,
    SandboxEnvironment,
    SandboxSession,
    SandboxUser,
    State,
    moment,
)
from aioposthog_env.sandbox.throttle import Throttle, ThrottleLogs, whole_seconds

_PATHS: Final = (
    ("nested", re.compile(r"^/api/projects/(?P<project>[^/]+)/environments(?:/(?P<id>[^/]+)(?P<rest>/.*)?)?$")),
    ("root", re.compile(r"^/api/environments(?:/(?P<id>[^/]+)(?P<rest>/.*)?)?$")),
    ("project", re.compile(r"^/api/organizations/(?P<organization>[^/]+)/projects(?:/(?P<id>[^/]+)(?P<rest>/.*)?)?$")),
    ("project", re.compile(r"^/api/projects(?:/(?P<id>[^/]+)(?P<rest>/.*)?)?$")),
)
_RESTRICTION: Final[dict[str, Any]] = {
    "restriction_type": "skip_person_processing",
    "distinct_ids": ["bot-1", "bot-2"],
    "session_ids": [],
    "event_names": [],
    "event_uuids": [],
    "pipelines": ["analytics"],
}


@attrs.frozen(kw_only=True)
class SandboxCall:
    """One request as the sandbox saw it.

    Attributes:
        verb: The HTTP verb.
        path: The path with its query.
        endpoint: The endpoint's name; None where the path is none.
        environment_id: The id in the path; None where it names none.
        status: What was answered; None where the connection was dropped instead.
        at: The time of the event loop.
    """

    verb: str
    path: str
    endpoint: str | None
    environment_id: int | None
    status: int | None
    at: float


@attrs.frozen(kw_only=True)
class _Script:
    """What happens instead of, or after, the proper handling."""

    endpoint: str | None
    before_effect: bool
    status: int = 0
    body: bytes = b""
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])


@attrs.frozen
class _Route:
    style: str
    endpoint: Endpoint | None
    id: str | None
    project: str | None
    organization: str | None


class Sandbox:
    """An embedded PostHog. Enter it with ``async with``; it listens on 127.0.0.1 until it is left.

    Args:
        environments: How many environments the first organization has.
        era: Which generation it plays: ``2025-11`` or ``current``.
        seed: The same seed gives the same scene.
        lacking_anonymize_ips: How many environments have ``anonymize_ips`` off; default: 36 of 100.
        environments_per_project: How many environments share a project, in 2025.
        throttle: The rate limit of keys: True for PostHog's own, a ``Throttle`` for other figures, False for none.
        latency: Seconds before each answer.
        port: The port; 0 takes a free one.
        unstable_order: Whether each list comes in another order, as PostHog's may.
    """

    def __init__(
        self,
        environments: int = 25,
        *,
        era: EraName = "current",
        seed: int = 0,
        lacking_anonymize_ips: int | None = None,
        environments_per_project: int = 1,
        throttle: Throttle | bool = True,
        latency: float = 0.0,
        port: int = 0,
        unstable_order: bool = False,
    ) -> None:
        self.rules = ERAS[era]
        self.latency = latency
        self._port = port
        self._unstable_order = unstable_order
        self._state = State(self.rules, random.Random(seed))  # noqa: S311  made-up data, no protection
        self._throttle = ThrottleLogs(throttle if isinstance(throttle, Throttle) else Throttle()) if throttle else None
        self._calls: list[SandboxCall] = []
        self._scripts: deque[_Script] = deque()
        self._runner: web.ServerRunner | None = None
        self.refusals = 0
        self.organization_id = self._state.unique_id()
        self.user = self._state.add_user("Alice", {self.organization_id: OWNER})
        self.member = self._state.add_user("Bob", {self.organization_id: MEMBER})
        self._seed(environments, lacking_anonymize_ips, environments_per_project)

    def _seed(self, number: int, lacking: int | None, per_project: int) -> None:
        lacking = round(number * 0.36) if lacking is None else lacking
        order = list(range(number))
        self._state.rng.shuffle(order)
        without = set(order[:lacking])
        project: int | None = None
        for index in range(number):
            if self.rules.ties_project_to_environment or index % per_project == 0:
                project = None
            environment = self._state.add_environment(
                self.organization_id,
                name=f"Environment {index + 1:04}",
                project_id=project,
                anonymize_ips=index not in without,
            )
            project = environment.project_id
            if index % 10 == 3:
                environment.restrictions.append(dict(_RESTRICTION))
        self.user.current = next(iter(self._state.environments), None)

    # The scene

    @property
    def url(self) -> str:
        """Where it listens."""
        if self._runner is None:
            raise RuntimeError("The sandbox is not running; enter it with `async with`.")
        return f"http://127.0.0.1:{self._port}"

    def key(
        self,
        *scopes: str,
        projects: Collection[int] = (),
        organizations: Collection[str] = (),
        user: SandboxUser | None = None,
    ) -> str:
        """A new personal API key. Without scopes it has all of them.

        Args:
            scopes: Its scopes.
            projects: The environments it is limited to.
            organizations: The organizations it is limited to.
            user: Its owner; default: the organization's owner.
        """
        limits = {"projects": tuple(projects), "organizations": tuple(organizations)}
        return self._state.add_token("phx_", user or self.user, scopes or ("*",), **limits).value

    def oauth_token(self, *scopes: str, user: SandboxUser | None = None) -> str:
        """A new OAuth access token. Without scopes it has all of them."""
        return self._state.add_token("pha_", user or self.user, scopes or ("*",)).value

    def session(self, user: SandboxUser | None = None) -> SandboxSession:
        """A new login of the organization's owner, or of somebody else."""
        return self._state.add_session(user or self.user)

    def revoke(self, token: str) -> None:
        """Make a key or token unknown from now on."""
        self._state.tokens[token].revoked = True

    def add_user(
        self, name: str, *, admin: bool = False, organization: str | None = None, two_factor: bool = False
    ) -> SandboxUser:
        """A new person in the first or another organization."""
        levels = {organization or self.organization_id: ADMIN if admin else MEMBER}
        return self._state.add_user(name, levels, two_factor=two_factor)

    def add_organization(self) -> str:
        """A new organization to which nobody belongs yet. Gives its id."""
        return self._state.unique_id()

    def add_environment(self, name: str, *, organization: str | None = None, **settings: Any) -> SandboxEnvironment:
        """A new environment in the first or another organization."""
        return self._state.add_environment(organization or self.organization_id, name=name, **settings)

    def environment(self, id: int) -> SandboxEnvironment:
        """An environment as it is stored."""
        return self._state.environments[id]

    @property
    def environment_ids(self) -> list[int]:
        """The ids of all environments, foreign ones included."""
        return list(self._state.environments)

    @property
    def calls(self) -> list[SandboxCall]:
        """Every request so far."""
        return self._calls

    @property
    def effects(self) -> Counter[tuple[str, int]]:
        """How often each endpoint took effect on each environment, apart from how often it was asked."""
        return self._state.effects

    @property
    def secrets(self) -> frozenset[str]:
        """Every secret value ever issued."""
        return frozenset(self._state.secrets)

    def answer_next(
        self,
        endpoint: str | None,
        status: int,
        body: bytes | dict[str, Any] = b"",
        *,
        headers: Mapping[str, str] | None = None,
        times: int = 1,
        before_effect: bool = True,
    ) -> None:
        """Answer the next requests to an endpoint with this instead.

        Args:
            endpoint: The endpoint's name; None for any.
            status: The status.
            body: The body; a dict goes out as JSON.
            headers: More headers.
            times: How many requests.
            before_effect: Whether nothing happens; else it takes effect first.
        """
        encoded = msgspec.json.encode(body) if isinstance(body, dict) else body
        kind = {"Content-Type": "application/json" if encoded[:1] in (b"{", b"[") else "text/html"}
        script = _Script(
            endpoint=endpoint,
            before_effect=before_effect,
            status=status,
            body=encoded,
            headers=kind | dict(headers or {}),
        )
        self._scripts.extend([script] * times)

    def drop_next(self, endpoint: str | None, *, times: int = 1, before_effect: bool = True) -> None:
        """Close the connection instead of answering the next requests to an endpoint, before or after the effect."""
        self._scripts.extend([_Script(endpoint=endpoint, before_effect=before_effect)] * times)

    # The server

    async def __aenter__(self) -> Self:
        runner = web.ServerRunner(web.Server(self._serve, access_log=None), handle_signals=False, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self._port)
        await site.start()
        self._port = runner.addresses[0][1]
        self._runner = runner
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        route = self._route(request.method, request.path)
        raw = await request.read()
        if self.latency:
            await asyncio.sleep(self.latency)
        name = route.endpoint.name if route.endpoint is not None else None
        script = self._script_for(name)
        untouched = script is not None and script.before_effect
        answer = web.Response(status=500) if untouched else self._answer(request, route, raw)
        dropped = False
        if script is not None:
            if script.status:
                answer = web.Response(status=script.status, body=script.body, headers=script.headers)
            else:
                dropped = True
        self._calls.append(
            SandboxCall(
                verb=request.method,
                path=request.path_qs,
                endpoint=name,
                environment_id=int(route.id) if route.id is not None and route.id.isdigit() else None,
                status=None if dropped else answer.status,
                at=asyncio.get_running_loop().time(),
            )
        )
        if dropped and request.transport is not None:
            request.transport.abort()
        return answer

    def _script_for(self, name: str | None) -> _Script | None:
        for script in self._scripts:
            if script.endpoint is None or script.endpoint == name:
                self._scripts.remove(script)
                return script
        return None

    def _route(self, verb: str, path: str) -> _Route:
        plain = path.rstrip("/")
        if plain == "/api/personal_api_keys/@current":
            return _Route("key", CURRENT_KEY, None, None, None)
        for style, pattern in _PATHS:
            if (match := pattern.match(plain)) is None:
                continue
            found = match.groupdict()
            suffix = (found.get("rest") or "").strip("/")
            suffix = f"{suffix}/" if suffix else ""
            target = Target.COLLECTION if found["id"] is None else Target.ENVIRONMENT
            rows = [row for row in ENDPOINTS if row.target is target and row.suffix == suffix]
            endpoint = next((row for row in rows if row.verb == verb), None)
            if not rows:
                break
            return _Route(style, endpoint, found["id"], found.get("project"), found.get("organization"))
        return _Route("none", None, None, None, None)

    def _answer(self, request: web.BaseRequest, route: _Route, raw: bytes) -> web.Response:
        headers: dict[str, str] = {"Content-Type": "application/json"}
        if route.style == "root" and self.rules.alias:
            successor = request.path_qs.replace("/api/environments", "/api/projects", 1)
            headers |= {
                "Deprecation": "true",
                "Sunset": SUNSET,
                "Link": f'<{successor}>; rel="successor-version"',
            }
        try:
            if request.path.rstrip("/") == "/api/login":
                return self._log_in(raw)
            body = self._evaluate(request, route, raw)
        except Problem as problem:
            return web.Response(
                status=problem.status, body=msgspec.json.encode(problem.body), headers=headers | problem.headers
            )
        assert route.endpoint is not None  # noqa: S101  _evaluate has seen to it
        (status,) = route.endpoint.success
        if status == 204:
            return web.Response(status=status, headers={name: headers[name] for name in headers if name != "Content-Type"})
        return web.Response(status=status, body=msgspec.json.encode(body), headers=headers)

    def _evaluate(self, request: web.BaseRequest, route: _Route, raw: bytes) -> Any:
        state, endpoint = self._state, route.endpoint
        if route.style == "nested" and not self.rules.nested:
            raise Problem(403, "authentication_error", "permission_denied", NESTED_REFUSED)
        if route.style == "none":
            raise not_found("Endpoint not found.")
        if "text/html" in request.headers.get("Accept", "") and "json" not in request.headers.get("Accept", ""):
            raise Problem(406, "invalid_request", "not_acceptable", "Could not satisfy the request Accept header.")
        body = _decode(raw)
        query = request.query
        cookies = request.headers.get("Cookie", "")
        caller = authenticate(state, request.method, request.headers, query, body, cookies)
        if endpoint is None:
            raise Problem(405, "invalid_request", "method_not_allowed", f'Method "{request.method}" not allowed.')
        if endpoint is CURRENT_KEY:
            return self._own_key(caller)
        environment = self._find(route, caller) if endpoint.target is Target.ENVIRONMENT else None
        if route.project is not None and not route.project.isdigit() and route.project != "@current":
            raise not_found("Project not found.")
        check_scopes(state, caller, endpoint, environment, body)
        if endpoint.target is Target.ENVIRONMENT:
            check_visible(caller, environment)
        self._limit(caller)
        if isinstance(body, _Unreadable):
            raise body.problem
        if body is not None and raw and "json" not in request.headers.get("Content-Type", "json"):
            kind = request.headers.get("Content-Type", "")
            raise Problem(415, "invalid_request", "unsupported_media_type", f'Unsupported media type "{kind}" in request.')
        if self._unstable_order and endpoint.name == "list":
            order = list(state.environments.items())
            state.rng.shuffle(order)
            state.environments = dict(order)
        asked = Asked(
            state=state,
            user=caller.user,
            environment=environment,
            project_id=self._project_of(route, caller),
            organization=route.organization,
            style=route.style,
            query=query,
            body={} if body is None else body,
            path=self.url
            + request.path.replace("/api/environments", "/api/projects" if self.rules.alias else "/api/environments", 1),
            early_project=route.style == "project" and not self.rules.ties_project_to_environment,
        )
        return ACTIONS[endpoint.name](asked)

    def _find(self, route: _Route, caller: Caller) -> SandboxEnvironment | None:
        given = str(caller.user.current) if route.id == "@current" else route.id or ""
        if not given.lstrip("-").isdigit():
            raise invalid(f"Field 'id' expected a number but got '{given}'.")
        environment = self._state.environments.get(int(given))
        if environment is None:
            return None
        if route.style == "nested" and environment.project_id != self._project_of(route, caller):
            return None
        return environment

    def _project_of(self, route: _Route, caller: Caller) -> int | None:
        if route.project is None:
            return None
        if route.project == "@current":
            current = self._state.environments.get(caller.user.current or 0)
            return None if current is None else current.project_id
        return int(route.project) if route.project.isdigit() else None

    def _limit(self, caller: Caller) -> None:
        if self._throttle is None or caller.limited_by is None:
            return
        wait = self._throttle.ask(caller.limited_by, asyncio.get_running_loop().time())
        if wait is None:
            return
        self.refusals += 1
        seconds = whole_seconds(wait)
        unit = "second" if seconds == 1 else "seconds"
        detail = f"Request was throttled. Expected available in {seconds} {unit}."
        raise Problem(429, "throttled_error", "throttled", detail, headers={"Retry-After": str(seconds)})

    def _own_key(self, caller: Caller) -> dict[str, Any]:
        token = caller.token
        if token is None or not token.value.startswith("phx_"):
            raise not_found()
        self._limit(caller)
        return {
            "id": token.id,
            "label": "A key",
            "value": None,
            "mask_value": f"phx_...{token.value[-4:]}",
            "created_at": moment(self._state.now()),
            "last_used_at": moment(self._state.now()),
            "last_rolled_at": None,
            "user_id": self._state.users.index(token.user) + 1,
            "scopes": list(token.scopes),
            "scoped_teams": list(token.projects),
            "scoped_organizations": list(token.organizations),
        }

    def _log_in(self, raw: bytes) -> web.Response:
        body = _decode(raw)
        given: dict[str, Any] = body if is_object(body) else {}
        for name in ("email", "password"):
            if name not in given:
                raise invalid("This field is required.", name, "required")
        for user in self._state.users:
            if (user.email, user.password) != (given["email"], given["password"]):
                continue
            if user.two_factor:
                raise Problem(401, "server_error", "2fa_required", "2FA is required.")
            session = self._state.add_session(user)
            answer = web.Response(body=b'{"success":true}', content_type="application/json")
            answer.set_cookie("sessionid", session.session_id, path="/", httponly=True)
            answer.set_cookie("posthog_csrftoken", session.csrf_token, path="/")
            return answer
        raise invalid("Invalid email or password.", code="invalid_credentials")


@attrs.frozen
class _Unreadable:
    """A body that is no JSON; it is refused only when an action wants it."""

    problem: Problem


def _decode(raw: bytes) -> Any:
    if not raw:
        return None
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return _Unreadable(Problem(400, "invalid_request", "parse_error", f"JSON parse error - {error}"))
    except RecursionError:
        return _Unreadable(crash())
