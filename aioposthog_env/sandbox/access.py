"""Who is calling, and whether they may: authentication, scopes, limits of keys, and membership, in the server's order."""

from collections.abc import Mapping
from http.cookies import SimpleCookie
from typing import Any, Final

import attrs

from aioposthog_env.api.endpoints import READ, UPDATE, WRITE
from aioposthog_env.sandbox.bodies import Unreadable
from aioposthog_env.sandbox.errors import crash, denied, not_found, unauthenticated
from aioposthog_env.sandbox.json import is_object
from aioposthog_env.sandbox.routing import Route
from aioposthog_env.sandbox.state import ADMIN, SandboxEnvironment, SandboxUser, State, Token

_UNSAFE: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})


@attrs.frozen
class Caller:
    """Who is calling, and with what.

    Attributes:
        user: The person behind the credential.
        token: The key or OAuth token; None for a session.
        limited_by: The key's value where the rate limit sees it: in the header or the query.
    """

    user: SandboxUser
    token: Token | None
    limited_by: str | None

    def may_all(self, state: State) -> bool:
        """Whether scopes are no matter: a session, or a key of old where that may do everything."""
        return self.token is None or (not self.token.scopes and state.rules.legacy_keys_may_all)

    def organizations(self, state: State) -> frozenset[str]:
        """The organizations whose environments are seen."""
        mine = frozenset(self.user.levels)
        limits = self.token.organizations if self.token is not None and state.rules.letter != "A" else ()
        return mine & frozenset(limits) if limits else mine


def authenticate(
    state: State, verb: str, headers: Mapping[str, str], query: Mapping[str, str], body: Any, cookies: str
) -> Caller:
    """Find out who is calling.

    Raises:
        Problem: Nobody known, or a session without its CSRF token.
    """
    challenge = state.rules.challenge
    value, where = _key_in(headers, query, body)
    if value is not None:
        token = state.tokens.get(value)
        if token is not None and token.expired:
            raise unauthenticated("Access token has expired.", challenge)
        if token is None or token.revoked:
            if value.startswith("pha_"):
                raise unauthenticated("Invalid access token.", challenge)
            raise unauthenticated(f"Personal API key found in request {where} is invalid.", challenge)
        personal = not value.startswith("pha_")
        return Caller(token.user, token, value if personal and where != "body" else None)
    jar: SimpleCookie = SimpleCookie(cookies)
    session = state.sessions.get(jar["sessionid"].value) if "sessionid" in jar else None
    if session is None:
        raise unauthenticated("Authentication credentials were not provided.", challenge, "not_authenticated")
    csrf_token, user = session
    if user.two_factor_due is not None:
        raise denied(f"2FA {user.two_factor_due} required", code=f"two_factor_{user.two_factor_due}_required")
    if verb in _UNSAFE:
        if "posthog_csrftoken" not in jar or "X-CSRFToken" not in headers:
            raise denied("CSRF Failed: CSRF token missing.")
        if headers["X-CSRFToken"] != csrf_token or jar["posthog_csrftoken"].value != csrf_token:
            raise denied("CSRF Failed: CSRF token from the 'X-Csrftoken' HTTP header incorrect.")
    return Caller(user, None, None)


def _key_in(headers: Mapping[str, str], query: Mapping[str, str], body: Any) -> tuple[str | None, str]:
    header = headers.get("Authorization", "")
    # The word is matched with its case; anything malformed is as if it were not there.
    if header.startswith("Bearer ") and len(header.removeprefix("Bearer ").strip()) > 1:
        return header.removeprefix("Bearer ").strip(), "Authorization header"
    if is_object(body) and isinstance(body.get("personal_api_key"), str):
        return body["personal_api_key"], "body"
    if "personal_api_key" in query:
        return query["personal_api_key"], "query string"
    return None, ""


def required_scope(state: State, route: Route, body: Any) -> str | None:
    """The scope that a request needs; None where the action publishes none."""
    rules, endpoint = state.rules, route.endpoint
    if endpoint is None:
        # A verb that the path does not take. An action's own scope counts for every verb of its path.
        of_action = next((rules.scopes.get(row.name, row.scope) for row in route.rows.values()), None)
        if route.has_suffix and of_action is not None:
            return of_action
        return READ if route.verb == "OPTIONS" else WRITE if route.verb == "PATCH" and route.id is None else None
    if endpoint is UPDATE and route.verb == "PATCH":
        return _scope_of_update(state, route, body)
    return rules.scopes.get(endpoint.name, endpoint.scope)


def _scope_of_update(state: State, route: Route, body: Any) -> str:
    rules = state.rules
    scope = rules.project_config_scope if route.style == "project" else rules.config_scope
    if scope == WRITE:
        return WRITE
    if isinstance(body, Unreadable):
        raise body.problem
    if body is not None and not is_object(body):
        raise crash()  # its keys are asked for
    return scope if set(body or ()) <= state.rows.keys() - {"name"} else WRITE


def check_scopes(state: State, caller: Caller, route: Route, scope: str | None, environment: SandboxEnvironment | None) -> None:
    """Hold the token against the action: does it take tokens, is the key limited to elsewhere, is the scope there.

    Raises:
        Problem: 403, or 404 where a limited key asks for something that does not exist.
    """
    token, rules = caller.token, state.rules
    if token is None:
        return
    if scope is None and not caller.may_all(state):
        raise denied(rules.no_scope)
    if token.projects:
        _check_projects(state, token, route, environment)
    if token.organizations and (judged := _organization_judged(state, caller, route)) not in token.organizations:
        raise denied(f"API key does not have access to the requested organization: ID {judged}.")
    if scope is None or caller.may_all(state):
        return
    granted = set(token.scopes)
    if "*" in granted or scope in granted or (scope.endswith(":read") and scope.replace(":read", ":write") in granted):
        return
    raise denied(f"API key missing required scope '{scope}'")


def _check_projects(state: State, token: Token, route: Route, environment: SandboxEnvironment | None) -> None:
    rules = state.rules
    if route.style == "nested" and state.nested == "broken":
        raise crash()
    if route.id is None:
        raise denied("API keys with scoped projects are only supported on project-based endpoints.")
    if environment is None:
        raise not_found()
    if environment.id not in token.projects:
        if rules.hides_other_projects and route.style != "project" and route.id != "@current":
            raise not_found()
        raise denied(f"API key does not have access to the requested project: ID {environment.id}.")


def _organization_judged(state: State, caller: Caller, route: Route) -> str | None:
    """A nested path is judged by its project, any other by what the key's owner last looked at in a browser."""
    if route.style == "nested":
        of_project = (one.organization for one in state.environments.values() if str(one.project_id) == route.project)
        return next(of_project, None)
    current = state.environments.get(caller.user.current or 0)
    return next(iter(caller.user.levels), None) if current is None else current.organization


def check_visible(state: State, caller: Caller, environment: SandboxEnvironment | None) -> SandboxEnvironment:
    """An environment of a foreign organization is as if it did not exist.

    Raises:
        Problem: 404.
    """
    if environment is None or environment.organization not in caller.organizations(state):
        raise not_found()
    if environment.id in caller.user.no_access:
        raise denied("You don't have access to the project.")
    level = caller.user.levels[environment.organization]
    if state.keys_for_admins_only and caller.token is not None and level < ADMIN:
        raise denied("Your organization does not allow personal API keys. Contact an admin.")
    return environment


def own_record(state: State, token: Token, now: str) -> dict[str, Any]:
    """What a key may read of itself."""
    return {
        "id": token.id,
        "label": "A key",
        "value": None,
        "mask_value": f"{token.value[:4]}...{token.value[-4:]}",
        "created_at": now,
        "last_used_at": now,
        "last_rolled_at": None,
        "user_id": state.users.index(token.user) + 1,
        "scopes": list(token.scopes) or ["*"],
        "scoped_teams": list(token.projects) or None,
        "scoped_organizations": list(token.organizations) or None,
    }
