"""Stopping a run: what waits to be sent ends, what may have taken effect is finished."""

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from aioposthog_env import (
    BulkReport,
    BulkRun,
    Journal,
    NotSentError,
    RateLimit,
    RateLimiter,
    RetryPolicy,
    Sandbox,
    TeamSettings,
)
from aioposthog_env.sandbox import Throttle
from aioposthog_env.telemetry import Event, RetryScheduled
from tests.conftest import connect, logged_in

THROTTLED = {"type": "throttled_error", "code": "throttled", "detail": "Request was throttled.", "attr": None}
BERLIN = TeamSettings(timezone="Europe/Berlin")
LOOKING = RetryPolicy(first_wait=0.001, longest_wait=0.002)
PATIENT = RetryPolicy(wait_ceiling=None, max_attempts=1_000)
SLOW = RetryPolicy(first_wait=1.0, longest_wait=1.0)


def calls(sandbox: Sandbox) -> Counter[str | None]:
    return Counter(call.endpoint for call in sandbox.calls if call.endpoint != "current_key")


async def stopped(run: BulkRun[Any], when: Callable[[], bool]) -> BulkReport[Any]:
    """Start a run, and stop it as soon as something has happened. Fails if its waits do not end at once."""
    found: list[BulkReport[Any]] = []

    async def work() -> None:
        found.append(await run)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work)
            while not when():
                await anyio.sleep(0.01)
            await anyio.sleep(0.05)  # every other worker waits by now
            run.stop()
    return found[0]


def limited(count: int) -> RateLimiter:
    return RateLimiter((RateLimit(count, 3_600.0),))


async def test_calls_that_wait_for_the_rate_limit_are_not_sent() -> None:
    async with (
        Sandbox(40) as sandbox,
        connect(sandbox, limiter=limited(5), routes="project", enforce_scopes=False) as environments,
    ):
        run = environments.each(sandbox.environment_ids).update(BERLIN)
        report = await stopped(run, lambda: calls(sandbox)["update"] == 5)
        assert calls(sandbox) == {"update": 5}
        assert report.counts == {"succeeded": 5, "unchanged": 0, "failed": 0, "unknown": 0, "skipped": 35}
        assert {one.reason for one in report.skipped} == {"stopped"}
        assert all(isinstance(one.error, NotSentError) or one.error is report.stopped_by for one in report.skipped)
        assert {one.attempts for one in report.skipped} == {0}
        assert len(report.remaining()) == 35
        assert environments.limiter is not None
        statistics = environments.limiter.statistics()
        assert (statistics.waiting, statistics.in_flight, statistics.acquired) == (0, 0, 5)


@pytest.mark.parametrize("kind", ["retrieve", "activity"])
async def test_reads_that_wait_for_the_rate_limit_are_not_sent(kind: str) -> None:
    async with (
        Sandbox(40) as sandbox,
        connect(sandbox, limiter=limited(5), routes="project", enforce_scopes=False) as environments,
    ):
        run = getattr(environments.each(sandbox.environment_ids), kind)()
        report = await stopped(run, lambda: len(sandbox.calls) == 5)
        assert len(sandbox.calls) == 5
        assert {one.reason for one in report.skipped} == {"stopped"}


@pytest.mark.parametrize("options", [{"routes": "project"}, {"enforce_scopes": False}], ids=["key", "style"])
async def test_a_call_that_waits_for_the_record_of_the_key_or_for_the_url_style_is_not_sent(options: dict[str, Any]) -> None:
    limiter = limited(1)
    async with Sandbox(5) as sandbox, connect(sandbox, limiter=limiter, **options) as environments:
        await limiter.acquire()
        run = environments.each(sandbox.environment_ids).update(BERLIN)
        report = await stopped(run, lambda: limiter.statistics().waiting > 0)
        assert not sandbox.calls
        assert [one.reason for one in report] == ["stopped"] * 5


async def test_a_write_whose_comparison_was_read_is_not_sent(tmp_path: Path) -> None:
    async with (
        Sandbox(10, throttle=False) as sandbox,
        connect(sandbox, limiter=limited(9), routes="project", enforce_scopes=False) as environments,
    ):
        # Nine slots: four pairs of a read and its write, and one read whose write waits.
        run = environments.each(sandbox.environment_ids, journal=tmp_path / "run.db").update(BERLIN)
        report = await stopped(run, lambda: calls(sandbox) == {"retrieve": 5, "update": 4} or len(sandbox.calls) == 9)
        assert calls(sandbox)["update"] == len(report.succeeded) == 4
        assert sorted(one.attempts for one in report.skipped) == [0, 0, 0, 0, 0, 1]
        held = await Journal(tmp_path / "run.db").items()
        assert all(not item.in_doubt for item in held)
        assert all(item.intended is None for item in held if item.state != "succeeded")


async def test_a_token_call_whose_answer_was_lost_is_read_back_after_the_stop(tmp_path: Path) -> None:
    limiter = RateLimiter((RateLimit(6, 0.5),))  # four reads, and two rotations
    async with Sandbox(8) as sandbox, logged_in(sandbox, limiter=limiter, routes="root", retry=LOOKING) as environments:
        sandbox.fault("drop_after_effect", "rotate_secret_token", times=None)
        run = environments.each(sandbox.environment_ids, journal=tmp_path / "run.db", concurrency=4).rotate_secret_token()
        # The other two wait for the limit, and so does reading back.
        report = await stopped(run, lambda: calls(sandbox)["rotate_secret_token"] == 2)
        assert calls(sandbox)["rotate_secret_token"] == len(report.succeeded) == 2
        assert [one.reason for one in report.skipped] == ["stopped"] * 6


async def test_a_repeatable_write_whose_answer_was_lost_is_finished_after_the_stop() -> None:
    async with Sandbox(3) as sandbox, connect(sandbox, retry=SLOW, routes="project", enforce_scopes=False) as environments:
        sandbox.fault("drop_after_effect", "update")

        def stop(event: Event) -> None:
            if isinstance(event, RetryScheduled):
                run.stop()

        run = environments.with_options(hooks=[stop]).each(sandbox.environment_ids, concurrency=1).update(BERLIN)
        assert [(one.status, one.attempts) for one in await run] == [("succeeded", 2), ("skipped", 0), ("skipped", 0)]


async def test_a_verification_follows_its_change_after_the_stop(tmp_path: Path) -> None:
    limiter = RateLimiter((RateLimit(2, 0.5),))
    async with Sandbox(4) as sandbox, connect(sandbox, enforce_scopes=False, routes="project") as unlimited:
        plan = await unlimited.plan(BERLIN, sandbox.environment_ids)
        async with connect(sandbox, limiter=limiter, routes="project", enforce_scopes=False) as environments:
            run = environments.apply(plan, verify=True, concurrency=4)
            report = await stopped(run, lambda: calls(sandbox)["update"] == 2)
            assert calls(sandbox) == {"retrieve": 4 + 2, "update": 2}
            assert report.counts["succeeded"] == report.counts["skipped"] == 2


async def test_a_call_that_the_server_has_refused_is_not_sent_again(tmp_path: Path) -> None:
    async with (
        Sandbox(4, throttle=Throttle(minute=(1, 600.0))) as sandbox,
        connect(sandbox, limiter=None, retry=PATIENT, routes="project", enforce_scopes=False) as environments,
    ):
        run = environments.each(sandbox.environment_ids, concurrency=2).update(BERLIN)
        report = await stopped(run, lambda: sandbox.refusals >= 1)
        assert report.counts["succeeded"] == 1
        assert [one.reason for one in report.skipped] == ["stopped"] * 3
        assert sandbox.refusals == sum(one.attempts for one in report.skipped)


async def test_the_journal_of_a_write_that_was_refused_and_stopped_holds_no_doubt(tmp_path: Path) -> None:
    journal = tmp_path / "run.db"
    async with Sandbox(2) as sandbox, connect(sandbox, retry=PATIENT, routes="project", enforce_scopes=False) as environments:
        sandbox.answer_next("update", 429, THROTTLED, headers={"Retry-After": "600"}, times=2)
        events = list[Event]()
        run = environments.with_options(hooks=[events.append]).each([1, 2], journal=journal).update(BERLIN)
        report = await stopped(run, lambda: sum(isinstance(one, RetryScheduled) for one in events) == 2)
        assert [one.reason for one in report] == ["stopped"] * 2
        held = await Journal(journal).items()
        assert [(item.state, item.asked, item.in_doubt) for item in held] == [("skipped", None, False)] * 2
        # The refusal holds for the key, so another one goes on.
        async with connect(sandbox, routes="project") as environments:
            again = await environments.each([1, 2], journal=journal, adopt=True).update(BERLIN)
        assert again.counts["succeeded"] == 2


async def test_a_call_that_never_reached_the_server_is_not_sent_again() -> None:
    events = list[Event]()
    options: dict[str, Any] = {"retry": PATIENT, "routes": "project", "enforce_scopes": False, "hooks": [events.append]}
    async with Sandbox(2) as sandbox, connect(sandbox, **options) as environments, sandbox.refusing_connections():
        run = environments.each([1, 2], concurrency=1).update(BERLIN)
        report = await stopped(run, lambda: any(isinstance(one, RetryScheduled) for one in events))
        assert [one.reason for one in report] == ["stopped"] * 2


async def test_failures_that_stop_a_run_end_what_waits() -> None:
    async with (
        Sandbox(40) as sandbox,
        connect(sandbox, limiter=limited(5), routes="project", enforce_scopes=False) as environments,
    ):
        sandbox.answer_next("update", 400, {"type": "validation_error", "code": "x", "detail": "no", "attr": None})
        with anyio.fail_after(5):
            report = await environments.each(sandbox.environment_ids, stop_after_failures=1).update(BERLIN)
        assert calls(sandbox) == {"update": 5}
        assert report.counts == {"succeeded": 4, "unchanged": 0, "failed": 1, "unknown": 0, "skipped": 35}
        assert report.stopped_by is report.failed[0].error


async def test_an_undo_is_stopped_likewise(tmp_path: Path) -> None:
    journal = tmp_path / "run.db"
    async with Sandbox(10) as sandbox, connect(sandbox, routes="project") as unlimited:
        await unlimited.each(sandbox.environment_ids, journal=journal).update(BERLIN)
        sandbox.calls.clear()
        async with connect(sandbox, limiter=limited(7), routes="project", enforce_scopes=False) as environments:
            report = await stopped(environments.undo(journal, adopt=True), lambda: len(sandbox.calls) == 7)
        assert len(sandbox.calls) == 7
        assert calls(sandbox)["update"] == len(report.succeeded)
        assert {one.reason for one in report.skipped} == {"stopped"}
        assert len(await left_to_undo(journal)) == 10 - len(report.succeeded)


async def left_to_undo(journal: Path) -> list[int]:
    return [item.environment for item in await Journal(journal).items() if item.state == "succeeded"]


async def test_a_run_that_is_cancelled_while_it_is_stopped_ends_with_the_cancellation() -> None:
    async with (
        Sandbox(4) as sandbox,
        connect(sandbox, limiter=limited(1), routes="project", enforce_scopes=False) as environments,
    ):
        run = environments.each(sandbox.environment_ids).update(BERLIN)

        async def work() -> object:
            return await run

        task = asyncio.create_task(work())
        while calls(sandbox)["update"] < 1:
            await anyio.sleep(0.01)
        await anyio.sleep(0.05)
        run.stop()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_stop_before_the_start_sends_nothing() -> None:
    async with Sandbox(3) as sandbox, connect(sandbox) as environments:
        run = environments.each([1, 2, 3]).update(BERLIN)
        run.stop()
        assert [one.reason for one in await run] == ["stopped"] * 3
        assert not sandbox.calls
