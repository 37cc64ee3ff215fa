"""The tables of a journal, and whether a file has these and nothing else.

A file that another program made, or changed, can hold views, triggers and computed columns that run for hours as soon as a
statement touches them. The text of the schema is therefore compared with our own before anything else is read.
"""

import contextlib
import sqlite3
from collections.abc import Generator
from functools import cache
from typing import Final, TypeAlias

APPLICATION: Final = 0x70686A31
VERSION: Final = 3
OPEN: Final = 1 << 16
"""Added to the version while the journal is open."""
STATES: Final = ("intended", "unfinished", "succeeded", "unchanged", "failed", "unknown", "skipped", "undone")

_RUNS_AND_ITEMS: Final = f"""
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
"""
_LOCATION: Final = """
    CREATE TABLE location (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        host TEXT NOT NULL,
        inode TEXT NOT NULL
    );
"""
"""Where the file was when a run last began. Journals of earlier releases have no such table until they are opened."""

STEPS_OF_SCHEMA: Final = 10_000
"""Steps of SQLite's machine; reading our schema takes some hundred."""

_Object: TypeAlias = tuple[str, str, str, str | None]


def new_content() -> bytes:
    """Return the bytes of an empty journal."""
    with contextlib.closing(_made(_RUNS_AND_ITEMS, _LOCATION)) as db:
        db.execute(f"PRAGMA application_id = {APPLICATION}")
        db.execute(f"PRAGMA user_version = {VERSION}")
        return db.serialize()


def has_items(db: sqlite3.Connection) -> bool:
    """Return whether a file has the table of items, exactly as this library makes it."""
    return {one for one in _made_before() if one[2] == "items"} <= _objects(db)


def is_ours(db: sqlite3.Connection) -> bool:
    """Return whether the schema is that of a journal and holds nothing else."""
    return _objects(db) in (_made_before(), _made_now())


def complete(db: sqlite3.Connection) -> None:
    """Add the table that a journal of an earlier release lacks."""
    if _objects(db) == _made_before():
        db.execute(_LOCATION)


@contextlib.contextmanager
def bounded(db: sqlite3.Connection, steps: int = STEPS_OF_SCHEMA) -> Generator[None, None, None]:
    """Abort a statement inside that takes more steps of SQLite's machine; it raises SQLITE_INTERRUPT."""
    db.set_progress_handler(lambda: True, steps)
    try:
        yield
    finally:
        db.set_progress_handler(None, 0)


def _objects(db: sqlite3.Connection) -> set[_Object]:
    return {
        (kind, name, table, None if sql is None else " ".join(sql.split()))
        for kind, name, table, sql in db.execute("SELECT type, name, tbl_name, sql FROM sqlite_master")
    }


def _made(*schemas: str) -> sqlite3.Connection:
    db = sqlite3.connect(":memory:", isolation_level=None)
    for statement in ";".join(schemas).split(";"):
        db.execute(statement)
    return db


@cache
def _made_before() -> set[_Object]:
    with contextlib.closing(_made(_RUNS_AND_ITEMS)) as db:
        return _objects(db)


@cache
def _made_now() -> set[_Object]:
    with contextlib.closing(_made(_RUNS_AND_ITEMS, _LOCATION)) as db:
        return _objects(db)
