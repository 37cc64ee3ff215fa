"""Stopping a run: what waits to be sent ends, what may have taken effect is finished."""

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from aioposthog_env import (
    AsyncEnvironments,
    BulkReport,
    BulkRun,
    Journal,
    NotSentError,
    PersonalAPIKey,
    RateLimit,
    RateLimiter,
    RetryPolicy,
    Sandbox,
    TeamSettings,
)
from aioposthog_env.sandbox import Throttle
from tests.conftest import QUICK, connect, logged_in

BERLIN = TeamSettings(timezone="Europe/Berlin")
PATIENT = RetryPolicy(first_wait=30.0, longest_wait=60.0)


def calls(sandbox: Sandbox) -> Counter[str]:
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
        statistics = environments.limiter
        assert statistics is not None
        assert statistics.statistics().waiting == 0
        assert statistics.statistics().in_flight == 0


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


async def test_a_call_that_waits_for_the_record_of_the_key_or_for_the_url_style_is_not_sent() -> None:
    for options in ({"routes": "project"}, {"enforce_scopes": False}):
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
    retry = RetryPolicy(first_wait=0.001, longest_wait=0.002)
    async with Sandbox(8) as sandbox, logged_in(sandbox, limiter=limited(8), routes="root", retry=retry) as environments:
        sandbox.fault("drop_after_effect", "rotate_secret_token", times=None)
        run = environments.each(sandbox.environment_ids, journal=tmp_path / "run.db", concurrency=4).rotate_secret_token()
        # Two are read and rotated; the others wait for the limit, which also the reading back needs.
        report = await stopped_then_free(run, environments, lambda: calls(sandbox)["rotate_secret_token"] >= 1)
        rotated = calls(sandbox)["rotate_secret_token"]
        assert len(report.succeeded) == rotated
        assert {one.reason for one in report if one.status != "succeeded"} == {"stopped"}
        assert sum(sandbox.effects["rotate_secret_token", id] for id in sandbox.environment_ids) == rotated


async def stopped_then_free(run: BulkRun[Any], environments: AsyncEnvironments, when: Callable[[], bool]) -> BulkReport[Any]:
    return await stopped(run, when)
