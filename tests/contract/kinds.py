"""Which endpoint an answer belongs to, judged by what was requested, and which payload it holds."""

import re
from typing import Any, Final

from aioposthog_env.api.endpoints import CURRENT_KEY, ENDPOINTS, Endpoint, ReplyKind, Target
from aioposthog_env.models.activity import ActivityPage
from aioposthog_env.models.environment import Environment, EnvironmentPage
from aioposthog_env.models.keys import KeyInfo
from tests.contract.recorded import Recorded

_PATH: Final = re.compile(
    r"/api/(?:projects/[^/]+/environments|environments|projects)(?:/(?P<id>\d+|@current)(?:/(?P<suffix>\w+))?)?/?"
)
_MODELS: Final[dict[ReplyKind, type[Any]]] = {
    ReplyKind.ENVIRONMENT: Environment,
    ReplyKind.ENVIRONMENT_PAGE: EnvironmentPage,
    ReplyKind.ACTIVITY_PAGE: ActivityPage,
    ReplyKind.KEY: KeyInfo,
}


def endpoint_of(answer: Recorded) -> Endpoint | None:
    """The endpoint of a successful answer; None for errors, and for what this client never requests."""
    path = answer.path.partition("?")[0]
    if not 200 <= answer.status < 300:
        return None
    if path == "/api/personal_api_keys/@current/":
        return CURRENT_KEY
    if (match := _PATH.fullmatch(path)) is None:
        return None
    verb = "PATCH" if answer.method == "PUT" else answer.method
    target = Target.COLLECTION if match["id"] is None else Target.ENVIRONMENT
    wanted = (verb, target, f"{match['suffix']}/" if match["suffix"] else "")
    return next((row for row in ENDPOINTS if (row.verb, row.target, row.suffix) == wanted), None)


def id_of(answer: Recorded) -> int | None:
    """The environment that the path names by its number."""
    match = _PATH.fullmatch(answer.path.partition("?")[0])
    return int(match["id"]) if match and match["id"] and match["id"].isdigit() else None


def kind_of(answer: Recorded) -> type[Any] | None:
    """The model of a successful answer; None for errors and for answers without a model."""
    endpoint = endpoint_of(answer)
    return None if endpoint is None else _MODELS.get(endpoint.reply)
