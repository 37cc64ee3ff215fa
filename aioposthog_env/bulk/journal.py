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
import threading
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar

import anyio
import attrs
import msgspec

from aioposthog_env.bulk.journal_errors import explained
from aioposthog_env.bulk.journal_file import Connection, open_file
from aioposthog_env.bulk.journal_items import Identity, Item, Run, RunSummary, decoding, digests_of, items_of, moment
from aioposthog_env.bulk.journal_location import Location
from aioposthog_env.bulk.journal_schema import STATES
from aioposthog_env.bulk.journal_statements import (
    CONCLUDE,
    CONCLUDE_REDO,
    CONCLUDE_UNDO,
    COUNTS,
    DIGESTS,
    DONE,
    DONE_STATES,
    INTEND,
    INTEND_AGAIN,
    ITEM,
    LOCATE,
    LOCATION,
    NOT_DONE,
    NOTHING_DONE,
    ROTATIONS,
    RUNS,
    START,
    WRITTEN,
    encoded,
)
from aioposthog_env.bulk.threads import Interruption, in_thread
from aioposthog_env.errors import JournalError
from aioposthog_env.redacted import printable_half_built

T = TypeVar("T")
_Rows: TypeAlias = Iterable[tuple[Any, ...]]
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
        moved: Resume its runs although the file was copied, or is on a machine of another name, since a run last used it. An
            old copy does not know what happened after it was made: a run that resumes from it does all of that again.
    """

    def __init__(self, path: str | os.PathLike[str], *, moved: bool = False) -> None:
        self.path: Path = Path(path)
        self._moved = moved
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
            interruption = Interruption()
            await in_thread(self._open, create, interruption, interruption=interruption)
        except BaseException:
            await self.__aexit__(None, None, None)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._users -= 1
        await in_thread(self._close)

    def _open(self, create: bool, interruption: Interruption) -> None:
        with self._thread:
            if self._db is None:
                self._db = open_file(self.path, create=create, interruption=interruption)

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
            rows = await self._read(RUNS)
            counted = await self._read(COUNTS)
        counts: dict[int, Counter[str]] = {}
        for run, state, count in counted:
            counts.setdefault(run, Counter())[state] = count
        with decoding(self.path):
            runs = msgspec.convert(rows, list[Run])
        return [
            RunSummary(
                name=name,
                host=host,
                endpoint=endpoint,
                started=moment(started, self.path),
                counts={state: counts.get(id, Counter[str]())[state] for state in STATES},
                undoes=undoes,
            )
            for id, name, host, endpoint, started, undoes in runs
        ]

    async def moved_from(self) -> str | None:
        """Return how the file is elsewhere than where a run last used it, in words; None if it is not, or none has noted that.

        Raises:
            JournalError: There is no such file, or it cannot be used.
        """
        async with self._existing():
            here, recorded = await self._locations()
        return None if recorded is None else here.moved_from(recorded)

    async def _locations(self) -> tuple[Location, Location | None]:
        """Where the file is, and where it was when a run last began."""
        recorded = await self._read(LOCATION)
        return Location.of(self._open_db().opened), Location(*recorded[0]) if recorded else None

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
            JournalError: The run of that name is another one; or the file was moved.
        """
        here, recorded = await self._locations()
        if not self._moved and recorded is not None:
            here.check(recorded, self.path)
        located = [] if here == recorded else [(LOCATE, attrs.asdict(here))]
        if not await self._read("SELECT id FROM runs WHERE name = :name", name=name):
            row = attrs.asdict(identity) | {"name": name, "started": time.time(), "sink": sink, "undoes": undoes}
            await self._commit_rows([*located, (START, row)])
            located = []
        number, found = await self.find(name)
        if (refusal := identity.refusal(found, adopt=adopt)) is not None:
            raise JournalError(
                f"The run {name!r} in {self.path} is another one: {refusal} Nothing was sent. Resume it as it was begun, or "
                "name another file, or, from Python, another run in this one."
            )
        if located:
            await self._commit_rows(located)
        if found != identity:
            row = {"id": number, "credential": identity.credential}
            await self._commit_rows([("UPDATE runs SET credential = :credential WHERE id = :id", row)])
        if sink:
            await self._commit_rows([("UPDATE runs SET sink = 1 WHERE id = :id", {"id": number})])
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
        return await self._collect(digests_of, DONE, run=run)

    async def unchanged(self, run: int) -> frozenset[int]:
        """The environments that a run found as desired, so that it sent nothing to them."""
        rows = await self._read("SELECT environment FROM items WHERE run = :run AND state = 'unchanged'", run=run)
        return frozenset(environment for (environment,) in rows)

    async def not_done(self, run: int) -> list[Item]:
        """What the file holds of the other environments of a run."""
        return await self._items(NOT_DONE, run=run)

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
        rows = await self._read(ROTATIONS)
        with decoding(self.path):
            decoded = [(environment, finished, DIGESTS.decode(after)) for environment, finished, after in rows]
        return {environment: (finished, after.get("secret") or "") for environment, finished, after in decoded}

    async def _items(self, where: str, **values: int) -> list[Item]:
        query = f"SELECT {ITEM} FROM items WHERE {where}"  # noqa: S608
        return await self._collect(lambda rows: items_of(rows, self.path), query, **values)

    async def _read(self, query: str, **values: object) -> list[tuple[Any, ...]]:
        return await self._collect(list, query, **values)

    async def _collect(self, collect: Callable[[_Rows], T], query: str, **values: object) -> T:
        """Run a query, and collect its rows in the thread that finds them. A cancel interrupts both."""
        interruption = Interruption()
        return await in_thread(self._fetch, collect, query, values, interruption, interruption=interruption)

    def _fetch(self, collect: Callable[[_Rows], T], query: str, values: Mapping[str, object], interruption: Interruption) -> T:
        with self._thread, explained(self.path):
            db = self._open_db()
            # An unfinished statement would keep the file locked after it was closed.
            with interruption.covering(db), contextlib.closing(db.execute(query, values)) as rows:
                return collect(rows)

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
            db.check_files()
            db.execute("BEGIN IMMEDIATE")
            try:
                for statement, values in batch.rows:
                    db.execute(statement, values)
                db.execute("COMMIT")
                batch.committed = True
                db.note_sizes()
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
                raise

    def _open_db(self) -> Connection:
        if self._db is None:
            raise JournalError(f"The journal {self.path} is not open.")
        return self._db
