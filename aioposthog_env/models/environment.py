"""Environments: how one is named, what a list shows of it, and what its full payload holds."""

from datetime import datetime
from typing import Any, TypeAlias, cast

import attrs
from msgspec import UNSET, UnsetType

from aioposthog_env.auth import Secret
from aioposthog_env.errors import ConfigurationError
from aioposthog_env.models.fields import JSONValue, extra
from aioposthog_env.models.intents import ProductIntent
from aioposthog_env.models.settings import TeamSettings
from aioposthog_env.redacted import printable_half_built


def _check_id(instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    if type(value) is int and 1 <= value < 2**63:
        return
    if value is None and attribute.name == "project_id":
        return
    if value == "@current":
        raise ConfigurationError(
            "'@current' follows the clicks of a person in the browser, so it is not taken as an id; name the environment."
        )
    # Whatever else was given is not quoted: it may be a token that took the wrong place.
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigurationError(
            f"An environment is named by its id, a whole number such as 42, and not by a {type(value).__name__}."
        )
    # Digits by the thousand would not even print.
    shown = value if abs(value) < 10**30 else "A number of that size"
    raise ConfigurationError(f"{shown} is not the id of an environment: ids begin with 1 and have 63 bits at most.")


@printable_half_built
@attrs.frozen
class EnvironmentRef:
    """Names an environment.

    Attributes:
        id: The environment's id.
        project_id: The id of its project, where it is known. In 2025 a project could hold several environments; since 2026
            the two ids are the same.

    Raises:
        ConfigurationError: Not an id.
    """

    id: int = attrs.field(validator=_check_id)
    project_id: int | None = attrs.field(default=None, validator=_check_id)


@printable_half_built
@attrs.frozen(kw_only=True)
class EnvironmentSummary:
    """What the list shows of an environment. It holds no secret."""

    id: int
    name: str
    uuid: str | UnsetType = UNSET
    organization: str | UnsetType = UNSET
    """The organization's id."""
    project_id: int | UnsetType = UNSET
    """Absent from the project style of older servers."""
    api_token: Secret | UnsetType = UNSET
    """The project token, which is public; still not shown by accident."""
    completed_snippet_onboarding: bool | UnsetType = UNSET
    has_completed_onboarding_for: JSONValue | UnsetType = UNSET
    ingested_event: bool | UnsetType = UNSET
    is_demo: bool | UnsetType = UNSET
    timezone: str | UnsetType = UNSET
    access_control: bool | UnsetType = UNSET
    extra: dict[str, JSONValue] = extra()

    @property
    def ref(self) -> EnvironmentRef:
        """How to name it in a call."""
        return EnvironmentRef(self.id, None if self.project_id is UNSET else self.project_id)


@attrs.frozen(kw_only=True)
class EnvironmentPage:
    """One page of the list."""

    count: int
    next: str | None = None
    previous: str | None = None
    results: list[EnvironmentSummary]
    extra: dict[str, JSONValue] = extra()


@printable_half_built
@attrs.frozen(kw_only=True)
class Environment:
    """The full payload of an environment: identity, what the server computes, and its settings.

    Only ``id`` and ``name`` are in every answer of every generation. What an answer does not hold is unset.
    """

    id: int
    name: str
    """Also in ``settings``, where it can be changed."""
    uuid: str | UnsetType = UNSET
    organization: str | UnsetType = UNSET
    """The organization's id."""
    project_id: int | UnsetType = UNSET
    api_token: Secret | UnsetType = UNSET
    """The project token, which is public; changes by ``reset_token`` only."""
    secret_api_token: Secret | None | UnsetType = UNSET
    """Shown by PostHog to everyone who can read the environment."""
    secret_api_token_backup: Secret | None | UnsetType = UNSET
    """The secret before the last rotation; keeps working until it is deleted."""
    live_events_token: Secret | None | UnsetType = UNSET
    """Opens the live stream for seven days."""
    created_at: datetime | UnsetType = UNSET
    updated_at: datetime | UnsetType = UNSET
    """Moves with every PATCH that touches a column."""
    access_control: bool | UnsetType = UNSET
    """Always false; never sent."""
    ingested_event: bool | UnsetType = UNSET
    default_modifiers: dict[str, JSONValue] | UnsetType = UNSET
    person_on_events_querying_enabled: bool | UnsetType = UNSET
    user_access_level: str | None | UnsetType = UNSET
    """Of the caller: ``none``, ``member`` or ``admin``."""
    effective_membership_level: int | None | UnsetType = UNSET
    """Of the caller: 1 member, 8 admin, 15 owner."""
    has_group_types: bool | UnsetType = UNSET
    group_types: list[JSONValue] | UnsetType = UNSET
    product_intents: list[ProductIntent] | UnsetType = UNSET
    managed_viewsets: dict[str, JSONValue] | UnsetType = UNSET
    available_setup_task_ids: list[str] | UnsetType = UNSET
    event_retention_months: int | None | UnsetType = UNSET
    events_retention_enforced: bool | None | UnsetType = UNSET
    product_description: str | None | UnsetType = UNSET
    is_pending_deletion: bool | None | UnsetType = UNSET
    """Newest generation: the deletion was asked for and goes on in the background."""
    settings: TeamSettings = attrs.field(factory=TeamSettings, metadata={"off_wire": True})
    extra: dict[str, JSONValue] = extra()
    """The keys that this version does not know."""

    @property
    def ref(self) -> EnvironmentRef:
        """How to name it in a call."""
        return EnvironmentRef(self.id, None if self.project_id is UNSET else self.project_id)


AnyRef: TypeAlias = int | EnvironmentRef | EnvironmentSummary | Environment
"""How an environment may be named."""


def as_ref(value: object) -> EnvironmentRef:
    """The reference that a value names.

    Raises:
        ConfigurationError: It names none.
    """
    if isinstance(value, EnvironmentRef):
        return value
    if isinstance(value, EnvironmentSummary | Environment):
        return value.ref
    return EnvironmentRef(cast("int", value))
