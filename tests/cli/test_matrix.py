"""Every command in every case of ``matrix``, and what holds for all of them."""

import json
import re
from collections.abc import Generator, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import pytest
from cyclopts import App

from aioposthog_env.cli import commands as _commands  # noqa: F401  adds the commands
from aioposthog_env.cli.app import app
from aioposthog_env.sandbox import Sandbox
from tests.cli.matrix import KINDS, MANY, MATRIX, Elsewhere, Interrupted, Json, Senseless, Typed
from tests.cli.shell import Ran, at_a_terminal, interrupted, typed
from tests.cli.test_commands import serving

SCREEN = 24
"""Lines of a terminal as it is opened."""
WRONG = {
    "POSTHOG_PERSONAL_API_KEY": "phx_" + "w" * 40,
    "POSTHOG_SESSION_ID": "wrong" * 6,
    "POSTHOG_CSRF_TOKEN": "amiss" * 6,
}
FORBIDDEN: dict[str, Any] = {"type": "authentication_error", "code": "permission_denied", "detail": "no"}

C = TypeVar("C")


def cells(kind: type[C]) -> list[Any]:
    """All cells of one type as parameters, with the command and the case in their id."""
    return [
        pytest.param(case, cell, id=f"{command}-{case}-{number}")
        for command, row in MATRIX.items()
        for case, some in row.items()
        for number, cell in enumerate(some)
        if isinstance(cell, kind)
    ]


@pytest.fixture
def posthog(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Generator[Sandbox, None, None]:
    """Forty environments, an empty folder, and nothing of the person who runs the tests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "policy.yaml").write_text("settings: {timezone: Europe/Berlin}\n")
    config = tmp_path / "config.toml"
    config.write_text('[profiles.mine]\nhost = "us"\nkey_env = "POSTHOG_PERSONAL_API_KEY"\n')
    config.chmod(0o600)
    monkeypatch.setenv("AIOPOSTHOG_ENV_CONFIG", str(config))
    with serving(40) as sandbox:
        session = sandbox.session()
        for name, value in {
            "POSTHOG_HOST": sandbox.url,
            "POSTHOG_PERSONAL_API_KEY": sandbox.key(),
            "POSTHOG_SESSION_ID": session.session_id,
            "POSTHOG_CSRF_TOKEN": session.csrf_token,
        }.items():
            monkeypatch.setenv(name, value)
        for id in sandbox.environment_ids:
            sandbox.environment(id).settings["timezone"] = "UTC" if id != 3 else "Europe/Paris"
        yield sandbox


def prepare(lines: Sequence[str]) -> None:
    for line in lines:
        assert typed(line).code in {0, 3}, line


def check_words(ran: Ran, sandbox: Sandbox) -> None:
    """What holds for every command that is not at a terminal."""
    shown = ran.out + ran.err
    assert "Traceback" not in shown
    assert "\x1b" not in shown
    assert not any(secret in shown for secret in {*sandbox.secrets, *WRONG.values()})


def commands(of: App, before: str = "") -> Iterator[str]:
    """The commands of an app as they are typed, those within commands too."""
    for name in of:
        if not name.startswith("-"):
            yield f"{before}{name}"
            yield from commands(of[name], f"{before}{name} ")


def test_every_command_has_a_row() -> None:
    rows = set(MATRIX) | {command.split()[0] for command in MATRIX}
    there = set(commands(app))
    assert there <= rows
    assert all(row in there or row.split()[0] in there for row in rows)


@pytest.mark.parametrize("command", MATRIX)
def test_every_case_of_a_command_is_tested_or_explained(command: str) -> None:
    row = MATRIX[command]
    assert list(row) == list(KINDS)
    for case, some in row.items():
        assert some, case
        for cell in some:
            if isinstance(cell, Elsewhere):
                module, _, function = cell.by.rpartition(".")
                room = "tests" if "." in module else "tests.cli"
                assert callable(getattr(import_module(f"{room}.{module}"), function, None)), cell.by
            elif isinstance(cell, Senseless):
                assert len(cell.why.split()) > 3
            else:
                assert cell.line.startswith(command) or case == "wrong usage"


@pytest.mark.parametrize(("case", "cell"), cells(Typed))
def test_a_case(posthog: Sandbox, monkeypatch: pytest.MonkeyPatch, case: str, cell: Typed) -> None:
    prepare(cell.before)
    if case == "wrong credential":
        for name, value in WRONG.items():
            monkeypatch.setenv(name, value)
    if cell.refuse:
        posthog.answer_next(cell.refuse, status=403, body=FORBIDDEN)
    effects = posthog.effects.copy()
    ran = typed(cell.line)
    check_words(ran, posthog)
    assert ran.code == cell.code, ran
    assert cell.says in " ".join(ran.err.split())
    for line in ran.out.splitlines():
        assert re.fullmatch(cell.out, line), line
    assert bool(ran.out) == bool(cell.out)
    if cell.code in {1, 2}:
        assert len(ran.err.splitlines()) <= SCREEN, ran.err
        assert posthog.effects == effects


@pytest.mark.parametrize(("case", "cell"), cells(Json))
def test_json_is_all_there_is_on_stdout(posthog: Sandbox, case: str, cell: Json) -> None:
    prepare(cell.before)
    ran = typed(f"{cell.line} --json")
    check_words(ran, posthog)
    assert ran.code == cell.code, ran
    if cell.shape == "document":
        assert json.loads(ran.out)
    else:
        assert all(isinstance(json.loads(line), dict) for line in ran.out.splitlines())
        assert ran.out


@pytest.mark.parametrize("command", MATRIX)
def test_an_option_that_is_none(posthog: Sandbox, command: str) -> None:
    ran = typed(f"{command} --nonsense --json")
    check_words(ran, posthog)
    assert (ran.code, ran.out) == (2, "")
    assert len(ran.err.splitlines()) <= SCREEN
    assert not posthog.calls


@pytest.mark.parametrize(("case", "cell"), cells(Interrupted))
def test_an_interrupt(posthog: Sandbox, case: str, cell: Interrupted) -> None:
    prepare(cell.before)
    if cell.during:
        posthog.fault("delay_before_effect", cell.during, before=0.4)
        ran = interrupted(cell.line, lambda said: not posthog.pending_faults)
    else:
        ran = interrupted(cell.line, lambda said: "listens at" in said)
    check_words(ran, posthog)
    assert ran.code == 130, ran
    assert len(ran.err.splitlines()) <= SCREEN
    if cell.effects is None:
        assert ran.err.endswith("Interrupted.\n")
        assert ran.out == ""
        return
    what, times = cell.effects
    assert "Finishing what is in flight" in ran.err
    assert not all(posthog.effects[what, id] == times for id in posthog.environment_ids)
    (command,) = re.findall(r"^To go on: aioposthog-env (.*)$", ran.err, re.M)
    assert typed(command).code == 0
    assert {posthog.effects[what, id] for id in map(int, MANY.split())} == {times}


COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9\d|10[0-7])(?:;\d+)*m")


@pytest.mark.parametrize(("case", "cell"), [one for one in cells(Typed) if one.values[0] == "no terminal"])
def test_a_terminal_without_colours(posthog: Sandbox, monkeypatch: pytest.MonkeyPatch, case: str, cell: Typed) -> None:
    prepare(cell.before)
    monkeypatch.setenv("NO_COLOR", "1")
    ran = at_a_terminal(cell.line, monkeypatch)
    assert ran.code in {0, 3}, ran  # what asks for confirmation gets it here
    assert not COLOUR.search(ran.err)
    assert "Traceback" not in ran.err
    assert not any(secret in ran.err for secret in posthog.secrets)


@pytest.mark.parametrize("line", ["list --nonsense", "demo --environments 0", "demo --environments 5"])
def test_a_terminal_with_colours(posthog: Sandbox, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    assert COLOUR.search(at_a_terminal(line, monkeypatch).err)


def test_the_sandbox_tells_json() -> None:
    ran = interrupted("sandbox --environments 3 --port 0 --json", lambda said: "Ctrl-C or SIGTERM ends it" in said)
    assert ran.code == 0
    told = json.loads(ran.out)
    assert told["variables"] == {
        "POSTHOG_HOST": told["url"],
        "POSTHOG_PERSONAL_API_KEY": told["key"],
        "POSTHOG_SESSION_ID": told["sessionid"],
        "POSTHOG_CSRF_TOKEN": told["posthog_csrftoken"],
    }
