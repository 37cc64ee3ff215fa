"""What the plan of an organization allows: for creating, and for PUT, which the servers treat like creating."""

from aioposthog_env.sandbox.eras import UNDER_A_PROJECT
from aioposthog_env.sandbox.errors import denied, invalid
from aioposthog_env.sandbox.state import SandboxEnvironment, State


def check_create(state: State, style: str, organization: str, project_id: int | None, *, demo: bool) -> None:
    """Allow one demo for each organization, and of the others as many as the plan has.

    Raises:
        Problem: 403.
    """
    mine = [one for one in state.environments.values() if one.organization == organization]
    mine = [one for one in mine if one.settings["is_demo"] is demo]
    most = 1 if demo else state.plan.projects
    if style == "nested" and not demo:
        mine = [one for one in mine if one.project_id == project_id]
        most = state.plan.environments_per_project
    if most is not None and len(mine) >= most:
        raise denied(state.rules.over_quota)


def check_put(state: State, style: str, environment: SandboxEnvironment) -> None:
    """Refuse PUT as the generation does: where it refuses creating, or always.

    Raises:
        Problem: 400 or 403.
    """
    put = state.rules.put
    if put == "under a project only" and style == "root":
        raise invalid(UNDER_A_PROJECT)
    if put == "quota":
        raise denied(state.rules.over_quota)
    if put == "under a project only":
        check_create(state, style, environment.organization, environment.project_id, demo=False)
