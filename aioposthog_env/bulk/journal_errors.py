"""What the errors of SQLite mean for a journal."""

import contextlib
import sqlite3
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Final

from aioposthog_env.bulk.journal_schema import STATES, bounded, has_items
from aioposthog_env.errors import JournalError

_IN_USE: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_DAMAGE: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_NO_SPACE: Final = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}
_OURS: Final = (sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.IntegrityError, sqlite3.NotSupportedError)
"""Mistakes of this library: the schema was compared with its own, so no file can cause them."""
_STEPS_OF_COUNTING: Final = 50_000_000
"""A second or so, and more than ten million items."""


def code_of(error: sqlite3.Error) -> int | None:
    """Return SQLite's primary result code; None if Python's module raised the error itself."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def untouched(path: Path) -> sqlite3.Connection:
    """Return a connection that sees the main file as it is. It neither locks nor changes anything."""
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
    # While a checkpoint is torn, the header counts pages that are still in the log; SQLite lets that pass only in this mode.
    db.execute("PRAGMA writable_schema = ON")
    return db


def damaged(path: Path, why: str = "") -> JournalError:
    """Return the error for a journal that holds something this library never writes."""
    return JournalError(
        f"The journal {path} is damaged. {_what_can_be_saved(path)}. {why}Keep a copy of the file and of the file ending in "
        f"-wal beside it; `sqlite3 {path.name} .recover` may save more. Until then take every environment of the run as in "
        "doubt: read it before you repeat a token call."
    )


class explained(contextlib.AbstractContextManager[None]):  # noqa: N801  used like a function
    """Turns what SQLite says about the file into a ``JournalError``. Mistakes of the code pass as they are."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if isinstance(error, OverflowError | UnicodeEncodeError):
            raise JournalError(f"The journal {self._path} cannot hold that: {error}.") from None
        if isinstance(error, UnicodeDecodeError):  # in the schema, or in a message about it
            raise damaged(self._path) from None
        if not isinstance(error, sqlite3.Error) or isinstance(error, _OURS):
            return
        code = code_of(error)
        # Statements are our own and the schema is known, so SQLITE_ERROR is a mistake in the statement.
        if code in {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_INTERRUPT}:
            return
        if code in _IN_USE:
            raise JournalError(
                f"The journal {self._path} is in use by another process, or by another run of this one. Nothing was sent. Wait "
                "until it is over."
            ) from None
        if code is None or code in _DAMAGE:  # None: a text that is not UTF-8
            raise damaged(self._path) from None
        remedy = " Make sure that there is free space, then resume the run with the same journal." if code in _NO_SPACE else ""
        raise JournalError(f"The journal {self._path} cannot be used: {error}.{remedy}") from None


def _what_can_be_saved(path: Path) -> str:
    """What of a damaged file can still be read, in words."""
    counts: Counter[str] = Counter()
    with contextlib.suppress(sqlite3.Error, UnicodeDecodeError), contextlib.closing(untouched(path)) as db:
        with bounded(db):
            readable = has_items(db)
        with bounded(db, _STEPS_OF_COUNTING):  # pages of a damaged file may lead back to each other
            for (state,) in db.execute("SELECT state FROM items") if readable else ():
                counts[state if state in STATES else "in no state that is known"] += 1
    kept = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    return f"{counts.total()} items can still be read ({kept})" if counts else "Nothing of it can be read"
