"""What stands before PostHog answers in its place, after the effect or before it; and what changes while a call waits."""

import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, TypeAlias

import anyio
import attrs
import pytest

from aioposthog_env import (
    ApiError,
    AsyncEnvironments,
    DecodeError,
    Journal,
    NotFoundError,
    NotSentError,
    OutcomeUnknownError,
    RateLimit,
    RateLimiter,
    RateLimitWaitTooLong,
    RetryPolicy,
    Sandbox,
    ScopeError,
    StateChangedError,
    TeamSettings,
    TransportError,
    WaitTimeoutError,
)
from tests.conftest import QUICK, connect, logged_in

LOOKING: Final = attrs.evolve(QUICK, read_back=True, settle=0.3, settle_after_500=0.1)
AGAIN: Final = attrs.evolve(LOOKING, resend_after_settle=True)
PAGE: Final = b"<html><body>Please sign in</body></html>"
BERLIN: Final = TeamSettings(timezone="Europe/Berlin")

Call: TypeAlias = Callable[[AsyncEnvironments], Awaitable[Any]]


@pytest.mark.parametrize("body", [PAGE, b"", b'{"message": "blocked"}', b"[]"], ids=["page", "empty", "object", "list"])
@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 413])
async def test_a_no_that_is_not_posthogs_is_a_lost_answer(status: int, body: bytes) -> None:
    async with Sandbox(2, throttle=False) as sandbox, logged_in(sandbox, retry=LOOKING) as environments:
        await environments.retrieve(1)
        sandbox.answer_next("rotate_secret_token", status, body, before_effect=False)
        rotated = await environments.rotate_secret_token(1)
        assert rotated.secret_api_token is not None
        sandbox.answer_next("add_product_intent", status, body, before_effect=False)
        with pytest.raises(OutcomeUnknownError, match=f"status {status} came with an answer that is not PostHog's"):
            await environments.add_product_intent(1, "session_replay")
        sandbox.answer_next("rotate_secret_token", status, body)
        with pytest.raises(OutcomeUnknownError, match="unchanged"):
            await environments.rotate_secret_token(2)
    assert [sandbox.effects[name, id] for name, id in (("rotate_secret_token", 1), ("add_product_intent", 1))] == [1, 1]
    assert sandbox.effects["rotate_secret_token", 2] == 0


async def test_posthogs_own_no_is_believed() -> None:
    async with Sandbox(1) as sandbox, logged_in(sandbox, retry=LOOKING) as environments:
        body = {"type": "authentication_error", "code": "permission_denied", "detail": "No.", "attr": None}
        sandbox.answer_next("rotate_secret_token", 403, body)
        with pytest.raises(ApiError, match="No") as caught:
            await environments.rotate_secret_token(1)
        assert caught.value.no_effect
        sandbox.answer_next("add_product_intent", 400, {"error": "product_type is required"})
        with pytest.raises(ApiError, match="product_type is required") as caught:
            await environments.add_product_intent(1, "session_replay")
        assert caught.value.no_effect


async def test_after_a_page_the_journal_still_knows_what_to_give_back(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    async with Sandbox(1) as sandbox, logged_in(sandbox) as environments:
        await environments.retrieve(1)
        sandbox.answer_next("update", 403, PAGE, before_effect=False)
        (outcome,) = await environments.each([1], journal=path).update(BERLIN)
        assert outcome.status == "failed"
        assert "It may have taken effect; calling again is safe." in str(outcome.error)
        assert sandbox.environment(1).settings["timezone"] == "Europe/Berlin"
        await environments.undo(path)
        assert sandbox.environment(1).settings["timezone"] == "UTC"


async def test_a_rotation_that_ended_with_a_page_is_not_done_again_by_resuming(tmp_path: Path) -> None:
    async with Sandbox(1) as sandbox, logged_in(sandbox, retry=attrs.evolve(AGAIN, read_back=False)) as environments:
        await environments.retrieve(1)
        sandbox.answer_next("rotate_secret_token", 403, PAGE, before_effect=False)
        (first,) = await environments.each([1], journal=tmp_path / "run.db").rotate_secret_token()
        (second,) = await environments.each([1], journal=tmp_path / "run.db").rotate_secret_token()
    assert (first.status, second.status) == ("unknown", "succeeded")
    assert sandbox.effects["rotate_secret_token", 1] == 1


async def test_a_page_is_no_deletion(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    async with Sandbox(2, era="2024-10") as sandbox, connect(sandbox) as environments:
        await environments.retrieve(1)
        for page in (PAGE, b""):
            sandbox.answer_next("delete", 200, page, times=5)
            (outcome,) = await environments.each([1], journal=path).delete()
            assert isinstance(outcome.error, TransportError)
            assert "status 200 came with a response that PostHog does not send here" in str(outcome.error)
            assert sandbox.effects["delete", 1] == 0
        (resumed,) = await environments.each([1], journal=path).delete()
        assert resumed.status == "succeeded"
        assert sandbox.effects["delete", 1] == 1
        sandbox.answer_next("retrieve", 404, PAGE)
        with pytest.raises(WaitTimeoutError):
            await environments.wait_until_deleted(2, deadline=0.3)


@pytest.mark.parametrize("method", ["retrieve", "update", "rotate_secret_token"])
async def test_an_answer_about_another_environment_is_none(method: str) -> None:
    async with Sandbox(2) as sandbox, logged_in(sandbox, retry=LOOKING) as environments:
        other = {"id": 2, "name": "Other", "timezone": "Europe/Berlin", "secret_api_token": "phs_" + "x" * 40}
        await environments.retrieve(1)
        sandbox.answer_next(method, 200, other, before_effect=False)
        if method == "rotate_secret_token":
            assert (await environments.rotate_secret_token(1)).id == 1  # read back
        else:
            with pytest.raises(DecodeError, match="it is about environment 2"):
                await (environments.retrieve(1) if method == "retrieve" else environments.update(1, BERLIN))
    assert sandbox.effects["rotate_secret_token", 1] <= 1


@pytest.mark.parametrize("target", ["/api/projects/%31/", "/api/projects/2/", "/api/projects/@current/", "/api/projects/01/"])
async def test_a_delete_is_not_redirected_to_what_it_does_not_name(target: str) -> None:
    async with (
        Sandbox(3, era="2025-11", environments_per_project=3) as sandbox,
        connect(sandbox, routes="root") as environments,
    ):
        sandbox.answer_next("delete", 307, b"", headers={"Location": target})
        with pytest.raises(ApiError):
            await environments.delete(1)
    assert sandbox.effects.total() == 0


async def test_a_token_call_is_not_redirected_to_another_environment() -> None:
    async with Sandbox(2) as sandbox, logged_in(sandbox, routes="root", retry=LOOKING) as environments:
        sandbox.answer_next("rotate_secret_token", 307, b"", headers={"Location": "/api/environments/2/rotate_secret_token/"})
        with pytest.raises(OutcomeUnknownError):
            await environments.rotate_secret_token(1)
    assert sandbox.effects["rotate_secret_token", 2] == 0


async def test_resuming_waits_the_whole_settle_time_whatever_the_clock_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The handler of the killed process is at work, and the clock was set forward an hour: its age tells nothing."""
    path = tmp_path / "run.db"
    async with (
        Sandbox(1) as sandbox,
        logged_in(sandbox, retry=attrs.evolve(AGAIN, settle=1.0), routes="project") as environments,
    ):
        sandbox.fault("delay_before_effect", "rotate_secret_token", before=0.8)
        with anyio.move_on_after(0.5):
            await environments.each([1], journal=path).rotate_secret_token()
        now = time.time
        monkeypatch.setattr(time, "time", lambda: now() + 3600)
        (outcome,) = await environments.each([1], journal=path).rotate_secret_token()
        assert (outcome.status, outcome.reason) == ("succeeded", "done earlier")
        await anyio.sleep(0.3)
    assert sandbox.effects["rotate_secret_token", 1] == 1


@pytest.mark.parametrize("window", [0.6, 1.6])
async def test_what_is_compared_is_looked_at_right_before_it_leaves(window: float) -> None:
    limiter = RateLimiter([RateLimit(2, window)])
    async with Sandbox(1) as sandbox, logged_in(sandbox, limiter=limiter, routes="project") as environments:
        await environments.retrieve(1)  # of the two slots one is left, so the look alone would leave at once
        async with anyio.create_task_group() as tasks:

            async def compared() -> None:
                with pytest.raises(StateChangedError, match="no longer as it was planned"):
                    await environments.update(1, BERLIN, expected=TeamSettings(timezone="UTC"))

            tasks.start_soon(compared)
            await anyio.sleep(0.3)
            sandbox.environment(1).settings["timezone"] = "Asia/Tokyo"
        assert sandbox.environment(1).settings["timezone"] == "Asia/Tokyo"
        assert limiter.statistics().in_flight == 0


async def test_what_is_compared_is_looked_at_again_before_a_repeat() -> None:
    throttled = {"type": "throttled_error", "code": "throttled", "detail": "Wait.", "attr": None}
    async with Sandbox(2) as sandbox, connect(sandbox, routes="project", limiter=None) as environments:
        for id, lost in ((1, False), (2, True)):
            if lost:
                sandbox.fault("drop_after_effect", "update")
            sandbox.answer_next("update", 429, throttled, headers={"Retry-After": "1.2"})

            async def compared(id: int = id, lost: bool = lost) -> None:
                error, words = (
                    (OutcomeUnknownError, "another value") if lost else (StateChangedError, "no longer as it was planned")
                )
                with pytest.raises(error, match=words):
                    await environments.update(id, BERLIN, expected=TeamSettings(timezone="UTC"))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(compared)
                await anyio.sleep(0.4)
                sandbox.environment(id).settings["timezone"] = "Asia/Tokyo"
            assert sandbox.environment(id).settings["timezone"] == "Asia/Tokyo"


async def test_a_limit_of_one_request_at_a_time_still_lets_a_compared_write_through() -> None:
    limiter = RateLimiter([RateLimit(1, 0.05)])
    async with Sandbox(1) as sandbox, logged_in(sandbox, limiter=limiter, routes="project") as environments:
        await environments.update(1, BERLIN, expected=TeamSettings(timezone="UTC"))
    assert sandbox.environment(1).settings["timezone"] == "Europe/Berlin"


@pytest.mark.parametrize("waits_for", ["another write", "the URL style", "the rate limit", "the record of the key"])
async def test_the_deadline_bounds_every_wait(waits_for: str) -> None:
    limiter = RateLimiter([RateLimit(1, 60.0)]) if "limit" in waits_for else None
    policy = RetryPolicy(deadline=0.3)
    routes: Any = "auto" if "style" in waits_for else "project"
    client = connect if "key" in waits_for else logged_in
    stalled = {"another write": "update", "the record of the key": "current_key"}.get(waits_for, "retrieve")
    async with Sandbox(1) as sandbox, client(sandbox, limiter=limiter, routes=routes) as environments:
        sandbox.fault("stall", stalled, before=1.0, effect=False)
        async with anyio.create_task_group() as tasks:

            async def first() -> None:
                call = environments.update(1, BERLIN) if waits_for == "another write" else environments.retrieve(1)
                with anyio.move_on_after(1.0):
                    await call

            tasks.start_soon(first)
            await anyio.sleep(0.1)
            began = anyio.current_time()
            with pytest.raises(NotSentError, match=f"The deadline of 0.3 s came while it waited for .*{waits_for[-5:]}"):
                await environments.with_options(retry=policy).update(1, BERLIN)
            assert anyio.current_time() - began < 0.8
            tasks.cancel_scope.cancel()


async def test_a_wait_beyond_the_deadline_says_so() -> None:
    limiter = RateLimiter([RateLimit(1, 60.0)])
    async with Sandbox(1) as sandbox, logged_in(sandbox, limiter=limiter, routes="project") as environments:
        await environments.retrieve(1)
        with pytest.raises(RateLimitWaitTooLong, match=r"its deadline is in 5 s\. .*RetryPolicy\(deadline=…\)") as caught:
            await environments.with_options(retry=RetryPolicy(deadline=5)).retrieve(1)
        assert caught.value.deadline
        with pytest.raises(RateLimitWaitTooLong, match="wait_ceiling=None") as caught:
            await environments.with_options(retry=RetryPolicy(deadline=50, wait_ceiling=5)).retrieve(1)
        assert not caught.value.deadline


async def test_an_error_after_a_lost_write_says_that_it_may_have_happened() -> None:
    throttled = {"type": "throttled_error", "code": "throttled", "detail": "Wait.", "attr": None}
    async with Sandbox(2) as sandbox, connect(sandbox, routes="project") as environments:
        sandbox.fault("drop_after_effect", "update")
        sandbox.answer_next("update", 429, throttled, headers={"Retry-After": "600"})
        with pytest.raises(RateLimitWaitTooLong, match="It may have taken effect; calling again is safe"):
            await environments.update(1, BERLIN)


async def test_a_token_call_in_flight_ends_when_the_client_is_closed() -> None:
    caught: list[BaseException] = []
    async with Sandbox(1) as sandbox, anyio.create_task_group() as tasks:
        async with logged_in(sandbox, retry=attrs.evolve(LOOKING, settle=60.0), routes="project") as environments:

            async def rotate() -> None:
                try:
                    await environments.rotate_secret_token(1)
                except OutcomeUnknownError as error:
                    caught.append(error)

            sandbox.fault("drop_unread", "rotate_secret_token")
            tasks.start_soon(rotate)
            await anyio.sleep(0.3)
        with anyio.fail_after(10):
            while not caught:
                await anyio.sleep(0.05)
    assert "the client was closed" in str(caught[0])


async def test_a_key_that_may_only_read_is_refused_before_the_first_change() -> None:
    async with Sandbox(1) as sandbox:
        for scopes, lacking in ((["project:read"], "project:write"), (["insight:read"], "project:write")):
            async with connect(sandbox, *scopes) as environments:
                with pytest.raises(ScopeError, match=f"lacks the scope {lacking}") as caught:
                    await environments.update(1, BERLIN)
                assert caught.value.missing == {lacking}
    assert [call.endpoint for call in sandbox.calls if call.endpoint == "update"] == []


async def test_with_repeats_switched_off_a_token_call_is_sent_once() -> None:
    async with Sandbox(1) as sandbox, logged_in(sandbox, retry=RetryPolicy.disabled(), routes="project") as environments:
        quick = environments.with_options(retry=attrs.evolve(RetryPolicy.disabled(), settle_after_500=0.05))
        sandbox.fault("500_before_effect", "rotate_secret_token")
        with pytest.raises(OutcomeUnknownError):
            await quick.rotate_secret_token(1)
    assert [call.endpoint for call in sandbox.calls].count("rotate_secret_token") == 1


async def test_a_plan_that_grew_old_while_it_waited_for_the_limit_is_compared(tmp_path: Path) -> None:
    limiter = RateLimiter([RateLimit(4, 1.5)])
    async with Sandbox(3) as sandbox, logged_in(sandbox, limiter=limiter, routes="project") as environments:
        plan = await environments.plan(BERLIN, [1, 2, 3])

        async def meanwhile() -> None:
            await anyio.sleep(0.8)
            sandbox.environment(2).settings["timezone"] = "Asia/Tokyo"

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(meanwhile)
            report = await environments.apply(plan, max_age=0.5, journal=tmp_path / "run.db", concurrency=1)
        states = {outcome.ref.id: outcome.reason or outcome.status for outcome in report}
        assert states[2] == "stale"
        assert sandbox.environment(2).settings["timezone"] == "Asia/Tokyo"


async def test_undo_and_a_change_of_the_same_client_do_not_cross(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    async with Sandbox(1) as sandbox, logged_in(sandbox, routes="project") as environments:
        await environments.each([1], journal=path).update(BERLIN)
        sandbox.fault("delay_before_effect", "update", before=0.3)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(environments.update, 1, TeamSettings(timezone="Asia/Tokyo"))
            await anyio.sleep(0.1)
            (outcome,) = await environments.undo(path)
        assert outcome.reason == "stale"
        assert sandbox.environment(1).settings["timezone"] == "Asia/Tokyo"


async def test_what_another_login_cannot_see_is_not_taken_for_deleted(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    async with Sandbox(1) as sandbox:
        sandbox.fault("drop_unread", "delete", times=None)
        async with connect(sandbox, routes="root") as environments:
            with anyio.move_on_after(0.5):
                slow = environments.with_options(retry=attrs.evolve(QUICK, max_attempts=50, first_wait=0.2, longest_wait=0.5))
                await slow.each([1], journal=path).delete()
        assert (await Journal(path).items())[0].in_doubt
        sandbox.clear_faults()
        stranger = sandbox.add_user("eve@example.com", organization=sandbox.add_organization())
        async with connect(sandbox, routes="root", user=stranger) as environments:
            (outcome,) = await environments.each([1], journal=path, adopt=True).delete()
        assert outcome.status == "failed"
        assert isinstance(outcome.error, NotFoundError)
    assert sandbox.effects["delete", 1] == 0
