"""Which host a command asks, and with which credential."""

import os
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from aioposthog_env.api.routes import check_routes
from aioposthog_env.auth import Credential, PersonalAPIKey, SessionCookie, credential_from_environment, resolve_host
from aioposthog_env.bulk.each import Each
from aioposthog_env.bulk.run import BulkRun
from aioposthog_env.cli.arguments import Connection
from aioposthog_env.cli.profiles import find_profile, load_profiles
from aioposthog_env.environments import AsyncEnvironments
from aioposthog_env.errors import ConfigurationError, ScopeError
from aioposthog_env.redacted import redacted
from aioposthog_env.sending import Limiter
from aioposthog_env.telemetry import Hook

if TYPE_CHECKING:
    from aioposthog_env.sandbox import Sandbox

SANDBOX_ENVIRONMENTS = 25

SESSION_VARIABLES: Final = (
    "set POSTHOG_SESSION_ID and POSTHOG_CSRF_TOKEN to the two cookies, sessionid and posthog_csrftoken, of a browser in which "
    "you are logged in"
)
"""Where a session comes from, in a shell's words."""


@asynccontextmanager
async def connect(
    connection: Connection, *, session: bool = False, hooks: Sequence[Hook] = ()
) -> AsyncGenerator[AsyncEnvironments, None]:
    """A client for the host that was asked for, or for an embedded PostHog.

    Args:
        connection: Which host.
        session: Use a person's session, where there is one: what is to be called takes no key.
        hooks: Told what the client does.
    """
    if connection.profile is not None:
        if connection.sandbox or connection.host is not None:
            raise ConfigurationError("A profile names its own host: give --profile without --host and --sandbox.")
        if len(connection.profiles) > 1:
            raise ConfigurationError("This command works at one host at a time: give one profile.")
        profile = find_profile(connection.profile)
        auth = await profile.credential(session=session)
        async with AsyncEnvironments(
            profile.host,
            auth=auth,
            limiter=_limiter(connection, auth),
            allow_insecure_http=profile.allow_insecure_http,
            routes=connection.routes or check_routes(profile.routes),
            hooks=hooks,
        ) as environments:
            yield environments
        return
    routes = connection.routes or "auto"
    if not connection.sandbox:
        resolve_host(connection.host)  # told first: a key is of no use where the host is none
        auth = (_session_from_environment() if session else None) or _key_from_environment(session=session)
        limiter = _limiter(connection, auth)
        async with AsyncEnvironments(connection.host, auth=auth, limiter=limiter, routes=routes, hooks=hooks) as environments:
            yield environments
        return
    if connection.host is not None:
        raise ConfigurationError("Give --host or --sandbox, not both.")
    from aioposthog_env.sandbox import Sandbox

    async with Sandbox(SANDBOX_ENVIRONMENTS, era=connection.era) as sandbox:
        auth = _sandbox_auth(sandbox, session=session)
        limiter = _limiter(connection, auth)
        async with AsyncEnvironments(sandbox.url, auth=auth, limiter=limiter, routes=routes, hooks=hooks) as environments:
            yield environments


def _sandbox_auth(sandbox: "Sandbox", *, session: bool) -> Credential:
    """Return a credential of the sandbox's owner. No frame that an error passes through holds it in plain text."""
    if not session:
        return PersonalAPIKey(sandbox.key())
    person = sandbox.session()
    return SessionCookie(person.session_id, person.csrf_token)


def _limiter(connection: Connection, auth: Credential) -> Limiter:
    """The limiter that was asked for. PostHog limits personal API keys only."""
    if connection.limiter is not None and ("@" in connection.limiter or "password=" in connection.limiter):
        raise ConfigurationError(
            "Others on this machine can see arguments: give an address with a password in the variable POSTHOG_LIMITER."
        )
    url = connection.limiter or os.environ.get("POSTHOG_LIMITER", "").strip()
    if not url or not auth.limited_by_server:
        return "shared"
    from aioposthog_env.shared_limit.limiter import RedisRateLimiter

    return RedisRateLimiter(url)


def check_lasts(connection: Connection) -> None:
    """See that the PostHog which an earlier command has spoken to is still there.

    Raises:
        ConfigurationError: It was a sandbox that ended with its command.
    """
    if connection.sandbox:
        raise ConfigurationError(
            "--sandbox is a new PostHog for each command, so a plan or a journal of an earlier command does not fit it. "
            "This serves one to several commands: aioposthog-env sandbox"
        )


def check_kind(environments: AsyncEnvironments, start: Callable[[Each], BulkRun[Any]]) -> None:
    """Say what the credential can never do before anybody is asked.

    Raises:
        ScopeError: It is of the wrong kind.
    """
    try:
        start(environments.each([]))
    except ScopeError as error:
        error.message += f" On the command line: {SESSION_VARIABLES}."
        raise


def has_session(connection: Connection) -> bool:
    """Whether a person's session is at hand, beside a key or instead of one."""
    if connection.profile is not None:
        return find_profile(connection.profile).has_session
    return not connection.sandbox and _session_from_environment() is not None


def has_key(connection: Connection) -> bool:
    """Whether a key is at hand."""
    if connection.profile is not None:
        return find_profile(connection.profile).has_key
    if connection.sandbox:
        return True
    try:
        credential_from_environment()
    except ConfigurationError:
        return False
    return True


def _key_from_environment(*, session: bool) -> PersonalAPIKey:
    """The key of the variables.

    Args:
        session: Whether a session was wanted instead, and is not there.

    Raises:
        ConfigurationError: There is none, or it is none; names what is to be set, and the profiles that could be meant.
    """
    try:
        return credential_from_environment()
    except ConfigurationError:
        if os.environ.get("POSTHOG_PERSONAL_API_KEY", "").strip():
            raise
    names = " or ".join(load_profiles())
    profile = f"give --profile {names}." if names else "begin a file of profiles with: aioposthog-env config init"
    if session:
        raise ConfigurationError(f"This takes no key, but a person's session: {SESSION_VARIABLES}, or {profile}")
    raise ConfigurationError(f"There is no key in the variable POSTHOG_PERSONAL_API_KEY. Set it, or {profile}")


def _session_from_environment() -> SessionCookie | None:
    """The cookies of a browser's session; None where the variables are not set."""
    cookie, csrf = redacted(os.environ.get("POSTHOG_SESSION_ID")), redacted(os.environ.get("POSTHOG_CSRF_TOKEN"))
    if bool(cookie) != bool(csrf):
        raise ConfigurationError("A session needs both variables, POSTHOG_SESSION_ID and POSTHOG_CSRF_TOKEN.")
    return SessionCookie(cookie, csrf) if cookie and csrf else None
