"""Files that a command writes: it says what happened also where they cannot be written, and destroys none that is needed."""

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
    served: Sandbox, command: list[str], code: int, said: list[str], tmp_path: Path, capfd: Output
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    (tmp_path / "report.csv").symlink_to("/dev/full")
    assert run(["plan", "2", "--set", "timezone=Asia/Tokyo", "-o", "before.json"]) == 3
    assert run(["apply", "before.json", "--journal", "before.db", "--yes"]) == 0
    assert run(["plan", "5", "--set", "timezone=Asia/Tokyo", "-o", "plan.json"]) == 3
    capfd.readouterr()
    assert run([*command, "--report", "report.csv"]) == code
    *lines, last = capfd.readouterr().err.splitlines()
    assert [one for one in said if not any(one in line for line in lines)] == []
    assert last == "The report report.csv cannot be written: No space left on device."
