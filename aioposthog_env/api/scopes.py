"""Required against granted: may this credential make this call? Judged only where it is certain.

A scope that is missing is refused only where the credential's scopes are known. An action that publishes no scope is
refused for every token by its kind, because no scope would help. Limits of a key to organizations are
never judged here: PostHog holds them against the organization that the key's owner last looked at.
"""

from collections.abc import Collection, Iterable

import attrs

from aioposthog_env.api.endpoints import READ, WRITE, Endpoint, Target
from aioposthog_env.api.era import Era

SESSION_KIND = "session"


@attrs.frozen
class Grant:
    """What is known of a credential.

    Attributes:
        kind: The kind of credential.
        scopes: Its scopes; None where they are not known.
        projects: The projects it is limited to; None where that is not known, empty for no limit.
    """

    kind: str
    scopes: frozenset[str] | None = None
    projects: frozenset[int] | None = None


@attrs.frozen
class Refusal:
    """Why a call cannot succeed."""

    message: str
    missing: frozenset[str] = frozenset()


def implied(scopes: Iterable[str]) -> frozenset[str]:
    """The scopes with all that they imply: ``write`` implies ``read``. A star stays a star."""
    granted = frozenset(scopes)
    return granted | {f"{scope.removesuffix(':write')}:read" for scope in granted if scope.endswith(":write")}


def missing(needs: Collection[str], scopes: frozenset[str]) -> frozenset[str]:
    """The needed scopes that are not granted."""
    if "*" in scopes:
        return frozenset()
    return frozenset(needs) - implied(scopes)


def needed_for_update(fields: Collection[str], era: Era, config_fields: Collection[str]) -> str:
    """The scope that a settings PATCH needs.

    In 2025 a body of config fields alone needed only ``project:read``; since 2026 it always needs ``project:write``
    . Where the era is not known, only the lesser scope is certain, and the server decides.

    Args:
        fields: The keys of the body.
        era: The era of the host.
        config_fields: The keys that count as config in 2025.
    """
    if era in {Era.C, Era.D} or (era is Era.B and not set(fields) <= set(config_fields)):
        return WRITE
    return READ


def refusal(endpoint: Endpoint, need: str | None, grant: Grant, ids: Collection[int]) -> Refusal | None:
    """Why the call cannot succeed; None where it may.

    Args:
        endpoint: The endpoint.
        need: The scope this very call needs; None for the endpoint that publishes none.
        grant: What is known of the credential.
        ids: The environment's id, and the project's where it is named. Which of the two PostHog holds against the key's
            limit depends on the path, so either one will do here.
    """
    if grant.kind == SESSION_KIND or endpoint.target is Target.KEY:
        return None
    if not endpoint.publishes_scope or need is None:
        return Refusal(
            f"{endpoint.name} publishes no scope, so PostHog refuses every {grant.kind} here, whatever its scopes. "
            "Use a session: SessionCookie(…), or await log_in(host, email, password)."
        )
    if grant.scopes is not None and (lacking := missing({need}, grant.scopes)):
        return Refusal(
            f"The {grant.kind} lacks the scope {need}; it has {', '.join(sorted(grant.scopes)) or 'none'}. "
            "Add the scope to the key in PostHog, or use another key.",
            lacking,
        )
    if grant.projects and (outside := _outside(endpoint, grant.projects, ids)):
        return Refusal(outside)
    return None


def _outside(endpoint: Endpoint, projects: frozenset[int], ids: Collection[int]) -> str:
    allowed = ("project " if len(projects) == 1 else "projects ") + ", ".join(str(project) for project in sorted(projects))
    if endpoint.target is Target.COLLECTION:
        return f"The key is limited to {allowed}; PostHog lets no limited key list or create. Name the environments."
    if projects.isdisjoint(ids):
        return f"The key is limited to {allowed} and does not reach this environment."
    return ""
