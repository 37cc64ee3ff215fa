"""Token calls under faults: never twice, and what is reported is what happened."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import attrs
import pytest

from aioposthog_env import (
    ConfigurationError,
    Environment,
    OutcomeUnknownError,
    RetryPolicy,
    Sandbox,
    Secret,
    StateChangedError,
    TeamSettings,
    ThrottledError,
)
from aioposthog_env.telemetry import AttemptFinished, Event
from tests.conftest import QUICK, connect, logged_in

LOOKING = attrs.evolve(QUICK, read_back=True, settle=0.15, settle_after_500=0.15)
ACTIONS = ["rotate_secret_token", "reset_token", "generate_conversations_public_token"]
EFFECT = [
    "drop_after_effect",
    "500_after_effect",
    "502_after_effect",
    "504_after_effect",
    "truncate",
    "wrong_length",
    "html",
    "bad_json",
    "bad_utf8",
]
NO_EFFECT_OVER = ["500_before_effect"]
NO_EFFECT_OPEN = ["drop_unread", "drop_midway", "502_before_effect"]


async def act(environments: Any, action: str, **options: Any) -> Environment:
    environment: Environment = await getattr(environments, action)(1, **options)
    return environment


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("fault", EFFECT)
async def test_what_happened_once_is_found_and_never_repeated(action: str, fault: str) -> None:
    async with Sandbox(2) as sandbox, logged_in(sandbox, retry=LOOKING) as environments:
        sandbox.fault(fault, action)
        environment = await act(environments, action)
        assert sandbox.effects[action, 1] == 1
        stored = sandbox.environment(1)
        if action == "rotate_secret_token":
            assert isinstance(environment.secret_api_token, Secret)
            assert environment.secret_api_token.reveal() == stored.secret_api_token
        if action == "reset_token":
            assert isinstance(environment.api_token, Secret)
            assert environment.api_token.reveal() == stored.api_token


@pytest.mark.parametrize(
    ("era", "action"),
    [("2024-10", "reset_token"), ("2025-11", "reset_token"), ("2025-11", "rotate_secret_token")],
)
async def test_in_older_eras(era: Any, action: str) -> None:
    async with Sandbox(2, era=era) as sandbox, logged_in(sandbox, retry=LOOKING) as environments:
        sandbox.fault("drop_after_effect", action)
        await act(environments, action)
        assert sandbox.effects[action, 1] == 1


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("fault", NO_EFFECT_OVER)
async def test_what_did_not_happen_after_a_500_is_sent_once_more(action: str, fault: str) -> None:
    async with Sandbox(2) as sandbox, logged_in(sandbox, retry=LOOKING) as environments:
        sandbox.fault(fault, action)
        await act(environments, action)
        assert sandbox.effects[action, 1] == 1
        assert [call.endpoint for call in sandbox.calls].count(action) == 2


@pytest.mark.parametrize("action", ACTIONS)
async def test_it_is_sent_again_once_only(action: str) -> None:
    async with Sandbox(2) as sandbox, logged_in(sandbox, retry=LOOKING) as environments:
        sandbox.fault("500_before_effect", action, times=5)
        with pytest.raises(OutcomeUnknownError):
            await act(environments, action)
        assert [call.endpoint for call in sandbox.calls].count(action) == 2


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("fault", NO_EFFECT_OPEN)
async def test_where_a_handler_may_still_run_the_outcome_is_unknown_with_what_was_seen(action: str, fault: str) -> None:
    async with Sandbox(2) as sandbox, logged_in(sandbox, retry=LOOKING) as environments:
        sandbox.fault(fault, action)
        with pytest.raises(OutcomeUnknownError, match="not sent again") as caught:
            await act(environments, action)
        assert sandbox.effects[action, 1] == 0
        assert [call.endpoint for call in sandbox.calls].count(action) == 1
        assert "unchanged" in caught.value.observations[-1]
        assert not any(secret in str(caught.value.observations) for secret in sandbox.secrets)


@pytest.mark.parametrize("action", ACTIONS)
async def test_who_says_so_gets_it_sent_again_after_the_settle_time(action: str) -> None:
    policy = attrs.evolve(LOOKING, resend_after_settle=True)
    async with Sandbox(2) as sandbox, logged_in(sandbox, retry=policy) as environments:
        sandbox.fault("drop_unread", action)
        await act(environments, action)
        assert sandbox.effects[action, 1] == 1


async def test_two_rotations_since_the_read_are_unknown() -> None:
    def somebody_else_rotates_too(event: Event) -> None:
        if isinstance(event, AttemptFinished) and event.outcome == "lost":
            stored = sandbox.environment(1)
            stored.secret_api_token_backup, stored.secret_api_token = stored.secret_api_token, "phs_" + "n" * 40

    hooks = [somebody_else_rotates_too]
    async with Sandbox(2) as sandbox, logged_in(sandbox, retry=LOOKING, hooks=hooks) as environments:
        sandbox.fault("drop_after_effect", "rotate_secret_token")
        with pytest.raises(OutcomeUnknownError) as caught:
            await environments.rotate_secret_token(1)
        assert "unclear" in caught.value.observations[-1]


async def test_a_lost_create_names_the_candidates_and_is_not_repeated() -> None:
    async with Sandbox(3) as sandbox, logged_in(sandbox, retry=LOOKING, routes="project") as environments:
        sandbox.fault("drop_after_effect", "create")
        with pytest.raises(OutcomeUnknownError, match="environments of that name created since: 4") as caught:
            await environments.create(TeamSettings(name="New"))
        assert sandbox.effects["create", 4] == 1
        sandbox.fault("drop_unread", "create")
        with pytest.raises(OutcomeUnknownError, match="environments of that name created since: none"):
            await environments.create(TeamSettings(name="Newer"))
        sandbox.fault("drop_unread", "create")
        sandbox.fault("bad_json", "list")
        with pytest.raises(OutcomeUnknownError, match="could not be read"):
            await environments.create(TeamSettings(name="Newest"))
        assert len(sandbox.environment_ids) == 4
        assert len(caught.value.observations) == 2


@pytest.mark.parametrize("ahead", [3, -3, 55])
async def test_a_clock_that_differs_by_seconds_does_not_hide_what_a_lost_create_made(ahead: int) -> None:
    async with Sandbox(3) as sandbox, logged_in(sandbox, retry=LOOKING, routes="project") as environments:
        page = {"count": 1, "next": None, "previous": None, "results": [{"id": 4, "name": "New"}]}
        date = format_datetime(datetime.now(UTC) + timedelta(seconds=ahead), usegmt=True)
        sandbox.answer_next("list", 200, page, headers={"Date": date})
        sandbox.fault("drop_after_effect", "create")
        with pytest.raises(OutcomeUnknownError, match="created since: 4"):
            await environments.create(TeamSettings(name="New"))


async def test_older_environments_of_the_name_are_no_candidates() -> None:
    async with (
        Sandbox(2, era="2025-11") as sandbox,
        logged_in(sandbox, retry=LOOKING, routes="nested") as environments,
    ):
        old = await environments.create(TeamSettings(name="prod"), project_id=1)
        sandbox.environment(old.id).created_at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        sandbox.fault("drop_unread", "create")
        told = rf"created since: none; created before: {old.id} \(2026-01-02 03:04:05 UTC\)"
        with pytest.raises(OutcomeUnknownError, match=told):
            await environments.create(TeamSettings(name="prod"), project_id=1)
        sandbox.fault("drop_after_effect", "create")
        with pytest.raises(OutcomeUnknownError, match=f"created since: {old.id + 1}; created before: {old.id} "):
            await environments.create(TeamSettings(name="prod"), project_id=1)
        # What cannot be read is not left out.
        sandbox.fault("drop_unread", "create")
        sandbox.fault("bad_json", "retrieve", times=None)
        with pytest.raises(OutcomeUnknownError, match=f"at a time that is not known: {old.id}, {old.id + 1}"):
            await environments.create(TeamSettings(name="prod"), project_id=1)


async def test_it_costs_two_calls_and_can_be_switched_off() -> None:
    async with Sandbox(2) as sandbox:
        async with logged_in(sandbox, routes="project", retry=LOOKING) as environments:
            await environments.rotate_secret_token(1)
        assert [call.endpoint for call in sandbox.calls] == ["retrieve", "rotate_secret_token"]
        async with logged_in(sandbox, routes="project", retry=QUICK) as environments:
            sandbox.fault("drop_after_effect", "rotate_secret_token")
            with pytest.raises(OutcomeUnknownError):
                await environments.rotate_secret_token(1)
        assert len(sandbox.calls) == 3


async def test_reading_back_goes_on_without_repeats() -> None:
    policy = attrs.evolve(RetryPolicy.disabled(), settle=0.15)
    async with Sandbox(2) as sandbox, logged_in(sandbox, retry=policy, routes="project") as environments:
        sandbox.fault("drop_after_effect", "reset_token")
        await environments.reset_token(1)
        sandbox.fault("database_unavailable", "reset_token")
        with pytest.raises(ThrottledError):
            await environments.reset_token(1)
        assert sandbox.effects["reset_token", 1] == 1


async def test_an_environment_that_cannot_be_read_any_more_is_unknown() -> None:
    async with Sandbox(2) as sandbox, logged_in(sandbox, retry=LOOKING, routes="project") as environments:
        sandbox.fault("drop_after_effect", "reset_token")
        sandbox.fault("delay_before_effect", "retrieve", before=0.0)  # the look before the call
        sandbox.fault("bad_json", "retrieve", times=None)
        with pytest.raises(OutcomeUnknownError) as caught:
            await environments.reset_token(1)
        assert "could not be read" in caught.value.observations[-1]


async def test_a_deadline_cuts_the_looking_short_and_then_nothing_is_sent_again() -> None:
    policy = attrs.evolve(LOOKING, settle_after_500=60.0, deadline=0.4)
    async with Sandbox(2) as sandbox, logged_in(sandbox, retry=policy) as environments:
        sandbox.fault("500_before_effect", "reset_token")
        with pytest.raises(OutcomeUnknownError):
            await environments.reset_token(1)
        assert sandbox.effects["reset_token", 1] == 0


def digest(value: str | None) -> str:
    assert value is not None
    return Secret(value).digest()


async def test_a_rotation_that_was_planned_happens_once_however_often_it_is_delivered() -> None:
    async with Sandbox(2) as sandbox, logged_in(sandbox, retry=LOOKING) as environments:
        planned = digest(sandbox.environment(1).secret_api_token)
        first = await environments.rotate_secret_token(1, expected=planned)
        second = await environments.rotate_secret_token(1, expected=planned)
        assert first.secret_api_token == second.secret_api_token
        assert sandbox.effects["rotate_secret_token", 1] == 1
        report = await environments.each([1]).rotate_secret_token(expected={1: planned})
        assert [(one.status, one.reason) for one in report] == [("unchanged", "already done")]
        await environments.rotate_secret_token(1)
        with pytest.raises(StateChangedError, match="Nothing was sent"):
            await environments.rotate_secret_token(1, expected=planned)
        assert sandbox.effects["rotate_secret_token", 1] == 2


async def test_a_reset_that_was_planned() -> None:
    async with Sandbox(2) as sandbox, logged_in(sandbox, retry=QUICK) as environments:
        planned = digest(sandbox.environment(1).api_token)
        for _ in range(3):
            await environments.reset_token(1, expected=planned)
        assert sandbox.effects["reset_token", 1] == 1
        missing = await environments.each([1, 2]).reset_token(expected={1: planned})
        assert missing.counts["unchanged"] == 1
        assert isinstance(missing.failed[0].error, ConfigurationError)


async def test_a_secret_in_place_of_its_digest_is_refused_and_not_shown() -> None:
    async with Sandbox(1) as sandbox, logged_in(sandbox) as environments:
        secret = sandbox.environment(1).secret_api_token or ""
        with pytest.raises(ConfigurationError, match="takes a digest") as caught:
            await environments.rotate_secret_token(1, expected=secret)
        assert secret not in str(caught.value)
        assert sandbox.calls == []


async def test_what_the_server_does_not_show_cannot_be_compared() -> None:
    async with Sandbox(1, era="2024-10") as sandbox, connect(sandbox, enforce_scopes=False) as environments:
        with pytest.raises(StateChangedError, match="does not show"):
            await environments.rotate_secret_token(1, expected="0" * 64)
