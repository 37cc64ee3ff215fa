"""The journal: what is on the disk when something goes wrong, and what a resumed run makes of it."""

import contextlib
import gc
import os
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
import tracemalloc
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from aioposthog_env import (
    AsyncEnvironments,
    ConfigurationError,
    Environment,
    EnvironmentRef,
    Journal,
    JournalError,
    OutcomeUnknownError,
    PersonalAPIKey,
    Sandbox,
    ScopeError,
    Secret,
    TeamSettings,
)
from aioposthog_env.bulk.journal_file import open_file
from aioposthog_env.bulk.journal_items import Item
from aioposthog_env.telemetry import AttemptFinished, Event
from tests.conftest import QUICK, connect, logged_in
from tests.safety.journals import largest_file

LOOKING = attrs.evolve(QUICK, read_back=True, settle=0.1, settle_after_500=0.1)
RESENDING = attrs.evolve(LOOKING, resend_after_settle=True)
REFUSED = {"type": "authentication_error", "code": "permission_denied", "detail": "no", "attr": None}
BERLIN = TeamSettings(timezone="Europe/Berlin")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.db"


def calls(sandbox: Sandbox) -> Counter[str | None]:
    return Counter(call.endpoint for call in sandbox.calls)


@contextlib.asynccontextmanager
async def scene(number: int = 5, **options: Any) -> AsyncGenerator[tuple[Sandbox, AsyncEnvironments], None]:
    async with Sandbox(number) as sandbox, logged_in(sandbox, routes="project", **{"retry": LOOKING} | options) as client:
        yield sandbox, client


def rewrite(path: Path, statement: str) -> None:
    """Bring the file into the state in which a killed process would have left it."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute(statement)
        db.commit()


# Resuming


async def test_what_is_done_is_not_sent_again(path: Path) -> None:
    async with scene() as (sandbox, environments):
        first = await environments.each([1, 2, 3], journal=path).rotate_secret_token()
        assert len(first.succeeded) == 3
        sandbox.calls.clear()
        second = await environments.each(sandbox.environment_ids, journal=path).rotate_secret_token()
        assert {one.ref.id: (one.status, one.reason) for one in second} == {
            1: ("succeeded", "done earlier"),
            2: ("succeeded", "done earlier"),
            3: ("succeeded", "done earlier"),
            4: ("succeeded", None),
            5: ("succeeded", None),
        }
        assert calls(sandbox) == {"retrieve": 2, "rotate_secret_token": 2}
        assert all(sandbox.effects["rotate_secret_token", id] == 1 for id in sandbox.environment_ids)


async def test_an_intent_is_on_the_disk_before_the_request_leaves(path: Path) -> None:
    asking = anyio.Event()
    async with scene(hooks=[lambda event: asking.set()]) as (sandbox, environments):
        sandbox.fault("delay_before_effect", "rotate_secret_token", before=0.3)
        async with anyio.create_task_group() as tasks:

            async def rotate() -> None:
                await environments.each([1], journal=path).rotate_secret_token()

            tasks.start_soon(rotate)
            await asking.wait()
            await anyio.sleep(0.15)
            copy = path.with_name("copy.db")
            for suffix in ("", "-wal"):
                shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
            (item,) = await Journal(copy).items()
            assert (item.state, item.in_doubt, item.done) == ("intended", True, False)
            assert item.marks is not None
            assert item.marks["secret"] == Secret(sandbox.environment(1).secret_api_token or "").digest()


@pytest.mark.parametrize("state", ["intended", "unknown"])
async def test_in_doubt_and_it_happened(path: Path, state: str) -> None:
    async with scene() as (sandbox, environments):
        await environments.each([1, 2], journal=path).rotate_secret_token()
        rewrite(path, f"UPDATE items SET state = '{state}', finished = NULL, after = NULL WHERE environment = 1")
        taken: list[tuple[int, object]] = []
        again = environments.each([1, 2], journal=path).rotate_secret_token(
            sink=lambda one: taken.append((one.id, one.secret_api_token))
        )
        report = await again
        assert {(one.status, one.reason) for one in report} == {("succeeded", "done earlier")}
        assert sandbox.effects["rotate_secret_token", 1] == 1
        assert taken == [(1, Secret(sandbox.environment(1).secret_api_token or ""))]
        assert all(item.done for item in await Journal(path).items())


async def test_in_doubt_and_nothing_changed_is_unknown_unless_resending_is_allowed(path: Path) -> None:
    async with scene() as (sandbox, environments):
        sandbox.fault("drop_unread", "rotate_secret_token")
        report = await environments.each([1], journal=path).rotate_secret_token()
        assert len(report.unknown) == 1
        sandbox.calls.clear()
        (unknown,) = (await environments.each([1], journal=path).rotate_secret_token()).unknown
        assert isinstance(unknown.error, OutcomeUnknownError)
        assert "an earlier run may have sent it" in unknown.error.observations[0]
        assert calls(sandbox)["rotate_secret_token"] == 0
        (item,) = await Journal(path).items()
        assert item.in_doubt
        resending = environments.with_options(retry=RESENDING)
        assert len((await resending.each([1], journal=path).rotate_secret_token()).succeeded) == 1
        assert sandbox.effects["rotate_secret_token", 1] == 1


async def test_in_doubt_and_rotated_twice_since_is_unknown(path: Path) -> None:
    async with scene(retry=RESENDING) as (sandbox, environments):
        await environments.each([1], journal=path).rotate_secret_token()
        rewrite(path, "UPDATE items SET state = 'intended'")
        await environments.rotate_secret_token(1)
        report = await environments.each([1], journal=path).rotate_secret_token()
        assert len(report.unknown) == 1
        assert sandbox.effects["rotate_secret_token", 1] == 2


async def test_what_is_in_doubt_waits_out_the_settle_time(path: Path) -> None:
    async with scene(retry=attrs.evolve(RESENDING, settle=0.4)) as (sandbox, environments):
        sandbox.fault("drop_unread", "rotate_secret_token", times=None)
        await environments.with_options(retry=attrs.evolve(LOOKING, settle=0.01)).each([1], journal=path).rotate_secret_token()
        sandbox.clear_faults()
        began = anyio.current_time()
        await environments.each([1], journal=path).rotate_secret_token()
        assert anyio.current_time() - began > 0.25
        assert sandbox.effects["rotate_secret_token", 1] == 1


async def test_what_is_in_doubt_and_cannot_be_looked_at_stays_in_doubt(path: Path) -> None:
    async with scene(retry=attrs.evolve(RESENDING, max_attempts=1)) as (sandbox, environments):
        sandbox.fault("drop_after_effect", "rotate_secret_token")
        await environments.each([1], journal=path).rotate_secret_token()
        rewrite(path, "UPDATE items SET state = 'intended'")
        sandbox.answer_next("retrieve", 403, REFUSED, times=99)
        report = await environments.each([1], journal=path).rotate_secret_token()
        assert len(report.unknown) == 1
        sandbox.clear_faults()
        async with sandbox.refusing_connections(), logged_in(sandbox, retry=RESENDING) as elsewhere:
            report = await elsewhere.each([1], journal=path, adopt=True).rotate_secret_token()
            # Nobody may repeat it by hand, nor a run over what remains.
            assert (len(report.unknown), list(report.remaining())) == (1, [])
        (item,) = await Journal(path).items()
        assert item.in_doubt
        assert (await environments.each([1], journal=path, adopt=True).rotate_secret_token()).done_earlier == 1
        assert sandbox.effects["rotate_secret_token", 1] == 1


async def test_counted_calls_in_doubt_are_never_sent_again(path: Path) -> None:
    async with scene(retry=RESENDING) as (sandbox, environments):
        sandbox.fault("drop_after_effect", "add_product_intent")
        assert len((await environments.each([1], journal=path).add_product_intent("session_replay")).unknown) == 1
        assert len((await environments.each([1, 2], journal=path).add_product_intent("session_replay")).unknown) == 1
        assert sandbox.effects["add_product_intent", 1] == 1
        assert sandbox.effects["add_product_intent", 2] == 1


async def test_a_delete_in_doubt_is_sent_again_and_may_find_it_gone(path: Path) -> None:
    async with Sandbox(3, era="2025-11") as sandbox, connect(sandbox) as environments:
        await environments.each([1, 2], journal=path).delete()
        rewrite(path, "UPDATE items SET state = 'intended' WHERE environment = 1")
        report = await environments.each([1, 2, 3], journal=path).delete()
        assert {one.ref.id: one.reason for one in report.succeeded} == {1: None, 2: "done earlier", 3: None}
        assert not sandbox.environment_ids


async def test_settings_in_doubt_are_compared(path: Path) -> None:
    async with scene() as (sandbox, environments):
        await environments.each([1, 2, 3], journal=path).update(BERLIN)
        rewrite(path, "UPDATE items SET state = 'intended', after = NULL")
        sandbox.environment(2).settings["timezone"] = "UTC"
        sandbox.calls.clear()
        report = await environments.each([1, 2, 3], journal=path).update(BERLIN)
        assert {one.ref.id: one.reason for one in report.succeeded} == {1: "done earlier", 2: None, 3: "done earlier"}
        assert calls(sandbox) == {"retrieve": 3, "update": 1}
        items = {item.environment: item for item in await Journal(path).items()}
        assert all(item.before == {"timezone": {"value": "UTC"}} for item in items.values())


async def test_a_plan_in_doubt_is_compared_and_skipped_where_it_is_stale(path: Path) -> None:
    async with scene() as (sandbox, environments):
        plan = await environments.plan(BERLIN, [1, 2, 3])
        await environments.apply(plan, journal=path)
        rewrite(path, "UPDATE items SET state = 'intended', after = NULL")
        sandbox.environment(2).settings["timezone"] = "UTC"
        sandbox.environment(3).settings["timezone"] = "Asia/Tokyo"
        report = await environments.apply(plan, journal=path)
        assert {one.ref.id: (one.status, one.reason) for one in report} == {
            1: ("succeeded", "done earlier"),
            2: ("succeeded", None),
            3: ("skipped", "stale"),
        }


async def test_failures_are_tried_again_with_the_first_values_kept(path: Path) -> None:
    async with scene() as (sandbox, environments):
        sandbox.fault("drop_after_effect", "update", times=None)
        assert len((await environments.each([1], journal=path).update(BERLIN)).failed) == 1
        sandbox.clear_faults()
        sandbox.environment(1).settings["anonymize_ips"] = False
        both = attrs.evolve(BERLIN)
        assert len((await environments.each([1], journal=path).update(both)).unchanged) == 1
        await environments.undo(path)
        assert sandbox.environment(1).settings["timezone"] == "UTC"


async def test_a_function_of_the_environment_is_recorded_too(path: Path) -> None:
    async with scene() as (sandbox, environments):

        def named(ref: EnvironmentRef) -> TeamSettings:
            return TeamSettings(name=f"No {ref.id}")

        (await environments.each([1, 2], journal=path).update(named)).raise_for_failures()
        assert (await environments.each([1, 2], journal=path).update(named)).done_earlier == 2
        (await environments.undo(path)).raise_for_failures()
        assert sandbox.environment(2).settings["name"] == "Environment 0002"


async def test_a_function_that_asks_for_something_else_is_refused(path: Path) -> None:
    async with scene() as (sandbox, environments):

        def tokyo(ref: EnvironmentRef) -> TeamSettings:
            return TeamSettings(timezone="Asia/Tokyo")

        await environments.each([1, 2], journal=path).update(lambda ref: BERLIN)
        rewrite(path, "UPDATE items SET state = 'intended', after = NULL WHERE environment = 2")
        sandbox.calls.clear()
        for id in (1, 2):
            report = await environments.each([id, 3], journal=path, concurrency=1).update(tokyo)
            (failed,) = report.failed
            assert isinstance(failed.error, JournalError)
            assert "update of environment" in str(failed.error)
            assert "has sent other settings" in str(failed.error)
            assert [one.ref.id for one in report.skipped] == [3]
        assert not sandbox.calls
        assert {item.environment: item.state for item in await Journal(path).items()} == {1: "succeeded", 2: "intended"}
        again = await environments.each([1, 2, 3], journal=path).update(lambda ref: BERLIN)
        assert (len(again.succeeded), again.done_earlier) == (3, 2)


async def test_what_a_function_found_as_desired_is_looked_at_again(path: Path) -> None:
    async with scene() as (sandbox, environments):
        zones = {1: "UTC", 2: "UTC"}

        def zone(ref: EnvironmentRef) -> TeamSettings:
            return TeamSettings(timezone=zones[ref.id])

        assert len((await environments.each([1, 2], journal=path).update(zone)).unchanged) == 2
        zones[2] = "Asia/Tokyo"
        report = await environments.each([1, 2], journal=path).update(zone)
        assert {one.ref.id: one.status for one in report} == {1: "unchanged", 2: "succeeded"}
        assert sandbox.environment(2).settings["timezone"] == "Asia/Tokyo"


async def test_a_function_that_fails_for_what_is_done_gives_its_error(path: Path) -> None:
    async with scene() as (_, environments):
        await environments.each([1], journal=path).update(lambda ref: BERLIN)

        def fails(ref: EnvironmentRef) -> TeamSettings:
            raise ConfigurationError("bad \ud800 input")

        report = await environments.each([1, 2], journal=path).update(fails)
        assert [type(one.error) for one in report.failed] == [ConfigurationError] * 2
        items = {item.environment: (item.state, item.error) for item in await Journal(path).items()}
        assert items[1] == ("succeeded", None)
        # Half of a surrogate pair has no bytes; the rest of the words is kept.
        assert items[2] == ("failed", "bad ? input")


async def test_a_value_that_the_file_cannot_hold_harms_no_other_write(path: Path) -> None:
    async with scene() as (_, environments), Journal(path) as journal:
        with pytest.raises(JournalError, match="cannot hold that"):
            await environments.each([1], journal=journal, run="\ud800").update(BERLIN)
        with pytest.raises(JournalError, match="cannot hold that"):
            await journal.conclude(1, {"environment": 2**63, "project": None, "state": "failed", "after": None, "error": None})
        assert len((await environments.each([1], journal=journal).update(BERLIN)).succeeded) == 1


async def test_resuming_keeps_only_what_is_left_in_memory(path: Path) -> None:
    async with scene() as (sandbox, environments):
        await environments.each([1, 2], journal=path).update(BERLIN)
        sandbox.calls.clear()
        rewrite(
            path,
            "WITH RECURSIVE n (i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n WHERE i < 1500)"
            " INSERT INTO items (run, environment, state, intended, body, asked, before) SELECT 1, i, 'succeeded', 1.0,"
            f" '{'a' * 64}', '{{}}', json_object('name', json_object('value', hex(zeroblob(4000)))) FROM n",
        )
        assert path.stat().st_size > 11_000_000
        tracemalloc.start()
        try:
            assert (await environments.each([1, 2], journal=path).update(BERLIN)).done_earlier == 2
            async with environments.undo(path, concurrency=1) as outcomes:
                await anext(outcomes)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 4_000_000


# Another run


async def test_another_host_credential_endpoint_or_body_is_refused(path: Path) -> None:
    async with Sandbox(2) as sandbox, Sandbox(2) as other:
        async with connect(sandbox) as environments:
            await environments.each([1], journal=path).update(BERLIN)
            with pytest.raises(JournalError, match="begun with other settings"):
                await environments.each([1], journal=path).update(TeamSettings(timezone="UTC"))
            with pytest.raises(JournalError, match="it calls update, and this is delete"):
                await environments.each([1], journal=path).delete()
            plan = await environments.plan(BERLIN, [1])
            with pytest.raises(JournalError, match="or as another plan"):
                await environments.apply(plan, journal=path)
            assert len((await environments.each([1], journal=path, run="other").delete()).succeeded) == 1
        async with connect(other) as environments:
            with pytest.raises(JournalError, match="it was begun at http"):
                await environments.each([1], journal=path).update(BERLIN)
        async with connect(sandbox) as environments:
            sandbox.calls.clear()
            with pytest.raises(JournalError, match="adopt=True"):
                await environments.each([1], journal=path).update(BERLIN)
            assert not sandbox.calls
            assert (await environments.each([1], journal=path, adopt=True).update(BERLIN)).done_earlier == 1
            assert (await environments.each([1], journal=path).update(BERLIN)).done_earlier == 1
        names = [
            (run.name, run.endpoint, run.counts["succeeded"] + run.counts["unchanged"]) for run in await Journal(path).runs()
        ]
        assert names == [("main", "update", 1), ("other", "delete", 1)]


async def test_runs_of_one_file_at_the_same_time(path: Path) -> None:
    journal = Journal(path)
    async with Sandbox(20) as one, Sandbox(20) as two, connect(one) as here, connect(two) as there:

        async def change(environments: AsyncEnvironments, ids: list[int], run: str) -> None:
            (await environments.each(ids, journal=journal, run=run).update(BERLIN)).raise_for_failures()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(change, here, one.environment_ids, "us")
            tasks.start_soon(change, there, two.environment_ids, "eu")
        assert {run.name: run.counts["succeeded"] for run in await journal.runs()} == {"us": 20, "eu": 20}


async def test_one_run_at_a_time(path: Path) -> None:
    journal = Journal(path)
    async with scene() as (sandbox, environments):
        sandbox.fault("delay_before_effect", "rotate_secret_token", times=None, before=0.05)
        refused: list[str] = []

        async def rotate() -> None:
            try:
                await environments.each(sandbox.environment_ids, journal=journal).rotate_secret_token()
            except JournalError as error:
                refused.append(str(error))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(rotate)
            tasks.start_soon(rotate)
        assert len(refused) == 1
        assert "is going on in this process" in refused[0]
        assert [sandbox.effects["rotate_secret_token", id] for id in sandbox.environment_ids] == [1] * 5
        # It is free again, also after it was refused for what it is.
        with pytest.raises(JournalError, match="is another one"):
            await environments.each([1], journal=journal).reset_token()
        assert (await environments.each([1], journal=journal).rotate_secret_token()).done_earlier == 1


async def test_what_is_going_on_is_not_undone_meanwhile(path: Path) -> None:
    journal = Journal(path)
    async with scene() as (sandbox, environments):
        sandbox.fault("delay_before_effect", "update", times=None, before=0.3)
        async with environments.each([1, 2], journal=journal, concurrency=1).update(BERLIN) as outcomes:
            await anext(outcomes)
            with pytest.raises(JournalError, match=r"'main' .* is going on"):
                await environments.undo(journal)
        (await environments.each([1, 2], journal=journal).update(BERLIN)).raise_for_failures()
        (await environments.undo(journal)).raise_for_failures()


async def test_a_second_process_is_refused_and_a_second_run_of_the_same_path(path: Path) -> None:
    code = (
        "import anyio, sys\nfrom aioposthog_env import Journal, JournalError\n"
        "try:\n    anyio.run(Journal(sys.argv[1]).runs)\nexcept JournalError as error:\n    print(error)\n"
    )
    async with Journal(path):
        done = await anyio.run_process([sys.executable, "-c", code, str(path)])
        assert b"in use by another process" in done.stdout
        with pytest.raises(JournalError, match="in use by another process, or by another run"):
            await Journal(path).runs()
        # The attempt has not freed the file.
        done = await anyio.run_process([sys.executable, "-c", code, str(path)])
        assert b"in use by another process" in done.stdout
    assert await Journal(path).runs() == []


async def test_reads_are_not_recorded(path: Path) -> None:
    async with scene() as (_, environments):
        with pytest.raises(ConfigurationError, match="changes nothing"):
            environments.each([1], journal=path).retrieve()
        assert not path.exists()


# The file


async def test_only_its_owner_can_read_it(path: Path) -> None:
    before = os.umask(0)
    try:
        async with Journal(path):
            assert {stat.S_IMODE(one.stat().st_mode) for one in path.parent.iterdir()} == {0o600}
        path.chmod(0o644)
        await Journal(path).runs()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        os.umask(before)


async def test_no_secret_is_in_it(path: Path) -> None:
    async with Sandbox(5) as sandbox, logged_in(sandbox, retry=LOOKING) as environments:
        sandbox.environment(1).settings["conversations_settings"] = {"widget_public_token": sandbox.environment(1).api_token}
        sandbox.fault("drop_unread", "rotate_secret_token")
        async with Journal(path):
            pass
        journal = Journal(path)
        await environments.each([1, 2, 3], journal=journal, run="a").rotate_secret_token()
        await environments.each([1, 2, 3], journal=journal, run="b").reset_token()
        await environments.each([1], journal=journal, run="c").update(
            TeamSettings(conversations_settings={"color": "a-rather-unusual-colour"}, timezone="Asia/Tokyo")
        )
        (item,) = await journal.items("c")
        assert item.before is not None
        assert item.before["timezone"] == {"value": "UTC"}
        assert set(item.before["conversations_settings"]) == {"digest"}
        content = path.read_bytes()
        held = [secret for secret in sandbox.secrets if secret.encode() in content]
        assert not held
        assert b"a-rather-unusual-colour" not in content
        assert b"Asia/Tokyo" in content  # the search finds what is there


WRITER = """
import anyio, os, sys
from aioposthog_env.bulk.journal import Journal
from aioposthog_env.bulk.journal_items import Identity

async def main():
    journal = Journal(sys.argv[1])
    await journal.__aenter__()
    identity = Identity(host="h", credential="c", endpoint="update", body="b")
    run = await journal.begin("main", identity, adopt=False)
    for environment in range(1, 41):
        values = {"environment": environment, "project": None, "body": "b", "marks": None, "asked": None, "before": None}
        await journal.intend(run, values)
        print(environment, os.path.getsize(sys.argv[1] + "-wal"), flush=True)
    os._exit(0)

anyio.run(main)
"""


def test_a_log_that_was_cut_off_at_any_byte_opens_and_holds_what_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    done = subprocess.run([sys.executable, "-c", WRITER, str(path)], capture_output=True, text=True, check=True)
    acknowledged = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    log = Path(f"{path}-wal").read_bytes()
    assert acknowledged[-1] == (40, len(log))
    main = path.read_bytes()
    cuts = sorted({*range(0, len(log), 997), *(size + by for _, size in acknowledged for by in (-1, 0, 1)), len(log)})
    for cut in cuts:
        copy = tmp_path / "copy" / "run.db"
        copy.parent.mkdir()
        copy.write_bytes(main)
        Path(f"{copy}-wal").write_bytes(log[:cut])
        expected = max((environment for environment, size in acknowledged if size <= cut), default=0)
        try:
            items = anyio.run(Journal(copy).items)
        except JournalError as error:
            assert "holds no run" in str(error)
            items = []
        assert len(items) >= expected
        assert all(item.in_doubt for item in items)
        shutil.rmtree(copy.parent)


async def test_a_damaged_file_says_what_can_be_saved(path: Path) -> None:
    async with scene(60, retry=LOOKING) as (sandbox, environments):
        await environments.each(sandbox.environment_ids, journal=path).update(BERLIN)
        content = bytearray(path.read_bytes())
        content[-4096:] = b"\xff" * 4096
        path.write_bytes(content)
        sandbox.calls.clear()
        with pytest.raises(JournalError, match=r"is damaged\. \d+ items can still be read .*sqlite3 run.db .recover"):
            await environments.each(sandbox.environment_ids, journal=path).update(BERLIN)
        path.write_bytes(b"SQLite format 3\0" + b"\x07" * 5000)
        with pytest.raises(JournalError, match="its beginning is damaged"):
            await environments.each([1], journal=path).update(BERLIN)
        assert not sandbox.calls


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE items SET marks = '{\"sec' WHERE environment = 1",
        "UPDATE items SET marks = '[1]' WHERE environment = 1",
        "UPDATE items SET marks = CAST(x'ff' AS TEXT) WHERE environment = 1",
        "UPDATE items SET project = 'seven' WHERE environment = 1",
        "UPDATE runs SET started = 'once'",
        "UPDATE runs SET started = 1e300",
        "ALTER TABLE runs RENAME COLUMN started TO stbrted",
    ],
)
async def test_damage_inside_a_sound_file_is_damage(path: Path, damage: str) -> None:
    async with scene() as (sandbox, environments):
        await environments.each([1, 2], journal=path).rotate_secret_token()
        rewrite(path, "UPDATE items SET state = 'intended' WHERE environment = 1")
        rewrite(path, damage)
        with pytest.raises(JournalError, match=r"is damaged\. 2 items can still be read"):
            await (Journal(path).runs() if "runs" in damage else Journal(path).items())
        if "items" in damage:
            with pytest.raises(JournalError, match="is damaged"):
                await environments.each([1, 2, 3], journal=path).rotate_secret_token()
            assert sandbox.effects["rotate_secret_token", 3] == 0


async def test_bytes_that_are_changed_at_random_are_damage_or_harmless(path: Path) -> None:
    async with scene(60) as (sandbox, environments):
        await environments.each(sandbox.environment_ids, journal=path).rotate_secret_token()
    whole, rng, copy = path.read_bytes(), random.Random(4), path.with_name("copy.db")
    harmless = 0
    for _ in range(150):
        content = bytearray(whole)
        for _ in range(rng.choice([1, 4, 50])):
            content[rng.randrange(len(content))] = rng.randrange(256)
        copy.write_bytes(content[: rng.choice([len(content), rng.randrange(len(content))])])
        Path(f"{copy}-wal").unlink(missing_ok=True)
        with contextlib.suppress(JournalError):
            await Journal(copy).runs()
            await Journal(copy).items()
            harmless += 1
    assert 0 < harmless < 150


async def test_a_file_that_is_no_journal_is_left_as_it_is(path: Path) -> None:
    rewrite(path, "CREATE TABLE mine (x)")
    text, folder = path.with_name("notes.txt"), path.with_name("folder")
    text.write_bytes(b"just a text, long enough to be read as a header" * 10)
    folder.mkdir(mode=0o755)
    async with scene() as (sandbox, environments):
        for other, words in ((path, "another SQLite file"), (text, "no SQLite file"), (folder, "is no file")):
            other.chmod(0o755)
            before = folder.stat() if other is folder else other.read_bytes()
            with pytest.raises(JournalError, match=f"{words}.* Nothing was changed"):
                await environments.each([1], journal=other).update(BERLIN)
            with pytest.raises(JournalError, match=words):
                await Journal(other).runs()
            assert stat.S_IMODE(other.stat().st_mode) == 0o755
            assert before == (folder.stat() if other is folder else other.read_bytes())
        assert not sandbox.effects
    assert {one.name for one in path.parent.iterdir()} == {"run.db", "notes.txt", "folder"}
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("delete",)


async def test_a_database_that_another_application_uses_keeps_its_log(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE mine (x)")
        db.commit()
        log = Path(f"{path}-wal").read_bytes()
        with pytest.raises(JournalError, match="no journal"):
            await Journal(path).runs()
        assert Path(f"{path}-wal").read_bytes() == log


async def test_looking_makes_no_file(path: Path) -> None:
    async with scene() as (_, environments):
        for looking in (Journal(path).runs, Journal(path).items):
            with pytest.raises(JournalError, match=r"There is no journal at .*run\.db"):
                await looking()
        with pytest.raises(JournalError, match="There is no journal at"):
            await environments.undo(path)
    assert not list(path.parent.iterdir())
    with pytest.raises(JournalError, match="cannot be opened: No such file"):
        async with Journal(path.parent / "nowhere" / "run.db"):
            pass


async def test_an_empty_file_is_refused(path: Path) -> None:
    async with scene() as (sandbox, environments):
        await environments.each([1], journal=path).rotate_secret_token()
        path.write_bytes(b"")
        with pytest.raises(JournalError, match=r"is empty, and a journal never is.*remove the file"):
            await environments.each([1], journal=path).rotate_secret_token()
        assert sandbox.effects["rotate_secret_token", 1] == 1


@pytest.mark.parametrize("resumed_before", [False, True])
async def test_a_main_file_without_its_log_is_refused(path: Path, resumed_before: bool) -> None:
    copy = path.with_name("copy.db")

    def take(event: object) -> None:
        if type(event).__name__ == "AttemptFinished" and getattr(event, "endpoint", "") == "rotate_secret_token":
            shutil.copy(path, copy)  # as it is when the process is killed now

    async with scene() as (sandbox, environments):
        if resumed_before:
            await environments.each([4], journal=path).rotate_secret_token()
        await environments.with_options(hooks=[take]).each([1, 2], journal=path, concurrency=1).rotate_secret_token()
        before = copy.read_bytes()
        for _ in range(2):
            with pytest.raises(JournalError, match=r"was not closed, and the file copy.db-wal .* is missing"):
                await environments.each([1, 2], journal=Journal(copy, moved=True)).rotate_secret_token()
        assert copy.read_bytes() == before
        assert sandbox.effects["rotate_secret_token", 1] == 1
        # The one that was closed needs no log.
        shutil.copy(path, copy)
        closed = Journal(copy, moved=True)
        assert (await environments.each([1, 2], journal=closed).rotate_secret_token()).done_earlier == 2


async def test_a_log_that_is_there_when_opening_fails_is_there_afterwards(path: Path) -> None:
    async with Journal(path):
        copy = path.with_name("copy.db")
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
    content = bytearray(copy.read_bytes())
    content[-4096:] = b"\xff" * 4096
    copy.write_bytes(content)
    for _ in range(2):
        with pytest.raises(JournalError, match="is damaged"):
            await Journal(copy).runs()


def test_a_journal_that_nobody_closed_opens_again(path: Path) -> None:
    journal = Journal(path)
    anyio.run(journal.__aenter__)
    del journal
    gc.collect()
    assert anyio.run(Journal(path).runs) == []


EVERY_LINE = """
import itertools, os, sys
from pathlib import Path
from aioposthog_env.bulk import journal_file

INSERT = "INSERT INTO runs (name, host, credential, endpoint, body, started) VALUES ('main', '', '', '', '', 0)"
lines = 0

def record(path, kill_at, pipe):
    def trace(frame, event, argument):
        global lines
        if frame.f_code.co_filename != journal_file.__file__:
            return None
        if event == "line":
            lines += 1
            if lines == kill_at:
                os._exit(9)
        return trace

    sys.settrace(trace)
    db = journal_file.open_file(path, create=True)
    db.execute(INSERT)
    os.write(pipe, b"1")
    db.close()
    os._exit(0)

for kill_at in itertools.count(1):
    path = Path(sys.argv[1]) / str(kill_at) / "run.db"
    path.parent.mkdir()
    reading, writing = os.pipe()
    if not (child := os.fork()):
        record(path, kill_at, writing)
    os.close(writing)
    _, status = os.waitpid(child, 0)
    acknowledged = os.read(reading, 1) == b"1"
    os.close(reading)
    db = journal_file.open_file(path, create=True)
    assert db.execute("SELECT count(*) FROM runs").fetchone() in ([(1,)] if acknowledged else [(0,), (1,)]), kill_at
    db.close()
    if not status:
        break
print(kill_at)
"""


def test_a_process_killed_at_any_line_of_opening_and_closing_can_be_resumed(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", EVERY_LINE, str(tmp_path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 50


async def test_a_journal_that_could_not_be_closed_opens_again(path: Path) -> None:
    async with scene() as (_, environments):
        await environments.each([1], journal=path).update(BERLIN)
        db = open_file(path, create=False)
        db.execute("PRAGMA query_only = 1")  # it takes nothing any more
        db.close()
        assert Path(f"{path}-wal").exists()
        assert [run.counts["succeeded"] for run in await Journal(path).runs()] == [1]


async def test_another_format_is_refused(path: Path) -> None:
    async with Journal(path):
        pass
    for version, words in ((4, "newer version of this library .format 4"), (2, "older version")):
        rewrite(path, f"PRAGMA user_version = {version}")
        before = path.read_bytes()
        with pytest.raises(JournalError, match=words):
            await Journal(path).runs()
        assert path.read_bytes() == before


async def test_a_journal_that_cannot_be_written_stops_the_run_before_anything_is_sent(path: Path) -> None:
    async with scene(20) as (sandbox, environments):
        await environments.each([1], journal=path).update(BERLIN)
        async with Journal(path) as journal:
            with largest_file(4096):  # its log has no room for an intent
                report = await environments.each(sandbox.environment_ids, journal=journal, concurrency=2).update(BERLIN)
        assert calls(sandbox)["update"] == 1
        assert isinstance(report.stopped_by, JournalError)
        assert "free space, then resume the run with the same journal" in str(report.stopped_by)
        assert len(report.skipped) >= 16
        assert len(report) == 20
        report = await environments.each(sandbox.environment_ids, journal=path).update(BERLIN)
        assert (report.done_earlier, len(report.succeeded)) == (1, 20)


def remove(path: Path) -> None:
    for file in path.parent.glob("run.db*"):
        file.unlink()


def move(path: Path) -> None:
    (path.parent / "elsewhere").mkdir()
    for file in path.parent.glob("run.db*"):
        file.rename(path.parent / "elsewhere" / file.name)


def replace(path: Path) -> None:
    """Put an older copy into its place."""
    copy = path.with_name("copy")
    shutil.copy(path, copy)
    copy.replace(path)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("lose", [remove, move, replace])
async def test_a_journal_that_is_gone_meanwhile_stops_the_run_before_anything_more_is_sent(
    lose: Callable[[Path], None], shared: bool, path: Path
) -> None:
    def take(environment: Environment) -> None:
        if environment.id == 2:
            lose(path)

    async with scene(5) as (sandbox, environments):
        run = environments.each(range(1, 6), journal=Journal(path) if shared else path, concurrency=1)
        report = await run.rotate_secret_token(sink=take)
        # The second was rotated and handed over before; that this is not written down is told.
        assert [one.status for one in report] == ["succeeded", "succeeded", "skipped", "skipped", "skipped"]
        assert isinstance(report.stopped_by, JournalError)
        assert "is no longer the file that was opened" in str(report.stopped_by)
        assert calls(sandbox)["rotate_secret_token"] == 2
        if lose is move:
            for file in (path.parent / "elsewhere").iterdir():
                file.rename(path.parent / file.name)
            report = await environments.each(range(1, 6), journal=path).rotate_secret_token(sink=take_nothing)
            report.raise_for_failures()
            assert all(sandbox.effects["rotate_secret_token", id] == 1 for id in range(1, 6))


async def take_nothing(environment: Environment) -> None:
    """A sink that is content."""


async def test_a_journal_that_is_gone_is_noticed_at_the_intent_and_at_the_beginning(path: Path) -> None:
    def hook(event: Event) -> None:
        if isinstance(event, AttemptFinished) and (event.endpoint, event.environment_id) == ("retrieve", 2):
            remove(path)

    async with scene(3, hooks=[hook]) as (sandbox, environments), Journal(path) as journal:
        report = await environments.each([1, 2, 3], journal=journal, concurrency=1).rotate_secret_token()
        assert [one.status for one in report] == ["succeeded", "failed", "skipped"]
        assert isinstance(report.stopped_by, JournalError)
        sandbox.calls.clear()
        with pytest.raises(JournalError, match="removed or replaced"):
            await environments.each([3], journal=journal, run="another").rotate_secret_token()
        assert not sandbox.calls
        assert [sandbox.effects["rotate_secret_token", id] for id in (1, 2, 3)] == [1, 0, 0]


async def test_a_journal_stays_in_its_place_where_the_process_goes_elsewhere(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    async with scene(2) as (_, environments):
        run = environments.each([1, 2], journal=path.name, concurrency=1)
        report = await run.rotate_secret_token(sink=lambda one: monkeypatch.chdir("/"))
        report.raise_for_failures()


async def test_an_outcome_that_cannot_be_written_stays_in_doubt(path: Path) -> None:
    async with scene(5) as (sandbox, environments), contextlib.AsyncExitStack() as stack:
        await environments.each([1], journal=path).rotate_secret_token()

        def fill(environment: Environment) -> None:
            stack.enter_context(largest_file(4096))

        report = await environments.each([2, 3], journal=path, concurrency=1).rotate_secret_token(sink=fill)
        await stack.aclose()
        assert [(one.ref.id, one.status) for one in report] == [(2, "succeeded"), (3, "skipped")]
        assert {item.environment: item.in_doubt for item in await Journal(path).items()} == {1: False, 2: True}
        report = await environments.each([2, 3], journal=path).rotate_secret_token(sink=take_nothing)
        assert {one.ref.id: one.reason for one in report.succeeded} == {2: "done earlier", 3: None}
        assert sandbox.effects["rotate_secret_token", 2] == 1


async def test_the_summary_of_a_run(path: Path) -> None:
    async with scene() as (sandbox, environments):
        sandbox.fault("drop_unread", "rotate_secret_token")
        await environments.each([1, 2, 99], journal=path).rotate_secret_token()
        (run,) = await Journal(path).runs()
        assert (run.name, run.host, run.endpoint) == ("main", sandbox.url, "rotate_secret_token")
        assert {state: count for state, count in run.counts.items() if count} == {"succeeded": 1, "failed": 1, "unknown": 1}
        with pytest.raises(JournalError, match="holds no run 'other'; it holds 'main'"):
            await Journal(path).items("other")
        unknown = next(item for item in await Journal(path).items() if item.state == "unknown")
        assert "may or may not have happened" in (unknown.error or "")
        assert unknown.attempts > 1


async def test_a_journal_that_holds_no_run_says_so(path: Path) -> None:
    async with Journal(path) as journal:
        with pytest.raises(JournalError, match=r"holds no run 'main'; it holds none\.$"):
            await journal.find("main")


async def test_the_key_of_a_run_is_that_of_no_other_and_outlives_its_credential(path: Path) -> None:
    async def key() -> str:
        async with Journal(path) as journal:
            number, _ = await journal.find("main")
            return await journal.key(number)

    async with scene() as (_, environments):
        await environments.each([1], journal=path).rotate_secret_token()
    first = await key()
    rewrite(path, "UPDATE runs SET credential = 'another'")
    assert await key() == first
    keys = [first]
    for column in ("host", "endpoint", "body", "started"):
        rewrite(path, f"UPDATE runs SET {column} = '1'")
        keys.append(await key())
    assert len(set(keys)) == 5
    assert {len(one) for one in keys} == {32}


@pytest.mark.parametrize(
    ("state", "intended", "in_doubt"),
    [
        ("unfinished", 1.0, True),
        ("intended", 1.0, True),
        ("unknown", 1.0, True),
        ("unknown", None, False),  # it was never about to be sent
        ("failed", 1.0, False),
        ("succeeded", 1.0, False),
        ("undone", 1.0, False),
    ],
)
def test_what_is_in_doubt(state: str, intended: float | None, *, in_doubt: bool) -> None:
    nothing = dict.fromkeys(("project", "finished", "body", "marks", "asked", "before", "after", "error"))
    item = Item(environment=1, state=state, intended=intended, attempts=1, **nothing)
    assert item.in_doubt is in_doubt
    assert item.done is (state == "succeeded")


async def test_a_key_is_not_taken_where_only_a_session_will_do_and_no_file_is_made(path: Path) -> None:
    async with Sandbox(2) as sandbox, AsyncEnvironments(sandbox.url, auth=PersonalAPIKey(sandbox.key())) as environments:
        with pytest.raises(ScopeError, match="session"):
            environments.each([1, 2], journal=path).rotate_secret_token()
        assert not sandbox.calls
        assert not path.exists()
