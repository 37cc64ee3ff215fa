"""Files that a command writes: it says what happened also where they cannot be written, and destroys none that is needed."""

import errno
import os
import stat
from pathlib import Path

import pytest

from aioposthog_env.cli.app import run
from aioposthog_env.sandbox import Sandbox
from tests.cli.test_changing import served

__all__ = ["served"]

Output = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (["apply", "plan.json", "--journal", "run.db", "--yes"], 1, ["Recorded in run.db", "1 succeeded"]),
        (["apply", "plan.json", "--dry-run"], 3, ["1 skipped"]),
        (["set", "1", "timezone=Asia/Tokyo"], 1, ["1 succeeded"]),
        (["undo", "before.db", "--yes"], 1, ["1 succeeded"]),
        (["delete", "4", "--yes", "--journal", "run.db"], 1, ["Recorded in run.db", "1 succeeded"]),
        (["delete", "4", "99", "--yes", "--journal", "run.db"], 3, ["99 failed", "1 succeeded, 1 failed", "To go on: "]),
        (["audit", "2", "3"], 3, ["of 2 environments differ"]),
        (["audit", "1"], 1, ["0 of 1 environments differ"]),
    ],
)
def test_what_happened_is_said_where_the_report_cannot_be_written(
    served: Sandbox, command: list[str], code: int, said: list[str], capfd: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not Path("/proc/self/fd").exists():
        pytest.skip("there is no /proc")
    fsync = os.fsync

    def full(number: int) -> None:
        if ".report.csv-" in os.readlink(f"/proc/self/fd/{number}"):
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(number)

    monkeypatch.setattr(os, "fsync", full)
    assert run(["plan", "2", "--set", "timezone=Asia/Tokyo", "-o", "before.json"]) == 3
    assert run(["apply", "before.json", "--journal", "before.db", "--yes"]) == 0
    assert run(["plan", "5", "--set", "timezone=Asia/Tokyo", "-o", "plan.json"]) == 3
    capfd.readouterr()
    assert run([*command, "--report", "report.csv"]) == code
    *lines, last = capfd.readouterr().err.splitlines()
    assert [one for one in said if not any(one in line for line in lines)] == []
    assert last == "The report report.csv cannot be written: No space left on device."


@pytest.mark.parametrize(
    "line",
    [
        "rotate-secrets 1 --sink x.db --journal x.db --yes",
        "rotate-secrets 1 --sink x.db --journal ./x.db --yes",
        "rotate-secrets 1 --sink x.db-wal --journal x.db --yes",
        "rotate-secrets 1 --sink out.json --report out.json --yes",
        "rotate-secrets 1 --sink link.json --report out.json --yes",
        "apply po.json --journal same.json --report same.json --yes",
        "apply po.json --report po.json --yes",
        "apply po.json --journal po.json --yes",
        "apply --settings policy.yaml --ids-from ids --journal run.db --report run.plan.json",
        "apply --settings policy.yaml --ids-from policy.yaml",
        "plan --settings policy.json --all -o policy.json",
        "plan --set timezone=UTC --ids-from ids -o ids",
        "undo jb.db --report jb.db --yes",
        "export --ids-from ids -o ids",
        "audit --all --policy policy.json --report policy.json",
        # Files of an earlier command, of which nothing else is given.
        "export 1 -o jb.db",
        "export 1 -o secrets.jsonl",
        "export 1 --json -o po.json",
        "plan 1 --set timezone=Asia/Tokyo -o jb.db",
        "audit 1 --report po.json",
        "delete 1 --yes --report kept.json",
        "set 1 timezone=Asia/Tokyo --report po.json",
    ],
)
def test_no_file_that_is_needed_is_replaced(served: Sandbox, line: str, tmp_path: Path, capfd: Output) -> None:
    (tmp_path / "policy.yaml").write_text("settings: {timezone: Asia/Tokyo}\n")
    (tmp_path / "policy.json").write_text('{"settings": {"timezone": "Asia/Tokyo"}}')
    (tmp_path / "ids").write_text("1\n")
    (tmp_path / "link.json").symlink_to("out.json")
    assert run(["plan", "2", "--set", "timezone=Asia/Tokyo", "-o", "po.json"]) == 3
    assert run(["apply", "po.json", "--journal", "jb.db", "--yes"]) == 0
    assert run(["rotate-secrets", "3", "--sink", "secrets.jsonl", "--journal", "r.db", "--yes"]) == 0
    (tmp_path / "kept.json").hardlink_to(tmp_path / "po.json")
    before = {file: file.read_bytes() for file in tmp_path.iterdir() if file.is_file()}
    calls = len(served.calls)
    assert run(line.split()) == 2, capfd.readouterr().err
    said = capfd.readouterr().err
    assert "each needs a file of its own" in said or "was left as it is" in said
    assert len(served.calls) == calls
    assert {file: file.read_bytes() for file in tmp_path.iterdir() if file.is_file()} == before


@pytest.mark.parametrize("end", ["target", "nothing", "folder"])
@pytest.mark.parametrize(
    "line",
    [
        "plan 1 --set timezone=Asia/Tokyo -o link.json",
        "export 1 -o link.json",
        "audit 1 --report link.json",
        "apply --all --set timezone=Asia/Tokyo --yes --no-journal --report link.json",
    ],
)
def test_no_file_is_written_through_a_symbolic_link(
    served: Sandbox, line: str, end: str, tmp_path: Path, capfd: Output
) -> None:
    (tmp_path / "target").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.json").symlink_to(tmp_path / end)
    assert run(line.split()) == 2
    said = " ".join(capfd.readouterr().err.split())
    assert "link.json cannot be written: " in said
    assert end == "folder" or "it is a symbolic link" in said
    assert {one.name for one in tmp_path.iterdir()} == {"target", "folder", "link.json"}
    assert (tmp_path / "target").read_text() == "mine"
    assert not served.calls


def test_a_report_is_for_its_owner_only(served: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "report.md").write_text("before")
    (tmp_path / "report.md").chmod(0o644)
    assert run(["audit", "1", "--report", "report.md"]) == 0
    assert stat.S_IMODE((tmp_path / "report.md").stat().st_mode) == 0o600
    assert "before" not in (tmp_path / "report.md").read_text()


def test_files_that_may_be_replaced_are(served: Sandbox, tmp_path: Path) -> None:
    for number in range(2):
        assert run(["plan", "1", "--set", "timezone=Asia/Tokyo", "-o", "plan.json"]) == 3
        assert run(["export", "1", "-o", "all.yaml"]) == 0
        assert run(["export", "1", "--json", "-o", "all.json"]) == 0
        assert run(["audit", "1", "--report", "audit.json"]) == 0
        assert run(["set", "1", "surveys_opt_in=true", "--report", "set.json"]) == 0
        rotating = ["rotate-secrets", "1", "--sink", "secrets.jsonl", "--journal", f"{number}.db", "--yes"]
        assert run([*rotating, "--report", "rotated.json"]) == 0
    assert len((tmp_path / "secrets.jsonl").read_text().splitlines()) == 2
