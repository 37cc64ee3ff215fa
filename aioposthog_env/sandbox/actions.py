"""What each endpoint does, one function per row of the endpoint table.

An action gets the request when authentication, scopes, access and the rate limit are behind it. It answers with a body, or
raises a ``Problem``.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from aioposthog_env.sandbox.errors import PlainProblem, Problem, crash, denied, invalid, not_found
from aioposthog_env.sandbox.fields import MEMBER_SAFE, ROWS
from aioposthog_env.sandbox.json import is_object
from aioposthog_env.sandbox.state import (
    ADMIN,
    SandboxEnvironment,
    SandboxUser,
    State,
    full_payload,
    masked,
    moment,
    summary,
)


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
        body: The body, decoded.
        path: The path, for links.
        early_project: Whether this is the project style of 2025.
    """

    state: State
    user: SandboxUser
    environment: SandboxEnvironment | None
    project_id: int | None
    organization: str | None
    style: str
    query: Mapping[str, str]
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


Action = Callable[[Asked], Any]


def list_environments(asked: Asked) -> dict[str, Any]:
    """One page; no limit or nonsense means 100, and there is no largest page."""
    found = asked.state.visible_to(asked.user)
    if asked.style == "nested":
        found = [one for one in found if one.project_id == asked.project_id]
    if asked.organization is not None:
        found = [one for one in found if one.organization == asked.organization]
    if asked.early_project:
        found = [one for one in found if one.id == one.project_id]
    if asked.state.rules.alias and (search := asked.query.get("search")):
        found = [one for one in found if search.lower() in one.settings["name"].lower()]
    limit = _number(asked.query.get("limit"), 100) or 100
    offset = _number(asked.query.get("offset"), 0)
    after, before = offset + limit, max(0, offset - limit)
    return {
        "count": len(found),
        "next": f"{asked.path}?limit={limit}&offset={after}" if after < len(found) else None,
        "previous": f"{asked.path}?limit={limit}&offset={before}" if offset else None,
        "results": [summary(one, early_project=asked.early_project) for one in found[offset:after]],
    }


def _number(given: str | None, default: int) -> int:
    return int(given) if given is not None and given.isdigit() else default


def create(asked: Asked) -> dict[str, Any]:
    """A new environment. It becomes the caller's current one."""
    state, rules = asked.state, asked.state.rules
    if asked.style == "root" and not rules.alias:
        raise invalid(
            "Environments must be created under a specific project. Send the POST request to "
            "/api/projects/<project_id>/environments/ instead."
        )
    organization = _organization_of_new(asked)
    level = asked.user.levels[organization]
    if level < ADMIN:
        raise denied("Your organization access level is insufficient.")
    values = checked(asked, creating=True)
    name = values.get("name", ROWS["name"].default)
    if rules.unique_names:
        taken = {one.settings["name"].lower() for one in state.environments.values() if one.organization == organization}
        if name.lower() in taken:
            if "name" in values:
                raise Problem(409, "server_error", "conflict", "A project with this name already exists.", "name")
            name = next(f"{name} {number}" for number in range(2, 10**6) if f"{name} {number}".lower() not in taken)
    environment = state.add_environment(
        organization,
        project_id=asked.project_id if asked.style == "nested" else None,
        **(values | {"name": name}),
    )
    asked.user.current = environment.id
    state.effects["create", environment.id] += 1
    state.log(environment, asked.user, "created", [])
    return full_payload(state, environment, asked.user, early_project=asked.early_project)


def _organization_of_new(asked: Asked) -> str:
    if asked.style == "nested":
        siblings = [one for one in asked.state.environments.values() if one.project_id == asked.project_id]
        if not siblings:
            raise not_found("Project not found.")
        if siblings[0].organization not in asked.user.levels:
            raise not_found("Organization not found.")
        return siblings[0].organization
    organization = asked.organization or next(iter(asked.user.levels))
    if organization not in asked.user.levels:
        raise not_found("Organization not found.")
    return organization


def retrieve(asked: Asked) -> dict[str, Any]:
    """The full payload."""
    return asked.full()


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
    for name, value in values.items():
        before = environment.settings[name]
        after = merged(name, before, value, letter=state.rules.letter)
        if before == after:
            continue
        environment.settings[name] = after
        action = "created" if before is None else "deleted" if after is None else "changed"
        changes.append({"type": "Team", "action": action, "field": name, "before": before, "after": after})
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
    if "access_control" in asked.body:
        if asked.body["access_control"] is None:
            raise invalid("This field may not be null.", "access_control", "null")
        raise invalid("Project access control is deprecated.", "access_control")
    letter = asked.state.rules.letter
    values: dict[str, Any] = {}
    for name, row in ROWS.items():
        if name not in asked.body or letter not in row.eras or (asked.early_project and not row.early):
            continue  # unknown fields are ignored without a word
        value = asked.body[name]
        if creating and name == "primary_dashboard" and value is not None:
            raise invalid("Primary dashboard cannot be set on project creation.", name)
        if creating and not row.on_create:
            continue
        if value is None:
            if name == "autocapture_exceptions_errors_to_ignore":
                raise invalid("Must provide a list for field: autocapture_exceptions_errors_to_ignore.")
            if not row.nullable:
                raise invalid("This field may not be null.", name, "null")
            values[name] = None
            continue
        values[name] = row.check(name, value)
        if name == "primary_dashboard":
            raise invalid(f'Invalid pk "{values[name]}" - object does not exist.', name, "does_not_exist")
    return values


def merged(name: str, before: Any, value: Any, *, letter: str) -> Any:
    """What is stored after a PATCH of one field."""
    row = ROWS[name]
    if row.merge == "replace" or letter not in row.merge_eras or not is_object(value):
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


def delete(asked: Asked) -> None:
    """2025: gone at once, through the project path with the whole project. Newest: a deletion begins."""
    state, environment = asked.state, asked.target
    if asked.user.levels[environment.organization] < ADMIN:
        raise denied("You don't have sufficient permissions in the project.")
    if not state.rules.deletes_later:
        doomed = [environment]
        if asked.style == "project":
            doomed = [one for one in state.environments.values() if one.project_id == environment.project_id]
        for one in doomed:
            state.effects["delete", one.id] += 1
            del state.environments[one.id]
        return
    if environment.pending_deletion:
        raise invalid("This project is already being deleted.")
    environment.pending_deletion = True
    state.effects["delete", environment.id] += 1


def activity(asked: Asked) -> dict[str, Any]:
    """One page of the log. What is no positive number, and a page past the end, crash the server."""
    try:
        page, size = int(asked.query.get("page", 1)), int(asked.query.get("limit", 10))
    except ValueError:
        raise crash() from None
    entries = asked.target.activity
    pages = max(1, -(-len(entries) // size)) if size > 0 else 0
    if not 1 <= page <= pages:
        raise crash()
    return {
        "results": entries[(page - 1) * size : page * size],
        "next": f"{asked.path}?page={page + 1}&limit={size}" if page < pages else None,
        "previous": f"{asked.path}?page={page - 1}&limit={size}" if page > 1 else None,
        "total_count": len(entries),
    }


_PRODUCTS: Final = frozenset(
    {
        "product_analytics",
        "session_replay",
        "feature_flags",
        "experiments",
        "surveys",
        "web_analytics",
        "error_tracking",
        "data_warehouse",
        "llm_analytics",
        "logs",
        "workflows",
        "revenue_analytics",
        "marketing_analytics",
        "customer_analytics",
        "dashboards",
        "heatmaps",
    }
)
"""A selection of the products that the newest generation knows."""


def add_product_intent(asked: Asked) -> dict[str, Any]:
    """Counts an interest: every call does."""
    product = _product(asked)
    if product is None:
        raise invalid("This field is required.", "product_type", "required")
    if asked.state.rules.letter == "D" and product not in _PRODUCTS:
        raise invalid(f'"{product}" is not a valid choice.', "product_type", "invalid_choice")
    _intent(asked, product)
    asked.state.effects["add_product_intent", asked.target.id] += 1
    return asked.full()


def complete_product_onboarding(asked: Asked) -> dict[str, Any]:
    """Marks the onboarding as done. Its errors are no envelope."""
    product = _product(asked)
    if product is None:
        raise PlainProblem(400, "product_type is required")
    if asked.state.rules.letter == "D" and product not in _PRODUCTS:
        raise PlainProblem(400, f"invalid product_type, expected one of {', '.join(sorted(_PRODUCTS))}")
    _intent(asked, product)["onboarding_completed_at"] = moment(asked.state.now())
    asked.state.effects["complete_product_onboarding", asked.target.id] += 1
    return asked.full()


def _product(asked: Asked) -> str | None:
    product = asked.body.get("product_type") if is_object(asked.body) else None
    return str(product) if product else None


def _intent(asked: Asked, product: str) -> dict[str, Any]:
    now = moment(asked.state.now())
    for intent in asked.target.product_intents:
        if intent["product_type"] == product:
            intent["updated_at"] = now
            return intent
    intent = {"product_type": product, "created_at": now, "onboarding_completed_at": None, "updated_at": now}
    asked.target.product_intents.append(intent)
    return intent


def event_ingestion_restrictions(asked: Asked) -> list[dict[str, Any]]:
    """A bare list."""
    if asked.state.rules.wide_restrictions:
        return asked.target.restrictions
    return [
        {"restriction_type": one["restriction_type"], "distinct_ids": one["distinct_ids"] or None}
        for one in asked.target.restrictions
    ]


def is_generating_demo_data(asked: Asked) -> dict[str, bool]:
    """Whether the background still fills a demo environment."""
    return {"is_generating_demo_data": asked.target.generating_demo_data}


def reset_token(asked: Asked) -> dict[str, Any]:
    """A new project token; the old one is dead at once. The log shows it in clear, since it is public."""
    _admin(asked)
    environment = asked.target
    before, environment.api_token = environment.api_token, asked.state.secret("phc_")
    _log_token(asked, "reset_token", "api_token", before, environment.api_token)
    return asked.full()


def rotate_secret_token(asked: Asked) -> dict[str, Any]:
    """The secret becomes the backup, whatever the backup was; a new secret is made."""
    _admin(asked)
    environment, rules = asked.target, asked.state.rules
    before = environment.secret_api_token
    if before is None and environment.secret_api_token_backup is None and not rules.mints_secret:
        raise invalid("Legacy secret tokens can no longer be created.")
    if before is not None:
        environment.secret_api_token_backup = before
    environment.secret_api_token = asked.state.secret("phs_")
    _log_token(asked, "rotate_secret_token", "secret_api_token", masked(before), masked(environment.secret_api_token))
    return asked.full()


def delete_secret_token_backup(asked: Asked) -> dict[str, Any]:
    """Nothing happens where there is no backup."""
    _admin(asked)
    environment = asked.target
    before, environment.secret_api_token_backup = environment.secret_api_token_backup, None
    if before is not None:
        _log_token(asked, "delete_secret_token_backup", "secret_api_token_backup", masked(before), None)
    return asked.full()


def _admin(asked: Asked) -> None:
    if asked.user.levels[asked.target.organization] < ADMIN:
        raise denied("You don't have sufficient permissions in the project.")


def _log_token(asked: Asked, effect: str, field: str, before: str | None, after: str | None) -> None:
    asked.state.effects[effect, asked.target.id] += 1
    asked.target.updated_at = asked.state.now()
    action = "created" if before is None else "deleted" if after is None else "changed"
    change = {"type": "Team", "action": action, "field": field, "before": before, "after": after}
    asked.state.log(asked.target, asked.user, "updated", [change])


ACTIONS: Final[Mapping[str, Action]] = {
    "list": list_environments,
    "create": create,
    "retrieve": retrieve,
    "update": update,
    "delete": delete,
    "activity": activity,
    "add_product_intent": add_product_intent,
    "complete_product_onboarding": complete_product_onboarding,
    "delete_secret_token_backup": delete_secret_token_backup,
    "event_ingestion_restrictions": event_ingestion_restrictions,
    "is_generating_demo_data": is_generating_demo_data,
    "reset_token": reset_token,
    "rotate_secret_token": rotate_secret_token,
}
