"""Values that PostHog completes or rewrites, from a raw server that knows nothing of our sandbox."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioposthog_env import AsyncEnvironments, PersonalAPIKey, SettingsNotAppliedError, TeamSettings
from aioposthog_env.models.configs import SessionRecordingLinkedFlag
from tests.wire.raw import http, raw_server

COHORT: dict[str, Any] = {"key": "id", "type": "cohort", "value": 1, "operator": "not_in"}
COMPLETED = {
    "test_account_filters": [COHORT | {"cohort_name": "Staff"}],
    "session_recording_linked_flag": {"id": 7, "key": "renamed"},
}
WANTED = TeamSettings(test_account_filters=[COHORT], session_recording_linked_flag=SessionRecordingLinkedFlag(id=7, key="old"))


def environment(id: int, **shown: Any) -> bytes:
    return http(200, json.dumps({"id": id, "name": f"Shop {id}", "is_pending_deletion": False} | shown).encode())


def client(url: str) -> AsyncEnvironments:
    return AsyncEnvironments(url, auth=PersonalAPIKey("phx_" + "k" * 43), routes="project", limiter=None, enforce_scopes=False)


async def test_what_the_server_adds_and_rewrites_is_applied_and_no_drift() -> None:
    async with raw_server(default=environment(42, **COMPLETED)) as raw, client(raw.url) as environments:
        await environments.update(42, WANTED)
        plan = await environments.plan(WANTED, [42])
        assert not plan.changing


async def test_a_canary_whose_values_the_server_completes_does_not_stop_the_run() -> None:
    plain: dict[str, Any] = {"test_account_filters": [], "session_recording_linked_flag": None}
    async with raw_server(*(environment(id, **plain) for id in (1, 2))) as raw, client(raw.url) as environments:
        plan = await environments.plan(WANTED, [1, 2], concurrency=1)
        raw.answers += [environment(id, **COMPLETED) for id in (1, 1, 2, 2)]
        report = await environments.apply(plan, canary=1, concurrency=1, verify=True)
        assert report.counts["succeeded"] == 2
        assert [line.split()[0] for line in raw.requests] == ["GET", "GET", "PATCH", "GET", "PATCH", "GET"]


WRITABLE = [
    "slack_channel_ids",
    "slack_bot_icon_url",
    "slack_bot_display_name",
    "slack_notify_on_join",
    "slack_notify_on_leave",
    "slack_nudge_enabled",
    "slack_alert_channel_id",
    "widget_color",
]


@settings(max_examples=20)
@given(st.sets(st.sampled_from(WRITABLE), min_size=1))
async def test_writable_conversation_keys_that_the_server_ignored_are_named(keys: set[str]) -> None:
    stored = {"conversations_settings": {"slack_enabled": True, "widget_public_token": "w"} | dict.fromkeys(WRITABLE, "old")}
    wanted = TeamSettings(conversations_settings={"slack_enabled": False, **dict.fromkeys(keys, "new")})
    async with raw_server(default=environment(42, **stored)) as raw, client(raw.url) as environments:
        plan = await environments.plan(wanted, [42])
        assert [change.name for one in plan for change in one.changes] == ["conversations_settings"]
        with pytest.raises(SettingsNotAppliedError) as caught:
            await environments.update(42, wanted)
        assert caught.value.fields == tuple(sorted(f"conversations_settings.{key}" for key in keys))
        assert "conversations_settings.slack_enabled" not in str(caught.value)
