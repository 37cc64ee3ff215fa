"""Rotation as a whole: hand each new secret over, once it is certain, and drop the backups later."""

import json
import stat
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from aioposthog_env import (
    AsyncEnvironments,
    ConfigurationError,
    Environment,
    Journal,
    Sandbox,
    ScopeError,
    Secret,
    SinkError,
    StateChangedError,
)
from aioposthog_env.bulk.rotation import backup_age
from aioposthog_env.policy.retry_after import http_date
from tests.conftest import QUICK, connect, logged_in

LOOKING = attrs.evolve(QUICK, read_back=True, settle=0.1, settle_after_500=0.1)


@asynccontextmanager
async def scene(number: int = 3, **options: Any) -> AsyncGenerator[tuple[Sandbox, AsyncEnvironments], None]:
    async with Sandbox(number) as sandbox, logged_in(sandbox, routes="project", retry=LOOKING, **options) as environments:
        yield sandbox, environments


def secret_of(environment: Environment) -> str:
    assert isinstance(environment.secret_api_token, Secret)
    return environment.secret_api_token.reveal()


def calls(sandbox: Sandbox) -> Counter[str | None]:
    return Counter(call.endpoint for call in sandbox.calls)


def lines(path: Path) -> dict[int, str]:
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return {line["environment"]: line["secret_api_token"] for line in found}


# The sink


async def test_a_callable_gets_each_new_secret_one_at_a_time(tmp_path: Path) -> None:
    taken: dict[int, str] = {}
    inside = 0

    async def take(environment: Environment) -> None:
        nonlocal inside
        inside += 1
        assert inside == 1
        await anyio.sleep(0.001)
        inside -= 1
        taken[environment.id] = secret_of(environment)

    async with scene(10) as (sandbox, environments):
        report = await environments.each(sandbox.environment_ids, journal=tmp_path / "run.db").rotate_secret_token(sink=take)
        report.raise_for_failures()
        assert taken == {id: sandbox.environment(id).secret_api_token for id in sandbox.environment_ids}
        assert calls(sandbox) == {"retrieve": 10, "rotate_secret_token": 10}


async def test_a_plain_function_does_not_block_the_loop() -> None:
    async with scene(1) as (_, environments):
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await anyio.sleep(0.005)
                ticks += 1

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(tick)
            await environments.each([1]).rotate_secret_token(sink=lambda environment: time.sleep(0.2))
            tasks.cancel_scope.cancel()
        assert ticks > 10


async def test_a_file_of_json_lines_that_only_its_owner_can_read(tmp_path: Path) -> None:
    path = tmp_path / "secrets.jsonl"
    async with scene() as (sandbox, environments):
        await environments.each([1, 2]).rotate_secret_token(sink=path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        path.write_bytes(path.read_bytes() + b'{"environment": 3, "secret_api_tok')  # torn by a crash
        await environments.each([3]).rotate_secret_token(sink=str(path))
        found = path.read_text().splitlines()
        assert [json.loads(line)["environment"] for line in (found[0], found[1], found[3])] == [1, 2, 3]
        assert json.loads(found[3])["secret_api_token"] == sandbox.environment(3).secret_api_token


async def test_a_sink_that_cannot_be_used_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    async with scene() as (sandbox, environments):
        (tmp_path / "open.jsonl").write_text("")
        (tmp_path / "open.jsonl").chmod(0o644)
        (tmp_path / "link.jsonl").symlink_to(tmp_path / "target")
        for sink, words in (
            (tmp_path / "open.jsonl", "mode 0600"),
            (tmp_path / "no" / "x.jsonl", "No such file"),
            (tmp_path / "link.jsonl", "cannot be opened"),
        ):
            with pytest.raises(ConfigurationError, match=words):
                await environments.each([1]).rotate_secret_token(sink=sink)
        with pytest.raises(ConfigurationError, match="takes a callable"):
            environments.each([1]).rotate_secret_token(sink=5)  # type: ignore[arg-type]
        assert not sandbox.calls


async def test_a_failing_sink_stops_the_run_and_nothing_is_lost_or_rotated_again(tmp_path: Path) -> None:
    journal, taken = tmp_path / "run.db", dict[int, str]()

    def take(environment: Environment) -> None:
        if environment.id == 2 and not taken.get(2):
            taken[2] = "tried"
            raise RuntimeError(f"the vault does not take {secret_of(environment)}")
        taken[environment.id] = secret_of(environment)

    async with scene(4) as (sandbox, environments):
        run = environments.each([1, 2, 3, 4], journal=journal, concurrency=1).rotate_secret_token(sink=take)
        report = await run
        assert [(one.ref.id, one.status) for one in report] == [(1, "succeeded"), (2, "failed"), (3, "skipped"), (4, "skipped")]
        (failed,) = report.failed
        assert isinstance(failed.error, SinkError)
        assert "RuntimeError" in str(failed.error)
        assert not any(secret in str(failed.error) for secret in sandbox.secrets)
        assert [ref.id for ref in report.remaining()] == [3, 4]
        assert [item.state for item in await Journal(journal).items()] == ["succeeded", "unfinished"]
        (await environments.each([1, 2, 3, 4], journal=journal).rotate_secret_token(sink=take)).raise_for_failures()
        assert taken == {id: sandbox.environment(id).secret_api_token for id in (1, 2, 3, 4)}
        assert all(sandbox.effects["rotate_secret_token", id] == 1 for id in (1, 2, 3, 4))


@pytest.mark.parametrize("error", [StopIteration, StopAsyncIteration, KeyError])
async def test_a_plain_function_may_fail_with_any_error(error: type[Exception]) -> None:
    def take(environment: Environment) -> None:
        raise error(environment.id)

    async with scene(1) as (_, environments):
        with anyio.fail_after(5):
            report = await environments.each([1]).rotate_secret_token(sink=take)
        (failed,) = report.failed
        assert isinstance(failed.error, SinkError)


async def test_a_lost_answer_is_read_back_and_handed_over(tmp_path: Path) -> None:
    async with scene() as (sandbox, environments):
        sandbox.fault("drop_after_effect", "rotate_secret_token", times=3)
        path = tmp_path / "secrets.jsonl"
        (await environments.each([1, 2, 3]).rotate_secret_token(sink=path)).raise_for_failures()
        assert lines(path) == {id: sandbox.environment(id).secret_api_token for id in (1, 2, 3)}


async def test_verify_reads_each_again_and_finds_another_rotation(tmp_path: Path) -> None:
    taken: list[int] = []
    async with scene() as (sandbox, environments):
        each = environments.each([1, 2], concurrency=1)
        run = each.rotate_secret_token(sink=lambda one: taken.append(one.id), verify=True)
        report = await run
        assert [one.attempts for one in report] == [3, 3]
        stale = (await environments.retrieve(3)).secret_api_token
        assert isinstance(stale, Secret)
        sandbox.answer_next(
            "rotate_secret_token",
            200,
            {"id": 3, "name": "x", "secret_api_token": "phs_" + "x" * 30, "secret_api_token_backup": stale.reveal()},
        )
        (failed,) = (
            await environments.each([3]).rotate_secret_token(sink=lambda one: taken.append(one.id), verify=True)
        ).failed
        assert isinstance(failed.error, StateChangedError)
        assert failed.error.action_done
        assert taken == [1, 2]


async def test_expected_digests_work_with_a_sink_and_a_journal(tmp_path: Path) -> None:
    async with scene() as (sandbox, environments):
        report = await environments.each([1, 2, 3]).retrieve()
        expected = {one.ref.id: Secret(secret_of(one.value)).digest() for one in report.succeeded if one.value is not None}
        path = tmp_path / "secrets.jsonl"
        for journal in ("a.db", "b.db"):  # as when the first journal is lost
            each = environments.each([1, 2, 3], journal=tmp_path / journal)
            (await each.rotate_secret_token(expected=expected, sink=path)).raise_for_failures()
        assert all(sandbox.effects["rotate_secret_token", id] == 1 for id in (1, 2, 3))
        assert lines(path) == {id: sandbox.environment(id).secret_api_token for id in (1, 2, 3)}


@pytest.mark.parametrize("era", ["2024-10", "2025-11", "current"])
async def test_keys_are_refused_up_front(era: Any) -> None:
    async with Sandbox(2, era=era) as sandbox, connect(sandbox) as environments:
        each = environments.each([1, 2])
        for refused in (each.rotate_secret_token, each.reset_token, each.delete_secret_token_backup):
            with pytest.raises(ScopeError, match="a session"):
                refused()
        with pytest.raises(ScopeError, match="a session"):
            each.delete_secret_token_backup(min_age=1)
        assert not sandbox.calls


# Dropping the backups


async def test_young_backups_are_kept(tmp_path: Path) -> None:
    async with scene() as (sandbox, environments):
        await environments.each([1, 2]).rotate_secret_token()
        old = datetime.now(UTC) - timedelta(days=2)
        sandbox.environment(2).updated_at = old
        sandbox.environment(3).secret_api_token_backup = None
        sandbox.calls.clear()
        report = await environments.each([1, 2, 3]).delete_secret_token_backup(min_age=timedelta(days=1))
        assert {one.ref.id: (one.status, one.reason) for one in report} == {
            1: ("skipped", "too young"),
            2: ("succeeded", None),
            3: ("unchanged", "already done"),
        }
        assert isinstance(report.skipped[0].error, StateChangedError)
        assert "86400 s are asked for" in str(report.skipped[0].error)
        assert calls(sandbox) == {"retrieve": 3, "delete_secret_token_backup": 1}
        assert sandbox.environment(1).secret_api_token_backup is not None
        assert sandbox.environment(2).secret_api_token_backup is None


async def test_the_journal_of_the_rotation_tells_the_age(tmp_path: Path) -> None:
    journal = tmp_path / "run.db"
    async with scene() as (_, environments):
        await environments.each([1, 2], journal=journal).rotate_secret_token()
        await anyio.sleep(0.3)
        await environments.update(1, (await environments.retrieve(1)).settings.__class__(timezone="Asia/Tokyo"))
        await environments.rotate_secret_token(2)  # not by the journal
        each = environments.each([1, 2], journal=journal, run="backups")
        report = await each.delete_secret_token_backup(min_age=0.25)
        assert {one.ref.id: one.status for one in report} == {1: "succeeded", 2: "skipped"}


def test_what_nothing_tells_is_not_guessed() -> None:
    environment = Environment(id=1, name="x", secret_api_token=Secret("phs_new"), secret_api_token_backup=Secret("phs_old"))
    assert backup_age(environment, {}, 1000.0, None) is None
    assert backup_age(environment, {1: (900.0, Secret("phs_new").digest())}, 1000.0, None) == 100.0
    assert backup_age(environment, {1: (900.0, Secret("phs_other").digest())}, 1000.0, None) is None
    at = datetime(2026, 1, 1, tzinfo=UTC)
    dated = attrs.evolve(environment, updated_at=at)
    now = at.timestamp()
    assert backup_age(dated, {}, now, None) is None  # by whose clock?
    assert backup_age(dated, {}, now, at + timedelta(seconds=50)) == 50.0
    rotated = {1: (now - 100.0, Secret("phs_new").digest())}
    assert backup_age(dated, rotated, now, at) == 100.0  # it was updated since
    assert backup_age(dated, rotated, now, at + timedelta(hours=23)) == 100.0


@pytest.mark.parametrize("days", [-700_000, -2, 2, 12_000])
def test_a_clock_that_is_far_from_the_other_makes_no_backup_older(days: int) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    environment = Environment(
        id=1,
        name="x",
        secret_api_token=Secret("phs_new"),
        secret_api_token_backup=Secret("phs_old"),
        updated_at=at - timedelta(days=30),
    )
    rotated = {1: (at.timestamp() - 100.0, Secret("phs_new").digest())}
    for now, server_now in ((at, at + timedelta(days=days)), (at + timedelta(days=days), at)):
        assert backup_age(environment, {}, now.timestamp(), server_now) is None
        age = backup_age(environment, rotated, now.timestamp(), server_now)
        assert age is not None
        assert age <= 100.0


@pytest.mark.parametrize("with_journal", [True, False])
@pytest.mark.parametrize("date", ["Fri, 31 Dec 2060 23:59:59 GMT", "Thu, 01 Jan 1970 00:00:00 GMT"])
async def test_an_absurd_clock_of_the_server_deletes_no_young_backup(date: str, with_journal: bool, tmp_path: Path) -> None:
    journal = tmp_path / "run.db"
    async with scene(1) as (sandbox, environments):
        await environments.each([1], journal=journal).rotate_secret_token()
        stored = sandbox.environment(1)
        body = {
            "id": 1,
            "name": "x",
            "secret_api_token": stored.secret_api_token,
            "secret_api_token_backup": stored.secret_api_token_backup,
            "updated_at": datetime.now(UTC).isoformat(),
        }
        sandbox.answer_next("retrieve", 200, body, headers={"Date": date})
        options: Any = {"journal": journal, "run": "backups"} if with_journal else {}
        report = await environments.each([1], **options).delete_secret_token_backup(min_age=3600)
        assert [one.reason for one in report] == ["too young"]
        assert stored.secret_api_token_backup is not None


@pytest.mark.parametrize(
    ("header", "at"),
    [
        ("Thu, 01 Jan 2026 00:00:00 GMT", datetime(2026, 1, 1, tzinfo=UTC)),
        ("Thu, 01 Jan 2026 00:00:00 -0000", datetime(2026, 1, 1, tzinfo=UTC)),
        ("yesterday", None),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None),
        ("", None),
        (None, None),
    ],
)
def test_the_clock_of_the_server(header: str | None, at: datetime | None) -> None:
    assert http_date(header) == at


async def test_an_age_that_cannot_be_told_is_too_young() -> None:
    async with scene() as (sandbox, environments):
        body = {"id": 1, "name": "x", "secret_api_token": "phs_a", "secret_api_token_backup": "phs_b"}
        sandbox.answer_next("retrieve", 200, body)
        (skipped,) = (await environments.each([1]).delete_secret_token_backup(min_age=1)).skipped
        assert "nothing tells how old it is" in str(skipped.error)


@pytest.mark.parametrize("age", [float("nan"), float("inf"), -1, True, "60", timedelta(seconds=-1)])
async def test_an_age_that_is_none_is_refused_before_anything_is_sent(age: Any) -> None:
    async with scene(1) as (sandbox, environments):
        with pytest.raises(ConfigurationError, match="min_age takes seconds from 0"):
            environments.each([1]).delete_secret_token_backup(min_age=age)
        assert not sandbox.calls


@pytest.mark.parametrize("age", [0, 0.0, timedelta(0)])
async def test_an_age_of_0_just_deletes(age: Any) -> None:
    async with scene(1) as (sandbox, environments):
        await environments.rotate_secret_token(1)
        sandbox.calls.clear()
        (await environments.each([1]).delete_secret_token_backup(min_age=age)).raise_for_failures()
        assert calls(sandbox) == {"delete_secret_token_backup": 1}
        assert sandbox.environment(1).secret_api_token_backup is None


async def test_the_backup_of_a_rotation_that_is_on_its_way_is_not_taken_for_the_old_one() -> None:
    async with scene(1) as (sandbox, environments):
        await environments.rotate_secret_token(1)
        stored = sandbox.environment(1)
        stored.updated_at = datetime.now(UTC) - timedelta(days=1)
        in_use = stored.secret_api_token
        sandbox.fault("delay_before_effect", "rotate_secret_token", before=0.4)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(environments.rotate_secret_token, 1)
            await anyio.sleep(0.1)
            report = await environments.each([1]).delete_secret_token_backup(min_age=3600)
        assert [one.reason for one in report] == ["too young"]
        assert stored.secret_api_token_backup == in_use
