"""The file of a journal: its schema, how it is made, opened and closed, and what its errors mean.

**Made whole.** A new journal is written beside its place and linked into it, so a file of that name never is half a journal,
whatever kills the process. An empty file is therefore none of ours, or one that has lost what it held.

**Looked at first.** Whether a file is a journal of this format stands in its header, which is read through a connection that
neither locks nor changes anything. (A plain read of the file would not do: closing it frees the lock that another run of this
process holds.) Only then are its mode and its log touched.

**The two files belong together.** While a journal is open, the last that it recorded is in the file ending in ``-wal``. That it
is open stands in the main file, too, from before the first intent until after the last outcome. So a main file that was copied
without its log, or has lost it, is told from one that was closed.

**Still in its place.** A file that is open can be moved away, removed or replaced, and goes on to take what is written. Nobody
would find it there again, so before each commit the path is asked whether it still names the file that was opened.
"""

import contextlib
import os
import sqlite3
import stat
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Final

from aioposthog_env.bulk.atomic_write import beside
from aioposthog_env.errors import JournalError

_APPLICATION: Final = 0x70686A31
_VERSION: Final = 3
_OPEN: Final = 1 << 16
"""Added to the version while the journal is open."""
STATES: Final = ("intended", "unfinished", "succeeded", "unchanged", "failed", "unknown", "skipped", "undone")

_SCHEMA: Final = f"""
    CREATE TABLE runs (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        host TEXT NOT NULL,
        credential TEXT NOT NULL,
        endpoint TEXT NOT NULL,
        body TEXT NOT NULL,
        started REAL NOT NULL,
        sink INTEGER NOT NULL DEFAULT 0,
        undoes INTEGER REFERENCES runs (id)
    );
    CREATE TABLE items (
        run INTEGER NOT NULL REFERENCES runs (id),
        environment INTEGER NOT NULL,
        project INTEGER,
        state TEXT NOT NULL CHECK (state IN {STATES}),
        intended REAL,
        finished REAL,
        body TEXT,
        marks TEXT,
        asked TEXT,
        before TEXT,
        after TEXT,
        error TEXT,
        attempts INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (run, environment)
    ) WITHOUT ROWID;
    PRAGMA application_id = {_APPLICATION};
    PRAGMA user_version = {_VERSION};
"""


class Connection(sqlite3.Connection):
    """A connection to a journal that knows what a missing log would mean.

    Attributes:
        place: The path that it was opened by, as a link where it is one.
        opened: What the main file was then.
        log: The file of the log.
        log_stays: Whether a log must be there once this is closed, because the main file says that it is open.
        is_open: Whether the main file says so because of this connection.
    """

    place: Path
    opened: os.stat_result
    log: Path
    log_stays: bool = False
    is_open: bool = False

    def check_place(self) -> None:
        """See that the path still names the file that was opened.

        Raises:
            JournalError: It does not.
        """
        with contextlib.suppress(OSError):
            if os.path.samestat(self.place.stat(), self.opened):
                return
        raise JournalError(
            f"The journal {self.place} is no longer the file that was opened: it was moved, removed or replaced meanwhile. "
            f"No more is sent. Put it back, with {self.log.name} where there is one, before you resume the run. If it is lost, "
            "take every environment of the run as in doubt: read it before you repeat a token call."
        )

    def close(self) -> None:
        """Close it, on whatever way it is left: SQLite then puts the log into the main file and removes it."""
        if self.is_open:
            self.is_open, self.log_stays = False, True
            with contextlib.suppress(sqlite3.Error):
                self.execute(f"PRAGMA user_version = {_VERSION}")
                self.log_stays = False
        super().close()
        if self.log_stays:
            # Such as on a full disk. Nothing is lost, but without a log it would pass for lost.
            self.log_stays = False
            with contextlib.suppress(OSError):
                self.log.touch(0o600)

    def __del__(self) -> None:
        with contextlib.suppress(sqlite3.Error):  # where it never came about
            self.close()


def open_file(path: Path, *, create: bool) -> Connection:
    """Open a journal. The file is held until it is closed, or the process is gone.

    Args:
        path: The file.
        create: Make it where there is none.

    Raises:
        JournalError: It cannot be opened, is held by somebody else, is damaged, is no journal, or there is none.
    """
    place = path.absolute()
    path = Path(os.path.realpath(path))
    try:
        if not path.exists():
            if not create:
                raise JournalError(f"There is no journal at {path}.")
            _make(path)
        _check(path)
        opened = path.stat()
        if stat.S_IMODE(opened.st_mode) & 0o077:
            path.chmod(0o600)
    except OSError as error:
        raise JournalError(f"The journal {path} cannot be opened: {error.strerror}.") from None
    log = path.with_name(f"{path.name}-wal")
    had_log = log.exists()
    with explained(path):
        db = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False, factory=Connection)
    db.place, db.opened, db.log, db.log_stays = place, opened, log, had_log
    try:
        with explained(path):
            _prepare(db, path, had_log=had_log)
    except BaseException:
        db.close()
        raise
    return db


def files_of(path: Path) -> tuple[Path, ...]:
    """The file of a journal, and those that SQLite keeps beside it."""
    path = Path(os.path.realpath(path))
    return (path, *(path.with_name(path.name + ending) for ending in ("-wal", "-shm", "-journal")))


def _make(path: Path) -> None:
    """Write an empty journal beside its place, and link it there. Where somebody was faster, theirs is it."""
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        for statement in filter(str.strip, _SCHEMA.split(";")):
            db.execute(statement)
        content = db.serialize()
    with beside(path, content) as name, contextlib.suppress(FileExistsError):
        os.link(name, path)


def _check(path: Path) -> None:
    """See that a file is a journal of this format, without touching it."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise JournalError(f"{path} is no file, so it is no journal. Nothing was changed.")
    if not found.st_size:
        raise JournalError(
            f"{path} is empty, and a journal never is: it was made by something else, or has lost what it held. Nothing was "
            "sent. If no run was ever recorded in it, remove the file. Otherwise take every environment of the run as in "
            "doubt: read it before you repeat a token call."
        )
    try:
        with contextlib.closing(_untouched(path)) as db:
            (application,) = db.execute("PRAGMA application_id").fetchone()
            (version,) = db.execute("PRAGMA user_version").fetchone()
    except sqlite3.OperationalError as error:
        raise JournalError(f"The journal {path} cannot be opened: {error}.") from None
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        raise JournalError(
            f"{path} is no SQLite file, so it is no journal. Nothing was changed in it. If it was one, its beginning is "
            f"damaged: keep a copy; `sqlite3 {path.name} .recover` may save something. Until then take every environment of "
            "the run as in doubt: read it before you repeat a token call."
        ) from None
    if application != _APPLICATION:
        raise JournalError(f"{path} is another SQLite file, and no journal. Nothing was changed in it.")
    version &= ~_OPEN
    if version > _VERSION:
        raise JournalError(f"{path} was written by a newer version of this library (format {version}); update it.")
    if version < _VERSION:
        raise JournalError(
            f"{path} was written by an older version of this library (format {version}), which this one does not read. Nothing "
            "was changed in it. Finish its runs with that version, or name another file."
        )


def _untouched(path: Path) -> sqlite3.Connection:
    """A connection that sees the main file as it is. It neither locks nor changes anything."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)


def _prepare(db: Connection, path: Path, *, had_log: bool) -> None:
    # Taken with the first access and kept until the file is closed, or the process is gone.
    db.execute("PRAGMA locking_mode = EXCLUSIVE")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("BEGIN IMMEDIATE")
    (version,) = db.execute("PRAGMA user_version").fetchone()
    # Another process may have opened it, and died, while this one was on its way: then there is a log by now.
    if version & _OPEN and not had_log and not (db.log.exists() and db.log.stat().st_size):
        raise JournalError(
            f"The journal {path} was not closed, and the file {db.log.name} with the last that it recorded is missing. Nothing "
            "was sent. The two files belong together: put it back beside this one. If it is lost, take every environment of "
            "the run as in doubt: read it before you repeat a token call."
        )
    if db.execute("PRAGMA quick_check(1)").fetchall() != [("ok",)]:
        raise sqlite3.DatabaseError("damaged")
    db.execute(f"PRAGMA user_version = {_VERSION | _OPEN}")
    db.execute("COMMIT")
    db.is_open = True
    # Into the main file, before anything else is recorded.
    db.execute("PRAGMA wal_checkpoint(FULL)")


def damaged(path: Path) -> JournalError:
    """The error for a journal in which something stands that was never written so."""
    return JournalError(f"The journal {path} is damaged. {_what_can_be_saved(path)}")


class explained(contextlib.AbstractContextManager[None]):  # noqa: N801  used like a function
    """Turns SQLite's errors into ours."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if isinstance(error, OverflowError | UnicodeEncodeError):
            raise JournalError(f"The journal {self._path} cannot hold that: {error}.") from None
        if isinstance(error, UnicodeDecodeError):  # in the schema, or in a message about it
            raise damaged(self._path) from None
        if not isinstance(error, sqlite3.Error):
            return
        code = getattr(error, "sqlite_errorcode", None)
        if code is not None and code & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            raise JournalError(
                f"The journal {self._path} is in use by another process, or by another run of this one. Nothing was sent. Wait "
                "until it is over."
            ) from None
        # Of our own statements SQLITE_ERROR means that a table, or a column, is no longer there.
        if code is None or code & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}:
            raise damaged(self._path) from None
        raise JournalError(f"The journal {self._path} cannot be used: {error}.") from None


def _what_can_be_saved(path: Path) -> str:
    """What of a damaged file can still be read, in words."""
    counts: Counter[str] = Counter()
    with contextlib.suppress(sqlite3.Error, UnicodeDecodeError), contextlib.closing(_untouched(path)) as db:
        for (state,) in db.execute("SELECT state FROM items"):
            counts[state if state in STATES else "in no state that is known"] += 1
    kept = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    saved = f"{counts.total()} items can still be read ({kept})" if counts else "Nothing of it can be read"
    return (
        f"{saved}. Keep a copy of the file and of the file ending in -wal beside it; `sqlite3 {path.name} .recover` may save "
        "more. Until then take every environment of the run as in doubt: read it before you repeat a token call."
    )
