"""A journal that may be an old copy: each command that resumes from it asks first."""

import shlex
import shutil
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from aioposthog_env.cli.app import run
from aioposthog_env.sandbox import Sandbox
from tests.cli.shell import at_a_terminal
from tests.cli.test_commands import serving
from tests.cli.test_going_on import name_host

Output = pytest.CaptureFixture[str]


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Generator[Sandbox, None, None]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with serving(5) as sandbox:
        name_host(monkeypatch, sandbox)
        yield sandbox


def restore(path: Path) -> None:
    """Put a copy into the place of a journal."""
    copy = path.with_name("copy")
    shutil.copy2(path, copy)
    copy.replace(path)


def command_of(kind: str, folder: Path, journal: Path) -> str:
    plan, sink = shlex.quote(str(folder / "plan.json")), shlex.quote(str(folder / "secrets.jsonl"))
    words = {
        "apply": f"apply {plan}",
        "undo": f"undo {journal}",
        "rotate": f"rotate-secrets 1 2 --sink {sink}",
        "reset": "reset-tokens 1 2",
        "delete": "delete 1 2",
        "backups": "delete-secret-backups 1 2 --min-age 0",
    }[kind]
    return words if kind == "undo" else f"{words} --journal {shlex.quote(str(journal))}"


def begin(kind: str, folder: Path) -> tuple[Path, str]:
    """Record a run, restore its journal from a copy, and return the command that resumes it."""
    journal = folder / "run.db"
    if kind in {"apply", "undo"}:
        assert run(["plan", "1", "2", "--set", "timezone=Asia/Tokyo", "-o", str(folder / "plan.json")]) == 3
        assert run([*shlex.split(command_of("apply", folder, journal)), "--yes"]) == 0
    else:
        assert run([*shlex.split(command_of(kind, folder, journal)), "--yes"]) == 0
    restore(journal)
    return journal, command_of(kind, folder, journal)


@pytest.mark.parametrize("kind", ["apply", "undo", "rotate", "reset", "delete", "backups"])
def test_a_script_needs_a_flag_and_yes_is_not_enough(kind: str, served: Sandbox, tmp_path: Path, capfd: Output) -> None:
    journal, command = begin(kind, tmp_path)
    if kind == "delete":
        served.calls.clear()
    capfd.readouterr()
    before = dict(served.effects)
    assert run([*shlex.split(command), "--yes"]) == 2
    said = " ".join(capfd.readouterr().err.split())
    assert "may be an old copy" in said
    assert "Nothing was sent. If no run has used another copy since, add --moved." in said
    assert dict(served.effects) == before
    # Looking asks nothing.
    assert run(["runs", str(journal)]) == 0
    assert run([*shlex.split(command), "--yes", "--moved"]) == 0
    # The answer holds from now on.
    assert run([*shlex.split(command), "--yes"]) == 0
    assert all(served.effects["rotate_secret_token", id] <= 1 for id in (1, 2))


@pytest.mark.skipif(sys.platform == "win32", reason="there is no pty")
def test_a_person_is_asked(served: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, command = begin("rotate", tmp_path)
    ran = at_a_terminal(f"{command} --yes", monkeypatch)
    assert ran.code == 0
    assert "may be an old copy" in ran.err
    assert "Type 'use this copy' to go on" in ran.err
    assert "2 succeeded (2 done earlier)" in ran.err
    assert [served.effects["rotate_secret_token", id] for id in (1, 2)] == [1, 1]
    assert "old copy" not in at_a_terminal(f"{command} --yes", monkeypatch).err
