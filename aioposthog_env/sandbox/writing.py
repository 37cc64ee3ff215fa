"""What changes settings: checks in the order of the fields, then merging or replacing field by field."""

import copy
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from aioposthog_env.sandbox.asked import Asked
from aioposthog_env.sandbox.checks import Check, boolean, null
from aioposthog_env.sandbox.configs import check_experiments_config, check_logs_config
from aioposthog_env.sandbox.errors import Problem, crash, denied, invalid
from aioposthog_env.sandbox.fields import MEMBER_SAFE, Row
from aioposthog_env.sandbox.json import is_object
from aioposthog_env.sandbox.json_checks import holds_nul
from aioposthog_env.sandbox.state import ADMIN


def update(asked: Asked) -> dict[str, Any]:
    """A partial update: check all, then merge or replace field by field."""
    environment, state = asked.target, asked.state
    values = checked(asked, creating=False)
    _admins_only(asked, values)
    if state.rules.unique_names and "name" in values:
        taken = {
            one.settings["name"].lower()
            for one in state.environments.values()
            if one.organization == environment.organization and one is not environment
        }
        if values["name"].lower() in taken:
            raise Problem(409, "server_error", "conflict", "A project with this name already exists.", "name")
    changes: list[dict[str, Any]] = []
    settings = environment.settings
    result = {name: merged(state.rows[name], settings[name], value) for name, value in values.items()}
    for name, after in result.items():
        before = settings[name]
        if before == after:
            continue
        settings[name] = after
        action = "created" if before is None else "deleted" if after is None else "changed"
        changes.append({"type": "Team", "action": action, "field": name, "before": before, "after": after})
        state.effects[f"setting {name}", environment.id] += 1
    _conversations(asked, values)
    if changes:
        environment.updated_at = state.now()
        state.effects["update", environment.id] += 1
        state.log(environment, asked.user, "updated", changes)
    return asked.full()


def _admins_only(asked: Asked, values: Mapping[str, Any]) -> None:
    if not asked.state.rules.admin_settings or asked.user.levels[asked.target.organization] >= ADMIN:
        return
    if refused := sorted(set(values) - MEMBER_SAFE):
        raise denied(f"Only project admins can modify these settings: {', '.join(refused)}")


def checked(asked: Asked, *, creating: bool) -> dict[str, Any]:
    """The known fields of a body, coerced; the first problem is raised, in the order of the fields."""
    if not is_object(asked.body):
        raise invalid(f"Invalid data. Expected a dictionary, but got {type(asked.body).__name__}.")
    _check_access_control(asked)
    rules = asked.state.rules
    values: dict[str, Any] = {}
    for name, row in asked.state.rows.items():
        if name not in asked.body or (asked.early_project and not row.early):
            continue  # unknown fields are ignored without a word
        value = asked.body[name]
        if creating and not row.on_create:
            if name == "primary_dashboard" and (value is not None or rules.null_dashboard_crashes):
                raise invalid("Primary dashboard cannot be set on project creation.", name)
            if name != "primary_dashboard" and rules.letter == "B":
                raise crash()  # nested configs trip an assertion there; later they are dropped without a word
            continue
        if value is None:
            if name == "autocapture_exceptions_errors_to_ignore":
                raise invalid("Must provide a list for field: autocapture_exceptions_errors_to_ignore.")
            if not row.nullable:
                raise null(name)
            values[name] = None
            continue
        if name in asked.user.not_editor_of:
            raise invalid(f"You need editor access to {asked.user.not_editor_of[name]} to modify this field.", name)
        values[name] = row.check(name, value)
        _check_plan(asked, name, values[name])
        if name == "primary_dashboard":
            _check_dashboard(asked, values[name])
        if name == "conversations_settings" and is_object(values[name]):
            values[name] = {key: one for key, one in values[name].items() if key not in _KEPT_BY_SERVER}
    if rules.null_dashboard_crashes and values.get("primary_dashboard", 0) is None:
        raise crash()
    if any(holds_nul(value) for value in values.values()):
        raise crash()  # Postgres stores no NUL; in a text it was refused before
    return values


def _check_access_control(asked: Asked) -> None:
    """Every payload has it, and from late in 2025 no value is taken."""
    if "access_control" not in asked.body:
        return
    if asked.body["access_control"] is None:
        raise null("access_control")
    boolean("access_control", asked.body["access_control"])
    if not asked.state.rules.takes_access_control:
        raise invalid("Project access control is deprecated.", "access_control")
    if asked.environment is not None and asked.user.levels[asked.target.organization] < ADMIN:
        raise denied("Your organization access level is insufficient to configure project access restrictions.")


def _check_plan(asked: Asked, name: str, value: Any) -> None:
    if name == "session_recording_retention_period":
        if asked.state.plan.retention is None:
            raise crash("Invalid retention entitlement.")
        if value not in asked.state.plan.retention:
            raise denied(f"Your plan does not include a retention of {value}.")
    if name == "proactive_tasks_enabled" and value:
        raise denied("Proactive tasks are not available for this organization.")


_KEPT_BY_SERVER: Final = frozenset(
    {
        "widget_public_token",
        "slack_bot_token",
        "slack_team_id",
        "slack_enabled",
        "slack_scopes",
        "email_enabled",
        "teams_enabled",
        "teams_tenant_id",
        "teams_team_id",
        "teams_team_name",
        "teams_channel_id",
        "teams_channel_name",
        "teams_channels",
        "github_enabled",
        "github_integration_id",
        "github_repos",
    }
)
"""The 16 keys of the conversations settings that the server manages (PostHog 2026-09)."""


def _check_dashboard(asked: Asked, number: int) -> None:
    if number not in asked.state.environments:
        raise invalid(f'Invalid pk "{number}" - object does not exist.', "primary_dashboard", "does_not_exist")
    if number != asked.target.id:
        raise invalid("Dashboard does not belong to this team.", "primary_dashboard")


def merged(row: Row, before: Any, value: Any) -> Any:
    """What is stored after a PATCH of one field."""
    if row.merge == "top" and is_object(before) and value is not None and not is_object(value):
        raise crash()  # the two cannot be merged
    if row.merge == "replace" or not is_object(value):
        return copy.deepcopy(value)
    result: dict[str, Any] = copy.deepcopy(before) if is_object(before) else {}
    for key, one in value.items():
        old = result.get(key)
        if key == "sources_map" and is_object(one) and is_object(old):
            combined = {**old, **one}
            result[key] = {source: columns for source, columns in combined.items() if columns is not None}
        elif row.merge == "two" and is_object(one) and is_object(old):
            result[key] = {**old, **one}
        else:
            result[key] = copy.deepcopy(one)
    return result


def _conversations(asked: Asked, values: Mapping[str, Any]) -> None:
    """Switching conversations on makes a token, switching them off removes it."""
    if "conversations_enabled" not in values:
        return
    settings = asked.target.settings
    stored: dict[str, Any] = dict(settings["conversations_settings"] or {})
    if not values["conversations_enabled"]:
        stored["widget_public_token"] = None
    elif stored.get("widget_public_token") is None:
        stored["widget_public_token"] = asked.state.secret("phc_")
    settings["conversations_settings"] = stored


def settings_as_of(asked: Asked) -> dict[str, Any]:
    """The settings at a time: those of now, with the logged changes since then undone."""
    try:
        at = datetime.fromisoformat(asked.query["at"].replace(" ", "+"))
    except (KeyError, ValueError):
        raise invalid("A valid ISO 8601 time is required.", "at") from None
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    settings = dict(asked.target.settings)
    for entry in asked.target.activity:  # newest first
        if datetime.fromisoformat(entry["created_at"]) <= at:
            break
        for change in entry["detail"]["changes"] or ():
            if change["field"] in settings:
                settings[change["field"]] = change["before"]
    wanted = asked.query.getall("scope", [])
    return {name: value for name, value in settings.items() if not wanted or name in wanted}


def experiments_config(asked: Asked) -> dict[str, Any]:
    """How experiments are run."""
    return asked.target.experiments_config


def update_experiments_config(asked: Asked) -> dict[str, Any]:
    """Change how experiments are run."""
    return update_config(asked, asked.target.experiments_config, check_experiments_config)


def logs_config(asked: Asked) -> dict[str, Any]:
    """How logs are read."""
    return asked.target.logs_config


def update_logs_config(asked: Asked) -> dict[str, Any]:
    """Change how logs are read."""
    return update_config(asked, asked.target.logs_config, check_logs_config)


def update_config(asked: Asked, stored: dict[str, Any], check: Check) -> dict[str, Any]:
    """Change a config that has a path of its own. An admin may.

    Raises:
        Problem: Not an admin, or a value that is refused.
    """
    asked.must_be_admin()
    try:
        stored.update(check("", asked.body))
    except Problem as problem:
        # The fields of these configs stand at the top of the body.
        attr = (problem.body["attr"] or "").removeprefix("__")
        problem.body["attr"] = None if attr in {"", "non_field_errors"} else attr
        raise
    return stored
