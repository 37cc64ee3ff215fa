"""What differs between the generations that the sandbox plays, as data."""

from typing import Final, Literal, TypeAlias

import attrs

from aioposthog_env.api.endpoints import ENDPOINTS
from aioposthog_env.sandbox.more_endpoints import (
    ACCESS,
    CHANGE_ORGANIZATION,
    CONFIGS,
    EVALUATION_CONTEXTS,
    EVALUATION_TAGS,
    names,
)

EraName: TypeAlias = Literal["2024-10", "2025-11", "current"]
Nested: TypeAlias = Literal["served", "broken", "refused"]
Put: TypeAlias = Literal["as patch", "under a project only", "quota"]

_SINCE_2025: Final = frozenset(
    {"add_product_intent", "complete_product_onboarding"}  # here as actions that publish a scope
)
_NOT_IN_2024: Final = frozenset(
    {"rotate_secret_token", "delete_secret_token_backup", "event_ingestion_restrictions"},
)
_SINCE_2026: Final = frozenset(
    {
        "settings_as_of",
        "experiments_config",
        "update_experiments_config",
        "logs_config",
        "update_logs_config",
        "generate_conversations_public_token",
    }
)
_ALL: Final = frozenset(row.name for row in ENDPOINTS)


@attrs.frozen(kw_only=True)
class EraRules:
    """One generation of PostHog.

    Attributes:
        letter: Its letter in the field table.
        endpoints: The endpoints it has; the path of any other is unknown.
        unscoped: Endpoints that publish no scope here although later generations give them one.
        nested: Whether the nested path is served, fails on everything but creating, or is refused before anything else.
        alias: Whether the root path is an alias of the project path, with deprecation headers.
        no_scope: How a token is refused by an action that publishes no scope.
        challenge: The ``WWW-Authenticate`` of a 401; None for none.
        shows_own_key: Whether a key may read its own record.
        legacy_keys_may_all: Whether a key stored without scopes may do everything, or nothing.
        unscoped_verbs: Whether a token with a verb that a path does not take is refused for its scope first.
        config_scope: The scope for a PATCH of config fields alone.
        admin_settings: Whether most settings are for admins only.
        deletes_later: Whether deleting only begins a deletion.
        unique_names: Whether names are unique within an organization.
        mints_secret: Whether rotating makes a first secret where there is none.
        wide_restrictions: Whether restrictions filter by more than distinct ids.
        ties_project_to_environment: Whether a project is its one environment.
        put: What PUT does.
        closed_products: Whether intents take known products only.
        plain_intent_errors: Whether an intent without a product is answered with ``{"error": …}``.
        activity_ids: Whether entries of the activity log have ids.
        options_crash: Whether OPTIONS on a list fails.
        crashing_reads: Actions that fail when they are read.
    """

    letter: str
    endpoints: frozenset[str]
    unscoped: frozenset[str] = frozenset()
    nested: Nested
    alias: bool
    no_scope: str
    challenge: str | None
    shows_own_key: bool
    legacy_keys_may_all: bool
    unscoped_verbs: bool
    config_scope: str
    admin_settings: bool
    deletes_later: bool
    unique_names: bool
    mints_secret: bool
    wide_restrictions: bool
    ties_project_to_environment: bool
    put: Put
    closed_products: bool
    plain_intent_errors: bool
    activity_ids: bool
    options_crash: bool
    crashing_reads: frozenset[str] = frozenset()


ERAS: Final[dict[str, EraRules]] = {
    "2024-10": EraRules(
        letter="A",
        endpoints=_ALL - _NOT_IN_2024 - _SINCE_2026 | {CHANGE_ORGANIZATION.name},
        unscoped=_SINCE_2025,
        nested="broken",
        alias=False,
        no_scope="This action does not support Personal API Key access",
        challenge=None,
        shows_own_key=False,
        legacy_keys_may_all=True,
        unscoped_verbs=True,
        config_scope="project:write",
        admin_settings=False,
        deletes_later=False,
        unique_names=False,
        mints_secret=True,
        wide_restrictions=False,
        ties_project_to_environment=False,
        put="as patch",
        closed_products=False,
        plain_intent_errors=True,
        activity_ids=False,
        options_crash=True,
        crashing_reads=frozenset({"reset_token"}),
    ),
    "2025-11": EraRules(
        letter="B",
        endpoints=_ALL - _SINCE_2026 | names(EVALUATION_TAGS, ACCESS, (CHANGE_ORGANIZATION,)),
        nested="served",
        alias=False,
        no_scope="This action does not support Personal API Key access",
        challenge="Bearer",
        shows_own_key=True,
        legacy_keys_may_all=True,
        unscoped_verbs=False,
        config_scope="project:read",
        admin_settings=False,
        deletes_later=False,
        unique_names=False,
        mints_secret=True,
        wide_restrictions=False,
        ties_project_to_environment=False,
        put="under a project only",
        closed_products=False,
        plain_intent_errors=False,
        activity_ids=True,
        options_crash=False,
    ),
    "current": EraRules(
        letter="D",
        endpoints=_ALL | names(EVALUATION_CONTEXTS, CONFIGS, ACCESS, (CHANGE_ORGANIZATION,)),
        nested="refused",
        alias=True,
        no_scope="This action does not support personal API key access",
        challenge='Bearer resource_metadata="https://us.posthog.com/.well-known/oauth-protected-resource"',
        shows_own_key=True,
        legacy_keys_may_all=False,
        unscoped_verbs=False,
        config_scope="project:write",
        admin_settings=True,
        deletes_later=True,
        unique_names=True,
        mints_secret=False,
        wide_restrictions=True,
        ties_project_to_environment=True,
        put="quota",
        closed_products=True,
        plain_intent_errors=False,
        activity_ids=True,
        options_crash=False,
    ),
}

NESTED_REFUSED: Final = (
    "Multiple environments per project are no longer available. Please contact support if you need assistance."
)
SUNSET: Final = "Fri, 31 Jul 2026 00:00:00 GMT"
