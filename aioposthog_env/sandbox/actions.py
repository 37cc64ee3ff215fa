"""What each endpoint does, one function per row of the endpoint table.

An action gets the request when authentication, scopes, access and the rate limit are behind it. It answers with a body, or
raises a ``Problem``. What changes settings, tokens and intents has rooms of its own.
"""

from collections.abc import Mapping
from typing import Any, Final

from aioposthog_env.sandbox import intents, tokens, writing
from aioposthog_env.sandbox.asked import Action, Asked
from aioposthog_env.sandbox.eras import UNDER_A_PROJECT
from aioposthog_env.sandbox.errors import Problem, crash, denied, invalid, not_found
from aioposthog_env.sandbox.more_actions import MORE_ACTIONS
from aioposthog_env.sandbox.payloads import full_payload, summary
from aioposthog_env.sandbox.quota import check_create
from aioposthog_env.sandbox.state import ADMIN


def list_environments(asked: Asked) -> dict[str, Any]:
    """One page; no limit or nonsense means 100, and there is no largest page."""
    found = asked.visible()
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
        "previous": f"{asked.path}?limit={limit}" + (f"&offset={before}" if before else "") if offset else None,
        "results": [summary(one, early_project=asked.early_project) for one in found[offset:after]],
    }


def _number(given: str | None, default: int) -> int:
    return int(given) if given is not None and given.isdigit() else default


def create(asked: Asked) -> dict[str, Any]:
    """A new environment. It becomes the caller's current one."""
    state, rules = asked.state, asked.state.rules
    if asked.style == "root" and not rules.alias:
        if rules.letter == "A":
            _may_create(asked, _current_organization(asked))
        raise invalid(UNDER_A_PROJECT)
    organization = _organization_of_new(asked)
    _may_create(asked, organization)
    values = writing.checked(asked, creating=True)
    name = values.get("name", state.rows["name"].default)
    if rules.unique_names:
        taken = {one.settings["name"].lower() for one in state.environments.values() if one.organization == organization}
        if name.lower() in taken:
            if "name" in values:
                raise Problem(409, "server_error", "conflict", "A project with this name already exists.", "name")
            name = next(f"{name} {number}" for number in range(2, 10**6) if f"{name} {number}".lower() not in taken)
    demo = bool(values.get("is_demo"))
    check_create(state, asked.style, organization, asked.project_id, demo=demo)
    environment = state.add_environment(
        organization,
        project_id=asked.project_id if asked.style == "nested" else None,
        event_definitions=0,
        **(_prefilled(rules.letter) | values | {"name": name}),
    )
    environment.generating_demo_data = demo  # the background fills it
    asked.user.current = environment.id
    state.effects["create", environment.id] += 1
    state.log(environment, asked.user, "created", [])
    return full_payload(state, environment, asked.user, early_project=asked.early_project)


def _prefilled(letter: str) -> dict[str, Any]:
    """What a new environment has that was not asked for."""
    if letter == "D":
        cohort = {"key": "id", "type": "cohort", "value": 1, "operator": "not_in"}
        return {"test_account_filters": [cohort], "extra_settings": {"recorder_script": "posthog-recorder"}}
    mail = {"key": "email", "type": "person", "value": "@example.com", "operator": "not_icontains"}
    return {"test_account_filters": [mail]}


def _may_create(asked: Asked, organization: str) -> None:
    if asked.user.levels[organization] < ADMIN:
        raise denied("Your organization access level is insufficient.")


def _current_organization(asked: Asked) -> str:
    current = asked.state.environments.get(asked.user.current or 0)
    return next(iter(asked.user.levels)) if current is None else current.organization


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


def delete(asked: Asked) -> None:
    """2025: gone at once, through the project path with the whole project. Newest: a deletion begins."""
    state, environment = asked.state, asked.target
    asked.must_be_admin()
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
        "next": f"{asked.path}?limit={size}&page={page + 1}" if page < pages else None,
        "previous": f"{asked.path}?limit={size}&page={page - 1}" if page > 1 else None,
        "total_count": len(entries),
    }


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


ACTIONS: Final[Mapping[str, Action]] = {
    "list": list_environments,
    "create": create,
    "retrieve": retrieve,
    "update": writing.update,
    "delete": delete,
    "activity": activity,
    "add_product_intent": intents.add_product_intent,
    "complete_product_onboarding": intents.complete_product_onboarding,
    "delete_secret_token_backup": tokens.delete_secret_token_backup,
    "event_ingestion_restrictions": event_ingestion_restrictions,
    "is_generating_demo_data": is_generating_demo_data,
    "reset_token": tokens.reset_token,
    "rotate_secret_token": tokens.rotate_secret_token,
    "settings_as_of": writing.settings_as_of,
    "experiments_config": writing.experiments_config,
    "update_experiments_config": writing.update_experiments_config,
    "logs_config": writing.logs_config,
    "update_logs_config": writing.update_logs_config,
    "generate_conversations_public_token": tokens.generate_conversations_public_token,
    **MORE_ACTIONS,
}
