"""Which URL style to try, what refuses one, and what is remembered."""

import pytest

from aioposthog_env.api import endpoints
from aioposthog_env.api.endpoints import Endpoint
from aioposthog_env.api.era import Era, era_of_payload
from aioposthog_env.api.routes import (
    Place,
    RouteMemory,
    Style,
    Verdict,
    candidates,
    check_routes,
    judge,
    path,
    probe_of,
    successor_of,
)
from aioposthog_env.errors import ConfigurationError

NAMED = Place(environment_id=42, project_id=7)
UNNAMED = Place(environment_id=42)
ALL = Place()

NESTED_REFUSAL = (
    b'{"type":"authentication_error","code":"permission_denied","detail":"Multiple environments per project are no longer '
    b'available. Please contact support if you need assistance.","attr":null}'
)
NO_ENDPOINT = b'{"type":"invalid_request","code":"not_found","detail":"Endpoint not found.","attr":null}'
NO_PROJECT = b'{"type":"invalid_request","code":"not_found","detail":"Project not found.","attr":null}'
NOT_FOUND = b'{"type":"invalid_request","code":"not_found","detail":"Not found.","attr":null}'
DENIED = b'{"type":"authentication_error","code":"permission_denied","detail":"You do not have access.","attr":null}'
HTML = b"<!doctype html><title>Not Found</title>"


@pytest.mark.parametrize(
    ("style", "status", "body", "verdict"),
    [
        ("nested", 403, NESTED_REFUSAL, Verdict.OTHER_STYLE),
        ("root", 403, NESTED_REFUSAL, Verdict.ANSWERS),
        ("nested", 403, DENIED, Verdict.ANSWERS),
        ("root", 404, NO_ENDPOINT, Verdict.OTHER_STYLE),
        ("root", 404, NOT_FOUND, Verdict.ANSWERS),
        ("nested", 404, NO_PROJECT, Verdict.ANSWERS),
        ("root", 404, b'{"detail":"Not Found"}', Verdict.OTHER_STYLE),
        ("project", 404, b'{"error":"no such route"}', Verdict.OTHER_STYLE),
        ("root", 404, NOT_FOUND.replace(b":", b": "), Verdict.ANSWERS),
        ("project", 404, NO_PROJECT, Verdict.ANSWERS),
        ("nested", 500, b'{"type":"server_error"}', Verdict.FAILED),
        ("nested", 502, HTML, Verdict.FAILED),
        ("root", 404, HTML, Verdict.OTHER_STYLE),
        ("root", 200, HTML, Verdict.OTHER_STYLE),
        ("root", 403, HTML, Verdict.ANSWERS),
        ("root", 401, b"", Verdict.ANSWERS),
        ("root", 200, b' {"id": 42}', Verdict.ANSWERS),
        ("root", 200, b"[]", Verdict.ANSWERS),
    ],
)
def test_a_refusal_of_the_style_is_told_from_a_genuine_answer(style: Style, status: int, body: bytes, verdict: Verdict) -> None:
    assert judge(style, status=status, opening=body) is verdict


@pytest.mark.parametrize(
    ("endpoint", "place", "order"),
    [
        (endpoints.RETRIEVE, NAMED, ("root", "project", "nested")),
        (endpoints.RETRIEVE, UNNAMED, ("root", "project")),
        (endpoints.LIST, ALL, ("root", "project")),
        (endpoints.LIST, Place(project_id=7), ("root", "project", "nested")),
    ],
)
def test_the_order_of_trying(endpoint: Endpoint, place: Place, order: tuple[Style, ...]) -> None:
    assert candidates(endpoint, place) == order


def test_styles_are_found_out_by_reading_only() -> None:
    assert {probe_of(endpoint).verb for endpoint in endpoints.ENDPOINTS} == {"GET"}
    assert probe_of(endpoints.ROTATE_SECRET_TOKEN) is endpoints.RETRIEVE
    assert probe_of(endpoints.CREATE) is endpoints.LIST


def test_a_guessed_project_has_the_environments_id() -> None:
    assert path("nested", endpoints.RETRIEVE, UNNAMED) == "/api/projects/42/environments/42/"


def test_a_nested_collection_needs_its_project() -> None:
    with pytest.raises(ConfigurationError, match="project_id"):
        path("nested", endpoints.LIST, ALL)


def test_an_organization_has_its_own_projects() -> None:
    place = Place(organization_id="0192-ab")

    assert path("project", endpoints.CREATE, place) == "/api/organizations/0192-ab/projects/"


@pytest.mark.parametrize("first", [NAMED, UNNAMED])
def test_root_style_serves_every_reference(first: Place) -> None:
    memory = RouteMemory()

    assert memory.settle(endpoints.RETRIEVE, first, "root") == "root"
    assert memory.style_for(endpoints.UPDATE, UNNAMED) == "root"
    assert memory.style_for(endpoints.UPDATE, NAMED) == "root"
    assert memory.style_for(endpoints.LIST, ALL) is None


def test_nested_style_serves_only_references_that_name_their_project() -> None:
    memory = RouteMemory()

    assert memory.settle(endpoints.RETRIEVE, NAMED, "nested") == "nested"
    assert memory.style_for(endpoints.UPDATE, NAMED) == "nested"
    assert memory.style_for(endpoints.UPDATE, UNNAMED) is None


def test_it_is_asked_again_once_the_path_is_gone() -> None:
    memory = RouteMemory()
    memory.settle(endpoints.RETRIEVE, UNNAMED, "root")

    assert not memory.gone(endpoints.RETRIEVE, UNNAMED, Verdict.ANSWERS)
    assert memory.style_for(endpoints.RETRIEVE, UNNAMED) == "root"
    assert memory.gone(endpoints.RETRIEVE, UNNAMED, Verdict.OTHER_STYLE)
    assert memory.style_for(endpoints.RETRIEVE, UNNAMED) is None
    assert not memory.gone(endpoints.CREATE, NAMED, Verdict.OTHER_STYLE)


@pytest.mark.parametrize("style", ["nested", "root", "project"])
def test_a_style_that_was_set_is_used_for_everything(style: Style) -> None:
    memory = RouteMemory(routes=style)

    assert {memory.style_for(endpoint, NAMED) for endpoint in endpoints.ENDPOINTS[:-1]} == {style}
    assert not memory.gone(endpoints.RETRIEVE, NAMED, Verdict.OTHER_STYLE)
    assert not memory.succeed(endpoints.RETRIEVE, NAMED, "/api/projects/42/")


def test_delete_never_takes_the_project_style_by_accident() -> None:
    memory = RouteMemory()
    memory.settle(endpoints.RETRIEVE, UNNAMED, "project")

    assert memory.style_for(endpoints.RETRIEVE, UNNAMED) == "project"
    assert memory.style_for(endpoints.DELETE, UNNAMED) is None
    with pytest.raises(ConfigurationError, match="whole project"):
        memory.settle(endpoints.DELETE, UNNAMED, "project")
    assert memory.settle(endpoints.DELETE, UNNAMED, "root") == "root"


def test_delete_takes_the_project_style_on_the_newest_era() -> None:
    memory = RouteMemory()
    memory.known(Era.D)

    assert memory.settle(endpoints.DELETE, UNNAMED, "project") == "project"


def test_create_in_a_project_posts_nested() -> None:
    assert RouteMemory().style_for(endpoints.CREATE, Place(project_id=7)) == "nested"


def test_create_without_a_project_needs_a_server_that_makes_projects() -> None:
    memory = RouteMemory()
    assert memory.style_for(endpoints.CREATE, ALL) is None
    with pytest.raises(ConfigurationError, match="project_id"):
        memory.settle(endpoints.CREATE, ALL, "root")

    memory = RouteMemory()
    assert memory.settle(endpoints.CREATE, ALL, "project") == "project"


def test_the_successor_is_followed_where_it_is_a_known_path() -> None:
    memory = RouteMemory()

    assert not memory.succeed(endpoints.RETRIEVE, UNNAMED, "/api/elsewhere/42/")
    assert not memory.succeed(endpoints.RETRIEVE, UNNAMED, "/api/projects/43/")
    assert memory.style_for(endpoints.RETRIEVE, UNNAMED) is None
    assert memory.succeed(endpoints.RETRIEVE, UNNAMED, "/api/projects/42/?a=1")
    assert memory.style_for(endpoints.RETRIEVE, UNNAMED) == "project"
    assert memory.style_for(endpoints.RETRIEVE, NAMED) == "project"
    assert memory.settle(endpoints.RETRIEVE, UNNAMED, "root") == "project"


@pytest.mark.parametrize(
    ("link", "successor"),
    [
        ('</api/projects/42/?a=1>; rel="successor-version"', "/api/projects/42/?a=1"),
        ('</docs>; rel="help", </api/projects/42/>; rel=successor-version', "/api/projects/42/"),
        ('</api/projects/42/>; title="x"; REL="successor-version"', "/api/projects/42/"),
        ('<https://evil.example/api/projects/42/>; rel="successor-version"', None),
        ('<//evil.example/api/projects/42/>; rel="successor-version"', None),
        ("</api/projects/42/>", None),
        ("", None),
    ],
)
def test_the_successor_is_read_from_the_link_header(link: str, successor: str | None) -> None:
    assert successor_of(link) == successor


def test_an_unknown_style_is_refused() -> None:
    assert check_routes("auto") == "auto"
    with pytest.raises(ConfigurationError, match="auto, nested, root, project"):
        check_routes("flat")


@pytest.mark.parametrize(
    ("fields", "whole", "era"),
    [
        ({"id", "name"}, True, Era.A),
        ({"id", "name"}, False, Era.UNKNOWN),
        ({"id", "secret_api_token"}, True, Era.B),
        ({"id", "secret_api_token", "available_setup_task_ids"}, False, Era.C),
        ({"id", "available_setup_task_ids", "is_pending_deletion"}, True, Era.D),
    ],
)
def test_fields_tell_the_era(fields: set[str], era: Era, *, whole: bool) -> None:
    assert era_of_payload(fields, whole=whole) is era


def test_better_evidence_replaces_weaker_and_never_the_other_way() -> None:
    memory = RouteMemory()
    for seen in (Era.C, Era.A, Era.D, Era.B):
        memory.known(seen)

    assert memory.era is Era.D
