"""The embedded PostHog behaves as the real one: asked with a plain client, not with the one of this library."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import attrs
import pytest

from aioposthog_env.sandbox import Sandbox, Throttle

ERAS = pytest.mark.parametrize("era", ["2025-11", "current"])
NOT_FOUND = {"type": "invalid_request", "code": "not_found", "detail": "Not found.", "attr": None}


@attrs.frozen
class Answer:
    """A status, headers and a decoded body."""

    status: int
    headers: Any
    body: Any

    @property
    def detail(self) -> str:
        return str(self.body["detail"])


class Caller:
    """Sends requests as they are."""

    def __init__(self, http: aiohttp.ClientSession, sandbox: Sandbox) -> None:
        self.http = http
        self.sandbox = sandbox

    async def __call__(self, verb: str, path: str, key: str | None = None, *, body: Any = None, **options: Any) -> Answer:
        headers = dict(options.pop("headers", {}))
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        if body is not None:
            options["json"] = body
        async with self.http.request(
            verb, self.sandbox.url + path, headers=headers, allow_redirects=False, **options
        ) as answer:
            raw = await answer.read()
            return Answer(answer.status, answer.headers, json.loads(raw) if raw.startswith((b"{", b"[")) else raw)


@asynccontextmanager
async def calling(environments: int = 5, **options: Any) -> AsyncGenerator[tuple[Sandbox, Caller], None]:
    async with Sandbox(environments, **options) as sandbox, aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        yield sandbox, Caller(http, sandbox)


def cookies_of(sandbox: Sandbox, user: Any = None) -> tuple[dict[str, str], dict[str, str]]:
    """The headers of a session for reading, and for changing."""
    session = sandbox.session(user)
    reading = {"Cookie": f"sessionid={session.session_id}; posthog_csrftoken={session.csrf_token}"}
    return reading, reading | {"X-CSRFToken": session.csrf_token, "Referer": sandbox.url}


@ERAS
async def test_the_styles_that_an_era_serves(era: Any) -> None:
    async with calling(era=era) as (sandbox, call):
        key = sandbox.key()
        nested = await call("GET", "/api/projects/1/environments/1/", key)
        root = await call("GET", "/api/environments/1", key)
        project = await call("GET", "/api/projects/1/", key)
    assert (root.status, project.status) == (200, 200)
    if era == "current":
        assert nested.status == 403
        assert nested.detail.startswith("Multiple environments per project are no longer available.")
        assert root.headers["Deprecation"] == "true"
        assert root.headers["Link"] == '</api/projects/1>; rel="successor-version"'
        assert root.body.keys() == project.body.keys()
    else:
        assert nested.status == 200  # the first environment has one event definition
        assert "Deprecation" not in root.headers
        assert project.body.keys() - {"product_description"} < root.body.keys()


async def test_the_nested_path_is_closed_before_anyone_is_asked_who_they_are() -> None:
    async with calling() as (_, call):
        for verb in ("GET", "POST", "PATCH", "DELETE"):
            assert (await call(verb, "/api/projects/1/environments/1/")).status == 403


@ERAS
async def test_who_is_not_known(era: Any) -> None:
    async with calling(era=era) as (sandbox, call):
        nobody = await call("GET", "/api/environments/1/")
        wrong = await call("GET", "/api/environments/1/", "phx_wrong")
        lower = await call("GET", "/api/environments/1/", headers={"Authorization": f"bearer {sandbox.key()}"})
        in_query = await call("GET", f"/api/environments/1/?personal_api_key={sandbox.key()}")
        in_body = await call("PATCH", "/api/environments/1/", body={"personal_api_key": sandbox.key()})
        no_oauth = await call("GET", "/api/environments/1/", "pha_wrong")
        project_token = await call("GET", "/api/environments/1/", sandbox.environment(1).api_token)
    assert (nobody.status, nobody.body["code"]) == (401, "not_authenticated")
    assert nobody.headers["WWW-Authenticate"].startswith("Bearer")
    assert wrong.detail == "Personal API key found in request Authorization header is invalid."
    assert lower.status == 401
    assert (in_query.status, in_body.status) == (200, 200)
    assert no_oauth.detail == "Invalid access token."
    assert project_token.status == 401


@ERAS
async def test_scopes_and_limits_of_keys(era: Any) -> None:
    async with calling(era=era) as (sandbox, call):
        reader, writer, none = sandbox.key("project:read"), sandbox.key("project:write"), sandbox.key("insight:read")
        limited = sandbox.key("project:write", projects=[2])
        foreign = sandbox.key("*", organizations=["another"])
        assert (await call("GET", "/api/environments/1/", writer)).status == 200
        assert (await call("GET", "/api/environments/1/", none)).detail == "API key missing required scope 'project:read'"
        renamed = await call("PATCH", "/api/environments/1/", reader, body={"name": "x"})
        assert renamed.detail == "API key missing required scope 'project:write'"
        config = await call("PATCH", "/api/environments/1/", reader, body={"anonymize_ips": True})
        assert config.status == (200 if era == "2025-11" else 403)
        assert (await call("DELETE", "/api/environments/1/", reader)).status == 403
        assert (await call("GET", "/api/environments/2/", limited)).status == 200
        elsewhere = await call("GET", "/api/environments/1/", limited)
        assert elsewhere.detail == "API key does not have access to the requested project: ID 1."
        assert (await call("GET", "/api/environments/", limited)).status == 403
        assert (await call("GET", "/api/environments/99/", limited)).body == NOT_FOUND
        assert "requested organization" in (await call("GET", "/api/environments/1/", foreign)).detail


@ERAS
@pytest.mark.parametrize(
    "action", ["activity", "reset_token", "rotate_secret_token", "delete_secret_token_backup", "is_generating_demo_data"]
)
async def test_actions_that_publish_no_scope_take_sessions_only(era: Any, action: str) -> None:
    verb = "GET" if action in {"activity", "is_generating_demo_data"} else "PATCH"
    async with calling(era=era) as (sandbox, call):
        for token in (sandbox.key("*"), sandbox.oauth_token()):
            refused = await call(verb, f"/api/environments/1/{action}/", token)
            assert refused.status == 403
            assert refused.detail.lower() == "this action does not support personal api key access"
        reading, changing = cookies_of(sandbox)
        assert (await call(verb, f"/api/environments/1/{action}/", headers=changing)).status == 200
        if verb == "PATCH":
            refused = await call(verb, f"/api/environments/1/{action}/", headers=reading)
            assert (refused.status, refused.detail) == (403, "CSRF Failed: CSRF token missing.")
            wrong = await call(verb, f"/api/environments/1/{action}/", headers=changing | {"X-CSRFToken": "x"})
            assert "incorrect" in wrong.detail
            _, member = cookies_of(sandbox, sandbox.member)
            assert (await call(verb, f"/api/environments/1/{action}/", headers=member)).status == 403


@ERAS
async def test_what_is_not_there_and_what_is_somebody_elses(era: Any) -> None:
    async with calling(era=era) as (sandbox, call):
        foreign = sandbox.add_environment("Theirs", organization=sandbox.add_organization())
        key = sandbox.key()
        assert (await call("GET", "/api/environments/9999/", key)).body == NOT_FOUND
        assert (await call("GET", f"/api/environments/{foreign.id}/", key)).body == NOT_FOUND
        word = await call("GET", "/api/environments/abc/", key)
        assert (word.status, word.body["code"]) == (400, "invalid_input")
        assert (await call("GET", "/api/environments/1/nonsense/", key)).detail == "Endpoint not found."
        assert (await call("GET", "/api/nonsense/", key)).detail == "Endpoint not found."
        assert (await call("GET", "/api/environments/@current/", key)).body["id"] == 1
        verb = await call("POST", "/api/environments/1/", headers=cookies_of(sandbox)[1])
        assert (verb.status, verb.detail) == (405, 'Method "POST" not allowed.')
        accept = await call("GET", "/api/environments/1/", key, headers={"Accept": "text/html"})
        assert accept.status == 406
        if era == "2025-11":
            assert (await call("GET", "/api/projects/abc/environments/1/", key)).detail == "Project not found."


async def test_bodies_that_cannot_be_read() -> None:
    async with calling() as (sandbox, call):
        key = sandbox.key()
        plain = {"Content-Type": "application/json"}
        broken = await call("PATCH", "/api/environments/1/", key, data=b"{", headers=plain)
        assert (broken.status, broken.body["code"]) == (400, "parse_error")
        deep = await call("PATCH", "/api/environments/1/", key, data=b"[" * 100_000, headers=plain)
        assert deep.status in {400, 500}
        listed = await call("PATCH", "/api/environments/1/", key, body=[1])
        assert "Expected a dictionary, but got list." in listed.detail
        kind = await call("PATCH", "/api/environments/1/", key, data=b"{}", headers={"Content-Type": "text/plain"})
        assert kind.status == 415


@pytest.mark.parametrize(
    ("body", "code", "attr"),
    [
        ({"anonymize_ips": "perhaps"}, "invalid_input", "anonymize_ips"),
        ({"anonymize_ips": None}, "null", "anonymize_ips"),
        ({"name": "  "}, "blank", "name"),
        ({"name": "x" * 201}, "max_length", "name"),
        ({"name": ["x"]}, "invalid_input", "name"),
        ({"timezone": "Mars/Base"}, "invalid_choice", "timezone"),
        ({"app_urls": "x"}, "not_a_list", "app_urls"),
        ({"app_urls": ["x", "y" * 201]}, "max_length", "app_urls__1"),
        ({"session_recording_sample_rate": "many"}, "invalid_input", "session_recording_sample_rate"),
        ({"session_recording_sample_rate": True}, "invalid_input", "session_recording_sample_rate"),
        ({"session_recording_sample_rate": "1.5"}, "max_value", "session_recording_sample_rate"),
        ({"session_recording_sample_rate": -1}, "min_value", "session_recording_sample_rate"),
        ({"session_recording_sample_rate": "0.123"}, "max_decimal_places", "session_recording_sample_rate"),
        (
            {"session_recording_minimum_duration_milliseconds": 30_001},
            "max_value",
            "session_recording_minimum_duration_milliseconds",
        ),
        (
            {"session_recording_minimum_duration_milliseconds": -1},
            "min_value",
            "session_recording_minimum_duration_milliseconds",
        ),
        (
            {"session_recording_minimum_duration_milliseconds": "x"},
            "invalid_input",
            "session_recording_minimum_duration_milliseconds",
        ),
        (
            {"session_recording_minimum_duration_milliseconds": True},
            "invalid_input",
            "session_recording_minimum_duration_milliseconds",
        ),
        ({"session_recording_linked_flag": {"id": 1}}, "invalid_input", "session_recording_linked_flag"),
        ({"session_recording_linked_flag": {"id": 1, "key": "a", "x": 1}}, "invalid_input", "session_recording_linked_flag"),
        ({"session_recording_linked_flag": 5}, "invalid_input", "session_recording_linked_flag"),
        ({"session_recording_url_trigger_config": {}}, "not_a_list", "session_recording_url_trigger_config"),
        ({"session_recording_retention_period": "2y"}, "invalid_choice", "session_recording_retention_period"),
        ({"session_recording_trigger_groups": {"version": 1}}, "invalid_input", "session_recording_trigger_groups"),
        (
            {"session_recording_trigger_groups": {"version": 2, "groups": [{}]}},
            "invalid_input",
            "session_recording_trigger_groups",
        ),
        ({"session_replay_config": {"ai_config": {"x": 1}}}, "invalid_input", "session_replay_config"),
        ({"week_start_day": 2}, "invalid_choice", "week_start_day"),
        ({"primary_dashboard": 5}, "does_not_exist", "primary_dashboard"),
        ({"primary_dashboard": "x"}, "incorrect_type", "primary_dashboard"),
        ({"session_recording_sample_rate": "0.12345"}, "max_digits", "session_recording_sample_rate"),
        ({"session_recording_sample_rate": "12.5"}, "max_whole_digits", "session_recording_sample_rate"),
        ({"autocapture_exceptions_errors_to_ignore": None}, "invalid_input", None),
        ({"autocapture_exceptions_errors_to_ignore": "x"}, "invalid_input", None),
        ({"autocapture_exceptions_errors_to_ignore": [1]}, "invalid_input", None),
        ({"autocapture_exceptions_errors_to_ignore": ["x" * 300]}, "invalid_input", None),
        (
            {"marketing_analytics_config": {"attribution_window_days": 91}},
            "max_value",
            "marketing_analytics_config__attribution_window_days",
        ),
        ({"marketing_analytics_config": []}, "invalid_input", "marketing_analytics_config__non_field_errors"),
        ({"marketing_analytics_config": None}, "null", "marketing_analytics_config"),
        ({"access_control": False}, "invalid_input", "access_control"),
        ({"access_control": None}, "null", "access_control"),
    ],
)
async def test_what_a_patch_refuses(body: Any, code: str, attr: str | None) -> None:
    async with calling(1) as (sandbox, call):
        before = dict(sandbox.environment(1).settings)
        answer = await call("PATCH", "/api/projects/1/", sandbox.key(), body=body | {"heatmaps_opt_in": True})
        assert (answer.status, answer.body["type"]) == (400, "validation_error")
        assert (answer.body["code"], answer.body["attr"]) == (code, attr)
        assert sandbox.environment(1).settings == before


@pytest.mark.parametrize(
    ("era", "before", "sent", "after"),
    [
        ("current", {}, {"name": 5}, {"name": "5"}),
        ("current", {}, {"name": "  trimmed "}, {"name": "trimmed"}),
        ("current", {}, {"anonymize_ips": "true"}, {"anonymize_ips": True}),
        ("current", {}, {"app_urls": ["a", None]}, {"app_urls": ["a"]}),
        ("current", {}, {"session_recording_sample_rate": 0.4}, {"session_recording_sample_rate": "0.40"}),
        ("current", {}, {"unknown": 1, "id": 7, "api_token": "x"}, {"id": 1}),
        (
            "current",
            {"session_replay_config": {"record_canvas": True, "ai_config": {"opt_in": True}}},
            {"session_replay_config": {"ai_config": {"preferred_events": ["a"]}}},
            {"session_replay_config": {"record_canvas": True, "ai_config": {"opt_in": True, "preferred_events": ["a"]}}},
        ),
        ("current", {"survey_config": {"a": {"x": 1}}}, {"survey_config": {"a": {"y": 2}}}, {"survey_config": {"a": {"y": 2}}}),
        ("current", {"survey_config": {"a": 1}}, {"survey_config": {"b": 2}}, {"survey_config": {"a": 1, "b": 2}}),
        ("current", {"survey_config": {"a": 1}}, {"survey_config": None}, {"survey_config": None}),
        ("current", {"modifiers": {"a": 1}}, {"modifiers": {"debug": True}}, {"modifiers": {"a": 1, "debug": True}}),
        ("2025-11", {"modifiers": {"a": 1}}, {"modifiers": {"b": 2}}, {"modifiers": {"b": 2}}),
        (
            "current",
            {"marketing_analytics_config": {"sources_map": {"a": {}, "b": {}}, "attribution_mode": "last_touch"}},
            {"marketing_analytics_config": {"sources_map": {"b": None, "c": {"campaign": "x"}}}},
            {
                "marketing_analytics_config": {
                    "sources_map": {"a": {}, "c": {"campaign": "x"}},
                    "attribution_mode": "last_touch",
                }
            },
        ),
    ],
)
async def test_what_a_patch_stores(era: Any, before: dict[str, Any], sent: Any, after: dict[str, Any]) -> None:
    async with calling(1, era=era) as (sandbox, call):
        sandbox.environment(1).settings.update(before)
        answer = await call("PATCH", "/api/environments/1/", sandbox.key(), body=sent)
        assert answer.status == 200
        assert {name: answer.body[name] for name in after} == after


async def test_a_change_is_logged_with_before_and_after_and_no_change_is_not() -> None:
    async with calling(1, lacking_anonymize_ips=1) as (sandbox, call):
        reading, changing = cookies_of(sandbox)
        for _ in range(2):
            await call("PATCH", "/api/projects/1/", headers=changing, body={"anonymize_ips": True})
        await call("PATCH", "/api/projects/1/rotate_secret_token/", headers=changing)
        log = (await call("GET", "/api/projects/1/activity/", headers=reading)).body
        secret = sandbox.environment(1).secret_api_token
    assert log["total_count"] == 2
    rotated, changed = [entry["detail"]["changes"][0] for entry in log["results"]]
    assert changed == {"type": "Team", "action": "changed", "field": "anonymize_ips", "before": False, "after": True}
    assert rotated["field"] == "secret_api_token"
    assert secret is not None
    assert rotated["after"] == f"{secret[:4]}...{secret[-4:]}"
    assert sandbox.effects["update", 1] == 1
    assert sandbox.effects["rotate_secret_token", 1] == 1


async def test_the_pages_of_the_activity_log() -> None:
    async with calling(1) as (sandbox, call):
        reading, changing = cookies_of(sandbox)
        assert (await call("GET", "/api/projects/1/activity/", headers=reading)).body["results"] == []
        for number in range(3):
            await call("PATCH", "/api/projects/1/", headers=changing, body={"name": f"n{number}"})
        first = await call("GET", "/api/projects/1/activity/?limit=2", headers=reading)
        assert first.body["next"].endswith("limit=2&page=2")
        second = await call("GET", "/api/projects/1/activity/?limit=2&page=2", headers=reading)
        assert (second.body["next"], len(second.body["results"])) == (None, 1)
        for query in ("page=3&limit=2", "page=0", "page=-1", "page=x", "limit=0", "limit=x"):
            assert (await call("GET", f"/api/projects/1/activity/?{query}", headers=reading)).status == 500


@ERAS
async def test_the_list(era: Any) -> None:
    async with calling(12, era=era) as (sandbox, call):
        key = sandbox.key()
        page = (await call("GET", "/api/environments/?limit=5&offset=5", key)).body
        assert (page["count"], len(page["results"])) == (12, 5)
        assert "offset=10" in page["next"]
        assert page["previous"].endswith("?limit=5")
        assert len(page["results"][0]) == 12
        assert not any("secret" in name for name in page["results"][0])
        for nonsense in ("limit=0", "limit=-1", "limit=x", "offset=x", "limit=5000"):
            assert len((await call("GET", f"/api/environments/?{nonsense}", key)).body["results"]) == 12
        beyond = await call("GET", "/api/environments/?offset=50", key)
        assert (beyond.status, beyond.body["results"]) == (200, [])
        found = (await call("GET", "/api/environments/?search=ment%200003", key)).body["count"]
        assert found == (1 if era == "current" else 12)


async def test_deleting_in_the_newest_generation_begins_a_deletion() -> None:
    async with calling() as (sandbox, call):
        key = sandbox.key()
        assert (await call("DELETE", "/api/projects/1/", key)).status == 204
        assert (await call("GET", "/api/projects/1/", key)).body["is_pending_deletion"] is True
        again = await call("DELETE", "/api/projects/1/", key)
        assert (again.status, again.detail) == (400, "This project is already being deleted.")
        assert sandbox.effects["delete", 1] == 1
        assert (await call("DELETE", "/api/projects/2/", sandbox.key(user=sandbox.member))).status == 403


async def test_deleting_in_2025_through_the_project_path_deletes_the_project() -> None:
    async with calling(4, era="2025-11", environments_per_project=2) as (sandbox, call):
        key = sandbox.key()
        assert (await call("DELETE", "/api/environments/3/", key)).status == 204
        assert (await call("DELETE", "/api/environments/3/", key)).status == 404
        assert (await call("DELETE", "/api/projects/1/", key)).status == 204
        assert sandbox.environment_ids == [4]


async def test_names_are_unique_in_the_newest_generation() -> None:
    async with calling() as (sandbox, call):
        key = sandbox.key()
        taken = sandbox.environment(2).settings["name"]
        renamed = await call("PATCH", "/api/projects/1/", key, body={"name": taken.upper()})
        created = await call("POST", "/api/projects/", key, body={"name": taken})
        assert (renamed.status, created.status) == (409, 409)
        first = await call("POST", "/api/projects/", key, body={})
        second = await call("POST", "/api/projects/", key, body={})
        assert (first.body["name"], second.body["name"]) == ("Default project", "Default project 2")


async def test_creating_in_2025() -> None:
    async with calling(2, era="2025-11") as (sandbox, call):
        key = sandbox.key()
        assert (await call("POST", "/api/environments/", key, body={})).status == 400
        assert (await call("POST", "/api/projects/77/environments/", key, body={})).detail == "Project not found."
        made = await call("POST", "/api/projects/1/environments/", key, body={"name": "Second"})
        assert (made.status, made.body["project_id"]) == (201, 1)
        assert (await call("GET", "/api/environments/@current/", key)).body["id"] == made.body["id"]
        refused = await call("POST", "/api/projects/1/environments/", sandbox.key(user=sandbox.member), body={})
        assert refused.status == 403
        dashboard = await call("POST", "/api/projects/1/environments/", key, body={"primary_dashboard": 3})
        assert dashboard.body["attr"] == "primary_dashboard"


async def test_members_change_little_in_the_newest_generation() -> None:
    async with calling() as (sandbox, call):
        member = sandbox.key(user=sandbox.member)
        refused = await call("PATCH", "/api/projects/1/", member, body={"timezone": "UTC", "anonymize_ips": True})
        assert refused.detail == "Only project admins can modify these settings: anonymize_ips, timezone"
        assert (await call("PATCH", "/api/projects/1/", member, body={"surveys_opt_in": True})).status == 200


@ERAS
async def test_secrets_are_rotated_as_described(era: Any) -> None:
    async with calling(3, era=era) as (sandbox, call):
        _, changing = cookies_of(sandbox)
        first = sandbox.environment(1).secret_api_token
        one = (await call("PATCH", "/api/environments/1/rotate_secret_token/", headers=changing)).body
        assert one["secret_api_token_backup"] == first
        two = (await call("PATCH", "/api/environments/1/rotate_secret_token/", headers=changing)).body
        assert two["secret_api_token_backup"] == one["secret_api_token"]
        bare = await call("PATCH", "/api/environments/3/delete_secret_token_backup/", headers=changing)
        assert bare.status == 200
        assert sandbox.effects["delete_secret_token_backup", 3] == 0
        sandbox.environment(3).secret_api_token = None
        minted = await call("PATCH", "/api/environments/3/rotate_secret_token/", headers=changing)
        if era == "current":
            assert minted.status == 400
        else:
            assert minted.body["secret_api_token"].startswith("phs_")
            assert minted.body["secret_api_token_backup"] is None


@ERAS
async def test_intents(era: Any) -> None:
    async with calling(1, era=era) as (sandbox, call):
        key = sandbox.key()
        for _ in range(2):
            added = await call("PATCH", "/api/environments/1/add_product_intent/", key, body={"product_type": "surveys"})
            assert added.status == 201
        assert len(added.body["product_intents"]) == 1
        assert sandbox.effects["add_product_intent", 1] == 2
        done = await call("PATCH", "/api/environments/1/complete_product_onboarding/", key, body={"product_type": "surveys"})
        assert done.status == 200
        assert done.body["product_intents"][0]["onboarding_completed_at"] is not None
        lacking = await call("PATCH", "/api/environments/1/add_product_intent/", key, body={})
        assert (lacking.status, lacking.body["attr"]) == (400, "product_type")
        bare = await call("PATCH", "/api/environments/1/complete_product_onboarding/", key, body={})
        assert (bare.status, bare.body) == (400, {"error": "product_type is required"})
        strange = await call("PATCH", "/api/environments/1/add_product_intent/", key, body={"product_type": "cake"})
        assert strange.status == (400 if era == "current" else 201)
        odd = await call("PATCH", "/api/environments/1/complete_product_onboarding/", key, body={"product_type": "cake"})
        assert odd.status == (400 if era == "current" else 200)


@ERAS
async def test_restrictions_filter_by_more_in_the_newest_generation(era: Any) -> None:
    async with calling(5, era=era) as (sandbox, call):
        found = (await call("GET", "/api/environments/4/event_ingestion_restrictions/", sandbox.key())).body
    assert len(found[0]) == (6 if era == "current" else 2)


async def test_the_throttle_lets_480_through_and_tells_how_long_to_wait() -> None:
    async with calling(1) as (sandbox, call):
        key, other = sandbox.key(), sandbox.key()
        statuses = [(await call("GET", "/api/projects/1/", key)).status for _ in range(481)]
        assert statuses.count(200) == 480
        refused = await call("GET", "/api/projects/1/", key)
        assert (refused.status, refused.body["code"]) == (429, "throttled")
        seconds = int(refused.headers["Retry-After"])
        assert 50 <= seconds <= 60
        assert refused.detail == f"Request was throttled. Expected available in {seconds} seconds."
        assert (await call("GET", "/api/projects/1/", other)).status == 200
        reading, _ = cookies_of(sandbox)
        assert (await call("GET", "/api/projects/1/", headers=reading)).status == 200
        assert (await call("GET", "/api/projects/1/", sandbox.oauth_token())).status == 200
        assert sandbox.refusals == 2


async def test_what_is_refused_by_permission_or_visibility_costs_nothing_and_bad_input_does() -> None:
    async with calling(1, throttle=Throttle(minute=(2, 60.0))) as (sandbox, call):
        key = sandbox.key("project:read")
        for _ in range(5):
            assert (await call("DELETE", "/api/projects/1/", key)).status == 403
            assert (await call("GET", "/api/projects/99/", key)).status == 404
        writer = sandbox.key()
        for expected in (400, 400, 429):
            assert (await call("PATCH", "/api/projects/1/", writer, body={"timezone": "x"})).status == expected


async def test_a_refusal_of_the_minute_is_charged_to_the_hour() -> None:
    async with calling(1, throttle=Throttle(minute=(1, 0.05), hour=(3, 60.0))) as (sandbox, call):
        key = sandbox.key()
        assert [(await call("GET", "/api/projects/1/", key)).status for _ in range(3)] == [200, 429, 429]
        await asyncio.sleep(0.06)
        assert (await call("GET", "/api/projects/1/", key)).status == 429


async def test_the_throttle_can_be_switched_off() -> None:
    async with calling(1, throttle=False) as (sandbox, call):
        key = sandbox.key()
        assert {(await call("GET", "/api/projects/1/", key)).status for _ in range(500)} == {200}


async def test_a_keys_own_record() -> None:
    async with calling(1) as (sandbox, call):
        key = sandbox.key("project:read", projects=[1])
        record = (await call("GET", "/api/personal_api_keys/@current/", key)).body
        reading, _ = cookies_of(sandbox)
        assert (await call("GET", "/api/personal_api_keys/@current/", headers=reading)).status == 404
    assert record["scopes"] == ["project:read"]
    assert record["scoped_teams"] == [1]
    assert key not in json.dumps(record)


async def test_the_login() -> None:
    async with calling(1) as (sandbox, call):
        good = await call("POST", "/api/login", body={"email": sandbox.user.email, "password": sandbox.user.password})
        assert good.body == {"success": True}
        assert len(good.headers.getall("Set-Cookie")) == 2
        wrong = await call("POST", "/api/login", body={"email": sandbox.user.email, "password": "x"})
        assert (wrong.status, wrong.body["code"]) == (400, "invalid_credentials")
        assert (await call("POST", "/api/login", body={})).body["attr"] == "email"
        carol = sandbox.add_user("Carol", admin=True, two_factor=True)
        second = await call("POST", "/api/login", body={"email": carol.email, "password": carol.password})
        assert (second.status, second.body["code"]) == (401, "2fa_required")


async def test_answers_can_be_replaced_and_dropped_before_and_after_the_effect() -> None:
    async with calling(1) as (sandbox, call):
        _, changing = cookies_of(sandbox)
        path = "/api/projects/1/reset_token/"
        sandbox.answer_next("reset_token", 502, b"<html>")
        assert (await call("PATCH", path, headers=changing)).status == 502
        assert sandbox.effects["reset_token", 1] == 0
        sandbox.answer_next("reset_token", 500, {"type": "server_error"}, before_effect=False)
        assert (await call("PATCH", path, headers=changing)).status == 500
        assert sandbox.effects["reset_token", 1] == 1
        sandbox.drop_next("reset_token", before_effect=False)
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await call("PATCH", path, headers=changing)
        assert sandbox.effects["reset_token", 1] == 2
        assert [seen.status for seen in sandbox.calls] == [502, 500, None]
        assert sandbox.calls[0].endpoint == "reset_token"


def test_a_seed_gives_the_same_scene_again() -> None:
    one, two, other = Sandbox(30, seed=7), Sandbox(30, seed=7), Sandbox(30, seed=8)
    assert one.environment(5) == one.environment(5)
    assert one.environment(5).api_token == two.environment(5).api_token != other.environment(5).api_token
    assert [one.environment(id).settings for id in one.environment_ids] == [
        two.environment(id).settings for id in two.environment_ids
    ]


def test_how_many_lack_what_can_be_said() -> None:
    sandbox = Sandbox(250)
    assert sum(not sandbox.environment(id).settings["anonymize_ips"] for id in sandbox.environment_ids) == 90


def test_a_sandbox_that_is_not_entered_has_no_address() -> None:
    with pytest.raises(RuntimeError, match="not running"):
        _ = Sandbox(1).url


async def test_it_listens_on_this_machine_only() -> None:
    async with Sandbox(1) as sandbox:
        assert sandbox._site is not None
        server = sandbox._site._server
        assert isinstance(server, asyncio.Server)
        assert {listening.getsockname()[0] for listening in server.sockets} == {"127.0.0.1"}
