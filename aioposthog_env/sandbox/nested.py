"""The nested path of 2025, whose filter by parent is wrong.

It joins an environment with its event definitions instead of its project. So an environment without any is not found, one
with a single definition is served, and with more the lookup finds it several times, which is an uncaught exception. The
project in the path must exist, but need not be the environment's own. ``@current`` is not looked up, and always served.
"""

from aioposthog_env.sandbox.access import Caller
from aioposthog_env.sandbox.errors import crash, denied, not_found
from aioposthog_env.sandbox.routing import Route
from aioposthog_env.sandbox.state import SandboxEnvironment, State


def check_project(state: State, project_id: int | None) -> None:
    """Refuse a project that does not exist.

    Raises:
        Problem: 404.
    """
    if not any(one.project_id == project_id for one in state.environments.values()):
        raise not_found("Project not found.")


def check_nested(state: State, caller: Caller, route: Route, environment: SandboxEnvironment | None, scope: str | None) -> None:
    """Answer for an environment as the broken filter does.

    Raises:
        Problem: 404, 403 or 500.
    """
    if environment is None:
        raise not_found()
    if environment.organization not in caller.user.levels:
        reads = scope.endswith(":read") if scope is not None else route.verb in {"GET", "OPTIONS"}
        raise denied(f"You do not have {'member' if reads else 'admin'} access to this resource.")
    if route.id == "@current":
        return
    if environment.event_definitions == 0 or environment.organization not in caller.organizations(state):
        raise not_found()
    if environment.event_definitions > 1:
        raise crash()
    if route.project != "@current" and not _sees_project(state, caller, int(route.project or 0)):
        raise denied("You don't have access to the project.")


def _sees_project(state: State, caller: Caller, project_id: int) -> bool:
    owners = (one.organization for one in state.environments.values() if one.project_id == project_id)
    return next(owners, None) in caller.user.levels
