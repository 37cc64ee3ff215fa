"""What the servers have beside the endpoints that the client calls: rows of the same kind."""

from typing import Final

from aioposthog_env.api.endpoints import Endpoint, Repeat, ReplyKind, Verb


def _row(name: str, verb: Verb, suffix: str, scope: str | None = None) -> Endpoint:
    return Endpoint(name=name, verb=verb, suffix=f"{suffix}/", scope=scope, repeat=Repeat.SAFE, reply=ReplyKind.CONFIG)


_READ_ACCESS: Final = "access_control:read"
_WRITE_ACCESS: Final = "access_control:write"

EVALUATION_TAGS: Final = (
    _row("default_evaluation_tags", "GET", "default_evaluation_tags"),
    _row("add_default_evaluation_tag", "POST", "default_evaluation_tags"),
    _row("remove_default_evaluation_tag", "DELETE", "default_evaluation_tags"),
)
EVALUATION_CONTEXTS: Final = (
    _row("default_evaluation_contexts", "GET", "default_evaluation_contexts"),
    _row("add_default_evaluation_context", "POST", "default_evaluation_contexts"),
    _row("remove_default_evaluation_context", "DELETE", "default_evaluation_contexts"),
    _row("hide_evaluation_context", "POST", "evaluation_context_suggestions"),
    _row("restore_evaluation_context", "DELETE", "evaluation_context_suggestions"),
)
CONFIGS: Final = (
    _row("default_release_conditions", "GET", "default_release_conditions"),
    _row("set_default_release_conditions", "PUT", "default_release_conditions"),
    _row("tracing_config", "GET", "tracing_config"),
    _row("update_tracing_config", "PATCH", "tracing_config"),
)
ACCESS: Final = (
    _row("access_controls", "GET", "access_controls", _READ_ACCESS),
    _row("set_access_control", "PUT", "access_controls", _WRITE_ACCESS),
    _row("resource_access_controls", "GET", "resource_access_controls", _READ_ACCESS),
    _row("set_resource_access_control", "PUT", "resource_access_controls", _WRITE_ACCESS),
    _row("users_with_access", "GET", "users_with_access", _READ_ACCESS),
)
CHANGE_ORGANIZATION: Final = _row("change_organization", "POST", "change_organization")

MORE_ENDPOINTS: Final = (*EVALUATION_TAGS, *EVALUATION_CONTEXTS, *CONFIGS, *ACCESS, CHANGE_ORGANIZATION)


def names(*groups: tuple[Endpoint, ...]) -> frozenset[str]:
    """The names of some groups."""
    return frozenset(row.name for group in groups for row in group)
