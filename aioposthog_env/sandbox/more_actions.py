"""What the endpoints do that the client does not call."""

from collections.abc import Mapping
from typing import Any, Final

from aioposthog_env.sandbox.asked import Action, Asked
from aioposthog_env.sandbox.configs import check_tracing_config
from aioposthog_env.sandbox.errors import PlainProblem, denied, invalid
from aioposthog_env.sandbox.json import is_object
from aioposthog_env.sandbox.state import ADMIN
from aioposthog_env.sandbox.writing import update_config

_MOST_NAMES: Final = 10
_LONGEST_NAME: Final = 255


def _list(asked: Asked, what: str) -> list[Any]:
    found: list[Any] = asked.target.others.setdefault(what, [])
    return found


def _name(asked: Asked, key: str) -> str:
    """The name in the body or the query, trimmed and in lower case."""
    given = asked.body.get(key) if is_object(asked.body) else None
    name = str(given or asked.query.get(key, "")).strip().lower()
    if not name:
        raise PlainProblem(400, f"{key} is required")
    if len(name) > _LONGEST_NAME:
        raise PlainProblem(400, f"{key} is longer than {_LONGEST_NAME} characters")
    return name


def _numbered(asked: Asked, what: str) -> list[dict[str, Any]]:
    return [{"id": number, "name": name} for number, name in enumerate(_list(asked, what), 1)]


def default_evaluation_tags(asked: Asked) -> dict[str, Any]:
    """The tags of 2025."""
    enabled = asked.target.settings["default_evaluation_environments_enabled"]
    return {"default_evaluation_tags": _numbered(asked, "defaults"), "enabled": enabled}


def default_evaluation_contexts(asked: Asked) -> dict[str, Any]:
    """Their successors of 2026."""
    return {
        "default_evaluation_contexts": _numbered(asked, "defaults"),
        "available_contexts": sorted(_list(asked, "known")),
        "hidden_contexts": sorted(_list(asked, "hidden")),
        "enabled": asked.target.settings["default_evaluation_contexts_enabled"],
    }


def _add(asked: Asked, key: str) -> dict[str, Any]:
    name, defaults, known = _name(asked, key), _list(asked, "defaults"), _list(asked, "known")
    created = name not in defaults
    if created and len(defaults) >= _MOST_NAMES:
        raise PlainProblem(400, f"At most {_MOST_NAMES} are allowed")
    if created:
        defaults.append(name)
    if name not in known:
        known.append(name)
    return {"id": defaults.index(name) + 1, "name": name, "created": created}


def _remove(asked: Asked, key: str) -> dict[str, Any]:
    name = _name(asked, key)
    if name not in _list(asked, "known"):
        raise PlainProblem(404, f"{name} was not found")
    if name in (defaults := _list(asked, "defaults")):
        defaults.remove(name)
    return {"success": True}


def add_default_evaluation_tag(asked: Asked) -> dict[str, Any]:
    """A member may."""
    return _add(asked, "tag_name")


def remove_default_evaluation_tag(asked: Asked) -> dict[str, Any]:
    """Success also where the tag is known and no default."""
    return _remove(asked, "tag_name")


def add_default_evaluation_context(asked: Asked) -> dict[str, Any]:
    """An admin may."""
    asked.must_be_admin()
    added = _add(asked, "context_name")
    return added | {"hidden_from_suggestions": added["name"] in _list(asked, "hidden")}


def remove_default_evaluation_context(asked: Asked) -> dict[str, Any]:
    """An admin may."""
    asked.must_be_admin()
    return _remove(asked, "context_name")


def _suggest(asked: Asked, *, hidden: bool) -> dict[str, Any]:
    asked.must_be_admin()
    name, known = _name(asked, "context_name"), _list(asked, "hidden")
    if hidden and name not in known:
        known.append(name)
    if not hidden and name in known:
        known.remove(name)
    return {"success": True, "name": name, "hidden_from_suggestions": hidden}


def hide_evaluation_context(asked: Asked) -> dict[str, Any]:
    """Suggest it no more."""
    return _suggest(asked, hidden=True)


def restore_evaluation_context(asked: Asked) -> dict[str, Any]:
    """Suggest it again."""
    return _suggest(asked, hidden=False)


def default_release_conditions(asked: Asked) -> dict[str, Any]:
    """Which groups a new flag begins with."""
    stored: dict[str, Any] = asked.target.others.setdefault("release_conditions", {"enabled": False, "default_groups": []})
    return stored


def set_default_release_conditions(asked: Asked) -> dict[str, Any]:
    """An admin may."""
    asked.must_be_admin()
    if not is_object(asked.body) or not isinstance(asked.body.get("default_groups", []), list):
        raise PlainProblem(400, "default_groups must be a list")
    stored = {"enabled": bool(asked.body.get("enabled")), "default_groups": asked.body.get("default_groups", [])}
    asked.target.others["release_conditions"] = stored
    return stored


def tracing_config(asked: Asked) -> dict[str, Any]:
    """How traces are read."""
    return asked.target.tracing_config


def update_tracing_config(asked: Asked) -> dict[str, Any]:
    """An admin may."""
    return update_config(asked, asked.target.tracing_config, check_tracing_config)


def _rules(what: str) -> tuple[Action, Action]:
    def read(asked: Asked) -> dict[str, Any]:
        return {"access_controls": _list(asked, what), "default_access_level": "member"}

    def write(asked: Asked) -> dict[str, Any] | None:
        asked.must_be_admin()
        if not is_object(asked.body) or "access_level" not in asked.body:
            raise invalid("This field is required.", "access_level", "required")
        rules, level = _list(asked, what), asked.body["access_level"]
        whom = {key: asked.body.get(key) for key in ("organization_member", "role", "resource")}
        kept = [rule for rule in rules if {key: rule.get(key) for key in whom} != whom]
        rules[:] = kept if level is None else [*kept, {**whom, "access_level": level}]
        return None if level is None else rules[-1]

    return read, write


access_controls: Action
set_access_control: Action
resource_access_controls: Action
set_resource_access_control: Action
access_controls, set_access_control = _rules("access_controls")
resource_access_controls, set_resource_access_control = _rules("resource_access_controls")


def users_with_access(asked: Asked) -> dict[str, Any]:
    """Who reaches the environment, and why."""
    organization = asked.target.organization
    users = [
        {
            "user_id": number,
            "access_level": "admin" if level >= ADMIN else "member",
            "access_source": "organization_admin" if level >= ADMIN else "default",
            "organization_membership_id": f"{organization}-{number}",
            "organization_membership_level": level,
        }
        for number, user in enumerate(asked.state.users, 1)
        if (level := user.levels.get(organization)) is not None
    ]
    return {"users": users, "total_count": len(users)}


def change_organization(asked: Asked) -> dict[str, Any]:
    """Move a project. An admin of both organizations may."""
    asked.must_be_admin()
    wanted = asked.body.get("organization_id") if is_object(asked.body) else None
    if wanted is None:
        raise invalid("This field is required.", "organization_id", "required")
    if asked.user.levels.get(wanted, 0) < ADMIN:
        raise denied("You must be an admin of both organizations.")
    for one in asked.state.environments.values():
        if one.project_id == asked.target.project_id:
            one.organization = wanted
    return asked.full()


MORE_ACTIONS: Final[Mapping[str, Action]] = {
    action.__name__: action
    for action in (
        default_evaluation_tags,
        default_evaluation_contexts,
        add_default_evaluation_tag,
        remove_default_evaluation_tag,
        add_default_evaluation_context,
        remove_default_evaluation_context,
        hide_evaluation_context,
        restore_evaluation_context,
        default_release_conditions,
        set_default_release_conditions,
        tracing_config,
        update_tracing_config,
        users_with_access,
        change_organization,
    )
} | {
    "access_controls": access_controls,
    "set_access_control": set_access_control,
    "resource_access_controls": resource_access_controls,
    "set_resource_access_control": set_resource_access_control,
}
