"""Checkpoints that a kill, a power loss or a full disk has cut off: the journal opens, with every row.

The short form runs always; ``TORTURE=1`` takes a large journal, and a full disk at every size.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import anyio
import pytest

from aioposthog_env import Journal, JournalError
from tests.figures import Count
from tests.safety.journals import committed_pages, laid_out, make_killed

WHOLE = bool(os.environ.get("TORTURE"))
ITEMS = 3000 if WHOLE else 60
RUNNING = range(0, 130_000, 1024) if WHOLE else [0, 2000, 20_480, 24_576, 26_000, 33_000, 50_000, 75_000]
CLOSING = range(12_288, 36_864, 512) if WHOLE else [20_480, 22_000, 24_576, 28_672]
SECTOR = 512


def states(path: Path) -> Counter[str]:
    return Counter(item.state for item in anyio.run(Journal(path).items))


@pytest.mark.timeout(600 if WHOLE else 60)
def test_every_state_of_a_torn_checkpoint_opens(tmp_path: Path, count: Count) -> None:
    path = tmp_path / "run.db"
    make_killed(path, ITEMS)
    main, log = path.read_bytes(), path.with_name("run.db-wal").read_bytes()
    size, pages = committed_pages(log)
    expected = {"intended": ITEMS // 3, "succeeded": ITEMS // 3, "failed": ITEMS // 3}
    assert len(pages) > 5
    opened = 0
    torn = bytearray(main)
    # A checkpoint copies pages of the log in ascending order. The last one may be half written.
    for number, page in [*pages.items(), (0, b"")]:
        for written in (0, SECTOR, size - SECTOR) if number else (0,):
            at = (number - 1) * size
            cut = torn[:at] + bytes(max(0, at - len(torn))) + page[:written] + torn[at + written :] if number else torn
            assert states(laid_out(tmp_path / "torn", bytes(cut), log)) == expected, (number, written)
            opened += 1
        if number:
            torn[at : at + size] = page
    count("torn", states=opened, opened=opened)


def test_a_first_page_that_only_the_log_has_whole_is_taken_from_there(tmp_path: Path, count: Count) -> None:
    path = tmp_path / "run.db"
    make_killed(path, 60)
    main, log = path.read_bytes(), path.with_name("run.db-wal").read_bytes()
    size, pages = committed_pages(log)
    assert 1 in pages
    for first in (bytes(size), b"\xff" * size, bytes(100) + main[100:size]):
        torn = laid_out(tmp_path / "torn", first + main[size:], log)
        assert states(torn) == {"intended": 20, "succeeded": 20, "failed": 20}
        count("torn", states=1, opened=1)


def test_a_torn_checkpoint_without_its_log_is_refused_as_damage(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    make_killed(path, 60)
    log = path.with_name("run.db-wal")
    size, pages = committed_pages(log.read_bytes())
    path.write_bytes(pages[1] + path.read_bytes()[size:])
    log.unlink()
    with pytest.raises(JournalError, match=r"The journal .* is damaged"):
        states(path)


@pytest.mark.timeout(900 if WHOLE else 60)
def test_a_disk_full_at_any_size_leaves_a_journal_that_resumes(tmp_path: Path, count: Count) -> None:
    command = [sys.executable, "-m", "tests.safety.full_disk", str(tmp_path)]
    command += [json.dumps(list(RUNNING)), json.dumps(list(CLOSING))]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    found = json.loads(done.stdout)
    assert found == {"sizes": len(RUNNING) + len(CLOSING), "refused": 0, "lost": 0, "doubled": 0}, done.stderr
    count("full", **found)
