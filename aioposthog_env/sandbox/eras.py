"""What differs between the generations that the sandbox plays, as data."""

from collections.abc import Mapping
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

EraName: TypeAlias = Literal["2024-10", "2025-08", "2025-11", "current"]
Nested: TypeAlias = Literal["broken", "by event definitions", "refused", "as documented"]
Put: TypeAlias = Literal["as patch", "under a project only", "quota"]

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


_OVER_LIMIT: Final = "You have reached the maximum limit of allowed environments for your current plan."
_UPGRADE: Final = "You must upgrade your PostHog plan to be able to create and manage more environments per project."
_CONFIG_ACTIONS: Final = ("add_product_intent", "complete_product_onboarding", "event_ingestion_restrictions")
_STRICT_ACTIONS: Final = frozenset({"reset_token", "rotate_secret_token", "delete_secret_token_backup"})


@attrs.frozen(kw_only=True)
class EraRules:
    """One generation of PostHog.

    Attributes:
        letter: Its letter in the field table.
        lacks: Settings of that letter that do not exist yet, or no longer; a key of a nested config as ``config.key``.
        endpoints: The endpoints it has; the path of any other is unknown.
        not_on_project: Endpoints that the project path does not have.
        scopes: Scopes that differ from the endpoint table; None where an action publishes none yet.
        config_scope: The scope for a PATCH of config fields alone.
        project_config_scope: The same through the project path.
        nested: What the nested path answers: a 500 on everything but creating; 404, 200 or 500, depending on the number
            of event definitions; 403 before anything else; or what PostHog's documentation promises.
        alias: Whether the root path is an alias of the project path, with deprecation headers.
        no_scope: How a token is refused by an action that publishes no scope.
        challenge: The ``WWW-Authenticate`` of a 401; None for none.
        shows_own_key: Whether a key may read its own record.
        own_key_crashes: Whether that path fails for a session.
        hides_other_projects: Whether the root path answers 404, and not 403, to a key limited to other environments.
        legacy_keys_may_all: Whether a key stored without scopes may do everything, or nothing.
        scopes_of_any_verb: Whether scopes and visibility are checked before a verb that the path does not take.
        takes_access_control: Whether an admin's value for ``access_control`` is accepted and ignored.
        null_dashboard_crashes: Whether ``primary_dashboard: null`` fails.
        admin_settings: Whether most settings are for admins only.
        deletes_later: Whether deleting only begins a deletion.
        unique_names: Whether names are unique within an organization.
        mints_secret: Whether rotating makes a first secret where there is none.
        wide_restrictions: Whether restrictions filter by more than distinct ids.
        ties_project_to_environment: Whether a project is its one environment.
        put: What PUT does.
        over_quota: How an organization is refused that has as many as its plan allows.
        closed_products: Whether intents take known products only.
        plain_intent_errors: Whether an intent without a product is answered with ``{"error": …}``.
        activity_ids: Whether entries of the activity log have ids.
        options_crash: Whether OPTIONS on a list fails.
        crashing_reads: Actions that fail when they are read.
    """

    letter: str
    lacks: frozenset[str] = frozenset()
    endpoints: frozenset[str]
    not_on_project: frozenset[str] = frozenset()
    scopes: Mapping[str, str | None] = attrs.field(factory=dict[str, str | None])
    config_scope: str
    project_config_scope: str
    nested: Nested
    alias: bool
    no_scope: str
    challenge: str | None
    shows_own_key: bool
    own_key_crashes: bool = False
    hides_other_projects: bool = False
    legacy_keys_may_all: bool
    scopes_of_any_verb: bool = False
    takes_access_control: bool = False
    null_dashboard_crashes: bool = False
    admin_settings: bool
    deletes_later: bool
    unique_names: bool
    mints_secret: bool
    wide_restrictions: bool
    ties_project_to_environment: bool
    put: Put
    over_quota: str = _OVER_LIMIT
    closed_products: bool
    plain_intent_errors: bool
    activity_ids: bool
    options_crash: bool
    crashing_reads: frozenset[str] = frozenset()


_AUGUST_2025: Final = EraRules(
    letter="B",
    lacks=frozenset(
        {
            "default_evaluation_environments_enabled",
            "experiment_recalculation_time",
            "session_recording_retention_period",
            "web_analytics_pre_aggregated_tables_enabled",
            "marketing_analytics_config.attribution_window_days",
            "marketing_analytics_config.attribution_mode",
            "marketing_analytics_config.campaign_name_mappings",
            "managed_viewsets",
        }
    ),
    endpoints=_ALL - _SINCE_2026
    | names(ACCESS, (CHANGE_ORGANIZATION,)) - {"resource_access_controls", "set_resource_access_control"},
    not_on_project=frozenset({"event_ingestion_restrictions"}),
    scopes=dict.fromkeys(_CONFIG_ACTIONS, "team:read"),
    config_scope="team:read",
    project_config_scope="project:read",
    nested="by event definitions",
    alias=False,
    no_scope="This action does not support Personal API Key access",
    challenge=None,
    shows_own_key=True,
    own_key_crashes=True,
    hides_other_projects=True,
    legacy_keys_may_all=True,
    scopes_of_any_verb=True,
    takes_access_control=True,
    null_dashboard_crashes=True,
    admin_settings=False,
    deletes_later=False,
    unique_names=False,
    mints_secret=True,
    wide_restrictions=False,
    ties_project_to_environment=False,
    put="under a project only",
    over_quota=_UPGRADE,
    closed_products=False,
    plain_intent_errors=False,
    activity_ids=False,
    options_crash=True,
    crashing_reads=_STRICT_ACTIONS,
)

ERAS: Final[dict[str, EraRules]] = {
    "2024-10": attrs.evolve(
        _AUGUST_2025,
        letter="A",
        lacks=frozenset(),
        endpoints=_ALL - _NOT_IN_2024 - _SINCE_2026 | {CHANGE_ORGANIZATION.name},
        not_on_project=frozenset(),
        scopes={"add_product_intent": None, "complete_product_onboarding": None},
        config_scope="project:write",
        project_config_scope="project:write",
        nested="broken",
        shows_own_key=False,
        own_key_crashes=False,
        hides_other_projects=False,
        put="as patch",
        plain_intent_errors=True,
        crashing_reads=frozenset({"reset_token"}),
    ),
    "2025-08": _AUGUST_2025,
    "2025-11": attrs.evolve(
        _AUGUST_2025,
        lacks=frozenset(),
        endpoints=_ALL - _SINCE_2026 | names(EVALUATION_TAGS, ACCESS, (CHANGE_ORGANIZATION,)),
        not_on_project=frozenset(),
        scopes={},
        config_scope="project:read",
        challenge="Bearer",
        own_key_crashes=False,
        hides_other_projects=False,
        takes_access_control=False,
        over_quota=_OVER_LIMIT,
        null_dashboard_crashes=False,
        activity_ids=True,
        options_crash=False,
        crashing_reads=frozenset(),
    ),
    "current": EraRules(
        letter="D",
        lacks=frozenset({"revenue_analytics_config.goals"}),
        endpoints=_ALL | names(EVALUATION_CONTEXTS, CONFIGS, ACCESS, (CHANGE_ORGANIZATION,)),
        config_scope="project:write",
        project_config_scope="project:write",
        nested="refused",
        alias=True,
        no_scope="This action does not support personal API key access",
        challenge='Bearer resource_metadata="https://us.posthog.com/.well-known/oauth-protected-resource"',
        shows_own_key=True,
        legacy_keys_may_all=False,
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
UNDER_A_PROJECT: Final = (
    "Environments must be created under a specific project. Send the POST request to "
    "/api/projects/<project_id>/environments/ instead."
)
SUNSET: Final = "Fri, 31 Jul 2026 00:00:00 GMT"
