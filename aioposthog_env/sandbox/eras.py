"""What differs between the generations that the sandbox plays, as data."""

from typing import Final, Literal, TypeAlias

import attrs

EraName: TypeAlias = Literal["2025-11", "current"]


@attrs.frozen(kw_only=True)
class EraRules:
    """One generation of PostHog.

    Attributes:
        letter: Its letter in the field table.
        nested: Whether the nested path is served; else it is refused before anything else.
        alias: Whether the root path is an alias of the project path, with deprecation headers.
        no_scope: How a token is refused by an action that publishes no scope.
        challenge: The ``WWW-Authenticate`` of a 401.
        config_scope: The scope for a PATCH of config fields alone.
        admin_settings: Whether most settings are for admins only.
        deletes_later: Whether deleting only begins a deletion.
        unique_names: Whether names are unique within an organization.
        mints_secret: Whether rotating makes a first secret where there is none.
        wide_restrictions: Whether restrictions filter by more than distinct ids.
        ties_project_to_environment: Whether a project is its one environment.
    """

    letter: str
    nested: bool
    alias: bool
    no_scope: str
    challenge: str
    config_scope: str
    admin_settings: bool
    deletes_later: bool
    unique_names: bool
    mints_secret: bool
    wide_restrictions: bool
    ties_project_to_environment: bool


ERAS: Final[dict[str, EraRules]] = {
    "2025-11": EraRules(
        letter="B",
        nested=True,
        alias=False,
        no_scope="This action does not support Personal API Key access",
        challenge="Bearer",
        config_scope="project:read",
        admin_settings=False,
        deletes_later=False,
        unique_names=False,
        mints_secret=True,
        wide_restrictions=False,
        ties_project_to_environment=False,
    ),
    "current": EraRules(
        letter="D",
        nested=False,
        alias=True,
        no_scope="This action does not support personal API key access",
        challenge='Bearer resource_metadata="https://us.posthog.com/.well-known/oauth-protected-resource"',
        config_scope="project:write",
        admin_settings=True,
        deletes_later=True,
        unique_names=True,
        mints_secret=False,
        wide_restrictions=True,
        ties_project_to_environment=True,
    ),
}

NESTED_REFUSED: Final = (
    "Multiple environments per project are no longer available. Please contact support if you need assistance."
)
SUNSET: Final = "Fri, 31 Jul 2026 00:00:00 GMT"
