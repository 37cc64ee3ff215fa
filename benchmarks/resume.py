"""What resuming a finished run costs for each row of its journal: nothing is sent, everything is read.

The floor reads the same rows with the ``sqlite3`` module and makes a dictionary of them. A resume also checks the file,
compares the run, and gives an outcome for each environment.
"""

import asyncio
import contextlib
import sqlite3
import tempfile
from pathlib import Path
from typing import Final

from aioposthog_env import AsyncEnvironments, Journal, SessionCookie
from aioposthog_env.api import calls
from aioposthog_env.auth import credential_digest
from aioposthog_env.bulk.journal_items import Identity
from aioposthog_env.bulk.record import body_digest
from benchmarks.measure import Clock, Row, Run, Spent, interleaved, rows_of

SIZES: Final = (1_000, 10_000, 100_000)
_HOST: Final = "http://127.0.0.1:9"
_AUTH: Final = SessionCookie("s" * 20, "c" * 20)
_FLOOR: Final = "sqlite3 rows into a dict"


async def make(path: Path, rows: int) -> None:
    """Write the journal of a run that has reset a token in so many environments."""
    call = calls.reset_token()
    identity = Identity(
        host=_HOST, credential=credential_digest(_AUTH), endpoint=call.endpoint.name, body=body_digest(call.body)
    )
    async with Journal(path) as journal:
        await journal.begin("main", identity, adopt=False)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
            " INSERT INTO items (run, environment, state, intended, finished, body, marks, attempts)"
            " SELECT 1, i, 'succeeded', 1e9 + i, 1e9 + i, ?, ?, 1 FROM n",
            (rows, identity.body, '{"token":"' + "0" * 64 + '"}'),
        )


def floor(path: Path, rows: int) -> Run:
    def run() -> Spent:
        clock = Clock()
        with contextlib.closing(sqlite3.connect(path)) as db:
            done = dict(db.execute("SELECT environment, body FROM items WHERE run = 1 AND state = 'succeeded'"))
        assert len(done) == rows
        return clock.spent(rows)

    return run


def resumed(path: Path, rows: int) -> Run:
    async def spend() -> Spent:
        async with AsyncEnvironments(_HOST, auth=_AUTH, routes="root") as environments:
            clock = Clock()
            report = await environments.each(range(1, rows + 1), journal=path, keep="counts").reset_token()
            spent = clock.spent(rows)
        assert report.done_earlier == rows
        return spent

    return lambda: asyncio.run(spend())


def rows(quick: bool) -> list[Row]:
    found: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for size in SIZES[:1] if quick else SIZES:
            path = Path(folder) / f"{size}.db"
            asyncio.run(make(path, size))
            rivals = {_FLOOR: floor(path, size), "resume": resumed(path, size)}
            found += rows_of(interleaved(rivals, 1 if quick else 5, warm=not quick), floor=_FLOOR, case=f"{size:,} rows")
    return found
