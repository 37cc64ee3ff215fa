"""What is answered about an environment, as the caller sees it."""

from typing import Any, Final

from aioposthog_env.sandbox.json import is_object
from aioposthog_env.sandbox.state import ADMIN, SandboxEnvironment, SandboxUser, State, moment

_MODIFIERS: Final = {
    "bounceRatePageViewMode": "count_pageviews",
    "dataWarehouseEventsModifiers": None,
    "debug": None,
    "inCohortVia": "auto",
    "materializationMode": "legacy_null_as_null",
    "optimizeJoinedFilters": False,
    "personsArgMaxVersion": "auto",
    "personsOnEventsMode": "person_id_override_properties_joined",
}


def full_payload(state: State, environment: SandboxEnvironment, user: SandboxUser, *, early_project: bool) -> dict[str, Any]:
    """The full payload, as this caller sees it.

    Args:
        state: The scene.
        environment: The environment.
        user: The caller.
        early_project: Whether it goes out through the project style of 2025, which shows fewer fields.
    """
    level = user.levels[environment.organization]
    payload: dict[str, Any] = {
        "id": environment.id,
        "uuid": environment.uuid,
        "organization": environment.organization,
        "api_token": environment.api_token,
        "created_at": moment(environment.created_at),
        "updated_at": moment(environment.updated_at),
        "access_control": False,
        "ingested_event": False,
        "default_modifiers": dict(_MODIFIERS),
        "person_on_events_querying_enabled": True,
        "effective_membership_level": level,
        "has_group_types": False,
        "live_events_token": state.live_events_token(user),
        "product_intents": _intents(state, environment),
    }
    if not early_project:
        payload["project_id"] = environment.project_id
    if state.rules.letter != "A":
        payload |= {
            "secret_api_token": environment.secret_api_token,
            "secret_api_token_backup": environment.secret_api_token_backup,
            "group_types": [],
        }
        payload |= {"product_description": None} if early_project else {"user_access_level": _access_level(level)}
        if not early_project and "managed_viewsets" not in state.rules.lacks:
            payload["managed_viewsets"] = {"revenue_analytics": False}
    if state.rules.letter == "D":
        payload |= {
            "available_setup_task_ids": ["ingest_first_event", "create_first_insight"],
            "event_retention_months": 84,
            "events_retention_enforced": False,
            "product_description": None,
            "is_pending_deletion": environment.pending_deletion,
        }
    if state.rules.letter != "D" and (modifiers := environment.settings["modifiers"]) and not is_object(modifiers):
        del payload["person_on_events_querying_enabled"]  # what is stored unchecked cannot be asked for a mode
    if early_project:
        hidden = {name for name, row in state.rows.items() if not row.early}
        return payload | {name: value for name, value in environment.settings.items() if name not in hidden}
    payload |= environment.settings
    if "default_data_theme" in payload and not state.plan.color_themes:
        payload["default_data_theme"] = None
    return payload


def _access_level(level: int) -> str:
    return "admin" if level >= ADMIN else "member"


def _intents(state: State, environment: SandboxEnvironment) -> list[dict[str, Any]]:
    if state.rules.letter != "A":
        return environment.product_intents
    shown = ("product_type", "created_at", "onboarding_completed_at")
    return [{name: intent[name] for name in shown} for intent in environment.product_intents]


def summary(environment: SandboxEnvironment, *, early_project: bool) -> dict[str, Any]:
    """What the list shows."""
    item = {
        "id": environment.id,
        "uuid": environment.uuid,
        "organization": environment.organization,
        "project_id": environment.project_id,
        "api_token": environment.api_token,
        "name": environment.settings["name"],
        "completed_snippet_onboarding": environment.settings["completed_snippet_onboarding"],
        "has_completed_onboarding_for": environment.settings["has_completed_onboarding_for"],
        "ingested_event": False,
        "is_demo": environment.settings["is_demo"],
        "timezone": environment.settings["timezone"],
        "access_control": False,
    }
    if early_project:
        del item["project_id"]
    return item
