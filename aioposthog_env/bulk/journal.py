"""The journal: what bulk runs were about to do, and what became of it, in one SQLite file.

Before a write leaves, its **intent** is on the disk; after its answer, its **outcome**. So whatever kills the process, each
environment is in one of four states when the journal is opened again:

* no intent: nothing was sent;
* an outcome: it is known what happened;
* an intent without an outcome, or one that says *unknown*: **in doubt**. It may have been sent. What a read of the environment
  tells then is decided in ``recovery``, from the digests that the intent holds;
* an outcome that says **unfinished**: the call has taken effect, and what follows it has not. A token call is never sent
  again; settings are compared, and sent only where somebody has put the earlier ones back.

The file is in WAL mode with ``synchronous=FULL``: a commit that has returned survives a crash, and a log that was cut off at
any byte loses no commit that had returned. One process holds the file at a time; the operating system frees it when the process
dies. Many workers write through one door: whoever gets there first commits for all who wait, one ``fsync`` for the lot.

Where a run is undone, its item becomes *undone* with the outcome of the undo, in one commit; so the run does it again when it
is resumed. Where it is done again, the undo's item becomes *undone*, so that it can be undone again. Such an item holds no
values: what can be undone is what has been written and not been undone.

No secret is in it: tokens as digests, the credential as a digest, sensitive settings as digests.
"""

import contextlib
import hashlib
import os
import sqlite3
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeAlias, cast

import anyio
import attrs
import msgspec

from aioposthog_env.bulk.journal_file import STATES, Connection, damaged, explained, open_file
from aioposthog_env.bulk.journal_statements import (
    CONCLUDE,
    CONCLUDE_REDO,
    CONCLUDE_UNDO,
    DIGESTS,
    DONE,
    DONE_STATES,
    INTEND,
    INTEND_AGAIN,
    ITEM,
    JSON_COLUMNS,
    NOTHING_DONE,
    WRITTEN,
    encoded,
)
from aioposthog_env.bulk.threads import in_thread
from aioposthog_env.errors import JournalError
from aioposthog_env.models.fields import JSONValue
from aioposthog_env.recovery import Marks
from aioposthog_env.redacted import printable_half_built

Kept: TypeAlias = dict[str, dict[str, JSONValue]]
"""Setting to ``{"value": …}``, or to ``{"digest": …}`` where the value is not kept."""


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
        undoes: The name of the run that it undoes; None where it does something by itself.
    """

    name: str
    host: str
    endpoint: str
    started: datetime
    counts: Mapping[str, int]
    undoes: str | None = None


_Row: TypeAlias = tuple[str, dict[str, Any]]


@attrs.define(eq=False)
class _Batch:
    """Rows that are committed together."""

    rows: list[_Row] = attrs.field(factory=list[_Row])
    committed: bool = False


@printable_half_built
class Journal:
    """A file that records bulk runs, so that they can be resumed and undone.

    A path is enough for one run: ``each(refs, journal="run.db")``. Give a ``Journal`` to runs that share one file at the same
    time, each under a name of its own. It is open while one of them runs, and held by one process at a time.

    Args:
        path: The file. It is made where there is none, readable by its owner only.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path: Path = Path(path)
        self._db: Connection | None = None
        self._users = 0
        self._running: set[str] = set()
        self._undone_by: dict[int, Sequence[int]] = {}
        self._turn = anyio.Lock()
        self._thread = threading.Lock()
        self._batch = _Batch()

    def __repr__(self) -> str:
        return f"Journal({str(self.path)!r})"

    async def __aenter__(self) -> Self:
        await self._enter(create=True)
        return self

    async def enter_existing(self) -> None:
        """Open it like ``async with``, but make no file.

        Raises:
            JournalError: There is none.
        """
        await self._enter(create=False)

    @contextlib.asynccontextmanager
    async def _existing(self) -> AsyncGenerator[None, None]:
        await self.enter_existing()
        try:
            yield
        finally:
            await self.__aexit__(None, None, None)

    async def _enter(self, *, create: bool) -> None:
        self._users += 1
        try:
            await in_thread(self._open, create)
        except BaseException:
            await self.__aexit__(None, None, None)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._users -= 1
        await in_thread(self._close)

    def _open(self, create: bool) -> None:
        with self._thread:
            if self._db is None:
                self._db = open_file(self.path, create=create)

    def _close(self) -> None:
        with self._thread:
            if self._users == 0 and self._db is not None:
                db, self._db = self._db, None
                db.close()

    async def runs(self) -> list[RunSummary]:
        """The runs of the file, oldest first.

        Raises:
            JournalError: There is no such file, it is damaged, or in use by another process.
        """
        async with self._existing():
            rows = await self._read(
                "SELECT one.id, one.name, one.host, one.endpoint, one.started, undone.name"
                " FROM runs AS one LEFT JOIN runs AS undone ON undone.id = one.undoes ORDER BY one.id"
            )
            counted = await self._read("SELECT run, state, count(*) FROM items GROUP BY run, state")
        counts: dict[int, Counter[str]] = {}
        for run, state, count in counted:
            counts.setdefault(run, Counter())[state] = count
        async with self._believing():
            return [
                RunSummary(
                    name=name,
                    host=host,
                    endpoint=endpoint,
                    started=datetime.fromtimestamp(started, UTC),
                    counts={state: counts.get(id, Counter[str]())[state] for state in STATES},
                    undoes=undoes,
                )
                for id, name, host, endpoint, started, undoes in msgspec.convert(
                    rows, list[tuple[int, str, str, str, float, str | None]]
                )
            ]

    async def items(self, run: str = "main") -> list[Item]:
        """What the file holds of each environment of a run, by id.

        Raises:
            JournalError: There is no such run, or the file cannot be used.
        """
        async with self._existing():
            number, _ = await self.find(run)
            return await self._items("run = :run ORDER BY environment", run=number)

    async def find(self, run: str) -> tuple[int, Identity]:
        """The number and the identity of a run. The journal must be open.

        Raises:
            JournalError: There is no such run.
        """
        found = await self._read("SELECT id, host, credential, endpoint, body FROM runs WHERE name = :name", name=run)
        if not found:
            names = [name for (name,) in await self._read("SELECT name FROM runs ORDER BY id")]
            there = f"it holds {', '.join(map(repr, names))}" if names else "it holds none"
            raise JournalError(f"{self.path} holds no run {run!r}; {there}.")
        number, host, credential, endpoint, body = found[0]
        return number, Identity(host=host, credential=credential, endpoint=endpoint, body=body)

    def hold(self, name: str) -> None:
        """Keep a run for oneself, until it is released.

        Raises:
            JournalError: It is going on.
        """
        if name in self._running:
            raise JournalError(
                f"The run {name!r} in {self.path} is going on in this process, so it cannot be begun once more, nor be undone. "
                "Nothing was sent. Wait until it is over, or name another run."
            )
        self._running.add(name)

    def release(self, name: str) -> None:
        """Let a run be begun again."""
        self._running.discard(name)

    async def begin(self, name: str, identity: Identity, *, adopt: bool, sink: bool = False, undoes: int | None = None) -> int:
        """Begin a run, or resume it. The journal must be open, and the run be held.

        Args:
            name: The run's name within the file.
            identity: What it does.
            adopt: Go on although the run was begun with another credential.
            sink: It hands over what it makes.
            undoes: The number of the run that it undoes.

        Returns:
            The number of the run.

        Raises:
            JournalError: The run of that name is another one.
        """
        if not await self._read("SELECT id FROM runs WHERE name = :name", name=name):
            row = attrs.asdict(identity) | {"name": name, "started": time.time(), "sink": sink, "undoes": undoes}
            await self._write(
                "INSERT INTO runs (name, host, credential, endpoint, body, started, sink, undoes)"
                " VALUES (:name, :host, :credential, :endpoint, :body, :started, :sink, :undoes)",
                row,
            )
        number, found = await self.find(name)
        if (refusal := _other(identity, found, adopt=adopt)) is not None:
            raise JournalError(
                f"The run {name!r} in {self.path} is another one: {refusal} Nothing was sent. Resume it as it was begun, or "
                "name another file, or, from Python, another run in this one."
            )
        if found != identity:
            row = {"id": number, "credential": identity.credential}
            await self._write("UPDATE runs SET credential = :credential WHERE id = :id", row)
        if sink:
            await self._write("UPDATE runs SET sink = 1 WHERE id = :id", {"id": number})
        links = dict(await self._read("SELECT id, undoes FROM runs WHERE undoes IS NOT NULL"))
        chain = [number]
        while (earlier := links.get(chain[-1])) is not None and earlier not in chain:
            chain.append(earlier)
        self._undone_by[number] = chain[1:]
        return number

    async def has_sink(self, run: int) -> bool:
        """Whether a session of the run has handed over what it made."""
        return bool(await self._read("SELECT 1 FROM runs WHERE id = :run AND sink", run=run))

    async def key(self, run: int) -> str:
        """A digest that tells a run from all others, in this file and elsewhere."""
        row = (await self._read("SELECT name, host, credential, endpoint, body, started FROM runs WHERE id = :run", run=run))[0]
        # The credential may be replaced while the run goes on.
        return hashlib.sha256(repr((*row[:2], *row[3:])).encode()).hexdigest()[:32]

    async def done(self, run: int) -> dict[int, str | None]:
        """The environments of a run in which nothing is left to do, with the digests of what was sent. Mostly one digest."""
        rows = await self._read(DONE, run=run)
        return {environment: body if body is None else sys.intern(body) for environment, body in rows}

    async def unchanged(self, run: int) -> frozenset[int]:
        """The environments that a run found as desired, so that it sent nothing to them."""
        rows = await self._read("SELECT environment FROM items WHERE run = :run AND state = 'unchanged'", run=run)
        return frozenset(environment for (environment,) in rows)

    async def not_done(self, run: int) -> list[Item]:
        """What the file holds of the other environments of a run."""
        return await self._items(f"run = :run AND environment NOT IN (SELECT environment FROM ({DONE}))", run=run)  # noqa: S608

    async def item(self, run: int, environment: int) -> Item | None:
        """What the file holds of one environment."""
        return next(
            iter(await self._items("run = :run AND environment = :environment", run=run, environment=environment)), None
        )

    async def written(self, run: int, undoing: int) -> list[tuple[int, int | None]]:
        """The environments, with their projects, that a run may have changed, and those in which another has undone it."""
        return [(environment, project) for environment, project in await self._read(WRITTEN, run=run, undoing=undoing)]

    async def intend(self, run: int, values: Mapping[str, Any]) -> None:
        """Write down what is about to be sent. It is on the disk when this returns.

        Raises:
            JournalError: It cannot be written; then nothing may be sent.
        """
        now = time.time()
        item = {"run": run, "intended": now, **encoded(values)}
        again = {"run": run, "environment": values["environment"], "now": now}
        await self._commit_rows([(INTEND, item), (INTEND_AGAIN, again)])

    async def conclude(self, run: int, values: Mapping[str, Any], *, nothing_done: bool = False) -> None:
        """Write down what became of it.

        Args:
            run: The number of the run.
            values: The outcome.
            nothing_done: Nothing of what was intended has happened, so there is nothing to undo.

        Raises:
            JournalError: It cannot be written; then it stays in doubt.
        """
        now = time.time()
        place = {"run": run, "environment": values["environment"], "now": now}
        rows: list[_Row] = [(CONCLUDE, {"run": run, "finished": now, **encoded(values)})]
        if nothing_done:
            rows.append((NOTHING_DONE, place))
        if values["state"] in DONE_STATES:
            # What this run has undone is undone; what that one had undone is done again; and so on.
            for depth, undone in enumerate(self._undone_by.get(run, ())):
                rows.append((CONCLUDE_REDO if depth % 2 else CONCLUDE_UNDO, {**place, "undone": undone}))
        await self._commit_rows(rows)

    async def rotations(self) -> dict[int, tuple[float, str]]:
        """By environment, when the file's runs last rotated its secret, and the digest of the secret since.

        The journal must be open.
        """
        rows = await self._read(
            "SELECT environment, finished, after FROM items JOIN runs ON runs.id = items.run"
            " WHERE endpoint = 'rotate_secret_token' AND state IN ('succeeded', 'unchanged') AND after IS NOT NULL"
            " ORDER BY finished"
        )
        async with self._believing():
            decoded = [(environment, finished, DIGESTS.decode(after)) for environment, finished, after in rows]
        return {environment: (finished, after.get("secret") or "") for environment, finished, after in decoded}

    async def _items(self, where: str, **values: int) -> list[Item]:
        rows = await self._read(f"SELECT {ITEM} FROM items WHERE {where}", **values)  # noqa: S608
        async with self._believing():
            return [_item(row) for row in rows]

    @contextlib.asynccontextmanager
    async def _believing(self) -> AsyncGenerator[None, None]:
        """What a journal holds was written by this library; anything else in it is damage."""
        try:
            yield
        except (msgspec.MsgspecError, ValueError, OverflowError, OSError, RecursionError):
            raise await in_thread(damaged, self.path) from None

    async def _read(self, query: str, **values: object) -> list[tuple[Any, ...]]:
        return await in_thread(self._fetch, query, values)

    def _fetch(self, query: str, values: Mapping[str, object]) -> list[tuple[Any, ...]]:
        with self._thread, explained(self.path):
            return self._open_db().execute(query, values).fetchall()

    async def _write(self, statement: str, values: dict[str, Any]) -> None:
        await self._commit_rows([(statement, values)])

    async def _commit_rows(self, rows: Sequence[_Row]) -> None:
        batch = self._batch
        batch.rows.extend(rows)
        async with self._turn:
            if batch.committed:
                return
            if batch is self._batch:
                self._batch = _Batch()
            await in_thread(self._commit, batch)

    def _commit(self, batch: _Batch) -> None:
        with self._thread, explained(self.path):
            db = self._open_db()
            db.check_place()
            db.execute("BEGIN IMMEDIATE")
            try:
                for statement, values in batch.rows:
                    db.execute(statement, values)
                db.execute("COMMIT")
                batch.committed = True
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
                raise

    def _open_db(self) -> Connection:
        if self._db is None:
            raise JournalError(f"The journal {self.path} is not open.")
        return self._db


_Time: TypeAlias = float | None
_Text: TypeAlias = str | None
_ROW: Final = tuple[int, int | None, str, _Time, _Time, _Text, _Text, _Text, _Text, _Text, _Text, int]
"""The types of an item's columns."""


def _item(row: Sequence[Any]) -> Item:
    named: dict[str, Any] = dict(zip(attrs.fields_dict(Item), msgspec.convert(row, _ROW), strict=True))
    for name, decoder in JSON_COLUMNS.items():
        if named[name] is not None:
            named[name] = decoder.decode(cast("str", named[name]))
    return Item(**named)


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
