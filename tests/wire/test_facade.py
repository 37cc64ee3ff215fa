"""Every public method through the sandbox, in both generations and every URL style that they serve."""

from typing import Any

import pytest

from aioposthog_env import (
    AuthenticationError,
    ConfigurationError,
    ConflictError,
    CredentialNotAcceptedError,
    Environment,
    EnvironmentRef,
    Era,
    InvalidSettingsError,
    NotFoundError,
    PermissionDeniedError,
    PersonalAPIKey,
    Sandbox,
    ScopeError,
    SettingsNotAppliedError,
    TeamSettings,
    ValidationError,
)
from aioposthog_env.telemetry import DeprecationSeen, Event, StyleFound
from tests.conftest import connect, logged_in, oauth_of, session_of

SERVED = [
    ("2025-11", "auto"),
    ("2025-11", "nested"),
    ("2025-11", "root"),
    ("current", "auto"),
    ("current", "root"),
    ("current", "project"),
]


@pytest.mark.parametrize(("era", "routes"), SERVED)
async def test_every_endpoint(era: Any, routes: Any) -> None:
    async with Sandbox(5, era=era) as sandbox, logged_in(sandbox, routes=routes) as environments:
        assert 1 in [one.id async for one in environments.list(project_id=1 if routes == "nested" else None)]
        one = await environments.retrieve(1)
        assert (one.id, one.name, one.settings.name) == (1, "Environment 0001", "Environment 0001")

        changed = await environments.update(1, TeamSettings(name="Renamed", timezone="Europe/Berlin"))
        assert (changed.name, changed.settings.timezone) == ("Renamed", "Europe/Berlin")

        entries = [entry async for entry in environments.activity(1)]
        assert [entry.activity for entry in entries] == ["updated"]

        with_intent = await environments.add_product_intent(1, "surveys", intent_context="survey_created", metadata={"a": 1})
        assert isinstance(with_intent.product_intents, list)
        assert [intent.product_type for intent in with_intent.product_intents] == ["surveys"]
        await environments.complete_product_onboarding(1, "surveys")
        restrictions = await environments.event_ingestion_restrictions(4)
        assert [one.restriction_type for one in restrictions] == ["skip_person_processing"]
        assert await environments.is_generating_demo_data(1) is False

        token = sandbox.environment(1).api_token
        reset = await environments.reset_token(1)
        assert reset.api_token.reveal() == sandbox.environment(1).api_token != token  # type: ignore[union-attr]

        secret = sandbox.environment(2).secret_api_token
        rotated = await environments.rotate_secret_token(2)
        assert rotated.secret_api_token_backup.reveal() == secret  # type: ignore[union-attr]
        assert rotated.secret_api_token.reveal() == sandbox.environment(2).secret_api_token != secret  # type: ignore[union-attr]
        assert (await environments.delete_secret_token_backup(2)).secret_api_token_backup is None

        await environments.delete(3)
        assert sandbox.effects["delete", 3] == 1
        for name in ("add_product_intent", "complete_product_onboarding", "reset_token"):
            assert sandbox.effects[name, 1] == 1
        assert sandbox.effects["rotate_secret_token", 2] == sandbox.effects["delete_secret_token_backup", 2] == 1
        assert sandbox.refusals == 0


@pytest.mark.parametrize(("era", "routes"), [("2025-11", "nested"), ("current", "project"), ("current", "auto")])
async def test_create(era: Any, routes: Any) -> None:
    async with Sandbox(2, era=era) as sandbox, connect(sandbox, routes=routes) as environments:
        project = 1 if era == "2025-11" else None
        created = await environments.create(TeamSettings(name="New", anonymize_ips=True), project_id=project)

        assert created.id == 3
        assert sandbox.environment(3).settings["anonymize_ips"] is True
        assert sandbox.environment(3).project_id == (1 if era == "2025-11" else 3)
        assert sandbox.effects["create", 3] == 1


async def test_create_in_an_organization() -> None:
    async with Sandbox(1) as sandbox, connect(sandbox) as environments:
        other = sandbox.add_organization()
        sandbox.user.levels[other] = 15
        created = await environments.create(TeamSettings(name="There"), organization_id=other)

        assert created.organization == other
        assert [one.name async for one in environments.list(organization_id=other)] == ["There"]
        with pytest.raises(ConfigurationError, match="UUID"):
            await environments.create(TeamSettings(name="x"), organization_id="../x")


async def test_create_without_a_project_is_refused_on_servers_that_need_one() -> None:
    async with Sandbox(1, era="2025-11") as sandbox, connect(sandbox) as environments:
        with pytest.raises(ConfigurationError, match="project_id"):
            await environments.create(TeamSettings(name="New"))

        assert {call.verb for call in sandbox.calls} == {"GET"}


async def test_create_in_a_project_is_refused_by_the_newest_servers() -> None:
    async with Sandbox(1) as sandbox, connect(sandbox) as environments:
        with pytest.raises(PermissionDeniedError, match="closed the nested path"):
            await environments.create(TeamSettings(name="New"), project_id=1)


@pytest.mark.parametrize(
    ("era", "ref", "asked", "then"),
    [
        ("2025-11", EnvironmentRef(1, 1), ["/api/environments/1/"], "/api/environments/2/"),
        ("2025-11", 1, ["/api/environments/1/"], "/api/environments/2/"),
        ("current", EnvironmentRef(1, 1), ["/api/environments/1/"], "/api/projects/2/"),
        ("current", 1, ["/api/environments/1/"], "/api/projects/2/"),
    ],
)
async def test_the_style_is_found_out_by_reading_once_per_host(era: Any, ref: Any, asked: list[str], then: str) -> None:
    events: list[Event] = []
    async with (
        Sandbox(2, era=era) as sandbox,
        connect(sandbox, hooks=[events.append], enforce_scopes=False) as environments,
    ):
        await environments.update(ref, TeamSettings(anonymize_ips=True))
        reads = [call.path for call in sandbox.calls if call.verb == "GET"]
        assert reads == asked
        await environments.retrieve(EnvironmentRef(2, 2) if isinstance(ref, EnvironmentRef) else 2)
        assert sandbox.calls[-1].path == then
    assert len([event for event in events if isinstance(event, StyleFound)]) == 1
    assert len([event for event in events if isinstance(event, DeprecationSeen)]) == (era == "current")


async def test_a_genuine_404_is_an_answer() -> None:
    async with Sandbox(1, era="2025-11") as sandbox, connect(sandbox, enforce_scopes=False) as environments:
        with pytest.raises(NotFoundError) as caught:
            await environments.delete(999)

        assert [call.path for call in sandbox.calls] == ["/api/environments/999/"]
        assert (caught.value.endpoint, caught.value.environment_id, caught.value.status) == ("delete", 999, 404)


async def test_deleting_on_an_older_server_spares_the_project_and_its_other_environments() -> None:
    async with Sandbox(4, era="2025-11", environments_per_project=2) as sandbox, connect(sandbox) as environments:
        await environments.delete(1)

        assert sandbox.environment_ids == [2, 3, 4]
        assert sandbox.calls[-1].path == "/api/environments/1/"


async def test_deleting_is_refused_where_only_the_project_path_is_left_and_the_era_is_not_known() -> None:
    gone = {"type": "invalid_request", "code": "not_found", "detail": "Endpoint not found.", "attr": None}
    async with Sandbox(2, era="2025-11") as sandbox, connect(sandbox, enforce_scopes=False) as environments:
        sandbox.answer_next("retrieve", 404, gone)
        with pytest.raises(ConfigurationError, match="whole project"):
            await environments.delete(1)

        assert sandbox.environment_ids == [1, 2]


async def test_deleting_on_the_newest_server_goes_through_the_project_path() -> None:
    async with Sandbox(2) as sandbox, connect(sandbox) as environments:
        assert [one.id async for one in environments.list()] == [1, 2]
        await environments.delete(1)

        assert environments.era is Era.D
        assert sandbox.effects["delete", 1] == 1
        assert (await environments.retrieve(1)).is_pending_deletion is True


async def test_the_path_is_asked_for_again_when_it_is_gone() -> None:
    gone = {"type": "invalid_request", "code": "not_found", "detail": "Endpoint not found.", "attr": None}
    async with Sandbox(2, era="2025-11") as sandbox, connect(sandbox) as environments:
        await environments.retrieve(1)
        sandbox.answer_next("update", 404, gone)
        await environments.update(2, TeamSettings(anonymize_ips=True))

        assert sandbox.effects["update", 2] + sandbox.effects["update", 1] <= 1
        assert sandbox.environment(2).settings["anonymize_ips"] is True


async def test_an_action_that_the_server_does_not_have() -> None:
    gone = {"type": "invalid_request", "code": "not_found", "detail": "Endpoint not found.", "attr": None}
    async with Sandbox(2, era="2025-11") as sandbox, connect(sandbox) as environments:
        sandbox.answer_next("event_ingestion_restrictions", 404, gone, times=5)
        with pytest.raises(NotFoundError, match="does not have this action"):
            await environments.event_ingestion_restrictions(1)


@pytest.mark.parametrize("era", ["2025-11", "current"])
async def test_tokens_are_refused_by_kind_before_anything_is_sent(era: Any) -> None:
    async with Sandbox(1, era=era) as sandbox:
        for auth in (PersonalAPIKey(sandbox.key("*")), oauth_of(sandbox, "*")):
            async with connect(sandbox, auth=auth) as environments:
                for call in (environments.rotate_secret_token, environments.reset_token, environments.is_generating_demo_data):
                    with pytest.raises(ScopeError, match="session"):
                        await call(1)
        assert sandbox.calls == []


async def test_the_server_decides_where_scopes_are_not_enforced() -> None:
    async with Sandbox(1) as sandbox, connect(sandbox, enforce_scopes=False) as environments:
        with pytest.raises(CredentialNotAcceptedError, match="log_in"):
            await environments.rotate_secret_token(1)


async def test_a_missing_scope_is_refused_before_sending_and_the_key_is_read_once() -> None:
    async with Sandbox(2) as sandbox, connect(sandbox, "project:read") as environments:
        await environments.retrieve(1)
        with pytest.raises(ScopeError) as caught:
            await environments.delete(1)

        assert caught.value.missing == {"project:write"}
        assert [call.endpoint for call in sandbox.calls].count("current_key") == 1
        assert "delete" not in [call.endpoint for call in sandbox.calls]


async def test_scopes_that_were_given_are_not_asked_for() -> None:
    async with Sandbox(1) as sandbox:
        key = PersonalAPIKey(sandbox.key("project:read"), scopes=["project:read"])
        async with connect(sandbox, auth=key) as environments:
            await environments.retrieve(1)
        assert [call.endpoint for call in sandbox.calls] == ["retrieve"]


@pytest.mark.parametrize("status", [401, 404, 500])
async def test_scopes_that_cannot_be_read_are_left_to_the_server(status: int) -> None:
    async with Sandbox(1) as sandbox, connect(sandbox, "feature_flag:read") as environments:
        sandbox.answer_next("current_key", status, {"detail": "no"})
        for _ in range(2):
            with pytest.raises(PermissionDeniedError, match="missing required scope 'project:read'"):
                await environments.retrieve(1)
        assert [call.endpoint for call in sandbox.calls].count("current_key") == 1


async def test_a_key_limited_to_projects() -> None:
    async with Sandbox(3) as sandbox:
        async with connect(sandbox, auth=PersonalAPIKey(sandbox.key(projects=[2]))) as environments:
            assert (await environments.retrieve(2)).id == 2
            with pytest.raises(ScopeError, match="limited to project 2 and"):
                await environments.retrieve(1)
            with pytest.raises(ScopeError, match="Name the environments"):
                [one async for one in environments.list()]
        async with connect(sandbox, auth=PersonalAPIKey(sandbox.key(projects=[2, 3]))) as environments:
            with pytest.raises(ScopeError, match="limited to projects 2, 3 and"):
                await environments.retrieve(1)
        async with connect(sandbox, auth=PersonalAPIKey(sandbox.key(projects=[2])), enforce_scopes=False) as environments:
            with pytest.raises(PermissionDeniedError, match="ID 1"):
                await environments.retrieve(1)


async def test_a_revoked_key_and_a_foreign_environment() -> None:
    async with Sandbox(1) as sandbox:
        foreign = sandbox.add_environment("Foreign", organization=sandbox.add_organization())
        key = sandbox.key()
        async with connect(sandbox, auth=PersonalAPIKey(key)) as environments:
            with pytest.raises(NotFoundError, match="cannot see it"):
                await environments.retrieve(foreign.id)
            sandbox.revoke(key)
            with pytest.raises(AuthenticationError, match="another region") as caught:
                await environments.retrieve(1)
        assert (caught.value.status, caught.value.code) == (401, "authentication_failed")


@pytest.mark.parametrize("bad", ["42", "@current", 0, -1, True, 1.5, None, object()])
async def test_what_is_no_environment_is_refused_before_sending(bad: Any) -> None:
    async with Sandbox(1) as sandbox, connect(sandbox) as environments:
        with pytest.raises(ConfigurationError):
            await environments.retrieve(bad)
        assert sandbox.calls == []


async def test_bad_settings_are_refused_before_sending_all_at_once() -> None:
    async with Sandbox(1) as sandbox, connect(sandbox) as environments:
        with pytest.raises(InvalidSettingsError) as caught:
            await environments.update(1, TeamSettings(name=" ", session_recording_sample_rate=2, week_start_day=5))
        assert [field for field, _ in caught.value.problems] == ["name", "session_recording_sample_rate", "week_start_day"]
        with pytest.raises(ConfigurationError, match="no setting"):
            await environments.update(1, TeamSettings())
        with pytest.raises(ConfigurationError, match="TeamSettings"):
            await environments.update(1, {"anonymize_ips": True})  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="1 to 255"):
            await environments.add_product_intent(1, " ")
        assert sandbox.calls == []


async def test_the_server_refuses_what_the_client_lets_through() -> None:
    async with Sandbox(2) as sandbox, connect(sandbox) as environments:
        with pytest.raises(ValidationError) as caught:
            await environments.update(1, TeamSettings(timezone="Europe/Nowhere"))
        assert (caught.value.status, caught.value.code, caught.value.attr) == (400, "invalid_choice", "timezone")
        with pytest.raises(ConflictError, match="unique"):
            await environments.update(1, TeamSettings(name="environment 0002"))


async def test_settings_that_the_server_does_not_take_are_reported() -> None:
    async with Sandbox(1, era="2025-11") as sandbox, connect(sandbox) as environments:
        with pytest.raises(SettingsNotAppliedError) as caught:
            await environments.update(1, TeamSettings(anonymize_ips=True, business_model="b2b"))

        assert caught.value.fields == ("business_model",)
        assert not caught.value.action_done
        assert isinstance(caught.value.environment, Environment)
        assert sandbox.environment(1).settings["anonymize_ips"] is True


async def test_settings_beside_an_action_are_ignored_by_the_server_and_that_is_said() -> None:
    async with Sandbox(1) as sandbox, logged_in(sandbox) as environments:
        with pytest.raises(SettingsNotAppliedError, match="has happened; do not repeat") as caught:
            await environments.rotate_secret_token(1, settings=TeamSettings(timezone="Europe/Berlin"))

        assert caught.value.action_done
        assert sandbox.effects["rotate_secret_token", 1] == 1


async def test_the_list_is_whole_although_its_order_is_not_stable() -> None:
    async with Sandbox(60, unstable_order=True) as sandbox, connect(sandbox) as environments:
        assert {one.id async for one in environments.list()} == set(range(1, 61))
        assert {one.name async for one in environments.list(search="ENVIRONMENT 000")} == {
            f"Environment {number:04}" for number in range(1, 10)
        }


async def test_check_access() -> None:
    async with Sandbox(2) as sandbox:
        async with connect(sandbox, "project:read") as environments:
            report = await environments.check_access(needs={"project:write"}, of=[1, 999])
            assert not report.ok
            assert report.missing == {"project:write"}
            assert report.of("retrieve").verdict == "allowed"
            assert report.of("delete").verdict == "refused"
            assert report.of("rotate_secret_token").verdict == "refused"
            assert [(one.ref.id, one.readable, one.admin) for one in report.environments] == [
                (1, True, True),
                (999, False, None),
            ]
            assert isinstance(report.environments[1].error, NotFoundError)
            lines = str(report).splitlines()
            assert lines[0] == "personal API key: scopes project:read, lacks project:write"
            assert "retrieve: allowed: project:read is granted" in lines
            assert "delete: refused: " in str(report)
            assert lines[-2] == "1: can be read"
            assert lines[-1].startswith("999: retrieve of environment 999: PostHog answered 404")
            assert len(lines) == 1 + len(report.endpoints) + 2
            with pytest.raises(KeyError):
                report.of("nothing")
            with pytest.raises(ConfigurationError, match="collection"):
                await environments.check_access(needs="project:read")
        async with connect(sandbox, auth=oauth_of(sandbox)) as environments:
            report = await environments.check_access()
            assert report.ok
            assert report.of("retrieve").verdict == "unknown"
            assert str(report).startswith("OAuth token: scopes not known\n")
        async with connect(sandbox, auth=session_of(sandbox)) as environments:
            report = await environments.check_access(of=[1])
            assert {access.verdict for access in report.endpoints} == {"allowed"}
        assert {call.verb for call in sandbox.calls} == {"GET"}


async def test_an_update_is_left_open_while_the_era_is_not_known() -> None:
    async with Sandbox(1, era="2025-11") as sandbox, connect(sandbox, "project:read") as environments:
        assert (await environments.check_access()).of("update").verdict == "unknown"
        await environments.update(1, TeamSettings(timezone="Europe/Berlin"))
        with pytest.raises(ScopeError):
            await environments.update(1, TeamSettings(name="x"))
        assert environments.era is Era.B
        assert environments.host == sandbox.url
