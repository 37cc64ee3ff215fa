"""Which payload an answer holds, judged by what was asked."""

import re

from aioposthog_env.models.activity import ActivityPage
from aioposthog_env.models.environment import Environment, EnvironmentPage
from tests.contract.recorded import Recorded

_ONE = re.compile(r"^/api/(?:environments|projects)/(?:\d+|@current)/?$")
_NESTED_CREATE = re.compile(r"^/api/projects/(?:\d+|@current)/environments/?$")
_ACTION = re.compile(r"^/api/environments/\d+/(?:add_product_intent|complete_product_onboarding|reset_token)/?$")
_ACTIVITY = re.compile(r"^/api/environments/\d+/activity/?$")
_LIST = re.compile(r"^/api/(?:environments|projects)/?$")


def kind_of(answer: Recorded) -> type[Environment] | type[EnvironmentPage] | type[ActivityPage] | None:
    """The model of a successful answer; None for errors and for other payloads."""
    path = answer.path.partition("?")[0]
    if answer.status not in {200, 201} or answer.method in {"OPTIONS", "HEAD"}:
        return None
    if _ONE.match(path) or _ACTION.match(path) or (_NESTED_CREATE.match(path) and answer.method == "POST"):
        return Environment
    if _LIST.match(path) and answer.method == "GET":
        return EnvironmentPage
    return ActivityPage if _ACTIVITY.match(path) else None
