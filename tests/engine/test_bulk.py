"""Many environments at once: one outcome each, whatever happens."""

import asyncio
import pickle
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import pytest

from aioposthog_env import (
    AuthenticationError,
    BulkError,
    BulkReport,
    ConfigurationError,
    EnvironmentRef,
    NotFoundError,
    NotSentError,
    Outcome,
    OutcomeUnknownError,
    PersonalAPIKey,
    RateLimit,
    RateLimiter,
    Sandbox,
    SettingsNotAppliedError,
    TeamSettings,
    TransportError,
)
from aioposthog_env.bulk.run import BulkRun
from aioposthog_env.session import Result
from tests.conftest import connect, logged_in

ANONYMOUS = TeamSettings(anonymize_ips=True)


async def double(ref: EnvironmentRef) -> Result[int]:
    await asyncio.sleep(0)
    return Result(ref.id * 2, 1, 0.0)


def run_of(refs: Any, work: Any = double, *, concurrency: int = 4, stop_after_failures: int | None = None) -> BulkRun[Any]:
    return BulkRun(refs, work, concurrency=concurrency, stop_after_failures=stop_after_failures)


async def test_every_environment_has_one_outcome() -> None:
    report = await run_of(range(1, 101))
    assert {outcome.ref.id: outcome.value for outcome in report} == {number: number * 2 for number in range(1, 101)}
    assert report.counts == {"succeeded": 100, "unchanged": 0, "failed": 0, "unknown": 0, "skipped": 0}
    report.raise_for_failures()


async def test_ten_thousand_with_duplicates_run_once_each() -> None:
    seen: list[int] = []

    async def work(ref: EnvironmentRef) -> Result[None]:
        seen.append(ref.id)
        return Result(None, 1, 0.0)

    report = await run_of([number % 4_000 + 1 for number in range(10_000)], work, concurrency=32)
    assert sorted(seen) == list(range(1, 4_001))
    assert len(report) == 4_000


async def test_an_asynchronous_source_is_drawn_from_as_it_comes() -> None:
    async def refs() -> AsyncIterator[int]:
        for number in (3, 1, 3, 2):
            await asyncio.sleep(0)
            yield number

    assert sorted(outcome.ref.id for outcome in await run_of(refs())) == [1, 2, 3]


async def test_an_endless_source_is_not_read_ahead_of_a_slow_consumer() -> None:
    drawn = 0

    def refs() -> Iterator[int]:
        nonlocal drawn
        while True:
            drawn += 1
            yield drawn

    async with run_of(refs(), concurrency=8) as outcomes:
        async for _ in outcomes:
            await asyncio.sleep(0.01)
            break
    assert drawn <= 100


@pytest.mark.parametrize(("keep", "kept", "values"), [("values", 10, 8), ("outcomes", 10, 0), ("counts", 3, 0)])
async def test_a_report_holds_what_was_asked_for_and_always_what_is_not_done(keep: Any, kept: int, values: int) -> None:
    async def work(ref: EnvironmentRef) -> Result[str]:
        if ref.id > 8:
            raise NotFoundError("gone", status=404, type="", code="", detail="", attr=None)
        if ref.id == 8:
            return Result("read", 1, 0.0, not_applied=("timezone",))
        return Result("read", 1, 0.0)

    report = await BulkRun(range(1, 11), work, concurrency=2, stop_after_failures=None, keep=keep)
    assert (len(report.outcomes), sum(one.value is not None for one in report)) == (kept, values)
    assert (len(report), report.counts["succeeded"], report.counts["failed"]) == (10, 8, 2)
    assert [one.not_applied for one in report if one.not_applied] == [("timezone",)]
    assert report.remaining() == [EnvironmentRef(9), EnvironmentRef(10)]
    assert "10 environments" in str(report)
    with pytest.raises(BulkError, match="2 of 10"):
        report.raise_for_failures()


async def test_keep_is_taken_by_each_apply_and_undo(tmp_path: Any) -> None:
    async with Sandbox(3) as sandbox, connect(sandbox) as environments:
        plan = await environments.plan(TeamSettings(timezone="Europe/Berlin"), [1, 2, 3])
        applied = await environments.apply(plan, journal=tmp_path / "run.db", keep="counts")
        undone = await environments.undo(tmp_path / "run.db", keep="counts")
        read = await environments.each([1, 2, 3], keep="outcomes").retrieve()
        assert [(len(one.outcomes), one.counts["succeeded"]) for one in (applied, undone, read)] == [(0, 3), (0, 3), (3, 3)]
        with pytest.raises(ConfigurationError, match="keep takes"):
            environments.each([1], keep="nothing")  # type: ignore[arg-type]


async def test_no_more_than_concurrency_at_a_time() -> None:
    now, most = 0, 0

    async def work(ref: EnvironmentRef) -> Result[None]:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.001)
        now -= 1
        return Result(None, 1, 0.0)

    await run_of(range(1, 50), work, concurrency=5)
    assert most == 5


async def test_outcomes_come_as_they_are_completed() -> None:
    async def work(ref: EnvironmentRef) -> Result[None]:
        await asyncio.sleep(0.02 if ref.id == 1 else 0)
        return Result(None, 1, 0.0)

    async with run_of([1, 2, 3], work) as outcomes:
        order = [outcome.ref.id async for outcome in outcomes]
    assert order == [2, 3, 1]


async def test_an_empty_selection_is_an_empty_report() -> None:
    report = await run_of([])
    assert len(report) == 0
    assert str(report).endswith("nothing to do")
    report.raise_for_failures()
    async with run_of([]) as outcomes:
        assert [outcome async for outcome in outcomes] == []


async def test_an_error_of_one_is_its_outcome_and_disturbs_no_other() -> None:
    async def work(ref: EnvironmentRef) -> Result[None]:
        if ref.id == 2:
            raise NotFoundError("gone", status=404)
        if ref.id == 3:
            raise OutcomeUnknownError("who knows")
        return Result(None, 1, 0.0)

    report = await run_of([1, 2, 3, 4], work)
    assert report.counts == {"succeeded": 2, "unchanged": 0, "failed": 1, "unknown": 1, "skipped": 0}
    assert isinstance(report.failed[0].error, NotFoundError)
    assert report.remaining() == [EnvironmentRef(2)]
    with pytest.raises(BulkError, match="2 of 4 environments are not done") as caught:
        report.raise_for_failures()
    assert caught.value.report is report


async def test_a_refused_credential_stops_the_rest_which_is_skipped_with_the_reason() -> None:
    async def work(ref: EnvironmentRef) -> Result[None]:
        raise AuthenticationError("revoked", status=401)

    report = await run_of(range(1, 101), work, concurrency=1)
    assert report.counts["failed"] == 1
    assert report.counts["skipped"] == 99
    assert {outcome.reason for outcome in report.skipped} == {"stopped"}
    assert report.stopped_by is report.failed[0].error
    assert len(report.remaining()) == 100


async def test_a_run_stops_after_so_many_failures() -> None:
    async def work(ref: EnvironmentRef) -> Result[None]:
        raise TransportError("lost")

    report = await run_of(range(1, 101), work, concurrency=1, stop_after_failures=3)
    assert (report.counts["failed"], report.counts["skipped"]) == (3, 97)


async def test_a_stopped_run_finishes_what_is_in_flight_and_skips_the_rest() -> None:
    started: list[int] = []

    async def work(ref: EnvironmentRef) -> Result[int]:
        started.append(ref.id)
        await asyncio.sleep(1)
        return Result(ref.id, 1, 0.0)

    run = run_of(range(1, 11), work, concurrency=3)
    asyncio.get_running_loop().call_later(1.5, run.stop)
    report = await run
    assert sorted(started) == [1, 2, 3, 4, 5, 6]
    assert report.counts == {"succeeded": 6, "unchanged": 0, "failed": 0, "unknown": 0, "skipped": 4}
    assert {one.reason for one in report.skipped} == {"stopped"}
    assert "Nothing was sent" in str(report.stopped_by)


async def test_leaving_early_cancels_the_workers() -> None:
    cancelled: list[int] = []

    async def work(ref: EnvironmentRef) -> Result[None]:
        if ref.id == 1:
            return Result(None, 1, 0.0)
        try:
            await asyncio.sleep(3_600)
        except asyncio.CancelledError:
            cancelled.append(ref.id)
            raise
        raise AssertionError

    before = len(asyncio.all_tasks())
    run = run_of([1, 2, 3, 4], work)
    async with run as outcomes:
        async for outcome in outcomes:
            assert outcome.ref.id == 1
            break
    assert sorted(cancelled) == [2, 3, 4]
    assert len(asyncio.all_tasks()) == before


async def test_cancelling_an_awaited_run_cancels_its_workers() -> None:
    async def work(ref: EnvironmentRef) -> Result[None]:
        await asyncio.sleep(3_600)
        raise AssertionError

    before = len(asyncio.all_tasks())
    with anyio.move_on_after(0.01) as scope:
        await run_of([1, 2], work)
    assert scope.cancelled_caught
    assert len(asyncio.all_tasks()) == before


async def consume(run: BulkRun[Any], error: Exception | None = None) -> None:
    """Go through a run, and break in the middle of it with an error."""
    async with run as outcomes:
        async for _ in outcomes:
            if error is not None:
                raise error


async def test_an_error_in_the_body_comes_out_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        await consume(run_of([1, 2, 3]), ZeroDivisionError())


async def test_an_error_that_is_not_ours_ends_the_run_as_it_is() -> None:
    async def work(ref: EnvironmentRef) -> Result[None]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await run_of([1], work)
    with pytest.raises(ZeroDivisionError):
        await consume(run_of([1], work))


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_a_cancellation_that_nobody_asked_for_ends_the_run_like_any_error_that_is_not_ours(concurrency: int) -> None:
    def zone(ref: EnvironmentRef) -> TeamSettings:
        if ref.id == 2:
            raise asyncio.CancelledError
        return TeamSettings(timezone="Asia/Tokyo")

    async with Sandbox(3) as sandbox, connect(sandbox) as environments:
        with pytest.raises(RuntimeError, match="the run was not") as caught:
            await environments.each([1, 2, 3], concurrency=concurrency).update(zone)
        assert isinstance(caught.value.__cause__, asyncio.CancelledError)
        with pytest.raises(RuntimeError, match="the run was not"):
            await consume(environments.each([1, 2, 3], concurrency=concurrency).update(zone))


def broken() -> Iterator[int]:
    yield 1
    raise LookupError("the source broke")


async def test_a_source_that_breaks_ends_the_run() -> None:
    with pytest.raises(LookupError):
        await run_of(broken(), concurrency=1)


async def test_a_bad_reference_in_a_lazy_source_ends_the_run() -> None:
    with pytest.raises(ConfigurationError, match="@current") as caught:
        await run_of(iter([1, "@current"]), concurrency=1)
    assert caught.value.__notes__ == ["The source of the environments failed. What was tried until then: 1 succeeded."]
    with pytest.raises(ConfigurationError) as caught:
        await run_of(iter(["@current", 1]))
    assert caught.value.__notes__ == ["The source of the environments failed. What was tried until then: none."]


async def breaks_late() -> AsyncIterator[int]:
    for id in range(1, 101):
        yield id
    await asyncio.sleep(0.01)
    raise LookupError("the source broke")


async def breaks_on_a_bad_reference() -> AsyncIterator[Any]:
    for id in range(1, 101):
        yield id
    await asyncio.sleep(0.01)
    yield -1


async def awaits_what_somebody_has_cancelled() -> AsyncIterator[int]:
    async for id in breaks_late():
        yield id
        if id == 100:
            task = asyncio.ensure_future(asyncio.sleep(3_600))
            task.cancel()
            await task


@pytest.mark.parametrize(
    ("source", "raises"),
    [
        (breaks_late, LookupError),
        (breaks_on_a_bad_reference, ConfigurationError),
        (awaits_what_somebody_has_cancelled, RuntimeError),
    ],
)
async def test_what_is_in_flight_when_the_source_breaks_is_finished_and_told_before_it_is_raised(
    source: Any, raises: type[Exception]
) -> None:
    finished: list[int] = []

    async def work(ref: EnvironmentRef) -> Result[None]:
        await asyncio.sleep(0.03)
        finished.append(ref.id)
        return Result(None, 1, 0.0)

    with pytest.raises(raises) as caught:
        await run_of(source(), work, concurrency=100)
    assert len(finished) == 100
    assert caught.value.__notes__ == ["The source of the environments failed. What was tried until then: 100 succeeded."]

    finished.clear()
    seen: list[int] = []

    async def look() -> None:
        async with run_of(source(), work, concurrency=100) as outcomes:
            async for outcome in outcomes:
                seen.append(outcome.ref.id)
                if len(seen) == 1:
                    await asyncio.sleep(0.1)  # by now it has broken, and the outbox is full

    with pytest.raises(raises):
        await look()
    assert sorted(seen) == sorted(finished) == list(range(1, 101))


async def test_an_error_of_the_source_is_raised_once_and_not_lost_on_who_leaves_early() -> None:
    async with run_of(broken()) as outcomes:
        with pytest.raises(LookupError):
            assert [outcome.ref.id async for outcome in outcomes]
        with pytest.raises(StopAsyncIteration):
            await anext(outcomes)

    async def look_at_one() -> None:
        async with run_of(broken()) as outcomes:
            await anext(outcomes)
            await asyncio.sleep(0.01)

    with pytest.raises(LookupError):
        await look_at_one()


async def test_a_slow_consumer_holds_the_workers_back_and_gets_everything() -> None:
    done = 0

    async def work(ref: EnvironmentRef) -> Result[None]:
        nonlocal done
        done += 1
        return Result(None, 1, 0.0)

    seen = 0
    async with run_of(range(1, 301), work, concurrency=8) as outcomes:
        async for _ in outcomes:
            seen += 1
            if seen == 1:
                await asyncio.sleep(0.01)
                assert done < 100
    assert seen == done == 300


async def test_several_errors_that_are_not_ours_come_as_a_group() -> None:
    async def work(ref: EnvironmentRef) -> Result[None]:
        await asyncio.sleep(0)
        raise ZeroDivisionError

    with pytest.raises(BaseExceptionGroup) as caught:
        await run_of([1, 2], work)
    assert len(caught.value.exceptions) == 2


async def test_a_run_that_was_not_entered_is_left_without_a_word() -> None:
    assert await run_of([1]).__aexit__(None, None, None) is None


async def test_a_run_runs_once_and_is_iterated_inside_only() -> None:
    run = run_of([1])
    await run
    with pytest.raises(ConfigurationError, match="runs once"):
        await run
    with pytest.raises(ConfigurationError, match="Enter the run first"):
        await anext(run_of([1]))


async def test_what_is_no_collection_is_refused_before_anything_is_sent() -> None:
    async with Sandbox(3) as sandbox, connect(sandbox) as environments:
        for bad in (42, "42", b"42", EnvironmentRef(42), None):
            with pytest.raises(ConfigurationError, match="collection of environments"):
                environments.each(bad)  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match=r"Item 1 of the environments"):
            environments.each([1, "x"])  # type: ignore[list-item]
        for options in ({"concurrency": 0}, {"concurrency": True}, {"stop_after_failures": 0}):
            with pytest.raises(ConfigurationError, match="above 0"):
                environments.each([1], **options)
        assert sandbox.calls == []


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("retrieve", ()),
        ("update", (ANONYMOUS,)),
        ("update", (lambda ref: TeamSettings(name=f"number {ref.id}"),)),
        ("delete", ()),
        ("activity", ()),
        ("add_product_intent", ("surveys",)),
        ("complete_product_onboarding", ("surveys",)),
        ("event_ingestion_restrictions", ()),
        ("is_generating_demo_data", ()),
        ("reset_token", ()),
        ("rotate_secret_token", ()),
        ("delete_secret_token_backup", ()),
    ],
)
@pytest.mark.parametrize("era", ["2025-11", "current"])
async def test_every_endpoint_in_bulk(era: Any, method: str, arguments: tuple[Any, ...]) -> None:
    async with Sandbox(6, era=era) as sandbox, logged_in(sandbox) as environments:
        able = [
            one
            for one in sandbox.environment_ids
            if sandbox.environment(one).secret_api_token or method != "rotate_secret_token"
        ]
        report = await getattr(environments.each(able), method)(*arguments)
    assert report.counts["succeeded"] == len(able)


async def test_a_function_that_gives_bad_settings_spoils_one_environment_only() -> None:
    async with Sandbox(3) as sandbox, connect(sandbox) as environments:
        report = await environments.each([1, 2, 3]).update(lambda ref: TeamSettings(week_start_day=7 if ref.id == 2 else 1))
    assert [outcome.ref.id for outcome in report.failed] == [2]
    assert len(report.succeeded) == 2


async def test_an_action_whose_settings_were_ignored_has_happened() -> None:
    async with Sandbox(3) as sandbox, logged_in(sandbox) as environments:
        sandbox.environment(1).settings["anonymize_ips"] = False
        report = await environments.each([1]).reset_token(settings=ANONYMOUS)
        updated = await environments.each([2]).update(TeamSettings(slack_incoming_webhook="https://hooks.example/x"))
    (outcome,) = report.succeeded
    assert outcome.not_applied == ("anonymize_ips",)
    assert outcome.value is not None
    (failed,) = updated.failed
    assert isinstance(failed.error, SettingsNotAppliedError)


async def test_a_revoked_key_ends_a_run_against_a_server() -> None:
    async with Sandbox(50) as sandbox:
        key = sandbox.key()
        async with connect(sandbox, auth=PersonalAPIKey(key, scopes=["*"])) as environments:
            sandbox.revoke(key)
            report = await environments.each(range(1, 51), concurrency=4).retrieve()
        assert isinstance(report.stopped_by, AuthenticationError)
        assert len(report.failed) <= 4
        assert len(report) == 50
        assert len(sandbox.calls) <= 4


async def test_the_activity_of_each_can_be_cut() -> None:
    async with Sandbox(2) as sandbox, logged_in(sandbox) as environments:
        for name in ("a", "b", "c"):
            await environments.update(1, TeamSettings(name=name))
        report = await environments.each([1, 2]).activity(limit=2)
    assert {outcome.ref.id: len(outcome.value or ()) for outcome in report} == {1: 2, 2: 0}


async def test_bulk_waits_for_the_limit_as_long_as_it_takes_unless_told_otherwise() -> None:
    async with Sandbox(4, throttle=False) as sandbox:
        async with connect(
            sandbox, limiter=RateLimiter((RateLimit(2, 0.3),)), routes="project", enforce_scopes=False
        ) as environments:
            assert (await environments.each([1, 2, 3, 4]).retrieve()).counts["succeeded"] == 4
        async with connect(
            sandbox, limiter=RateLimiter((RateLimit(2, 60.0),)), routes="project", enforce_scopes=False
        ) as environments:
            report = await environments.each([1, 2, 3, 4], wait_ceiling=0.1).retrieve()
            assert report.counts["failed"] == 2


def test_outcomes_and_reports_pickle_without_secrets() -> None:
    async def work() -> tuple[BulkReport[Any], frozenset[str]]:
        async with Sandbox(2) as sandbox, logged_in(sandbox) as environments:
            return await environments.each([1, 2, 99]).retrieve(), sandbox.secrets

    with asyncio.Runner() as runner:
        report, secrets = runner.run(work())
    stored = pickle.dumps(report)
    copy = pickle.loads(stored)
    assert [outcome.status for outcome in copy] == [outcome.status for outcome in report]
    shown = repr(report) + str(report)
    for secret in secrets - {outcome.value.api_token for outcome in report.succeeded if outcome.value is not None}:
        assert secret.encode() not in stored
        assert secret not in shown


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (Outcome(ref=EnvironmentRef(42), status="succeeded", value="x" * 5_000), "42: succeeded"),
        (Outcome(ref=EnvironmentRef(42), status="unchanged", reason="already done"), "42: unchanged (already done)"),
        (Outcome(ref=EnvironmentRef(42), status="failed", error=NotSentError("It never left.")), "42: failed: It never left."),
        (
            Outcome(ref=EnvironmentRef(42), status="succeeded", not_applied=("timezone", "name")),
            "42: succeeded; the server did not take timezone, name",
        ),
    ],
)
def test_an_outcome_in_few_words(outcome: Outcome[str], words: str) -> None:
    assert str(outcome) == words


def test_a_report_in_words() -> None:
    report: BulkReport[None] = BulkReport(
        (Outcome(ref=EnvironmentRef(1), status="unchanged"), Outcome(ref=EnvironmentRef(2), status="skipped")), 1.5
    )
    assert str(report) == "2 environments in 1.5 s: 1 unchanged, 1 skipped"
    assert [outcome.ref.id for outcome in report.unchanged] == [1]
    with pytest.raises(BulkError, match="1 of 2"):
        report.raise_for_failures()
