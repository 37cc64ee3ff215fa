"""What the servers have beside the endpoints of the client, what a plan refuses, and the error pairs, row by row."""

from typing import Any

import pytest

from aioposthog_env.sandbox import Plan
from tests.sandbox.test_server import Caller, calling, cookies_of

MORE = {
    # suffix: eras that have it, and the verbs it takes
    "default_evaluation_tags": ({"2025-11"}, "GET, POST, DELETE, HEAD, OPTIONS"),
    "default_evaluation_contexts": ({"current"}, "GET, POST, DELETE, HEAD, OPTIONS"),
    "evaluation_context_suggestions": ({"current"}, "POST, DELETE, OPTIONS"),
    "default_release_conditions": ({"current"}, "GET, PUT, HEAD, OPTIONS"),
    "settings_as_of": ({"current"}, "GET, HEAD, OPTIONS"),
    "experiments_config": ({"current"}, "GET, PATCH, HEAD, OPTIONS"),
    "logs_config": ({"current"}, "GET, PATCH, HEAD, OPTIONS"),
    "tracing_config": ({"current"}, "GET, PATCH, HEAD, OPTIONS"),
    "generate_conversations_public_token": ({"current"}, "POST, OPTIONS"),
    "access_controls": ({"2025-08", "2025-11", "current"}, "GET, PUT, HEAD, OPTIONS"),
    "resource_access_controls": ({"2025-11", "current"}, "GET, PUT, HEAD, OPTIONS"),
    "users_with_access": ({"2025-08", "2025-11", "current"}, "GET, HEAD, OPTIONS"),
    "change_organization": ({"2024-10", "2025-08", "2025-11", "current"}, "POST, OPTIONS"),
    "rotate_secret_token": ({"2025-08", "2025-11", "current"}, "PATCH, OPTIONS"),
    "delete_secret_token_backup": ({"2025-08", "2025-11", "current"}, "PATCH, OPTIONS"),
    "event_ingestion_restrictions": ({"2025-11", "current"}, "GET, HEAD, OPTIONS"),
    "activity": ({"2024-10", "2025-08", "2025-11", "current"}, "GET, HEAD, OPTIONS"),
    "add_product_intent": ({"2024-10", "2025-08", "2025-11", "current"}, "PATCH, OPTIONS"),
    "complete_product_onboarding": ({"2024-10", "2025-08", "2025-11", "current"}, "PATCH, OPTIONS"),
    "is_generating_demo_data": ({"2024-10", "2025-08", "2025-11", "current"}, "GET, HEAD, OPTIONS"),
    "reset_token": ({"2024-10", "2025-08", "2025-11", "current"}, "PATCH, OPTIONS"),
}
CRASHING = {"reset_token", "rotate_secret_token", "delete_secret_token_backup"}
"""What fails in 2024 and August 2025 when it is asked for with another verb."""


@pytest.mark.parametrize("era", ["2024-10", "2025-08", "2025-11", "current"])
async def test_which_actions_an_era_has_and_which_verbs_they_take(era: Any) -> None:
    async with calling(1, era=era) as (sandbox, call):
        reading, _ = cookies_of(sandbox)
        for suffix, (eras, allow) in MORE.items():
            answer = await call("OPTIONS", f"/api/projects/1/{suffix}/", headers=reading)
            if era in eras:
                crashes = suffix in CRASHING and era in {"2024-10", "2025-08"}
                assert (answer.status, answer.headers["Allow"]) == (500 if crashes else 200, allow), suffix
            else:
                assert (answer.status, answer.detail) == (404, "Endpoint not found."), suffix


class Admin:
    """Requests of the owner's session to one environment."""

    def __init__(self, call: Caller, headers: dict[str, str]) -> None:
        self.call, self.headers = call, headers

    async def __call__(self, verb: str, suffix: str, body: Any = None) -> tuple[int, Any]:
        answer = await self.call(verb, f"/api/projects/1/{suffix}", headers=self.headers, body=body)
        return answer.status, answer.body


async def test_the_evaluation_tags_of_2025() -> None:
    async with calling(1, era="2025-11") as (sandbox, call):
        admin = Admin(call, cookies_of(sandbox)[1])
        path = "default_evaluation_tags/"
        assert await admin("GET", path) == (200, {"default_evaluation_tags": [], "enabled": False})
        assert await admin("POST", path, {"tag_name": "  Prod "}) == (200, {"id": 1, "name": "prod", "created": True})
        assert (await admin("POST", path, {"tag_name": "prod"}))[1]["created"] is False
        assert await admin("DELETE", f"{path}?tag_name=prod") == (200, {"success": True})
        assert await admin("DELETE", path, {"tag_name": "prod"}) == (200, {"success": True})
        assert (await admin("DELETE", path, {"tag_name": "never"}))[0] == 404
        assert await admin("POST", path, {}) == (400, {"error": "tag_name is required"})
        assert (await admin("POST", path, {"tag_name": "x" * 256}))[0] == 400
        for number in range(10):
            assert (await admin("POST", path, {"tag_name": f"t{number}"}))[0] == 200
        assert "error" in (await admin("POST", path, {"tag_name": "one-too-many"}))[1]
        assert (await call("GET", f"/api/projects/1/{path}", sandbox.key())).status == 403


async def test_the_evaluation_contexts_of_2026() -> None:
    async with calling(1) as (sandbox, call):
        admin = Admin(call, cookies_of(sandbox)[1])
        member = Admin(call, cookies_of(sandbox, sandbox.member)[1])
        path, suggestions = "default_evaluation_contexts/", "evaluation_context_suggestions/"
        hidden = await admin("POST", suggestions, {"context_name": "web"})
        assert hidden == (200, {"success": True, "name": "web", "hidden_from_suggestions": True})
        added = await admin("POST", path, {"context_name": "web"})
        assert added == (200, {"id": 1, "name": "web", "created": True, "hidden_from_suggestions": True})
        _, shown = await member("GET", path)
        assert shown == {
            "default_evaluation_contexts": [{"id": 1, "name": "web"}],
            "available_contexts": ["web"],
            "hidden_contexts": ["web"],
            "enabled": False,
        }
        assert (await admin("DELETE", f"{suggestions}?context_name=web"))[1]["hidden_from_suggestions"] is False
        assert (await admin("DELETE", path, {"context_name": "web"}))[0] == 200
        for verb, where in (("POST", path), ("DELETE", path), ("POST", suggestions)):
            assert (await member(verb, where, {"context_name": "web"}))[0] == 403


async def test_release_conditions_and_tracing() -> None:
    async with calling(1) as (sandbox, call):
        admin = Admin(call, cookies_of(sandbox)[1])
        member = Admin(call, cookies_of(sandbox, sandbox.member)[1])
        wanted = {"enabled": True, "default_groups": [{"rollout_percentage": 0}]}
        assert (await admin("GET", "default_release_conditions/"))[1] == {"enabled": False, "default_groups": []}
        assert await admin("PUT", "default_release_conditions/", wanted) == (200, wanted)
        assert (await admin("PUT", "default_release_conditions/", {"default_groups": 5}))[0] == 400
        assert (await member("PUT", "default_release_conditions/", wanted))[0] == 403
        assert (await admin("PATCH", "tracing_config/", {"retention_days": 30}))[1]["retention_days"] == 30
        assert (await admin("PATCH", "tracing_config/", {"retention_days": 0}))[1]["attr"] == "retention_days"
        assert (await member("GET", "tracing_config/"))[1]["retention_days"] == 30


@pytest.mark.parametrize("era", ["2025-11", "current"])
async def test_access_rules_have_a_scope_of_their_own(era: Any) -> None:
    async with calling(1, era=era) as (sandbox, call):
        reader, writer = sandbox.key("access_control:read"), sandbox.key("access_control:write")
        for path in ("/api/projects/1/access_controls/", "/api/projects/1/resource_access_controls/"):
            assert (await call("GET", path, reader)).body["access_controls"] == []
            assert (await call("GET", path, sandbox.key("project:write"))).status == 403
            assert (await call("PUT", path, reader, body={"access_level": "admin"})).status == 403
            rule = await call("PUT", path, writer, body={"access_level": "admin", "role": "r1"})
            assert rule.body["access_level"] == "admin"
            assert len((await call("GET", path, writer)).body["access_controls"]) == 1
            assert (await call("PUT", path, writer, body={"access_level": None, "role": "r1"})).status == 204
            assert (await call("GET", path, reader)).body["access_controls"] == []
            assert (await call("PUT", path, writer, body={})).body["code"] == "required"
        users = (await call("GET", "/api/projects/1/users_with_access/", reader)).body
        assert users["total_count"] == 2
        assert {user["access_level"] for user in users["users"]} == {"admin", "member"}


async def test_a_project_moves_to_another_organization_through_the_project_path_only() -> None:
    async with calling(3) as (sandbox, call):
        _, changing = cookies_of(sandbox)
        other, foreign = sandbox.add_organization(), sandbox.add_organization()
        sandbox.user.levels[other] = 15
        path = "/api/projects/1/change_organization/"
        assert (await call("POST", path, headers=changing, body={})).body["code"] == "required"
        assert (await call("POST", path, headers=changing, body={"organization_id": foreign})).status == 403
        assert (await call("POST", path, headers=changing, body={"organization_id": other})).body["organization"] == other
        assert (await call("POST", "/api/environments/2/change_organization/", headers=changing, body={})).status == 404


async def test_what_a_plan_refuses() -> None:
    plan = Plan(environments_per_project=1, projects=3, retention=("30d", "90d"))
    async with calling(2, era="2025-11", plan=plan) as (sandbox, call):
        key = sandbox.key()
        second = await call("POST", "/api/projects/1/environments/", key, body={"name": "Second"})
        assert second.status == 403
        assert "maximum limit of allowed environments" in second.detail
        demo = await call("POST", "/api/projects/1/environments/", key, body={"name": "Demo", "is_demo": True})
        assert demo.status == 201
        assert (await call("POST", "/api/projects/1/environments/", key, body={"is_demo": True})).status == 403
    async with calling(2, plan=plan) as (sandbox, call):
        key = sandbox.key()
        assert (await call("POST", "/api/projects/", key, body={"name": "Third"})).status == 201
        assert (await call("POST", "/api/projects/", key, body={"name": "Fourth"})).status == 403
        longer = await call("PATCH", "/api/projects/1/", key, body={"session_recording_retention_period": "5y"})
        assert longer.status == 403
        fits = await call("PATCH", "/api/projects/1/", key, body={"session_recording_retention_period": "90d"})
        assert fits.status == 200
        tasks = await call("PATCH", "/api/projects/1/", key, body={"proactive_tasks_enabled": True})
        assert tasks.status == 403
    async with calling(1, plan=Plan(retention=None)) as (sandbox, call):
        body = {"session_recording_retention_period": "30d"}
        crashed = await call("PATCH", "/api/projects/1/", sandbox.key(), body=body)
        assert (crashed.status, crashed.detail) == (500, "Invalid retention entitlement.")


async def test_who_is_kept_out_and_in_which_words() -> None:
    async with calling(3, keys_for_admins_only=True) as (sandbox, call):
        assert (
            "does not allow personal API keys"
            in (await call("GET", "/api/projects/1/", sandbox.key(user=sandbox.member))).detail
        )
        assert (await call("GET", "/api/projects/1/", sandbox.key())).status == 200
        sandbox.user.no_access.append(2)
        assert (await call("GET", "/api/projects/2/", sandbox.key())).detail == "You don't have access to the project."
        sandbox.user.not_editor_of["surveys_opt_in"] = "surveys"
        refused = await call("PATCH", "/api/projects/1/", sandbox.key(), body={"surveys_opt_in": True})
        assert (refused.status, refused.body["attr"]) == (400, "surveys_opt_in")
        assert refused.detail == "You need editor access to surveys to modify this field."
        token = sandbox.oauth_token()
        sandbox.revoke(token, expired=True)
        assert (await call("GET", "/api/projects/1/", token)).detail == "Access token has expired."
        reading, _ = cookies_of(sandbox)
        for due in ("setup", "verification"):
            sandbox.user.two_factor_due = due
            second = await call("GET", "/api/projects/1/", headers=reading)
            assert (second.status, second.body["code"]) == (403, f"two_factor_{due}_required")
            assert second.detail == f"2FA {due} required"


ENVELOPES = [
    (400, "validation_error", "invalid_input"),
    (400, "invalid_request", "parse_error"),
    (402, "server_error", "quota_limit_exceeded"),
    (409, "server_error", "conflict"),
    (429, "throttled_error", "throttled"),
    (500, "server_error", "error"),
    (503, "server_error", "database_unavailable"),
]


@pytest.mark.parametrize(("status", "type", "code"), ENVELOPES)
async def test_any_answer_can_be_given_on_demand(status: int, type: str, code: str) -> None:
    async with calling(1) as (sandbox, call):
        envelope = {"type": type, "code": code, "detail": "As asked.", "attr": None}
        sandbox.answer_next("retrieve", status, envelope)
        answer = await call("GET", "/api/projects/1/", sandbox.key())
        assert (answer.status, answer.body) == (status, envelope)


async def test_what_a_new_environment_has_that_was_not_asked_for() -> None:
    for era, path in (("2025-11", "/api/projects/1/environments/"), ("current", "/api/projects/")):
        async with calling(1, era=era) as (sandbox, call):
            made = (await call("POST", path, sandbox.key(), body={"name": "New", "is_demo": True})).body
            assert made["test_account_filters"][0]["operator"] == ("not_in" if era == "current" else "not_icontains")
            assert (made["primary_dashboard"], made["base_currency"]) == (made["id"], "USD")
            assert (made["extra_settings"] is not None) is (era == "current")
            reading, _ = cookies_of(sandbox)
            filling = await call("GET", f"/api/projects/{made['id']}/is_generating_demo_data/", headers=reading)
            assert filling.body == {"is_generating_demo_data": True}


async def test_nested_configs_cannot_be_given_to_a_new_environment() -> None:
    config = {"name": "New", "revenue_analytics_config": {"base_currency": "EUR"}}
    async with calling(1, era="2025-11") as (sandbox, call):
        assert (await call("POST", "/api/projects/1/environments/", sandbox.key(), body=config)).status == 500
        assert sandbox.environment_ids == [1]
    async with calling(1) as (sandbox, call):
        made = await call("POST", "/api/projects/", sandbox.key(), body=config)
        assert made.body["revenue_analytics_config"]["base_currency"] == "USD"


async def test_a_payload_cannot_be_sent_back_as_it_came() -> None:
    for era in ("2025-11", "current"):
        async with calling(1, era=era) as (sandbox, call):
            payload = (await call("GET", "/api/environments/1/", sandbox.key())).body
            refused = await call("PATCH", "/api/environments/1/", sandbox.key(), body=payload)
            assert (refused.status, refused.body["attr"]) == (400, "access_control")
            del payload["access_control"]
            second = await call("PATCH", "/api/environments/1/", sandbox.key(), body=payload)
            assert "autocapture_exceptions_errors_to_ignore" in second.detail  # its null is in every payload too
            del payload["autocapture_exceptions_errors_to_ignore"]
            assert (await call("PATCH", "/api/environments/1/", sandbox.key(), body=payload)).status == 200


async def test_an_unknown_key_raises_the_scope_that_is_needed_in_2025() -> None:
    async with calling(1, era="2025-11") as (sandbox, call):
        reader = sandbox.key("project:read")
        assert (await call("PATCH", "/api/environments/1/", reader, body={"anonymize_ips": True})).status == 200
        assert (await call("PATCH", "/api/environments/1/", reader, body={})).status == 200
        refused = await call("PATCH", "/api/environments/1/", reader, body={"anonymize_ips": True, "surprise": 1})
        assert refused.detail == "API key missing required scope 'project:write'"
