"""Standard streams that are closed, full, read by nobody, or of an encoding that lacks most characters."""

import json
import os
import shlex
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import pytest

from aioposthog_env.cli.app import run
from aioposthog_env.sandbox import Sandbox
from tests.cli.test_commands import CLI, serving

Output = pytest.CaptureFixture[str]
NAME = "Zürich → 東京 😀"


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Generator[Sandbox, None, None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with serving(8) as sandbox:
        monkeypatch.setenv("POSTHOG_HOST", sandbox.url)
        monkeypatch.setenv("POSTHOG_PERSONAL_API_KEY", sandbox.key())
        for id in sandbox.environment_ids:
            sandbox.environment(id).settings["timezone"] = "UTC"
        sandbox.environment(5).settings["name"] = NAME
        yield sandbox


@contextmanager
def gone(name: str, kind: str) -> Generator[None, None, None]:
    """Inside, stdout or stderr is closed, full, or read by nobody."""
    stream: TextIO | None = None
    if kind == "full":
        stream = open("/dev/full", "w", encoding="utf-8")  # noqa: SIM115  closed below
    elif kind == "nobody reads it":
        reader, writer = os.pipe()
        os.close(reader)
        stream = os.fdopen(writer, "w", encoding="utf-8")
    try:
        with pytest.MonkeyPatch.context() as at:
            at.setattr(f"sys.{name}", stream)
            yield
    finally:
        if stream is not None:
            stream.close()


def sh(line: str, **variables: str) -> tuple[int, str, str]:
    """Run a line of the shell, in which ``CLI`` is the command line: its code, and what it prints."""
    script = f"set -o pipefail; {line.replace('CLI', shlex.join(CLI))}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, env=os.environ | variables, timeout=60, check=False)
    said = done.stderr.decode("latin-1")
    assert "Traceback" not in said
    assert "Exception" not in said
    return done.returncode, done.stdout.decode("latin-1"), said


def zones(sandbox: Sandbox) -> set[object]:
    return {sandbox.environment(id).settings["timezone"] for id in sandbox.environment_ids}


@pytest.mark.parametrize("kind", ["nobody reads it", "full", "closed"])
def test_a_change_goes_on_where_nothing_can_be_printed(served: Sandbox, kind: str, capfd: Output) -> None:
    assert run(["plan", "--all", "--set", "timezone=Asia/Tokyo", "-o", "plan.json"]) == 3
    capfd.readouterr()
    with gone("stdout", kind):
        assert run(["apply", "plan.json", "--yes", "--json", "--concurrency", "2"]) == 1
    assert zones(served) == {"Asia/Tokyo"}
    said = capfd.readouterr().err
    assert "8 succeeded" in said
    assert "Recorded in " in said
    assert "Standard output could not be written, so something is missing there: " in said


def test_what_failed_meanwhile_is_told(served: Sandbox, capfd: Output) -> None:
    assert run(["plan", "1", "2", "--set", "timezone=Asia/Tokyo", "-o", "plan.json"]) == 3
    served.answer_next("update", status=403)
    with gone("stdout", "full"):
        assert run(["apply", "plan.json", "--yes", "--json", "--concurrency", "1"]) == 3
    assert "To go on: aioposthog-env apply plan.json" in capfd.readouterr().err


def test_a_change_goes_on_where_nothing_can_be_said_either(served: Sandbox) -> None:
    code, *_ = sh("CLI set 1 2 3 4 5 6 7 8 timezone=Asia/Tokyo --json --concurrency 2 2>&1 | head -1")
    assert zones(served) == {"Asia/Tokyo"}
    assert code == 1


@pytest.mark.parametrize(
    ("kind", "code", "said"),
    [
        ("nobody reads it", 0, ""),
        ("full", 1, "Error: Standard output cannot be written: No space left on device.\n"),
        ("closed", 1, "Error: Standard output cannot be written: it is closed.\n"),
    ],
)
def test_what_only_looks_ends(served: Sandbox, kind: str, code: int, said: str, capfd: Output) -> None:
    for command in (["list"], ["show", "1"], ["doctor", "--json"], ["export", "1"]):
        with gone("stdout", kind):
            assert run(command) == code
        assert capfd.readouterr().err.removeprefix("Selected 1: 1\n") == said


@pytest.mark.parametrize("kind", ["nobody reads it", "full", "closed"])
def test_what_nobody_can_be_told_ends_nothing(served: Sandbox, kind: str, capfd: Output) -> None:
    with gone("stderr", kind):
        assert run(["list"]) == 0
    assert len(capfd.readouterr().out.splitlines()) == 8


def test_nothing_comes_from_a_closed_standard_input(served: Sandbox, monkeypatch: pytest.MonkeyPatch, capfd: Output) -> None:
    monkeypatch.setattr("sys.stdin", None)
    assert run(["show", "--ids-from", "-"]) == 2
    assert capfd.readouterr().err == "Error: - cannot be read: standard input is closed.\n"
    assert run(["delete", "1"]) == 2
    assert "there is no terminal" in capfd.readouterr().err
    assert not served.effects


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_json_holds_everything_in_any_encoding(
    served: Sandbox, encoding: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: Output
) -> None:
    file = tmp_path / "out"
    for command in (["list", "5", "--json"], ["show", "5", "--json"], ["audit", "5", "--json"]):
        with file.open("w", encoding=encoding) as stream, monkeypatch.context() as at:
            at.setattr("sys.stdout", stream)
            assert run(command) in {0, 3}
        text = file.read_text(encoding)
        assert text.isascii()
        if command[0] == "list":
            assert json.loads(text)["name"] == NAME


def test_characters_that_an_encoding_lacks_are_escaped(served: Sandbox) -> None:
    code, out, _ = sh("CLI list 5 && CLI set 5 name='a → b'", PYTHONIOENCODING="latin-1")
    assert (code, out) == (0, "5\tZ\xfcrich \\u2192 \\u6771\\u4eac \\U0001f600\t5\tUTC\n5\tsucceeded\n")
    code, out, _ = sh("CLI show 5", LC_ALL="C", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0")
    assert code == 0
    assert "name\ta \\u2192 b\n" in out


def test_a_document_is_not_written_in_characters_that_its_reader_takes_for_others(
    served: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: Output
) -> None:
    served.environment(5).settings["app_urls"] = ["https://東京.example"]
    with (tmp_path / "out").open("w", encoding="latin-1") as stream:
        monkeypatch.setattr("sys.stdout", stream)
        assert run(["export", "5"]) == 2
        assert "with -o" in capfd.readouterr().err
        assert run(["export", "5", "-o", "all.yaml"]) == 0
        assert run(["export", "1"]) == 0


def test_ids_that_begin_with_the_mark_of_utf_8(served: Sandbox, tmp_path: Path, capfd: Output) -> None:
    (tmp_path / "ids").write_bytes(b"\xef\xbb\xbf3 4\n")
    assert run(["list", "--ids-from", "ids"]) == 0
    assert [row.split("\t")[0] for row in capfd.readouterr().out.splitlines()] == ["3", "4"]
    code, out, _ = sh("CLI list --ids-from - <ids")
    assert (code, out[:2]) == (0, "3\t")
