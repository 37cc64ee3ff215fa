"""Corners of the way from a plan to its end."""

import pickle
from pathlib import Path
from typing import Any

import attrs
import pytest

from aioposthog_env import (
    SERVER_LIMITS,
    ConfigurationError,
    EnvironmentRef,
    Journal,
    JournalError,
    NotFoundError,
    OutcomeUnknownError,
    RateLimit,
    RateLimiter,
    Sandbox,
    Secret,
    ServerError,
    StateChangedError,
    TeamSettings,
    ValidationError,
    WaitTimeoutError,
)
from aioposthog_env.bulk.record import holds, still_kept
from tests.conftest import QUICK, connect, logged_in

LOOKING = attrs.evolve(QUICK, read_back=True, settle=0.1, settle_after_500=0.1)


async def test_a_wait_for_the_limit_while_reading_back_does_not_hide_that_it_may_have_happened() -> None:
    assert SERVER_LIMITS
    policy = attrs.evolve(LOOKING, wait_ceiling=0.5)
    limiter = RateLimiter([RateLimit(2, 60.0)])
    async with Sandbox(1) as sandbox, logged_in(sandbox, retry=policy, limiter=limiter, routes="project") as environments:
        sandbox.fault("drop_after_effect", "rotate_secret_token")
        with pytest.raises(OutcomeUnknownError, match="could not be read"):
            await environments.rotate_secret_token(1)
    async with Sandbox(1) as sandbox:
        limiter = RateLimiter([RateLimit(1, 60.0)])
        async with logged_in(sandbox, retry=policy, limiter=limiter, routes="project") as environments:
            sandbox.fault("drop_after_effect", "create")
            with pytest.raises(OutcomeUnknownError, match="could not be read"):
                await environments.create(TeamSettings(name="New"))


@pytest.mark.parametrize("fault", ["drop_after_effect", "500_before_effect"])
async def test_the_secret_that_the_project_path_hides_is_read_through_the_root_path(fault: str, tmp_path: Path) -> None:
    async with Sandbox(2, era="2025-11") as sandbox, logged_in(sandbox, retry=LOOKING, routes="project") as environments:
        sandbox.fault(fault, "rotate_secret_token")
        await environments.rotate_secret_token(1)
        assert sandbox.effects["rotate_secret_token", 1] == 1
        taken: list[object] = []
        stored = sandbox.environment(2)
        each = environments.each([2], journal=tmp_path / "run.db")
        await each.rotate_secret_token(sink=lambda one: taken.append(one.secret_api_token))
        assert taken == [Secret(stored.secret_api_token or "")]
        assert sandbox.effects["rotate_secret_token", 2] == 1


@pytest.mark.parametrize("fault", ["500_after_effect", "502_before_effect"])
async def test_a_repeatable_write_that_failed_says_that_it_may_have_taken_effect(fault: str) -> None:
    async with Sandbox(1) as sandbox, logged_in(sandbox, retry=LOOKING) as environments:
        await environments.retrieve(1)
        sandbox.fault(fault, "update", times=None)
        with pytest.raises(ServerError, match="It may have taken effect; calling again is safe"):
            await environments.update(1, TeamSettings(timezone="Asia/Tokyo"))
        sandbox.clear_faults()
        sandbox.fault(fault, "update")
        sandbox.answer_next("update", 400, {"type": "validation_error", "code": "x", "detail": "no", "attr": None}, times=2)
        with pytest.raises(ValidationError, match="It may have taken effect; calling again is safe"):
            await environments.update(1, TeamSettings(timezone="Asia/Tokyo"))
        with pytest.raises(ValidationError, match=r"no\.$"):
            await environments.update(1, TeamSettings(timezone="Asia/Tokyo"))
        sandbox.fault(fault, "retrieve", times=None)
        with pytest.raises(ServerError) as caught:
            await environments.retrieve(1)
        assert "taken effect" not in str(caught.value)


SLACK = "https://hooks.slack.com/services/T00/B00/SECRETSECRET"


@pytest.mark.parametrize("form", ["%s", "%s " + "x" * 2000, "<p>%s</p>"])
async def test_a_server_that_repeats_a_sensitive_value_is_not_quoted(form: str, tmp_path: Path) -> None:
    async with Sandbox(1, era="2024-10") as sandbox, logged_in(sandbox, retry=LOOKING, routes="root") as environments:
        detail = form % f'"{SLACK}" is not a safe URL.'
        envelope = {"type": "validation_error", "code": "invalid", "detail": detail, "attr": "slack_incoming_webhook"}
        answers: list[Any] = [envelope, {"error": detail}, detail.encode()]
        for answer in answers:
            sandbox.answer_next("update", 400, answer)
            each = environments.each([1], journal=tmp_path / "run.db")
            (failed,) = (await each.update(TeamSettings(slack_incoming_webhook=SLACK))).failed
            assert failed.error is not None
            assert "[hidden]" in str(failed.error)
            assert SLACK not in str(failed.error) + repr(vars(failed.error)) + repr(failed.error.args)
            assert SLACK.encode() not in pickle.dumps(failed.error)
            assert not any(SLACK.encode() in file.read_bytes() for file in tmp_path.iterdir())


async def test_a_plain_function_may_return_something_to_await() -> None:
    taken: list[int] = []

    async def later(id: int) -> None:
        taken.append(id)

    async with Sandbox(1) as sandbox, logged_in(sandbox) as environments:
        await environments.each([1]).rotate_secret_token(sink=lambda one: later(one.id))
    assert taken == [1]


async def test_a_full_disk_under_the_sink() -> None:
    async with Sandbox(1) as sandbox, logged_in(sandbox) as environments:
        with pytest.raises(ConfigurationError, match="mode 0600"):
            await environments.each([1]).rotate_secret_token(sink="/dev/full")


async def test_figures_below_zero_are_refused() -> None:
    async with Sandbox(1) as sandbox, connect(sandbox) as environments:
        plan = await environments.plan(TeamSettings(timezone="Asia/Tokyo"), [1])
        with pytest.raises(ConfigurationError, match="canary and max_age"):
            environments.apply(plan, canary=-1)
        with pytest.raises(ConfigurationError, match="canary and max_age"):
            environments.apply(plan, max_age=-1.0)


async def test_more_canaries_than_environments() -> None:
    async with Sandbox(2) as sandbox, connect(sandbox) as environments:
        plan = await environments.plan(TeamSettings(timezone="Asia/Tokyo"), [1, 2])
        assert len((await environments.apply(plan, canary=9)).succeeded) == 2


async def test_waiting_through_the_facade() -> None:
    async with Sandbox(2) as sandbox, logged_in(sandbox) as environments:
        await environments.wait_until_demo_data_ready(1)
        with pytest.raises(StateChangedError, match="Delete it first"):
            await environments.wait_until_deleted(1)
        await environments.delete(1)
        with pytest.raises(WaitTimeoutError):
            await environments.wait_until_deleted(1, deadline=0.01)
        sandbox.finish_deletions()
        await environments.wait_until_deleted(EnvironmentRef(1))
        with pytest.raises(NotFoundError):
            await environments.retrieve(1)


async def test_a_journal_that_is_not_open(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "run.db")
    assert repr(journal) == f"Journal({str(tmp_path / 'run.db')!r})"
    with pytest.raises(JournalError, match="is not open"):
        await journal.find("main")


@pytest.mark.parametrize(
    ("asked", "now", "expected"),
    [
        ({"value": "UTC"}, {"value": "UTC"}, True),
        ({"value": "0.4"}, {"value": "0.40"}, False),
        ({"digest": "a"}, {"digest": "a"}, True),
        ({"digest": "a"}, {"value": None}, False),
    ],
)
def test_holds(asked: dict[str, Any], now: dict[str, Any], expected: bool) -> None:
    assert holds("timezone", asked, now) is expected


def test_what_a_failed_try_has_left_is_not_taken_for_the_previous_value() -> None:
    first, asked = {"timezone": {"value": "UTC"}}, {"timezone": {"value": "Asia/Tokyo"}}
    assert still_kept(first, asked, {"timezone": {"value": "Asia/Tokyo"}}) == first  # type: ignore[arg-type]
    assert still_kept(first, asked, {"timezone": {"value": "Europe/Berlin"}}) == {"timezone": {"value": "Europe/Berlin"}}  # type: ignore[arg-type]
    assert still_kept(None, None, {"timezone": {"value": "UTC"}}) == first
