"""What the sandbox plays of August 2025, checked without the client: the facts that a server of that month was seen to hold."""

from typing import Any

import pytest

from aioposthog_env import Sandbox, TeamSettings
from tests.conftest import connect
from tests.sandbox.test_server import calling, cookies_of

NOT_FOUND = {"type": "invalid_request", "code": "not_found", "detail": "Not found.", "attr": None}
BOTH_OF_2025 = pytest.mark.parametrize("era", ["2025-08", "2025-11"])


@BOTH_OF_2025
@pytest.mark.parametrize(("definitions", "status"), [(0, 404), (1, 200), (2, 500), (40, 500)])
async def test_nested_depends_on_event_definitions(era: Any, definitions: int, status: int) -> None:
    async with calling(3, era=era) as (sandbox, call):
        sandbox.environment(2).event_definitions = definitions
        _, session = cookies_of(sandbox)
        for verb, suffix, success in (
            ("GET", "", 200),
            ("PATCH", "", 200),
            ("GET", "activity/", 200),
            ("PATCH", "add_product_intent/", 201),
            ("PATCH", "rotate_secret_token/", 200),
            ("DELETE", "", 204),
        ):
            path = f"/api/projects/2/environments/2/{suffix}"
            body = {"product_type": "surveys", "timezone": "UTC"} if verb == "PATCH" else None
            answer = await call(verb, path, headers=session, body=body)
            assert answer.status == (success if status == 200 else status), path
            if status == 404:
                assert answer.body == NOT_FOUND
        assert bool(sandbox.effects["delete", 2]) == (status == 200)


@BOTH_OF_2025
async def test_nested_list_is_a_500_and_create_a_201(era: Any) -> None:
    async with calling(1, era=era) as (sandbox, call):
        key, path = sandbox.key(), "/api/projects/1/environments/"
        assert (await call("GET", path, key)).status == 500
        assert (await call("OPTIONS", path, key)).status == 500
        made = await call("POST", path, key, body={"name": "New"})
        assert made.status == 201
        # It has no event yet, so the path that made it does not find it.
        assert (await call("GET", f"{path}{made.body['id']}/", key)).body == NOT_FOUND
        assert (await call("GET", f"/api/environments/{made.body['id']}/", key)).status == 200
        assert (await call("GET", "/api/projects/99/environments/", key)).detail == "Project not found."


async def test_nested_looks_at_the_project_and_the_person_all_the_same() -> None:
    async with calling(3, era="2025-08") as (sandbox, call):
        foreign = sandbox.add_environment("Theirs", organization=sandbox.add_organization(), event_definitions=1)
        key = sandbox.key()
        theirs = await call("GET", f"/api/projects/1/environments/{foreign.id}/", key)
        assert theirs.detail == "You do not have member access to this resource."
        deleted = await call("DELETE", f"/api/projects/1/environments/{foreign.id}/", key)
        assert deleted.detail == "You do not have admin access to this resource."
        assert (await call("GET", f"/api/projects/{foreign.id}/environments/1/", key)).status == 403
        assert (await call("GET", "/api/projects/99/environments/1/", key)).detail == "Project not found."
        assert (await call("GET", "/api/projects/1/environments/99/", key)).body == NOT_FOUND
        # The project in the path need not be the environment's own, and the current environment is not looked up.
        assert (await call("GET", "/api/projects/2/environments/1/", key)).body["id"] == 1
        assert (await call("GET", "/api/projects/@current/environments/1/", key)).body["id"] == 1
        sandbox.environment(1).event_definitions = 9
        assert (await call("GET", "/api/projects/1/environments/@current/", key)).body["id"] == 1
        limited = sandbox.key("project:read", organizations=[sandbox.organization_id])
        assert (await call("GET", f"/api/projects/1/environments/{foreign.id}/", limited)).status == 403


async def test_the_scene_contradicts_a_client_that_believes_nested() -> None:
    async with calling(6, era="2025-11") as (sandbox, call):
        paths = [f"/api/projects/{number}/environments/{number}/" for number in sandbox.environment_ids]
        seen = [(await call("GET", path, sandbox.key())).status for path in paths]
    assert seen == [200, 500, 404] * 2


@pytest.mark.parametrize("era", ["2024-10", "2025-08", "2025-11", "current"])
async def test_a_host_that_serves_the_documented_path_only(era: Any) -> None:
    async with calling(4, era=era, nested_only=True) as (sandbox, call):
        key = sandbox.key()
        for path in ("/api/environments/1/", "/api/projects/1/", "/api/environments/", "/api/projects/"):
            answer = await call("GET", path, key)
            assert (answer.status, answer.headers["Content-Type"]) == (404, "text/html"), path
        for number in (1, 2, 3):
            path = f"/api/projects/{number}/environments/{number}/"
            assert (await call("PATCH", path, key, body={"timezone": "UTC"})).status == 200
        assert (await call("GET", "/api/projects/2/environments/1/", key)).body == NOT_FOUND
        page = (await call("GET", "/api/projects/4/environments/", key)).body
        assert [one["id"] for one in page["results"]] == [4]
        sandbox.restore(sandbox.snapshot())
        assert (await call("GET", "/api/environments/1/", key)).status == 404


async def test_what_asks_for_a_scope_that_no_key_can_have() -> None:
    async with calling(1, era="2025-08") as (sandbox, call):
        usual = sandbox.key("project:read", "project:write")
        config, name, product = {"timezone": "UTC"}, {"name": "New"}, {"product_type": "surveys"}
        asked = [
            ("PATCH", "/api/environments/1/", config),
            ("PATCH", "/api/environments/1/", {}),
            ("PATCH", "/api/environments/1/add_product_intent/", product),
            ("PATCH", "/api/environments/1/complete_product_onboarding/", product),
            ("GET", "/api/environments/1/event_ingestion_restrictions/", None),
        ]
        _, session = cookies_of(sandbox)
        for verb, path, body in asked:
            refused = await call(verb, path, usual, body=body)
            assert (refused.status, refused.detail) == (403, "API key missing required scope 'team:read'"), path
            for key in (sandbox.key("*"), sandbox.key(legacy=True), sandbox.key("team:read")):
                assert (await call(verb, path, key, body=body)).status in {200, 201}, path
            assert (await call(verb, path, headers=session, body=body)).status in {200, 201}, path
        # Ways round: one field outside the config fields, or the project path.
        assert (await call("PATCH", "/api/environments/1/", usual, body=config | name)).status == 200
        assert (await call("PATCH", "/api/environments/1/", sandbox.key("team:read"), body=config | name)).status == 403
        assert (await call("PATCH", "/api/projects/1/", sandbox.key("project:read"), body=config)).status == 200
        restrictions = await call("GET", "/api/projects/1/event_ingestion_restrictions/", usual)
        assert restrictions.detail == "Endpoint not found."


async def test_who_is_refused_and_how() -> None:
    async with calling(2, era="2025-08") as (sandbox, call):
        assert "WWW-Authenticate" not in (await call("GET", "/api/environments/1/")).headers
        limited = sandbox.key(projects=[1])
        for verb, suffix in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("PATCH", "add_product_intent/")):
            body = {"product_type": "surveys"} if verb == "PATCH" else None
            assert (await call(verb, f"/api/environments/2/{suffix}", limited, body=body)).body == NOT_FOUND
        assert (await call("GET", "/api/projects/2/", limited)).status == 403
        sandbox.user.current = 2
        assert (await call("GET", "/api/environments/@current/", limited)).status == 403
        reading, _ = cookies_of(sandbox)
        own = "/api/personal_api_keys/@current/"
        assert (await call("GET", own, headers=reading)).status == 500
        assert (await call("OPTIONS", own, sandbox.key())).status == 403
        assert (await call("GET", own, limited)).body["scoped_teams"] == [1]
        assert (await call("GET", own, sandbox.key())).body["scoped_teams"] is None
        for path in ("/api/environments/", "/api/projects/"):
            assert (await call("OPTIONS", path, sandbox.key())).status == 500
        assert (await call("OPTIONS", "/api/environments/99/", sandbox.key())).status == 404


@pytest.mark.parametrize("verb", ["POST", "PUT"])
async def test_under_a_project_only_also_for_a_member(verb: str) -> None:
    async with calling(1, era="2025-08") as (sandbox, call):
        for user in (sandbox.user, sandbox.member):
            path = "/api/environments/" if verb == "POST" else "/api/environments/1/"
            answer = await call(verb, path, sandbox.key(user=user), body={"name": "New"})
            assert (answer.status, answer.body["attr"]) == (400, None)
            assert answer.detail.startswith("Environments must be created under a specific project.")


async def test_what_is_not_there_yet() -> None:
    async with calling(1, era="2025-08") as (sandbox, call):
        august = (await call("GET", "/api/environments/1/", sandbox.key())).body
        project = (await call("GET", "/api/projects/1/", sandbox.key())).body
        tags = await call("GET", "/api/environments/1/default_evaluation_tags/", sandbox.key())
    async with calling(1, era="2025-11") as (sandbox, call):
        november = (await call("GET", "/api/environments/1/", sandbox.key())).body
    assert november.keys() - august.keys() == {
        "default_evaluation_environments_enabled",
        "experiment_recalculation_time",
        "managed_viewsets",
        "session_recording_retention_period",
        "web_analytics_pre_aggregated_tables_enabled",
    }
    assert august.keys() <= november.keys()
    assert august["marketing_analytics_config"] == {"sources_map": {}, "conversion_goals": []}
    assert project.keys() - august.keys() == {"product_description"}
    assert {"secret_api_token", "secret_api_token_backup", "group_types"} <= project.keys()
    assert "revenue_analytics_config" not in project
    assert tags.detail == "Endpoint not found."


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ({}, "required"),
        ({"product_type": ""}, "blank"),
        ({"product_type": None}, "null"),
        ({"product_type": True}, "invalid_input"),
        ({"product_type": "a\0"}, "null_characters_not_allowed"),
    ],
)
async def test_an_intent_without_a_product(sent: dict[str, Any], code: str) -> None:
    async with calling(1, era="2025-08") as (sandbox, call):
        answer = await call("PATCH", "/api/environments/1/add_product_intent/", sandbox.key(), body=sent)
        assert (answer.status, answer.body["code"], answer.body["attr"]) == (400, code, "product_type")
        listed = await call("PATCH", "/api/environments/1/add_product_intent/", sandbox.key(), body=[])
        assert listed.detail == "Invalid data. Expected a dictionary, but got list."
        onboarded = await call("PATCH", "/api/environments/1/complete_product_onboarding/", sandbox.key(), body=sent)
        assert onboarded.status == 400
        assert not sandbox.environment(1).product_intents


@pytest.mark.parametrize("era", ["2024-10", "2025-08"])
async def test_an_intent_that_the_database_cannot_hold(era: Any) -> None:
    async with calling(1, era=era) as (sandbox, call):
        _, session = cookies_of(sandbox)
        for product in ["x" * 256, *(["a\0"] if era == "2024-10" else [])]:
            path = "/api/environments/1/add_product_intent/"
            assert (await call("PATCH", path, headers=session, body={"product_type": product})).status == 500


@pytest.mark.parametrize("era", ["2024-10", "2025-08", "2025-11", "current"])
async def test_the_client_does_its_main_job_in_every_era(era: Any) -> None:
    async with Sandbox(9, era=era, lacking_anonymize_ips=3) as sandbox, connect(sandbox) as environments:
        refs = [ref async for ref in environments.list()]
        assert (await environments.each(refs).retrieve()).counts["succeeded"] == 9
        report = await environments.apply(await environments.plan(TeamSettings(anonymize_ips=True), refs))
        assert (report.counts["succeeded"], report.counts["unchanged"]) == (3, 6)
        assert all(sandbox.environment(number).settings["anonymize_ips"] for number in sandbox.environment_ids)
