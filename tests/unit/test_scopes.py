"""Required against granted."""

import pytest

from aioposthog_env.api import endpoints
from aioposthog_env.api.endpoints import Endpoint
from aioposthog_env.api.era import Era
from aioposthog_env.api.scopes import Grant, implied, missing, needed_for_update, refusal

KEY = "personal API key"


@pytest.mark.parametrize(
    ("needs", "scopes", "lacking"),
    [
        ({"project:read"}, {"project:read"}, set()),
        ({"project:read"}, {"project:write"}, set()),
        ({"project:write"}, {"project:read"}, {"project:write"}),
        ({"project:write", "user:read"}, {"*"}, set()),
        ({"project:read"}, set(), {"project:read"}),
        ({"project:read"}, {"feature_flag:write"}, {"project:read"}),
    ],
)
def test_missing_scopes(needs: set[str], scopes: set[str], lacking: set[str]) -> None:
    assert missing(needs, frozenset(scopes)) == lacking


def test_write_implies_read_of_the_same_thing() -> None:
    assert implied(["project:write", "user:read"]) == {"project:write", "project:read", "user:read"}


CLOSED = [row for row in endpoints.ENDPOINTS if not row.publishes_scope]


@pytest.mark.parametrize("endpoint", CLOSED, ids=lambda row: row.name)
@pytest.mark.parametrize("scopes", [None, frozenset({"*"})])
@pytest.mark.parametrize("kind", [KEY, "OAuth token"])
def test_no_scope_opens_an_action_that_publishes_none(endpoint: Endpoint, scopes: frozenset[str] | None, kind: str) -> None:
    refused = refusal(endpoint, endpoint.scope, Grant(kind, scopes), [42])

    assert refused is not None
    assert "session" in refused.message
    assert refused.missing == frozenset()


@pytest.mark.parametrize("endpoint", endpoints.ENDPOINTS, ids=lambda row: row.name)
def test_a_session_needs_no_scope(endpoint: Endpoint) -> None:
    assert refusal(endpoint, endpoint.scope, Grant("session"), [42]) is None


def test_an_unknown_scope_is_left_to_the_server() -> None:
    assert refusal(endpoints.DELETE, "project:write", Grant(KEY), [42]) is None


def test_a_known_missing_scope_is_refused_and_named() -> None:
    refused = refusal(endpoints.DELETE, "project:write", Grant(KEY, frozenset({"project:read"})), [42])

    assert refused is not None
    assert refused.missing == {"project:write"}
    assert "project:read" in refused.message


def test_anyone_may_ask_for_the_key_itself() -> None:
    assert refusal(endpoints.CURRENT_KEY, None, Grant(KEY, frozenset()), []) is None


@pytest.mark.parametrize(
    ("endpoint", "ids", "refused"),
    [
        (endpoints.RETRIEVE, [42], False),
        (endpoints.RETRIEVE, [43], True),
        (endpoints.RETRIEVE, [43, 42], False),
        (endpoints.LIST, [], True),
        (endpoints.CREATE, [42], True),
    ],
)
def test_a_key_limited_to_projects(endpoint: Endpoint, ids: list[int], *, refused: bool) -> None:
    grant = Grant(KEY, frozenset({"*"}), frozenset({42}))

    assert (refusal(endpoint, endpoint.scope, grant, ids) is not None) is refused


def test_an_empty_limit_is_none() -> None:
    assert refusal(endpoints.LIST, "project:read", Grant(KEY, frozenset({"*"}), frozenset()), []) is None


@pytest.mark.parametrize(
    ("fields", "era", "need"),
    [
        ({"anonymize_ips"}, Era.UNKNOWN, "project:read"),
        ({"name"}, Era.UNKNOWN, "project:read"),
        ({"name"}, Era.A, "project:read"),
        ({"anonymize_ips"}, Era.B, "project:read"),
        ({"anonymize_ips", "name"}, Era.B, "project:write"),
        (set[str](), Era.B, "project:read"),
        ({"anonymize_ips"}, Era.C, "project:write"),
        ({"anonymize_ips"}, Era.D, "project:write"),
    ],
)
def test_what_an_update_needs_depends_on_the_era(fields: set[str], era: Era, need: str) -> None:
    assert needed_for_update(fields, era, {"anonymize_ips", "timezone"}) == need
