"""A request on its way into an action."""

from collections.abc import Callable
from typing import Any

import attrs
from multidict import MultiMapping

from aioposthog_env.sandbox.errors import denied
from aioposthog_env.sandbox.payloads import full_payload
from aioposthog_env.sandbox.state import ADMIN, SandboxEnvironment, SandboxUser, State


@attrs.frozen(kw_only=True)
class Asked:
    """A request on its way into an action.

    Attributes:
        state: The scene.
        user: Who asks.
        environment: The environment of the path; None for collections.
        project_id: The project of a nested path.
        organization: The organization of the path.
        style: The URL style.
        query: The query.
        organizations: The organizations whose environments the caller sees.
        body: The body, decoded.
        path: The path, for links.
        early_project: Whether this is the project style of 2024 and 2025.
    """

    state: State
    user: SandboxUser
    environment: SandboxEnvironment | None
    project_id: int | None
    organization: str | None
    style: str
    query: MultiMapping[str]
    organizations: frozenset[str]
    body: Any
    path: str
    early_project: bool

    @property
    def target(self) -> SandboxEnvironment:
        """The environment of the path."""
        assert self.environment is not None  # noqa: S101  the router has looked it up
        return self.environment

    def full(self) -> dict[str, Any]:
        """The answer of most actions."""
        return full_payload(self.state, self.target, self.user, early_project=self.early_project)

    def visible(self) -> list[SandboxEnvironment]:
        """The environments that the caller sees."""
        return [one for one in self.state.environments.values() if one.organization in self.organizations]

    def must_be_admin(self) -> None:
        """Refuse a plain member.

        Raises:
            Problem: 403.
        """
        if self.user.levels[self.target.organization] < ADMIN:
            raise denied("You don't have sufficient permissions in the project.")


Action = Callable[[Asked], Any]
