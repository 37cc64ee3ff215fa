"""The journal: what bulk runs were about to do, and what became of it, in one SQLite file.

Before a write leaves, its **intent** is on the disk; after its answer, its **outcome**. So whatever kills the process, each
environment is in one of four states when the journal is opened again:

* no intent: nothing was sent;
* an outcome: it is known what happened;
* an intent without an outcome, or one that says *unknown*: **in doubt**. It may have been sent. What a read of the environment
  tells then is decided in ``recovery``, from the digests that the intent holds;
* an outcome that says **unfinished**: the call has taken effect, and what follows it has not. It is never sent again.

The file is in WAL mode with ``synchronous=FULL``: a commit that has returned survives a crash, and a log that was cut off at
any byte loses no commit that had returned. One process holds the file at a time; the operating system frees it when the process
dies. Many workers write through one door: whoever gets there first commits for all who wait, one ``fsync`` for the lot.

No secret is in it: tokens as digests, the credential as a digest, sensitive settings as digests.
"""

import contextlib
import os
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeAlias, cast

import anyio
import attrs
import msgspec

from aioposthog_env.bulk.journal_file import STATES, explained, open_file
from aioposthog_env.bulk.threads import in_thread
from aioposthog_env.errors import JournalError
from aioposthog_env.models.fields import JSONValue
from aioposthog_env.recovery import Marks

Kept: TypeAlias = dict[str, dict[str, JSONValue]]
"""Setting to ``{"value": …}``, or to ``{"digest": …}`` where the value is not kept."""

_INTEND: Final = """
    INSERT INTO items (run, environment, project, state, intended, body, marks, asked, before)
    VALUES (:run, :environment, :project, 'intended', :intended, :body, :marks, :asked, :before)
    ON CONFLICT (run, environment) DO UPDATE SET
        state = 'intended', intended = :intended, finished = NULL, body = :body, marks = :marks, asked = :asked,
        before = :before, after = NULL, error = NULL
"""
_CONCLUDE: Final = """
    INSERT INTO items (run, environment, project, state, finished, after, error, attempts)
    VALUES (:run, :environment, :project, :state, :finished, :after, :error, :attempts)
    ON CONFLICT (run, environment) DO UPDATE SET
        state = :state, finished = :finished, after = coalesce(:after, after), error = :error, attempts = attempts + :attempts
"""


@attrs.frozen(kw_only=True)
class Identity:
    """What a run is: resuming it as anything else is refused.

    Attributes:
        host: The origin that it talks to.
        credential: The digest of the credential.
        endpoint: The endpoint's name.
        body: The digest of what is sent.
    """

    host: str
    credential: str
    endpoint: str
    body: str


@attrs.frozen(kw_only=True)
class Item:
    """What the journal holds of one environment.

    Attributes:
        environment: The environment's id.
        project: The id of its project, where it was given.
        state: ``intended``; ``unfinished``; or the status of its outcome.
        intended: When it was about to be sent, in seconds since 1970; None where it never was.
        finished: When its outcome was known.
        body: The digest of what is sent.
        marks: What a token call was to change, as digests.
        asked: The settings that were sent.
        before: The settings that they replaced.
        after: The digests of these settings as the server returned them.
        error: Why it failed or is unknown.
        attempts: Requests sent.
    """

    environment: int
    project: int | None
    state: str
    intended: float | None
    finished: float | None
    body: str | None
    marks: Marks | None
    asked: Kept | None
    before: Kept | None
    after: Mapping[str, str] | None
    error: str | None
    attempts: int

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return self.state in {"succeeded", "unchanged"}

    @property
    def in_doubt(self) -> bool:
        """Whether it is to be looked at before anything is sent: it may have been sent, or it was and is not finished."""
        return self.state == "unfinished" or (self.state in {"intended", "unknown"} and self.intended is not None)


@attrs.frozen(kw_only=True)
class RunSummary:
    """One run of a journal.

    Attributes:
        name: Its name within the file.
        host: The origin that it talks to.
        endpoint: The endpoint's name.
        started: When it began.
        counts: How many environments are in each state; ``intended``, ``unfinished`` and ``unknown`` are in doubt.
    """

    name: str
    host: str
    endpoint: str
    started: datetime
    counts: Mapping[str, int]


_Row: TypeAlias = tuple[str, dict[str, Any]]


@attrs.define(eq=False)
class _Batch:
    """Rows that are committed together."""

    rows: list[_Row] = attrs.field(factory=list[_Row])
    committed: bool = False


class Journal:
    """A file that records bulk runs, so that they can be resumed and undone.

    A path is enough for one run: ``each(refs, journal="run.db")``. Give a ``Journal`` to runs that share one file at the same
    time, each under a name of its own. It is open while one of them runs, and held by one process at a time.

    Args:
        path: The file. It is made where there is none, readable by its owner only.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._db: sqlite3.Connection | None = None
        self._users = 0
        self._turn = anyio.Lock()
        self._thread = threading.Lock()
        self._batch = _Batch()

    def __repr__(self) -> str:
        return f"Journal({str(self.path)!r})"

    async def __aenter__(self) -> Self:
        self._users += 1
        try:
            await in_thread(self._open)
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._users -= 1
        await in_thread(self._close)

    def _open(self) -> None:
        with self._thread:
            if self._db is None:
                self._db = open_file(self.path)

    def _close(self) -> None:
        with self._thread:
            if self._users == 0 and self._db is not None:
                db, self._db = self._db, None
                db.close()

    async def runs(self) -> list[RunSummary]:
        """The runs of the file, oldest first.

        Raises:
            JournalError: The file is damaged, or in use by another process.
        """
        async with self:
            rows = await self._read("SELECT id, name, host, endpoint, started FROM runs ORDER BY id")
            counted = await self._read("SELECT run, state, count(*) FROM items GROUP BY run, state")
        counts: dict[int, Counter[str]] = {}
        for run, state, count in counted:
            counts.setdefault(run, Counter())[state] = count
        return [
            RunSummary(
                name=name,
                host=host,
                endpoint=endpoint,
                started=datetime.fromtimestamp(started, UTC),
                counts={state: counts.get(id, Counter[str]())[state] for state in STATES},
            )
            for id, name, host, endpoint, started in rows
        ]

    async def items(self, run: str = "main") -> list[Item]:
        """What the file holds of each environment of a run, by id.

        Raises:
            JournalError: There is no such run, or the file cannot be used.
        """
        async with self:
            return await self._items((await self.find(run))[0])

    async def find(self, run: str) -> tuple[int, Identity]:
        """The number and the identity of a run. The journal must be open.

        Raises:
            JournalError: There is no such run.
        """
        found = await self._read("SELECT id, host, credential, endpoint, body FROM runs WHERE name = ?", run)
        if not found:
            names = [name for (name,) in await self._read("SELECT name FROM runs ORDER BY id")]
            there = f"it holds {', '.join(map(repr, names))}" if names else "it holds none"
            raise JournalError(f"{self.path} holds no run {run!r}; {there}.")
        number, host, credential, endpoint, body = found[0]
        return number, Identity(host=host, credential=credential, endpoint=endpoint, body=body)

    async def begin(self, name: str, identity: Identity, *, adopt: bool) -> tuple[int, list[Item]]:
        """Begin a run, or resume it. The journal must be open.

        Args:
            name: The run's name within the file.
            identity: What it does.
            adopt: Go on although the run was begun with another credential.

        Returns:
            The number of the run, and what is known of its environments.

        Raises:
            JournalError: The run of that name is another one.
        """
        known = await self._read("SELECT id FROM runs WHERE name = ?", name)
        if not known:
            row = attrs.asdict(identity) | {"name": name, "started": time.time()}
            await self._write(
                "INSERT INTO runs (name, host, credential, endpoint, body, started)"
                " VALUES (:name, :host, :credential, :endpoint, :body, :started) ON CONFLICT (name) DO NOTHING",
                row,
            )
        number, found = await self.find(name)
        if (refusal := _other(identity, found, adopt=adopt)) is not None:
            raise JournalError(
                f"The run {name!r} in {self.path} is another one: {refusal} Nothing was sent. Resume it as it was begun, or "
                "name another file, or another run in this one."
            )
        if found != identity:
            row = {"id": number, "credential": identity.credential}
            await self._write("UPDATE runs SET credential = :credential WHERE id = :id", row)
        return number, await self._items(number)

    async def intend(self, run: int, values: Mapping[str, Any]) -> None:
        """Write down what is about to be sent. It is on the disk when this returns.

        Raises:
            JournalError: It cannot be written; then nothing may be sent.
        """
        await self._write(_INTEND, {"run": run, "intended": time.time(), **_encoded(values)})

    async def conclude(self, run: int, values: Mapping[str, Any]) -> None:
        """Write down what became of it.

        Raises:
            JournalError: It cannot be written; then it stays in doubt.
        """
        await self._write(_CONCLUDE, {"run": run, "finished": time.time(), **_encoded(values)})

    async def rotations(self) -> dict[int, tuple[float, str]]:
        """By environment, when the file's runs last rotated its secret, and the digest of the secret since.

        The journal must be open.
        """
        rows = await self._read(
            "SELECT environment, finished, after FROM items JOIN runs ON runs.id = items.run"
            " WHERE endpoint = 'rotate_secret_token' AND state IN ('succeeded', 'unchanged') AND after IS NOT NULL"
            " ORDER BY finished"
        )
        return {environment: (finished, msgspec.json.decode(after)["secret"]) for environment, finished, after in rows}

    async def _items(self, run: int) -> list[Item]:
        rows = await self._read(f"SELECT {_COLUMNS} FROM items WHERE run = ? ORDER BY environment", run)  # noqa: S608
        return [_item(row) for row in rows]

    async def _read(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        return await in_thread(self._fetch, query, values)

    def _fetch(self, query: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        with self._thread, explained(self.path):
            return self._open_db().execute(query, values).fetchall()

    async def _write(self, statement: str, values: dict[str, Any]) -> None:
        batch = self._batch
        batch.rows.append((statement, values))
        async with self._turn:
            if batch.committed:
                return
            if batch is self._batch:
                self._batch = _Batch()
            await in_thread(self._commit, batch)

    def _commit(self, batch: _Batch) -> None:
        with self._thread, explained(self.path):
            db = self._open_db()
            db.execute("BEGIN IMMEDIATE")
            try:
                for statement, values in batch.rows:
                    db.execute(statement, values)
                db.execute("COMMIT")
                batch.committed = True
            except sqlite3.Error:
                with contextlib.suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
                raise

    def _open_db(self) -> sqlite3.Connection:
        if self._db is None:
            raise JournalError(f"The journal {self.path} is not open.")
        return self._db


_COLUMNS: Final = ", ".join(field.name for field in attrs.fields(Item))
_JSON_COLUMNS: Final = frozenset({"marks", "asked", "before", "after"})


def _item(row: Sequence[Any]) -> Item:
    named = dict(zip(attrs.fields_dict(Item), row, strict=True))
    for name in _JSON_COLUMNS:
        if named[name] is not None:
            named[name] = msgspec.json.decode(cast("str", named[name]))
    return Item(**named)


def _encoded(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: msgspec.json.encode(value).decode() if name in _JSON_COLUMNS and value is not None else value
        for name, value in values.items()
    }


def _other(now: Identity, then: Identity, *, adopt: bool) -> str | None:
    """In which respect a run is another one than the journal holds."""
    if now.host != then.host:
        return f"it was begun at {then.host}, and this is {now.host}."
    if now.endpoint != then.endpoint:
        return f"it calls {then.endpoint}, and this is {now.endpoint}."
    if now.body != then.body:
        return "it was begun with other settings, or as another plan."
    if now.credential != then.credential and not adopt:
        return "it was begun with another credential; if that was replaced, say adopt=True."
    return None
