"""Journals in the states that kills, power losses and full disks leave."""

import contextlib
import resource
import shutil
import struct
import subprocess
import sys
from collections.abc import Generator, Mapping
from pathlib import Path

_KILLED = """
import anyio, os, sys
from aioposthog_env.bulk.journal import Journal
from aioposthog_env.bulk.journal_items import Identity

async def main():
    journal = Journal(sys.argv[1])
    await journal.__aenter__()
    run = await journal.begin("main", Identity(host="h", credential="c", endpoint="update", body="b"), adopt=False)
    rest = dict.fromkeys(("project", "marks", "asked", "before"))
    async with anyio.create_task_group() as tasks:
        for environment in range(1, int(sys.argv[2]) + 1):
            tasks.start_soon(record, journal, run, environment, rest)
    os._exit(0)

async def record(journal, run, environment, rest):
    await journal.intend(run, {"environment": environment, "body": "b" * 64, **rest})
    if environment % 3:
        outcome = {"environment": environment, "project": None, "after": None, "error": "x" * 200, "attempts": 1}
        await journal.conclude(run, outcome | {"state": "succeeded" if environment % 3 == 1 else "failed"})

anyio.run(main)
"""


def make_killed(path: Path, items: int) -> None:
    """Leave a journal whose process was killed: of every three items one is in doubt, one done and one failed."""
    subprocess.run([sys.executable, "-c", _KILLED, str(path), str(items)], check=True)


def committed_pages(log: bytes) -> tuple[int, Mapping[int, bytes]]:
    """Return the page size of a log, and its pages by number, in the order in which a checkpoint writes them."""
    size, salt = struct.unpack(">I", log[8:12])[0], log[16:24]
    committed: dict[int, bytes] = {}
    current: dict[int, bytes] = {}
    at = 32
    while log[at + 8 : at + 16] == salt:
        number, commit = struct.unpack(">II", log[at : at + 8])
        current[number] = log[at + 24 : at + 24 + size]
        if commit:
            committed |= current
            current = {}
        at += 24 + size
    return size, dict(sorted(committed.items()))


def laid_out(folder: Path, main: bytes, log: bytes) -> Path:
    """Write a journal and its log into an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    path = folder / "run.db"
    path.write_bytes(main)
    path.with_name("run.db-wal").write_bytes(log)
    return path


@contextlib.contextmanager
def largest_file(size: int) -> Generator[None, None, None]:
    """Let no file of this process grow beyond a size, as on a disk that is full: a write beyond it fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
