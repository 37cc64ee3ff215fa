"""A journal whose files were made, moved, copied or changed by something else than this library."""

import contextlib
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from time import process_time

import pytest

from aioposthog_env import (
    AsyncEnvironments,
    ConfigurationError,
    Environment,
    Journal,
    JournalError,
    Sandbox,
    TeamSettings,
)
from aioposthog_env.bulk.journal_items import Identity
from tests.conftest import logged_in

BERLIN = TeamSettings(timezone="Europe/Berlin")
IDENTITY = Identity(host="h", credential="c", endpoint="update", body="b")
BURNS = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.db"


@contextlib.asynccontextmanager
async def scene(number: int = 5) -> AsyncGenerator[tuple[Sandbox, AsyncEnvironments], None]:
    async with Sandbox(number) as sandbox, logged_in(sandbox, routes="project") as client:
        yield sandbox, client


def rewrite(path: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        for statement in statements:
            db.execute(statement)


# Tables that this library did not make


HOSTILE = {
    "a view for the items": [
        "DROP TABLE items",
        f"CREATE VIEW items AS {BURNS} 1 AS run, i AS environment, NULL AS project, 'succeeded' AS state FROM n",
    ],
    "a view for the runs": ["DROP TABLE runs", f"CREATE VIEW runs AS {BURNS} i AS id, 'main' AS name FROM n"],
    "a view besides": [f"CREATE VIEW other AS {BURNS} count(*) FROM n"],
    "a trigger": [f"CREATE TRIGGER t AFTER INSERT ON runs BEGIN DELETE FROM items WHERE project IN ({BURNS} i FROM n); END"],
    "a computed column": ["ALTER TABLE items ADD COLUMN heavy AS (hex(zeroblob(100000000)))"],
    "an index over an expression": ["CREATE INDEX slow ON items (hex(zeroblob(project)))"],
    "the table that SQLite reads for its plans": [
        "PRAGMA writable_schema = ON",
        "INSERT INTO sqlite_master (type, name, tbl_name, rootpage, sql) VALUES ('view', 'sqlite_stat1', 'sqlite_stat1', 0,"
        f" 'CREATE VIEW sqlite_stat1 AS {BURNS} ''items'' AS tbl, NULL AS idx, i AS stat FROM n')",
    ],
    "many tables": [f"CREATE TABLE t{number} (x)" for number in range(3000)],
    "a schema that cannot be read": [
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET sql = 'CREATE TABLE items (' WHERE name = 'items'",
    ],
}


@pytest.mark.timeout(30)
@pytest.mark.parametrize("statements", HOSTILE.values(), ids=HOSTILE)
async def test_foreign_tables_views_and_triggers_are_refused_and_not_run(path: Path, statements: list[str]) -> None:
    async with scene() as (sandbox, environments):
        await environments.each([1, 2], journal=path).rotate_secret_token()
        rewrite(path, "BEGIN", *statements, "COMMIT")
        sandbox.calls.clear()
        began = process_time()
        for look in (Journal(path).runs, Journal(path).items, Journal(path).moved_from):
            with pytest.raises(JournalError, match="is damaged"):
                await look()
        with pytest.raises(JournalError, match="is damaged"):
            await environments.each([1, 2, 3], journal=path).rotate_secret_token()
        assert process_time() - began < 3
        assert not sandbox.calls


async def test_the_items_of_a_changed_schema_are_counted(path: Path) -> None:
    async with scene() as (_, environments):
        await environments.each([1, 2], journal=path).rotate_secret_token()
        rewrite(path, "CREATE TABLE mine (x)")
        with pytest.raises(JournalError, match=r"2 items can still be read \(2 succeeded\)\. Its tables"):
            await Journal(path).runs()


# The owner


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="users have no ids here")
async def test_a_file_of_another_user_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = path.with_name("secrets.jsonl")
    async with scene() as (sandbox, environments):
        await environments.each([1], journal=path).rotate_secret_token(sink=sink)
        sandbox.calls.clear()
        content, handed_over = path.read_bytes(), sink.read_bytes()
        me = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: me + 1)
        with pytest.raises(JournalError, match=rf"run.db belongs to another user \(id {me}\).* chown"):
            await environments.each([1, 2], journal=path).rotate_secret_token()
        with pytest.raises(JournalError, match="belongs to another user"):
            await Journal(path).runs()
        with pytest.raises(ConfigurationError, match=rf"sink .* belongs to another user \(id {me}\).* Nothing was sent"):
            await environments.each([1, 2]).rotate_secret_token(sink=sink)
        assert not sandbox.calls
        assert (path.read_bytes(), sink.read_bytes()) == (content, handed_over)


@pytest.mark.parametrize("ending", ["-wal", "-journal", "-shm"])
async def test_a_link_in_the_place_of_a_file_that_sqlite_keeps_is_refused(path: Path, ending: str) -> None:
    async with Journal(path):
        pass
    target = path.with_name("target")
    target.write_bytes(b"mine")
    Path(f"{path}{ending}").symlink_to(target)
    with pytest.raises(JournalError, match=f"run.db{ending} is not a regular file"):
        await Journal(path).runs()
    assert target.read_bytes() == b"mine"


# Changed while a run uses it


def remove_log(path: Path) -> None:
    Path(f"{path}-wal").unlink()


def replace_log(path: Path) -> None:
    log = Path(f"{path}-wal")
    copy = log.with_name("copy")
    shutil.copy(log, copy)
    copy.replace(log)


def empty_log(path: Path) -> None:
    os.truncate(f"{path}-wal", 0)


def cut_log(path: Path) -> None:
    os.truncate(f"{path}-wal", os.path.getsize(f"{path}-wal") - 1)


def empty_main(path: Path) -> None:
    os.truncate(path, 0)


def cut_main(path: Path) -> None:
    os.truncate(path, os.path.getsize(path) - 4096)


def take_nothing(environment: Environment) -> None:
    """A sink that is content."""


@pytest.mark.parametrize(
    ("change", "words", "resumes"),
    [
        (remove_log, r"run\.db-wal, which .* was removed or replaced", True),
        (replace_log, r"run\.db-wal, which .* was removed or replaced", True),
        (empty_log, r"run\.db-wal was truncated", False),
        (cut_log, r"run\.db-wal was truncated", False),
        (empty_main, r"run\.db was truncated", False),
        (cut_main, r"run\.db was truncated", False),
    ],
)
async def test_a_file_that_is_changed_during_a_run_stops_it(
    change: Callable[[Path], None], words: str, resumes: bool, path: Path
) -> None:
    def take(environment: Environment) -> None:
        if environment.id == 2:
            change(path)

    async with scene(5) as (sandbox, environments):
        report = await environments.each(range(1, 6), journal=path, concurrency=1).rotate_secret_token(sink=take)
        assert [one.status for one in report] == ["succeeded", "succeeded", "skipped", "skipped", "skipped"]
        with pytest.raises(JournalError, match=f"{words} .*No more is sent"):
            raise report.stopped_by or AssertionError
        assert sandbox.effects.total() == 2
        # Where something is lost the journal is refused; it never knows less than was sent.
        resumed = environments.each(range(1, 6), journal=path).rotate_secret_token(sink=take_nothing)
        if resumes:
            (await resumed).raise_for_failures()
        else:
            with pytest.raises(JournalError):
                await resumed
        assert [sandbox.effects["rotate_secret_token", id] for id in range(1, 6)] == [1, 1, *[int(resumes)] * 3]


async def test_a_log_that_is_cut_after_the_last_outcome_is_refused(path: Path) -> None:
    async with scene(3) as (sandbox, environments):
        async with Journal(path) as journal:
            (await environments.each([1, 2], journal=journal).rotate_secret_token()).raise_for_failures()
            empty_log(path)
        with pytest.raises(JournalError):
            await environments.each([1, 2], journal=path).rotate_secret_token()
        assert [sandbox.effects["rotate_secret_token", id] for id in (1, 2)] == [1, 1]


# Copied, restored, moved


def restore(path: Path) -> None:
    """Put a copy into the place of the journal."""
    copy = path.with_name("copy")
    shutil.copy2(path, copy)
    copy.replace(path)


async def test_a_copy_is_asked_about_before_it_is_resumed(path: Path) -> None:
    async with scene() as (sandbox, environments):
        await environments.each([1], journal=path).rotate_secret_token()
        restore(path)
        sandbox.calls.clear()
        for run in ("main", "another"):
            with pytest.raises(JournalError, match=r"may be an old copy.* copied or restored.* Journal\(path, moved=True\)"):
                await environments.each([1, 2], journal=path, run=run).rotate_secret_token()
        assert not sandbox.calls
        # Looking asks nothing.
        assert [run.counts["succeeded"] for run in await Journal(path).runs()] == [1]
        assert len(await Journal(path).items()) == 1
        moved = Journal(path, moved=True)
        assert "copied or restored" in (await moved.moved_from() or "")
        (await environments.each([1, 2], journal=moved).rotate_secret_token()).raise_for_failures()
        # The answer holds from now on.
        assert await Journal(path).moved_from() is None
        (await environments.each([1, 2, 3], journal=path).rotate_secret_token()).raise_for_failures()
        assert [sandbox.effects["rotate_secret_token", id] for id in (1, 2, 3)] == [1, 1, 1]


async def test_a_copy_is_asked_about_before_it_is_undone(path: Path) -> None:
    async with scene() as (sandbox, environments):
        await environments.each([1], journal=path).update(BERLIN)
        restore(path)
        with pytest.raises(JournalError, match="may be an old copy"):
            await environments.undo(path)
        (await environments.undo(Journal(path, moved=True))).raise_for_failures()
        assert sandbox.environment(1).settings["timezone"] == "UTC"


async def test_a_refused_run_does_not_answer_for_a_copy(path: Path) -> None:
    async with scene() as (_, environments):
        await environments.each([1], journal=path).update(BERLIN)
        restore(path)
        with pytest.raises(JournalError, match="is another one"):
            await environments.each([1], journal=Journal(path, moved=True)).delete()
        assert await Journal(path).moved_from() is not None


async def test_a_machine_of_another_name_is_asked_about(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with scene() as (_, environments):
        monkeypatch.setattr(socket, "gethostname", lambda: "Build-7.office.example")
        await environments.each([1], journal=path).update(BERLIN)
        monkeypatch.setattr(socket, "gethostname", lambda: "build-7.home.example")
        assert (await environments.each([1], journal=path).update(BERLIN)).done_earlier == 1
        monkeypatch.setattr(socket, "gethostname", lambda: "build-8")
        with pytest.raises(JournalError, match="host 'build-7', and this is 'build-8'"):
            await environments.each([1], journal=path).update(BERLIN)
        again = environments.each([1], journal=Journal(path, moved=True)).update(BERLIN)
        assert (await again).done_earlier == 1


async def test_a_renamed_journal_and_one_that_holds_no_run_are_not_asked_about(path: Path) -> None:
    async with scene() as (_, environments):
        async with Journal(path):
            pass
        restore(path)
        await environments.each([1], journal=path).update(BERLIN)
        elsewhere = path.with_name("renamed.db")
        path.rename(elsewhere)
        assert (await environments.each([1], journal=elsewhere).update(BERLIN)).done_earlier == 1


async def test_a_journal_of_an_earlier_release_notes_where_it_is_from_now_on(path: Path) -> None:
    async with scene() as (_, environments):
        await environments.each([1], journal=path).update(BERLIN)
        rewrite(path, "DROP TABLE location")
        restore(path)
        assert [run.counts["succeeded"] for run in await Journal(path).runs()] == [1]
        assert (await environments.each([1], journal=path).update(BERLIN)).done_earlier == 1
        restore(path)
        with pytest.raises(JournalError, match="may be an old copy"):
            await environments.each([1], journal=path).update(BERLIN)


# Mistakes of the code


async def test_a_mistake_of_the_code_is_not_reported_as_damage(path: Path) -> None:
    async with Journal(path) as journal:
        run = await journal.begin("main", IDENTITY, adopt=False)
        with pytest.raises(sqlite3.ProgrammingError):
            await journal.conclude(run, {"environment": 1, "project": None, "state": "failed"})
        with pytest.raises((sqlite3.InterfaceError, sqlite3.ProgrammingError)):
            await journal.item(run, object())  # type: ignore[arg-type]
        values = {"environment": 1, "project": None, "state": "nonsense", "after": None, "error": None, "attempts": 1}
        with pytest.raises(sqlite3.IntegrityError):
            await journal.conclude(run, values)
        with pytest.raises(KeyError):
            await journal.intend(run, {})
        with pytest.raises(TypeError):
            await journal.intend(run, {"environment": 1, "project": None, "body": None, "marks": object()})
    assert await Journal(path).items() == []


def test_a_journal_opens_where_the_first_look_at_it_was_killed(path: Path) -> None:
    """The record of the place is a table that an earlier release's journal gets when it is opened, in one commit."""
    code = "import os, sys\nfrom pathlib import Path\nfrom aioposthog_env.bulk.journal_file import open_file\n"
    code += "db = open_file(Path(sys.argv[1]), create=True)\nos._exit(9)\n"
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
        assert done.returncode == 9
