"""Who is calling, and whether they may: authentication, scopes, limits of keys, and membership, in the server's order."""

from collections.abc import Mapping
from http.cookies import SimpleCookie
from typing import Any, Final

import attrs

from aioposthog_env.api.endpoints import Endpoint, Target
from aioposthog_env.sandbox.errors import denied, not_found, unauthenticated
from aioposthog_env.sandbox.fields import ROWS
from aioposthog_env.sandbox.json import is_object
from aioposthog_env.sandbox.state import SandboxEnvironment, SandboxUser, State, Token

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
        if token is None or token.revoked:
            if value.startswith("pha_"):
                raise unauthenticated("Invalid access token.", challenge)
            raise unauthenticated(f"Personal API key found in request {where} is invalid.", challenge)
        personal = value.startswith("phx_")
        return Caller(token.user, token, value if personal and where != "body" else None)
    jar: SimpleCookie = SimpleCookie(cookies)
    session = state.sessions.get(jar["sessionid"].value) if "sessionid" in jar else None
    if session is None:
        raise unauthenticated("Authentication credentials were not provided.", challenge, "not_authenticated")
    csrf_token, user = session
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


def check_scopes(state: State, caller: Caller, endpoint: Endpoint, environment: SandboxEnvironment | None, body: Any) -> None:
    """Hold the token against the action: does it take tokens, is the key limited to elsewhere, is the scope there.

    Raises:
        Problem: 403, or 404 where a limited key asks for something that does not exist.
    """
    token = caller.token
    if token is None:
        return
    if endpoint.scope is None:
        raise denied(state.rules.no_scope)
    if token.projects:
        if endpoint.target is Target.COLLECTION:
            raise denied("API keys with scoped projects are only supported on project-based endpoints.")
        if environment is None:
            raise not_found()
        if environment.id not in token.projects:
            raise denied(f"API key does not have access to the requested project: ID {environment.id}.")
    if token.organizations and environment is not None and environment.organization not in token.organizations:
        raise denied(f"API key does not have access to the requested organization: ID {environment.organization}.")
    need = _scope_of_update(state, body) if endpoint.name == "update" else endpoint.scope
    granted = set(token.scopes)
    if "*" in granted or need in granted or (need.endswith(":read") and need.replace(":read", ":write") in granted):
        return
    raise denied(f"API key missing required scope '{need}'")


def _scope_of_update(state: State, body: Any) -> str:
    letter = state.rules.letter
    config_fields = {name for name, row in ROWS.items() if letter in row.eras and name != "name"}
    config_only = is_object(body) and set(body) <= config_fields
    return state.rules.config_scope if config_only else "project:write"


def check_visible(caller: Caller, environment: SandboxEnvironment | None) -> None:
    """An environment of a foreign organization is as if it did not exist.

    Raises:
        Problem: 404.
    """
    if environment is None or environment.organization not in caller.user.levels:
        raise not_found()
