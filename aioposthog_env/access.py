"""What a credential may do, found out without a write."""

from collections.abc import Collection, Sequence
from typing import Final, Literal, TypeAlias

import attrs

from aioposthog_env.api.endpoints import CURRENT_KEY, ENDPOINTS, UPDATE, Endpoint, Target
from aioposthog_env.api.era import Era
from aioposthog_env.api.scopes import SESSION_KIND, Grant, missing, needed_for_update, refusal
from aioposthog_env.errors import PostHogEnvError
from aioposthog_env.models.environment import Environment, EnvironmentRef
from aioposthog_env.models.settings import CONFIG_FIELDS_B
from aioposthog_env.redacted import printable_half_built

_ADMIN: Final = 8
"""``effective_membership_level`` of an admin; 1 is a member, 15 an owner."""

Verdict: TypeAlias = Literal["allowed", "refused", "unknown"]


@printable_half_built
@attrs.frozen
class EndpointAccess:
    """Whether the credential's kind, scopes and limits let it make one kind of call.

    Attributes:
        endpoint: The endpoint's name.
        verdict: ``unknown`` where the server alone can tell.
        reason: Why.
    """

    endpoint: str
    verdict: Verdict
    reason: str


@printable_half_built
@attrs.frozen
class EnvironmentAccess:
    """Whether one environment can be read.

    Attributes:
        ref: The environment.
        readable: Whether it was read.
        admin: Whether the credential's owner is an admin there, which deleting, token calls and since 2026 most settings
            demand; None where the server does not say.
        error: Why it was not read.
    """

    ref: EnvironmentRef
    readable: bool
    admin: bool | None = None
    error: PostHogEnvError | None = None


@printable_half_built
@attrs.frozen(kw_only=True)
class AccessReport:
    """What a credential may do.

    Attributes:
        credential: Its kind.
        scopes: Its scopes; None where they are not known.
        missing: The needed scopes that it certainly lacks.
        endpoints: Endpoint by endpoint.
        environments: Environment by environment, for those that were named.
    """

    credential: str
    scopes: frozenset[str] | None
    missing: frozenset[str]
    endpoints: tuple[EndpointAccess, ...]
    environments: tuple[EnvironmentAccess, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing speaks against it: no needed scope is missing and every named environment can be read."""
        return not self.missing and all(environment.readable for environment in self.environments)

    def of(self, endpoint: str) -> EndpointAccess:
        """The entry of one endpoint.

        Raises:
            KeyError: There is no such endpoint.
        """
        for access in self.endpoints:
            if access.endpoint == endpoint:
                return access
        raise KeyError(endpoint)

    def __str__(self) -> str:
        scopes = "scopes not known" if self.scopes is None else f"scopes {', '.join(sorted(self.scopes)) or 'none'}"
        lacks = f", lacks {', '.join(sorted(self.missing))}" if self.missing else ""
        lines = [f"{self.credential}: {scopes}{lacks}"]
        lines += [f"{one.endpoint}: {one.verdict}: {one.reason}" for one in self.endpoints]
        lines += [f"{one.ref.id}: {'can be read' if one.readable else one.error}" for one in self.environments]
        return "\n".join(lines)


def is_admin(environment: Environment) -> bool | None:
    """Whether the credential's owner is an admin there; None where the server does not say."""
    if isinstance(environment.user_access_level, str):
        return environment.user_access_level == "admin"
    level = environment.effective_membership_level
    return level >= _ADMIN if isinstance(level, int) else None


def report(grant: Grant, era: Era, needs: Collection[str], environments: Sequence[EnvironmentAccess]) -> AccessReport:
    """Put together what is known."""
    return AccessReport(
        credential=grant.kind,
        scopes=grant.scopes,
        missing=missing(needs, grant.scopes) if grant.scopes is not None else frozenset(),
        endpoints=tuple(_endpoint(endpoint, grant, era) for endpoint in ENDPOINTS if endpoint is not CURRENT_KEY),
        environments=tuple(environments),
    )


def _endpoint(endpoint: Endpoint, grant: Grant, era: Era) -> EndpointAccess:
    need = needed_for_update((), era, CONFIG_FIELDS_B) if endpoint is UPDATE else endpoint.scope
    # Which environments a limited key reaches is a question of the environment, not of the endpoint.
    everywhere = tuple(grant.projects or ()) if endpoint.target is not Target.COLLECTION else ()
    refused = refusal(endpoint, need, grant, everywhere)
    if refused is not None:
        return EndpointAccess(endpoint.name, "refused", refused.message)
    if grant.kind == SESSION_KIND:
        return EndpointAccess(endpoint.name, "allowed", "a session needs no scope; the person's role decides")
    if grant.scopes is None:
        return EndpointAccess(endpoint.name, "unknown", f"needs {need}; the scopes are not known, the server decides")
    if endpoint is UPDATE and era is Era.UNKNOWN and missing({str(endpoint.scope)}, grant.scopes):
        reason = "project:read is enough for most settings on servers of 2025; newer ones ask for project:write"
        return EndpointAccess(endpoint.name, "unknown", reason)
    return EndpointAccess(endpoint.name, "allowed", f"{need} is granted")
