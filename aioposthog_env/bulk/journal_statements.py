"""The statements of a journal, and how values are written into its columns."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

RUNS: Final = """
    SELECT one.id, one.name, one.host, one.endpoint, one.started, undone.name
    FROM runs AS one LEFT JOIN runs AS undone ON undone.id = one.undoes ORDER BY one.id
"""
COUNTS: Final = "SELECT run, state, count(*) FROM items GROUP BY run, state"
START: Final = """
    INSERT INTO runs (name, host, credential, endpoint, body, started, sink, undoes)
    VALUES (:name, :host, :credential, :endpoint, :body, :started, :sink, :undoes)
"""
LOCATION: Final = "SELECT host, inode FROM location"
LOCATE: Final = "INSERT OR REPLACE INTO location (id, host, inode) VALUES (1, :host, :inode)"
INTEND: Final = """
    INSERT INTO items (run, environment, project, state, intended, body, marks, asked, before)
    VALUES (:run, :environment, :project, 'intended', :intended, :body, :marks, :asked, :before)
    ON CONFLICT (run, environment) DO UPDATE SET
        state = 'intended', intended = :intended, finished = NULL, body = :body, marks = :marks, asked = :asked,
        before = :before, after = NULL, error = NULL
"""
_UNDONE: Final = "state = 'undone', finished = :now, asked = NULL, before = NULL, after = NULL, error = NULL"
INTEND_AGAIN: Final = f"""
    WITH RECURSIVE undoing (id) AS (
        SELECT id FROM runs WHERE undoes = :run UNION SELECT runs.id FROM runs JOIN undoing ON runs.undoes = undoing.id
    )
    UPDATE items SET {_UNDONE} WHERE environment = :environment AND run IN (SELECT id FROM undoing)
"""  # noqa: S608
"""What is about to be done again is undone no longer."""
CONCLUDE: Final = """
    INSERT INTO items (run, environment, project, state, finished, after, error, attempts)
    VALUES (:run, :environment, :project, :state, :finished, :after, :error, :attempts)
    ON CONFLICT (run, environment) DO UPDATE SET
        state = :state, finished = :finished, after = coalesce(:after, after), error = :error, attempts = attempts + :attempts
"""
NOTHING_DONE: Final = "UPDATE items SET asked = NULL, before = NULL WHERE run = :run AND environment = :environment"
CONCLUDE_UNDO: Final = f"UPDATE items SET {_UNDONE} WHERE environment = :environment AND run = :undone"  # noqa: S608
CONCLUDE_REDO: Final = """
    UPDATE items SET state = 'succeeded', finished = :now, error = NULL, (asked, before, after) = (
        SELECT asked, before, after FROM items WHERE run = :run AND environment = :environment
    ) WHERE environment = :environment AND run = :undone
"""
# The runs are few and come first, so that SQLite finds the items of each by their key. The other order reads all items again
# for each item.
_DONE: Final = """
    state IN ('succeeded', 'unchanged') AND environment NOT IN (
        SELECT undone.environment FROM runs CROSS JOIN items AS undone ON undone.run = runs.id
        WHERE runs.undoes = :run AND undone.before IS NOT NULL
    )
"""
DONE: Final = f"SELECT environment, body FROM items WHERE run = :run AND {_DONE}"  # noqa: S608
"""What is done, and has not been undone in part or perhaps."""
NOT_DONE: Final = f"run = :run AND NOT ({_DONE})"
WRITTEN: Final = """
    SELECT environment, project FROM items WHERE run = :run AND before IS NOT NULL
    UNION SELECT environment, project FROM items WHERE run = :undoing AND state != 'undone'
    ORDER BY environment
"""
"""What a run may have written, and what of that has been undone."""

ROTATIONS: Final = """
    SELECT environment, finished, after FROM items JOIN runs ON runs.id = items.run
    WHERE endpoint = 'rotate_secret_token' AND state IN ('succeeded', 'unchanged') AND after IS NOT NULL
    ORDER BY finished
"""

DONE_STATES: Final = frozenset({"succeeded", "unchanged"})
DIGESTS: Final = msgspec.json.Decoder(dict[str, str | None])
_KEPT: Final = msgspec.json.Decoder(dict[str, dict[str, Any]])
JSON_COLUMNS: Final[Mapping[str, msgspec.json.Decoder[Any]]] = {
    "marks": DIGESTS,
    "asked": _KEPT,
    "before": _KEPT,
    "after": DIGESTS,
}
ITEM: Final = "environment, project, state, intended, finished, body, marks, asked, before, after, error, attempts"
"""The columns of an item, in the order of the attributes of ``Item``."""


def encoded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as they go into the columns of their names."""
    return {name: _as_column(name, value) for name, value in values.items()}


def _as_column(name: str, value: Any) -> Any:
    if name in JSON_COLUMNS and value is not None:
        return msgspec.json.encode(value).decode()
    # The words of an error may quote anything, also half of a surrogate pair.
    return value.encode(errors="replace").decode() if isinstance(value, str) else value
