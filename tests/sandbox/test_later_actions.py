"""What PostHog has since 2026, through the client; and scenes that are saved."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from aioposthog_env import (
    ConfigurationError,
    NotFoundError,
    PermissionDeniedError,
    Sandbox,
    ScopeError,
    TeamSettings,
    ValidationError,
)
from aioposthog_env.sandbox import Plan
from tests.conftest import connect, logged_in
from tests.sandbox.test_server import calling, cookies_of

LATE = datetime(2030, 1, 1, tzinfo=UTC)
EARLY = datetime(2020, 1, 1, tzinfo=UTC)


async def test_settings_as_they_were() -> None:
    async with Sandbox(1, lacking_anonymize_ips=1) as sandbox, logged_in(sandbox) as environments:
        before = sandbox.environment(1).settings["name"]
        await environments.update(1, TeamSettings(name="Renamed", anonymize_ips=True))
        early = await environments.settings_as_of(1, EARLY, ["name", "anonymize_ips"])
        late = await environments.settings_as_of(1, LATE, ["name"])
    assert early == TeamSettings(name=before, anonymize_ips=False)
    assert late == TeamSettings(name="Renamed")


@pytest.mark.parametrize(
    ("at", "names", "says"),
    [
        (datetime(2026, 1, 1), ["name"], "time zone"),
        (LATE, [], "Name the settings"),
        (LATE, "name", "Name the settings"),
        (LATE, ["nmae"], "nmae"),
    ],
)
async def test_what_cannot_be_asked_of_the_past(at: datetime, names: Any, says: str) -> None:
    async with Sandbox(1) as sandbox, logged_in(sandbox) as environments:
        with pytest.raises(ConfigurationError, match=says):
            await environments.settings_as_of(1, at, names)
        assert sandbox.calls == []


async def test_a_time_that_the_server_cannot_read() -> None:
    async with calling(1) as (sandbox, call):
        reading, _ = cookies_of(sandbox)
        for query in ("", "?at=yesterday"):
            answer = await call("GET", f"/api/projects/1/settings_as_of/{query}", headers=reading)
            assert (answer.status, answer.body["attr"]) == (400, "at")
        whole = await call("GET", "/api/projects/1/settings_as_of/?at=2030-01-01", headers=reading)
        assert len(whole.body) > 50


async def test_configs_with_a_path_of_their_own() -> None:
    async with Sandbox(1) as sandbox, logged_in(sandbox) as environments:
        assert (await environments.experiments_config(1))["default_experiment_stats_method"] == "bayesian"
        changed = await environments.update_experiments_config(1, {"default_experiment_stats_method": "frequentist"})
        assert changed["default_experiment_stats_method"] == "frequentist"
        assert await environments.experiments_config(1) == changed
        assert (await environments.update_logs_config(1, {"logs_pattern_message_keys": ["body"]})) == (
            await environments.logs_config(1)
        )
        for bad, attr in (
            ({"default_experiment_stats_method": "guess"}, "default_experiment_stats_method"),
            ({"experiment_recalculation_times": ["02:30:00"]}, "experiment_recalculation_times"),
        ):
            with pytest.raises(ValidationError) as caught:
                await environments.update_experiments_config(1, bad)  # type: ignore[arg-type]
            assert caught.value.attr == attr
        for keys in ([], ["a", "a"], ["x" * 201], "a"):
            with pytest.raises(ValidationError):
                await environments.update_logs_config(1, {"logs_session_id_attribute_keys": keys})  # type: ignore[dict-item]
        with pytest.raises(ConfigurationError, match="nothing to change"):
            await environments.update_logs_config(1, {})


async def test_the_token_of_the_conversations_widget() -> None:
    async with Sandbox(1) as sandbox, logged_in(sandbox) as environments:
        await environments.update(1, TeamSettings(conversations_enabled=True))
        first = sandbox.environment(1).settings["conversations_settings"]["widget_public_token"]
        given = await environments.generate_conversations_public_token(1)
        second = sandbox.environment(1).settings["conversations_settings"]["widget_public_token"]
        assert first != second
        assert second not in repr(given)
        assert sandbox.effects["generate_conversations_public_token", 1] == 1
        await environments.update(1, TeamSettings(conversations_settings={"greeting": "Hi"}))
        assert sandbox.environment(1).settings["conversations_settings"]["widget_public_token"] == second
        await environments.update(1, TeamSettings(conversations_enabled=False))
        assert sandbox.environment(1).settings["conversations_settings"]["widget_public_token"] is None


LATER = ["settings_as_of", "experiments_config", "update_experiments_config", "logs_config", "update_logs_config"]
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "settings_as_of": (LATE, ["name"]),
    "update_experiments_config": ({"default_cuped_enabled": True},),
    "update_logs_config": ({"logs_pattern_message_keys": []},),
}


@pytest.mark.parametrize("method", [*LATER, "generate_conversations_public_token"])
async def test_they_take_sessions_of_admins_on_newest_servers_only_also_in_bulk(method: str) -> None:
    arguments = ARGUMENTS.get(method, ())
    async with Sandbox(3) as sandbox:
        async with connect(sandbox) as environments:
            with pytest.raises(ScopeError, match="publishes no scope"):
                await getattr(environments, method)(1, *arguments)
        async with logged_in(sandbox) as environments:
            report = await getattr(environments.each([1, 2, 3]), method)(*arguments)
            assert report.counts["succeeded"] == 3
        async with logged_in(sandbox, user=sandbox.member) as member:
            if method in {"update_experiments_config", "update_logs_config", "generate_conversations_public_token"}:
                with pytest.raises(PermissionDeniedError):
                    await getattr(member, method)(1, *arguments)
            else:
                await getattr(member, method)(1, *arguments)
    async with Sandbox(1, era="2025-11") as sandbox, logged_in(sandbox) as environments:
        with pytest.raises(NotFoundError, match="older or newer"):
            await getattr(environments, method)(1, *arguments)


async def test_a_deletion_in_the_background_comes_to_its_end() -> None:
    async with Sandbox(2) as sandbox, connect(sandbox) as environments:
        await environments.delete(1)
        assert (await environments.retrieve(1)).id == 1
        sandbox.finish_deletions()
        with pytest.raises(NotFoundError):
            await environments.retrieve(1)


@pytest.mark.parametrize("era", ["2024-10", "2025-08", "2025-11", "current"])
async def test_a_scene_is_saved_and_loaded_with_everything_in_it(era: Any, tmp_path: Path) -> None:
    path = tmp_path / "scene.json"
    async with Sandbox(5, era=era) as sandbox, logged_in(sandbox) as environments:
        key = sandbox.key("project:read", projects=[2])
        await environments.update(2, TeamSettings(name="Kept"))
        await environments.add_product_intent(2, "surveys")
        sandbox.save(path)
        before = sandbox.snapshot()
        await environments.update(2, TeamSettings(name="Lost"))
        sandbox.restore(before)
        assert sandbox.environment(2).settings["name"] == "Kept"
    loaded = Sandbox.load(path)
    assert loaded.snapshot() == before
    async with loaded, calling_existing(loaded) as call:
        answer = await call("GET", "/api/environments/2/", key)
        assert (answer.status, answer.body["name"]) == (200, "Kept")
        assert loaded.add_environment("New").id == 6


def calling_existing(sandbox: Sandbox) -> Any:
    """A plain client for a sandbox that runs already."""
    from contextlib import asynccontextmanager

    import aiohttp

    from tests.sandbox.test_server import Caller

    @asynccontextmanager
    async def opened() -> Any:
        async with aiohttp.ClientSession() as http:
            yield Caller(http, sandbox)

    return opened()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 1, "era": "1999"}', '{"version": 1, "era": "current"}'])
def test_a_file_that_is_no_scene(text: str, tmp_path: Path) -> None:
    path = tmp_path / "scene.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"scene"):
        Sandbox.load(path)


async def test_put_as_each_generation_takes_it() -> None:
    expected = {"2024-10": (200, 500), "2025-08": (400, 403), "2025-11": (400, 403), "current": (403, 403)}
    for era, statuses in expected.items():
        async with calling(1, era=era, plan=Plan(environments_per_project=1)) as (sandbox, call):
            paths = ("/api/environments/1/", "/api/projects/1/environments/1/")
            seen = [(await call("PUT", path, sandbox.key(), body={"name": "x"})).status for path in paths]
            assert tuple(seen) == statuses
            assert (await call("OPTIONS", "/api/environments/1/", sandbox.key())).status == 200
            assert (await call("HEAD", "/api/environments/1/", sandbox.key())).status == 200
            listed = await call("OPTIONS", "/api/environments/", sandbox.key())
            assert listed.status == (500 if era in {"2024-10", "2025-08"} else 200)
    async with calling(1, era="2025-08") as (sandbox, call):
        for path in ("/api/projects/1/environments/1/", "/api/projects/1/"):
            assert (await call("PUT", path, sandbox.key(), body={"name": "x"})).status == 200


async def test_keys_of_old() -> None:
    for era, status in (("2024-10", 200), ("2025-08", 200), ("2025-11", 200), ("current", 403)):
        async with calling(1, era=era) as (sandbox, call):
            old = sandbox.key(legacy=True)
            assert (await call("GET", "/api/environments/1/", old)).status == status
            assert (await call("PATCH", "/api/environments/1/reset_token/", old)).status == status
