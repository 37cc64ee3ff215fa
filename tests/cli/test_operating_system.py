"""Every command, where the operating system passes bytes that are not text, or refuses a folder, a file or a stream."""

import os
import re
import resource
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from aioposthog_env.cli.app import app, described, run
from aioposthog_env.sandbox import Sandbox
from tests.cli.matrix import MATRIX
from tests.cli.shell import Ran, typed
from tests.cli.test_commands import CLI
from tests.cli.test_matrix import commands, posthog  # noqa: F401  a fixture
from tests.cli.test_streams import gone

LINES: Mapping[str, str] = {
    "demo": "demo --environments 3",
    "doctor": "doctor 1",
    "config": "config",
    "config init": "config init",
    "list": "list",
    "show": "show 1",
    "export": "export 1",
    "audit": "audit 1",
    "undo": "undo run.db --yes",
    "plan": "plan 1 --set timezone=Asia/Tokyo",
    "apply": "apply --ids-from ids --set timezone=Asia/Tokyo --yes",
    "runs": "runs",
    "set": "set 1 timezone=Asia/Tokyo",
    "rotate-secrets": "rotate-secrets 1 --sink sink.jsonl --yes",
    "delete-secret-backups": "delete-secret-backups 1 --min-age 0 --yes",
    "reset-tokens": "reset-tokens 1 --yes",
    "activity": "activity 1",
    "restrictions": "restrictions 1",
    "demo-data": "demo-data 1",
    "intent add": "intent add session_replay 1",
    "intent complete": "intent complete session_replay 1",
    "delete": "delete 1 --yes",
}
"""A line for each command that ends by itself. They work one after the other, where nothing is refused."""
KEEPS_A_JOURNAL = {"apply", "runs", "rotate-secrets", "delete-secret-backups", "reset-tokens", "delete"}
pytestmark = pytest.mark.usefixtures("posthog", "ids")


@pytest.fixture
def ids(tmp_path: Path) -> None:
    (tmp_path / "ids").write_text("1\n2\n")


def one_sentence(ran: Ran, *codes: int) -> None:
    """What is refused is told without a traceback, and the sentence is the last line."""
    assert "Traceback" not in ran.err
    assert ran.code in codes, ran
    assert ran.err.splitlines()[-1].startswith("Error: "), ran.err


def test_every_command_that_ends_by_itself_has_a_line() -> None:
    assert set(MATRIX) - {"sandbox", "workers run"} == set(LINES) - {"config init"}


def test_an_argument_that_is_not_utf_8(posthog: Sandbox) -> None:  # noqa: F811
    for command in (*LINES, "sandbox", "workers run"):
        ran = typed(f"{command} 'name=caf\udce9'")
        one_sentence(ran, 2)
        assert re.fullmatch(r"Error: Argument [23] is not UTF-8\..*\n", ran.err)
    assert not posthog.calls


def test_a_locale_that_has_no_character_for_an_argument() -> None:
    ran = typed("set 1 'name=prod \udcc3\udca9'")
    one_sentence(ran, 2)
    assert "PYTHONUTF8=1" in ran.err


def test_bytes_of_a_real_process() -> None:
    for variables in ({}, {"LC_ALL": "C", "PYTHONUTF8": "0"}):
        line = [os.fsencode(word) for word in (*CLI, "set", "1")] + [b"name=caf\xe9"]
        done = subprocess.run(line, capture_output=True, env=os.environ | variables, timeout=60, check=False)
        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, b"", 1)


@pytest.mark.parametrize("home", ["/proc", "/dev/null", "/proc/nothing"])
def test_a_home_that_cannot_be_written(posthog: Sandbox, home: str, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    assert typed("apply --ids-from ids --set timezone=Europe/Rome --yes --journal run.db").code == 0
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.delenv("AIOPOSTHOG_ENV_CONFIG")
    monkeypatch.setenv("HOME", home)
    for command, line in LINES.items():
        effects = posthog.effects.copy()
        if command == "apply":
            line = line.replace("Asia/Tokyo", "Asia/Seoul")
        ran = typed(line)
        if command in KEEPS_A_JOURNAL | {"config init"}:
            one_sentence(ran, 2)
            assert posthog.effects == effects
        else:
            assert ran.code in {0, 3}, ran


@pytest.mark.parametrize("name", ["stdin", "stdout", "stderr"])
@pytest.mark.parametrize("kind", ["closed", "full", "nobody reads it"])
def test_a_stream_that_is_closed_or_full(name: str, kind: str) -> None:
    assert typed("apply --ids-from ids --set timezone=Europe/Rome --yes --journal run.db").code == 0
    for line in LINES.values():
        with gone(name, kind):
            code = run(shlex.split(line))
        assert code in ({0, 1, 2, 3} if name == "stdout" else {0, 2, 3}), line


FILES = [
    "export 1 -o {}",
    "plan 1 --set timezone=Asia/Tokyo -o {}",
    "plan 1 --settings {}",
    "audit 1 --policy {}.yaml",
    "apply --ids-from ids --set timezone=Asia/Tokyo --yes --journal {}",
    "apply {} --yes",
    "undo {} --yes",
    "rotate-secrets 1 --sink {} --yes",
    "delete 1 --yes --journal {}",
    "list --ids-from {}",
    "sandbox --port 0 --load {}",
]


@pytest.mark.parametrize("file", ["/proc/refused", ".", "ids/below-a-file", "/dev/zero"])
@pytest.mark.parametrize("line", FILES)
def test_a_file_that_cannot_be_used(posthog: Sandbox, line: str, file: str) -> None:  # noqa: F811
    ran = typed(line.format(file))
    one_sentence(ran, 1, 2)
    assert not posthog.effects


@pytest.mark.parametrize("line", ["audit 1 --report {}/run.html", "set 1 timezone=Asia/Tokyo --report {}/run.html"])
def test_a_report_that_cannot_be_written(line: str) -> None:
    ran = typed(line.format("/proc"))
    assert ran.code == 1 or "audit" in line
    assert "Traceback" not in ran.err
    assert "The report /proc/run.html cannot be written" in ran.err


@pytest.mark.parametrize(
    "line",
    [
        "export 1 -o all.yaml",
        "plan 1 --set timezone=Asia/Tokyo -o plan.json",
        "apply --ids-from ids --set timezone=Asia/Tokyo --yes",
        "rotate-secrets 1 --sink sink.jsonl --yes",
        "delete 1 --yes",
    ],
)
def test_a_disk_that_is_full(posthog: Sandbox, line: str) -> None:  # noqa: F811
    def no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    done = subprocess.run(
        [*CLI, *shlex.split(line)], capture_output=True, text=True, timeout=60, check=False, preexec_fn=no_room
    )
    one_sentence(Ran(done.returncode, done.stdout, done.stderr), 1, 2)
    assert not posthog.effects


@pytest.mark.parametrize("text", ["1_0", "4.6", "0x5", "' 5 '", "+5", "1e1", "٣", "inf", "nan"])
def test_a_number_holds_digits_only(posthog: Sandbox, text: str) -> None:  # noqa: F811
    for option in ("--concurrency", "--project"):
        assert typed(f"list {option} {text}").code == 2
    for line in ("delete {} --yes", "show {}", "apply --max-age {}", "apply --canary {}", "activity 1 --most {}"):
        if not (text == "4.6" and "--max-age" in line):
            assert "nvalid value" in typed(line.format(text)).err, line
    assert not posthog.calls


def numbers() -> Iterator[str]:
    """The parameters of all commands that take a number and have no strict reader."""
    for command in commands(app):
        of = app.parse_commands(command.split())[1][-1]
        for argument in of.assemble_argument_collection() if of.default_command else ():
            if argument.hint in (int, float) and argument.parameter.converter is None:
                yield f"{command} {argument.name}"


def test_every_number_is_read_strictly() -> None:
    assert list(numbers()) == []


@pytest.mark.parametrize("line", ["delete --ids-from ids --yes", "apply --ids-from ids --set timezone=Asia/Tokyo --yes"])
def test_ids_from_a_file_are_explicit_ids(line: str) -> None:
    assert typed(f"{line} --name '*'").code == 2
    assert typed(line).code == 0


def test_what_the_operating_system_says() -> None:
    assert described(FileNotFoundError(2, "No such file or directory", "x")) == "x: No such file or directory."
    assert described(OSError("no more")) == "no more."
