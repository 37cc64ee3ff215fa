"""The file of a journal: its schema, how it is opened, and what its errors mean."""

import contextlib
import os
import sqlite3
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Final

from aioposthog_env.errors import JournalError

_APPLICATION: Final = 0x70686A31
_VERSION: Final = 1
STATES: Final = ("intended", "unfinished", "succeeded", "unchanged", "failed", "unknown", "skipped")

_SCHEMA: Final = f"""
    CREATE TABLE runs (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        host TEXT NOT NULL,
        credential TEXT NOT NULL,
        endpoint TEXT NOT NULL,
        body TEXT NOT NULL,
        started REAL NOT NULL
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


def open_file(path: Path) -> sqlite3.Connection:
    """Open a journal, and make it where there is none. The file is held until it is closed, or the process is gone.

    Raises:
        JournalError: It cannot be opened, is held by somebody else, is damaged, or is no journal.
    """
    try:
        # Made before SQLite makes it, so that it is never readable by others, not even for a moment. A file that is there is
        # not opened here: closing it would free the lock that another run of this process holds.
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        path.chmod(0o600)
    except OSError as error:
        raise JournalError(f"The journal {path} cannot be opened: {error.strerror}.") from None
    with explained(path):
        db = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        with explained(path):
            _prepare(db, path)
    except BaseException:
        db.close()
        raise
    return db


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    # Taken with the first access and kept until the file is closed, or the process is gone.
    db.execute("PRAGMA locking_mode = EXCLUSIVE")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("BEGIN IMMEDIATE")
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if not tables:
        for statement in filter(str.strip, _SCHEMA.split(";")):
            db.execute(statement)
    elif application != _APPLICATION:
        raise JournalError(f"{path} is another SQLite file, and no journal. Nothing was changed in it.")
    elif version > _VERSION:
        raise JournalError(f"{path} was written by a newer version of this library (format {version}); update it.")
    db.execute("COMMIT")
    problems = [text for (text,) in db.execute("PRAGMA quick_check(1)")]
    if problems != ["ok"]:
        raise sqlite3.DatabaseError("damaged")


class explained(contextlib.AbstractContextManager[None]):  # noqa: N801  used like a function
    """Turns SQLite's errors into ours."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if not isinstance(error, sqlite3.Error):
            return
        code = getattr(error, "sqlite_errorcode", None)
        if code is not None and code & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            raise JournalError(
                f"The journal {self._path} is in use by another process, or by another run of this one. Nothing was sent. Wait "
                "until it is over."
            ) from None
        if code is None or code & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            raise JournalError(f"The journal {self._path} is damaged. {_what_can_be_saved(self._path)}") from None
        raise JournalError(f"The journal {self._path} cannot be used: {error}.") from None


def _what_can_be_saved(path: Path) -> str:
    """What of a damaged file can still be read, in words."""
    counts: Counter[str] = Counter()
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as db:
            for (state,) in db.execute("SELECT state FROM items"):
                counts[str(state)] += 1
    except sqlite3.Error:
        pass
    kept = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    saved = f"{counts.total()} items can still be read ({kept})" if counts else "Nothing of it can be read"
    return (
        f"{saved}. Keep a copy of the file and of the file ending in -wal beside it; `sqlite3 {path.name} .recover` may save "
        "more. Until then take every environment of the run as in doubt: read it before you repeat a token call."
    )
