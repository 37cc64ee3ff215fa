"""From a request to an answer, in the server's order of evaluation.

A path that the generation does not know, and the nested path where it is closed, are refused before anything else is looked
at. Then come authentication, scopes, visibility, the rate limit, and last the action, which checks its input. So a request
that is refused by authentication or permission never counts against the limit, and one with bad input does.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import attrs
import msgspec
from multidict import MultiMapping

from aioposthog_env.api.endpoints import CREATE, CURRENT_KEY, LIST, UPDATE
from aioposthog_env.sandbox.access import Caller, authenticate, check_scopes, check_visible, own_record, required_scope
from aioposthog_env.sandbox.actions import ACTIONS
from aioposthog_env.sandbox.asked import Asked
from aioposthog_env.sandbox.bodies import Unreadable, read_body
from aioposthog_env.sandbox.eras import NESTED_REFUSED, SUNSET
from aioposthog_env.sandbox.errors import Problem, crash, denied, invalid, not_found
from aioposthog_env.sandbox.json import is_object
from aioposthog_env.sandbox.nested import check_nested, check_project
from aioposthog_env.sandbox.quota import check_put
from aioposthog_env.sandbox.routing import Route
from aioposthog_env.sandbox.state import SandboxEnvironment, State, moment
from aioposthog_env.sandbox.throttle import Throttle, ThrottleLogs, whole_seconds

_JSON: Final = "application/json"
_NO_SUCH_PAGE: Final = b"<html><body><h1>404 Not Found</h1></body></html>"
"""What a mock or a gateway answers that knows the documented path only."""
_RACE: Final = 0.002
"""Seconds between reading and writing the logs of the limit, where the race is asked for."""


@attrs.frozen(kw_only=True)
class Request:
    """A request as it was read.

    Attributes:
        verb: The verb.
        path: The path.
        query: The query.
        headers: The headers, whose names ignore case.
        raw: The body.
        origin: The address of the server, for links.
    """

    verb: str
    path: str
    query: MultiMapping[str]
    headers: Mapping[str, str]
    raw: bytes
    origin: str


@attrs.define
class Answer:
    """What goes back."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = attrs.field(factory=dict[str, str])
    cookies: dict[str, str] = attrs.field(factory=dict[str, str])


class Server:
    """Answers requests about a scene."""

    def __init__(self, state: State, throttle: Throttle | None, *, unstable_order: bool) -> None:
        self.state = state
        self.refusals: int = 0
        self._throttle = ThrottleLogs(throttle) if throttle is not None else None
        self._race = throttle is not None and throttle.race
        self._unstable_order = unstable_order

    async def answer(self, request: Request, route: Route) -> Answer:
        """Answer a request."""
        if self.state.nested_only and route.style in {"root", "project"}:
            return Answer(404, _NO_SUCH_PAGE, {"Content-Type": "text/html"})
        headers = {"Content-Type": _JSON, "Allow": route.allow} | self._deprecation(request, route)
        try:
            if route.style == "login":
                return self._log_in(request, headers)
            body = await self._evaluate(request, route)
        except Problem as problem:
            return Answer(problem.status, msgspec.json.encode(problem.body), headers | problem.headers)
        if body is None:
            del headers["Content-Type"]
            return Answer(204, b"", headers)
        status = 200 if route.endpoint is None else next(iter(route.endpoint.success))
        return Answer(status, msgspec.json.encode(body), headers)

    def _deprecation(self, request: Request, route: Route) -> dict[str, str]:
        if route.style != "root" or not self.state.rules.alias:
            return {}
        query = "&".join(f"{name}={value}" for name, value in request.query.items())
        successor = request.path.replace("/api/environments", "/api/projects", 1) + (f"?{query}" if query else "")
        return {"Deprecation": "true", "Sunset": SUNSET, "Link": f'<{successor}>; rel="successor-version"'}

    async def _evaluate(self, request: Request, route: Route) -> Any:
        state, rules = self.state, self.state.rules
        if route.style == "nested" and state.nested == "refused":
            raise denied(NESTED_REFUSED)
        if route.style == "none":
            raise not_found("Endpoint not found.")
        accept = request.headers.get("Accept", "")
        if "text/html" in accept and "json" not in accept:
            raise Problem(406, "invalid_request", "not_acceptable", "Could not satisfy the request Accept header.")
        body = read_body(request.raw, request.headers.get("Content-Type", ""))
        cookies = request.headers.get("Cookie", "")
        if route.style == "key" and not rules.shows_own_key:
            # Keys are not even looked at here.
            authenticate(state, request.verb, {}, {}, None, cookies)
            raise not_found()
        caller = authenticate(state, request.verb, request.headers, request.query, body, cookies)
        if route.project is not None and not route.project.isdigit() and route.project != "@current":
            raise not_found("Project not found.")
        if (endpoint := route.endpoint) is CURRENT_KEY:
            return await self._own_key(caller)
        if route.style == "key" and caller.token is not None and not caller.may_all(state):
            raise denied(rules.no_scope)
        if endpoint is None and not rules.scopes_of_any_verb:
            return self._other_verb(route)
        environment = self._admit(caller, route, body)
        if endpoint is None:
            return self._other_verb(route)
        if route.verb == "PUT" and endpoint is UPDATE and environment is not None:
            check_put(state, route.style, environment)
        await self._limit(caller)
        if isinstance(body, Unreadable):
            raise body.problem
        if self._unstable_order and endpoint is LIST:
            self._shuffle()
        return ACTIONS[endpoint.name](self._asked(request, route, caller, environment, body))

    def _admit(self, caller: Caller, route: Route, body: Any) -> SandboxEnvironment | None:
        """Check scopes, then whether the environment exists and is visible. Return it; None for collections."""
        state = self.state
        nested = state.nested if route.style == "nested" else None
        if nested == "by event definitions" and caller.token is not None:
            check_project(state, self._project_of(route, caller))
        environment = None if nested == "broken" or route.id is None else self._find(route, caller)
        scope = required_scope(state, route, body)
        check_scopes(state, caller, route, scope, environment)
        if nested == "broken":
            if route.endpoint not in {CREATE, None}:
                raise crash()
            return None
        if route.id is None:
            if nested == "by event definitions" and (route.endpoint is LIST or route.verb == "OPTIONS"):
                check_project(state, self._project_of(route, caller))
                raise crash()
            return None
        _must_be_a_number(route)
        if nested == "by event definitions":
            check_nested(state, caller, route, environment, scope)
        return check_visible(state, caller, environment)

    def _other_verb(self, route: Route) -> Any:
        rules = self.state.rules
        crashing = any(row.name in rules.crashing_reads for row in route.rows.values())
        if route.verb == "OPTIONS":
            if rules.options_crash and (route.id is None or crashing):
                raise crash()
            return {"name": "Environment", "description": "", "renders": [_JSON], "parses": [_JSON]}
        if crashing:
            raise crash()
        raise Problem(405, "invalid_request", "method_not_allowed", f'Method "{route.verb}" not allowed.')

    def _shuffle(self) -> None:
        order = list(self.state.environments.items())
        self.state.rng.shuffle(order)
        self.state.environments = dict(order)

    def _asked(
        self, request: Request, route: Route, caller: Caller, environment: SandboxEnvironment | None, body: Any
    ) -> Asked:
        shown = request.path.replace("/api/environments", "/api/projects", 1) if self.state.rules.alias else request.path
        return Asked(
            state=self.state,
            user=caller.user,
            environment=environment,
            project_id=self._project_of(route, caller),
            organization=route.organization,
            style=route.style,
            query=request.query,
            organizations=caller.organizations(self.state),
            body=body,
            path=request.origin + shown,
            early_project=route.style == "project" and not self.state.rules.ties_project_to_environment,
        )

    def _find(self, route: Route, caller: Caller) -> SandboxEnvironment | None:
        given = str(caller.user.current) if route.id == "@current" else route.id or ""
        environment = self.state.environments.get(int(given)) if given.isdigit() else None
        documented = route.style == "nested" and self.state.nested == "as documented"
        if environment is not None and documented and environment.project_id != self._project_of(route, caller):
            return None
        return environment

    def _project_of(self, route: Route, caller: Caller) -> int | None:
        if route.project is None:
            return None
        if route.project == "@current":
            current = self.state.environments.get(caller.user.current or 0)
            return None if current is None else current.project_id
        return int(route.project)

    async def _limit(self, caller: Caller) -> None:
        logs, key = self._throttle, caller.limited_by
        if logs is None or key is None:
            return
        now = asyncio.get_running_loop().time()
        waits = logs.look(key, now)
        if self._race:
            await asyncio.sleep(_RACE)
        logs.record(key, now, waits)
        wait = max((wait for wait in waits if wait is not None), default=None)
        if wait is None:
            return
        self.refusals += 1
        seconds = whole_seconds(wait)
        unit = "second" if seconds == 1 else "seconds"
        detail = f"Request was throttled. Expected available in {seconds} {unit}."
        raise Problem(429, "throttled_error", "throttled", detail, headers={"Retry-After": str(seconds)})

    async def _own_key(self, caller: Caller) -> dict[str, Any]:
        token = caller.token
        if token is None and self.state.rules.own_key_crashes:
            raise crash()
        if token is None or token.value.startswith("pha_"):
            raise not_found()
        await self._limit(caller)
        return own_record(self.state, token, moment(self.state.now()))

    def _log_in(self, request: Request, headers: dict[str, str]) -> Answer:
        body = read_body(request.raw, request.headers.get("Content-Type", ""))
        given: dict[str, Any] = body if is_object(body) else {}
        for name in ("email", "password"):
            if name not in given:
                raise invalid("This field is required.", name, "required")
        for user in self.state.users:
            if (user.email, user.password) != (given["email"], given["password"]):
                continue
            if user.two_factor:
                raise Problem(401, "server_error", "2fa_required", "2FA is required.")
            session = self.state.add_session(user)
            cookies = {"sessionid": session.session_id, "posthog_csrftoken": session.csrf_token}
            return Answer(200, b'{"success":true}', headers, cookies)
        raise invalid("Invalid email or password.", code="invalid_credentials")


def _must_be_a_number(route: Route) -> None:
    given = route.id or ""
    if given != "@current" and not given.lstrip("-").isdigit():
        raise invalid(f"Field 'id' expected a number but got '{given}'.")
