"""The commands that plan, change, undo and rotate, as a person uses them."""

import io
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import time
import tomllib
import unicodedata
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from aioposthog_env.cli import commands as _commands  # noqa: F401  adds the commands
from aioposthog_env.cli.app import app, run
from aioposthog_env.sandbox import Sandbox
from tests.cli.test_commands import CLI, serving

Output = pytest.CaptureFixture[str]


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Generator[Sandbox, None, None]:
    """A host, a key and a session that the environment variables name, and a folder for journals."""
    with serving(5) as sandbox:
        monkeypatch.setenv("POSTHOG_HOST", sandbox.url)
        monkeypatch.setenv("POSTHOG_PERSONAL_API_KEY", sandbox.key())
        session = sandbox.session()
        monkeypatch.setenv("POSTHOG_SESSION_ID", session.session_id)
        monkeypatch.setenv("POSTHOG_CSRF_TOKEN", session.csrf_token)
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        for id in range(1, 6):
            sandbox.environment(id).settings["timezone"] = "UTC"
        yield sandbox


def zones(sandbox: Sandbox) -> list[Any]:
    return [sandbox.environment(id).settings["timezone"] for id in range(1, 6)]


def lines(capfd: Output) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capfd.readouterr().out.splitlines()]


def test_plan_apply_undo(served: Sandbox, tmp_path: Path, capfd: Output) -> None:
    plan, journal = str(tmp_path / "plan.json"), str(tmp_path / "run.db")
    assert run(["plan", "1", "2", "--set", "timezone=Asia/Tokyo", "-o", plan]) == 3
    shown = capfd.readouterr()
    assert "2 of 2 environments would change." in shown.out
    assert 'timezone: "UTC" -> "Asia/Tokyo"' in shown.out
    assert f"Saved as {plan}" in shown.err
    assert zones(served) == ["UTC"] * 5

    assert run(["apply", plan, "--journal", journal, "--yes", "--json"]) == 0
    told = lines(capfd)
    assert sorted(one["id"] for one in told[:-1]) == [1, 2]
    assert told[-1]["summary"]["succeeded"] == 2
    assert zones(served)[:3] == ["Asia/Tokyo", "Asia/Tokyo", "UTC"]

    assert run(["runs", journal, "--json"]) == 0
    (row,) = lines(capfd)
    assert (row["run"], row["endpoint"], row["counts"]) == ("main", "update", {"succeeded": 2})
    assert run(["runs", str(tmp_path)]) == 0
    assert "2 succeeded" in capfd.readouterr().out

    assert run(["undo", journal, "--yes"]) == 0
    assert zones(served) == ["UTC"] * 5
    assert run(["plan", "1", "--set", "timezone=UTC"]) == 0


def test_apply_makes_a_plan_and_a_journal_of_its_own(served: Sandbox, tmp_path: Path, capfd: Output) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        "settings: {timezone: Europe/Berlin}\noverrides:\n- {select: {ids: [5]}, settings: {timezone: Asia/Tokyo}}\n"
    )
    assert run(["apply", "--settings", str(policy), "--all", "--dry-run"]) == 3
    assert zones(served) == ["UTC"] * 5
    plan = tmp_path / "plan.json"
    assert run(["plan", "--settings", str(policy), "--all", "-o", str(plan)]) == 3
    capfd.readouterr()
    assert run(["apply", str(plan), "--yes", "--canary", "1", "--verify"]) == 0
    assert zones(served) == ["Europe/Berlin"] * 4 + ["Asia/Tokyo"]
    said = capfd.readouterr().err
    (journal,) = (tmp_path / "state").rglob("*.db")
    assert f"Recorded in {journal}; undo with: aioposthog-env undo {journal}" in said
    assert journal.stat().st_mode & 0o777 == 0o600
    assert run(["runs"]) == 0
    assert str(journal) in capfd.readouterr().out
    assert run(["apply", str(plan), "--yes"]) == 0
    assert run(["apply", "--settings", str(policy), "--all"]) == 0
    assert "Everything is as desired." in capfd.readouterr().err


def test_a_part_that_fails_says_what_and_how_to_go_on(served: Sandbox, tmp_path: Path, capfd: Output) -> None:
    plan, journal = str(tmp_path / "plan.json"), str(tmp_path / "run.db")
    assert run(["plan", "--name", "*", "--set", "timezone=Asia/Tokyo", "-o", plan]) == 3
    served.answer_next("update", status=403, body={"type": "authentication_error", "code": "permission_denied", "detail": "no"})
    assert run(["apply", plan, "--journal", journal, "--yes"]) == 3
    said = capfd.readouterr().err
    assert "failed: " in said
    assert f"To go on: aioposthog-env apply {plan} --journal {journal} --yes" in said
    assert run(["apply", plan, "--journal", journal, "--yes"]) == 0
    assert zones(served) == ["Asia/Tokyo"] * 5


def test_an_apply_that_changed_nothing_names_no_undo(served: Sandbox, tmp_path: Path, capfd: Output) -> None:
    plan, journal = str(tmp_path / "plan.json"), str(tmp_path / "run.db")
    assert run(["plan", "1", "--set", "timezone=Europe/Berlin", "-o", plan]) == 3
    capfd.readouterr()
    served.answer_next("update", 403, {"type": "authentication_error", "code": "permission_denied", "detail": "No."})
    assert run(["apply", plan, "--yes", "--journal", journal]) == 1
    said = capfd.readouterr().err
    assert f"Recorded in {journal}.\n" in said
    assert "undo with" not in said
    assert "1 environment in " in said
    assert run(["apply", plan, "--yes", "--journal", journal]) == 0
    assert f"Recorded in {journal}; undo with: aioposthog-env undo {journal}" in capfd.readouterr().err
    assert run(["runs", journal]) == 0
    assert capfd.readouterr().err == "1 run\n"
    assert run(["undo", journal, "--yes"]) == 0
    assert "has changed 1 environment." in capfd.readouterr().err


def test_selections_are_printed_and_an_empty_one_is_an_error(served: Sandbox, capfd: Output) -> None:
    assert run(["plan", "--where", "id in [2, 4]", "--set", "timezone=Asia/Tokyo"]) == 3
    assert "Selected 2: 2 Environment 0002, 4 Environment 0004" in capfd.readouterr().err
    assert run(["plan", "--name", "none*", "--set", "timezone=UTC"]) == 2
    assert "--allow-empty" in capfd.readouterr().err
    assert run(["plan", "--name", "none*", "--set", "timezone=UTC", "--allow-empty"]) == 0


def test_ids_from_a_file_and_from_standard_input(served: Sandbox, tmp_path: Path, capfd: Output) -> None:
    (tmp_path / "ids").write_text("3\n4 5\n")
    assert run(["plan", "--ids-from", str(tmp_path / "ids"), "--set", "timezone=Asia/Tokyo", "--json"]) == 3
    assert [one["environment"] for one in json.loads(capfd.readouterr().out)["environments"]] == [3, 4, 5]
    done = subprocess.run(
        [*CLI, "plan", "--ids-from", "-", "--set", "timezone=UTC"], input="2", capture_output=True, text=True, timeout=30
    )
    (tmp_path / "none").write_text("\n")
    assert run(["plan", "--ids-from", str(tmp_path / "none"), "--set", "timezone=UTC"]) == 2
    assert run(["plan", "--ids-from", str(tmp_path / "none"), "--set", "timezone=UTC", "--allow-empty"]) == 0
    assert (done.returncode, done.stderr) == (0, "Selected 1: 2\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["plan", "--set", "timezone=UTC"], "No environment was named"),
        (["plan", "1"], "Give what is desired"),
        (["plan", "1", "--set", "timezon=UTC"], "did you mean timezone?"),
        (["plan", "1", "--set", "timezone"], "is not NAME=VALUE"),
        (["plan", "--where", "timezon == 1", "--set", "timezone=UTC"], "did you mean timezone?"),
        (["plan", "1", "--settings", "/no/such.yaml"], "cannot be read"),
        (["plan", "--ids-from", "/no/such", "--set", "timezone=UTC"], "cannot be read"),
        (["apply"], "Give a plan"),
        (["apply", "/no/such.json"], "cannot be read"),
        (["undo", "/no/such.db", "--yes"], "no"),
        (["rotate-secrets", "--all", "--sink", "s.jsonl", "--yes"], "--yes goes with explicit ids only"),
        (["rotate-secrets", "1", "--sink", "s.jsonl"], "there is no terminal"),
        (["delete", "1"], "there is no terminal"),
        (["audit", "1", "--policy", "/no/such.toml"], "cannot be read"),
        (["export"], "No environment was named"),
        (["plan", "1", "--set", "timezone=UTC", "--concurrency", "0"], "concurrency"),
    ],
)
def test_wrong_usage_is_told_in_one_screen(served: Sandbox, arguments: list[str], said: str, capfd: Output) -> None:
    code = run(arguments)
    shown = capfd.readouterr().err
    assert code == (1 if "undo" in arguments else 2)
    assert said in shown
    assert "Traceback" not in shown
    assert len(shown.splitlines()) < 15


def test_secrets_are_rotated_once_and_go_to_the_sink_only(served: Sandbox, tmp_path: Path, capfd: Output) -> None:
    sink, journal = tmp_path / "secrets.jsonl", tmp_path / "run.db"
    command = ["rotate-secrets", "1", "3", "--sink", str(sink), "--verify", "--journal", str(journal), "--yes", "--json"]
    assert run(command) == 0
    assert run(command) == 0
    assert [served.effects["rotate_secret_token", id] for id in (1, 2, 3)] == [1, 0, 1]
    handed = {one["environment"]: one["secret_api_token"] for one in map(json.loads, sink.read_text().splitlines())}
    assert set(handed) == {1, 3}
    assert sink.stat().st_mode & 0o777 == 0o600
    shown = capfd.readouterr()
    assert not any(secret in shown.out + shown.err for secret in served.secrets)


def test_a_key_cannot_rotate_and_says_what_can(served: Sandbox, monkeypatch: pytest.MonkeyPatch, capfd: Output) -> None:
    monkeypatch.delenv("POSTHOG_SESSION_ID")
    assert run(["rotate-secrets", "1", "--sink", "s", "--yes"]) == 2
    assert "needs both variables" in capfd.readouterr().err
    monkeypatch.delenv("POSTHOG_CSRF_TOKEN")
    assert run(["rotate-secrets", "1", "--sink", "s", "--yes"]) == 1
    assert "set POSTHOG_SESSION_ID and POSTHOG_CSRF_TOKEN" in " ".join(capfd.readouterr().err.split())


def test_the_other_calls_that_cannot_be_taken_back(served: Sandbox, tmp_path: Path, capfd: Output) -> None:
    assert run(["reset-tokens", "2", "--yes", "--journal", str(tmp_path / "a.db")]) == 0
    assert served.effects["reset_token", 2] == 1
    assert run(["rotate-secrets", "2", "--yes", "--sink", str(tmp_path / "s"), "--journal", str(tmp_path / "b.db")]) == 0
    assert run(["delete-secret-backups", "2", "--min-age", "3600", "--yes", "--journal", str(tmp_path / "c.db")]) == 1
    assert "too young" in capfd.readouterr().err or served.effects["delete_secret_token_backup", 2] == 0
    assert run(["delete-secret-backups", "2", "--min-age", "0", "--yes", "--journal", str(tmp_path / "d.db")]) == 0
    assert served.effects["delete_secret_token_backup", 2] == 1
    assert run(["delete", "4", "--yes", "--journal", str(tmp_path / "e.db")]) == 0
    assert served.effects["delete", 4] == 1


def test_export_and_audit(served: Sandbox, tmp_path: Path, capfd: Output) -> None:
    file = tmp_path / "all.yaml"
    assert run(["export", "--all", "-o", str(file)]) == 0
    assert file.stat().st_mode & 0o777 == 0o600
    assert run(["plan", "--settings", str(file)]) == 0
    served.environment(3).settings["timezone"] = "Asia/Tokyo"
    capfd.readouterr()
    assert run(["audit", "--all", "--policy", str(file), "--json"]) == 3
    assert lines(capfd) == [
        {"id": 3, "name": "Environment 0003", "setting": "timezone", "value": "Asia/Tokyo", "desired": "UTC"}
    ]
    assert run(["audit", "--all", "--where", "not is_demo", "--json"]) == 3
    assert {"id": 3, "name": "Environment 0003", "setting": "timezone", "value": "Asia/Tokyo", "usual": "UTC"} in lines(capfd)
    assert run(["export", "3", "--format", "json"]) == 0
    assert json.loads(capfd.readouterr().out)["environments"][0]["settings"]["timezone"] == "Asia/Tokyo"


def test_an_export_in_toml_leaves_out_null_and_is_read_again(served: Sandbox, tmp_path: Path, capfd: Output) -> None:
    served.environment(1).settings["app_urls"] = ["https://a.example", None]
    served.environment(2).settings["app_urls"] = ["https://a.example"]
    file = tmp_path / "all.toml"
    assert run(["export", "1", "2", "--format", "toml", "-o", str(file)]) == 0
    one, two = tomllib.loads(file.read_text())["environments"]
    assert "app_urls" not in one["settings"]
    assert two["settings"]["app_urls"] == ["https://a.example"]
    assert "autocapture_opt_out" not in two["settings"]
    assert run(["plan", "--settings", str(file)]) == 0
    assert run(["export", "1", "--format", "yaml"]) == 0
    assert "app_urls:" in capfd.readouterr().out


@pytest.mark.parametrize("ending", ["html", "json", "md", "csv"])
def test_a_report_of_what_was_changed_rotated_and_found(served: Sandbox, ending: str, tmp_path: Path, capfd: Output) -> None:
    served.environment(2).settings["name"] = "<script>alert(1)</script>"
    applied, audited, rotated, undone, changed = (tmp_path / f"{number}.{ending}" for number in range(5))
    journal = str(tmp_path / "run.db")
    plan = str(tmp_path / "plan.json")
    assert run(["plan", "1", "2", "--set", "timezone=Asia/Tokyo", "-o", plan]) == 3
    assert run(["apply", plan, "--yes", "--journal", journal, "--report", str(applied)]) == 0
    assert run(["audit", "--all", "--report", str(audited)]) == 3
    assert run(["rotate-secrets", "1", "--sink", str(tmp_path / "s"), "--yes", "--report", str(rotated)]) == 0
    assert run(["set", "3", "timezone=Asia/Tokyo", "--report", str(changed)]) == 0
    assert run(["undo", journal, "--yes", "--report", str(undone)]) == 0
    assert f"The report is {rotated}." in capfd.readouterr().err.replace("\n", "")
    assert "Asia/Tokyo" in applied.read_text()
    assert served.effects["rotate_secret_token", 1] == 1
    for one in (applied, audited, rotated, undone, changed):
        text = one.read_text()
        assert ending != "html" or "<script>alert" not in text
        assert not any(secret in text for secret in served.secrets)


def test_a_report_that_cannot_be_written_is_told_before_anything_is_asked(
    served: Sandbox, tmp_path: Path, capfd: Output
) -> None:
    before = len(served.calls)
    assert run(["audit", "--all", "--report", str(tmp_path / "run.pdf")]) == 2
    assert run(["delete", "1", "--yes", "--report", str(tmp_path / "no" / "run.html")]) == 2
    assert "there is no folder" in capfd.readouterr().err
    assert len(served.calls) == before


def test_the_sandbox_for_a_first_rotation(tmp_path: Path, capfd: Output) -> None:
    assert (
        run(["rotate-secrets", "1", "--sandbox", "--sink", str(tmp_path / "s"), "--journal", str(tmp_path / "j.db"), "--yes"])
        == 0
    )
    assert "1 succeeded" in capfd.readouterr().err


def test_a_wrong_key_is_one_sentence(served: Sandbox, monkeypatch: pytest.MonkeyPatch, capfd: Output) -> None:
    monkeypatch.setenv("POSTHOG_PERSONAL_API_KEY", "phx_" + "w" * 40)
    assert run(["audit", "--all"]) == 1
    assert "invalid" in capfd.readouterr().err


def test_the_name_is_typed_before_a_rotation(served: Sandbox, tmp_path: Path) -> None:
    for answer, code in (("rotate something", 2), ("rotate Environment 0002", 0)):
        parent, child = pty.openpty()
        command = [*CLI, "rotate-secrets", "2", "--sink", str(tmp_path / "s"), "--journal", str(tmp_path / "j.db")]
        process = subprocess.Popen(command, stdin=child, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        os.close(child)
        os.write(parent, f"{answer}\n".encode())
        _, said = process.communicate(timeout=30)
        os.close(parent)
        assert process.returncode == code
        assert "Type 'rotate Environment 0002' to go on: " in said
    assert served.effects["rotate_secret_token", 2] == 1


@pytest.mark.parametrize(
    ("name", "typed"),
    [
        ("C:\\prod", "delete C:\\prod"),
        ("it's", "delete it's"),
        ("東京", "delete 東京"),
        ("no\u00a0break", "delete 2"),
        ("fam\u200dily", "delete 2"),
        ("blank ", "delete 2"),
        ("two  blanks", "delete 2"),
        ("\x1b[2J", "delete 2"),
        ("cafe\u0301", "delete caf\u00e9"),
    ],
)
def test_any_name_can_be_confirmed(
    served: Sandbox, name: str, typed: str, monkeypatch: pytest.MonkeyPatch, capfd: Output
) -> None:
    served.environment(2).settings["name"] = name
    with io.StringIO(f"{typed}\n") as keys:
        monkeypatch.setattr(keys, "isatty", lambda: True)
        monkeypatch.setattr("sys.stdin", keys)
        assert run(["delete", "2"]) == 0
    asked = unicodedata.normalize("NFC", capfd.readouterr().err)
    assert f"Type '{typed}' to go on: " in asked
    assert served.effects["delete", 2] == 1


@pytest.mark.parametrize(
    ("number", "interrupts", "code"),
    [(signal.SIGINT, 1, 130), (signal.SIGINT, 2, 130), (signal.SIGTERM, 1, 143), (signal.SIGTERM, 2, 143)],
)
def test_an_interrupted_run_tells_how_to_go_on_and_is_gone_on_with(
    served: Sandbox, number: signal.Signals, interrupts: int, code: int, tmp_path: Path
) -> None:
    plan, journal = str(tmp_path / "plan.json"), str(tmp_path / "run.db")
    assert run(["plan", "--all", "--set", "timezone=Asia/Tokyo", "-o", plan]) == 3
    served.fault("delay_before_effect", "update", before=2.0, times=None)
    before = len(served.calls)
    command = [*CLI, "apply", plan, "--journal", journal, "--yes", "--concurrency", "2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 20
    while len(served.calls) == before and time.monotonic() < deadline:
        time.sleep(0.02)  # until the URL style is asked for, right before the first change
    time.sleep(0.5)
    for _ in range(interrupts):
        process.send_signal(number)
        time.sleep(0.1)
    _, said = process.communicate(timeout=30)
    assert process.returncode == code, said
    assert "Traceback" not in said
    done = [id for id in range(1, 6) if served.effects["setting timezone", id]]
    if interrupts == 1:
        assert "Finishing what is in flight" in said
        assert f"To go on: aioposthog-env apply {plan} --journal {journal} --yes" in said
        assert len(done) < 5
    served.clear_faults()
    assert run(["apply", plan, "--journal", journal, "--yes"]) == 0
    assert zones(served) == ["Asia/Tokyo"] * 5
    assert [served.effects["setting timezone", id] for id in range(1, 6)] == [1] * 5


def test_ctrl_c_sends_nothing_that_only_waits_for_the_rate_limit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: Output
) -> None:
    plan, journal = str(tmp_path / "plan.json"), str(tmp_path / "run.db")
    with serving(300, throttle=False) as sandbox:  # the limit of the command alone
        monkeypatch.setenv("POSTHOG_HOST", sandbox.url)
        monkeypatch.setenv("POSTHOG_PERSONAL_API_KEY", sandbox.key())
        assert run(["plan", "--all", "--set", "timezone=Asia/Tokyo", "-o", plan]) == 3
        sandbox.calls.clear()
        command = [*CLI, "apply", plan, "--journal", journal, "--yes"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 30
        while len(sandbox.calls) < 480 and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=10)  # the window of the limit is a minute
        assert process.returncode == 130, said
        assert len(sandbox.calls) == 480
        changed = sum(sandbox.effects["setting timezone", id] for id in sandbox.environment_ids)
        assert f"{changed} succeeded, {300 - changed} skipped" in said
        assert f"{300 - changed} were not begun." in said
        assert run(["apply", plan, "--journal", journal, "--yes"]) == 0
        assert f"300 succeeded ({changed} done earlier)" in capfd.readouterr().err
        assert {sandbox.effects["setting timezone", id] for id in sandbox.environment_ids} == {1}


DOCS = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text(encoding="utf-8")


def test_the_conditions_of_the_docs(served: Sandbox) -> None:
    block = next(block for block in re.findall(r"```sh\n(.*?)```", DOCS, re.S) if "--where" in block)
    commands = [shlex.split(line)[1:] for line in block.splitlines()]
    assert [run([*command, "--allow-empty"]) in {0, 3} for command in commands] == [True] * 3


def test_the_file_of_the_docs(served: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK_WEBHOOK", "https://hooks.example.com/very-secret")
    (block,) = re.findall(r"```yaml\n(.*?)```", DOCS, re.S)
    (tmp_path / "policy.yaml").write_text(block)
    assert run(["plan", "--all", "--settings", str(tmp_path / "policy.yaml"), "--allow-env", "SLACK_WEBHOOK"]) == 3


def test_the_docs_name_every_command() -> None:
    named = set(re.findall(r"`([a-z-]+)`", DOCS.split("## Which environments")[0]))
    assert {name for name in app if not name.startswith("-")} <= named


def test_outcomes_go_to_the_file_although_the_progress_is_on_a_terminal(served: Sandbox, tmp_path: Path) -> None:
    plan = str(tmp_path / "plan.json")
    assert run(["plan", "1", "2", "--set", "timezone=Asia/Tokyo", "-o", plan]) == 3
    parent, child = pty.openpty()
    command = [*CLI, "apply", plan, "--yes", "--json"]
    done = subprocess.run(command, stdin=child, stdout=subprocess.PIPE, stderr=child, timeout=30, check=False, text=True)
    os.close(child)
    os.close(parent)
    assert [json.loads(line).get("id", 0) for line in done.stdout.splitlines()][-1] == 0
    assert sorted(json.loads(line)["id"] for line in done.stdout.splitlines()[:-1]) == [1, 2]


def test_a_delete_that_was_interrupted_goes_on_by_the_command_it_prints(served: Sandbox, tmp_path: Path, capfd: Output) -> None:
    journal = str(tmp_path / "run.db")
    served.answer_next("delete", status=403, body={"type": "authentication_error", "code": "permission_denied", "detail": "no"})
    assert run(["delete", "1", "2", "--journal", journal, "--yes", "--host", served.url]) == 3
    said = capfd.readouterr().err
    command = next(line for line in said.splitlines() if line.startswith("To go on: ")).removeprefix("To go on: ")
    assert f"--host {served.url}" in command
    (done,) = (id for id in (1, 2) if served.effects["delete", id])
    before = len(served.calls)
    assert run(shlex.split(command)[1:]) == 0
    assert [served.effects["delete", id] for id in (1, 2)] == [1, 1]
    # What is deleted may be gone by now, so nothing may depend on reading it.
    assert not any(call.path.rstrip("/").endswith(f"/{done}") for call in served.calls[before:])


def test_sensitive_settings_come_from_a_file_also_when_a_run_goes_on(
    served: Sandbox, tmp_path: Path, capfd: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTHOG_HOST", served.url)
    monkeypatch.setenv("HOOK", "https://hooks.example.com/very-secret")
    policy, plan = tmp_path / "policy.yaml", str(tmp_path / "plan.json")
    policy.write_text("settings: {slack_incoming_webhook: {env: HOOK}}\n")
    assert run(["plan", "1", "2", "--settings", str(policy), "-o", plan]) == 2
    assert "--allow-env HOOK" in capfd.readouterr().err.replace("\n", "")
    assert run(["plan", "1", "2", "--settings", str(policy), "--allow-env", "HOOK", "-o", plan]) == 3
    assert run(["apply", plan, "--yes"]) == 2
    assert f"apply {plan} --settings FILE" in capfd.readouterr().err.replace("\n", "")
    served.answer_next("update", status=403, body={"type": "authentication_error", "code": "permission_denied", "detail": "no"})
    settings = ["--settings", str(policy), "--allow-env", "HOOK"]
    run(["apply", plan, *settings, "--journal", str(tmp_path / "run.db"), "--yes"])
    said = capfd.readouterr()
    command = next(line for line in said.err.splitlines() if line.startswith("To go on: ")).removeprefix("To go on: ")
    assert f"--settings {policy} --allow-env HOOK" in command
    assert run(shlex.split(command)[1:]) in {0, 1, 3}
    assert "very-secret" not in said.out + said.err
    assert run(["set", "1", "slack_incoming_webhook=https://hooks.example.com/x"]) == 2
    assert run(["plan", "1", "--set", "slack_incoming_webhook=https://hooks.example.com/x"]) == 2
    assert "arguments can be seen by others" in " ".join(capfd.readouterr().err.split())
    assert run(["plan", "1", "--set", "slack_incoming_webhook=null"]) in {0, 3}


def test_yes_does_not_reach_further_than_was_thought(served: Sandbox, tmp_path: Path, capfd: Output) -> None:
    assert run(["apply", "--set", "timezone=Asia/Tokyo", "--all", "--yes"]) == 2
    assert zones(served) == ["UTC"] * 5
    plan = str(tmp_path / "plan.json")
    assert run(["plan", "1", "--set", "timezone=Asia/Tokyo", "-o", plan]) == 3
    assert run(["apply", plan, "--name", "x", "--yes"]) == 2
    assert run(["apply", plan]) == 2
    assert "there is no terminal. Add --yes." in " ".join(capfd.readouterr().err.split())
    assert run(["apply", plan, "--dry-run", "--json"]) == 3
    assert json.loads(capfd.readouterr().out.splitlines()[-1])["summary"]["skipped"] == 1
    assert run(["reset-tokens", "--name", "no*", "--allow-empty", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["summary"]["succeeded"] == 0


def test_a_file_that_is_no_journal_hides_no_other(served: Sandbox, tmp_path: Path, capfd: Output) -> None:
    plan = str(tmp_path / "plan.json")
    assert run(["plan", "1", "--set", "timezone=Asia/Tokyo", "-o", plan]) == 3
    assert run(["apply", plan, "--journal", str(tmp_path / "b.db"), "--yes"]) == 0
    (tmp_path / "a.db").write_text("something else")
    assert run(["runs", str(tmp_path)]) == 3
    shown = capfd.readouterr()
    assert "1 succeeded" in shown.out
    assert "a.db" in shown.err
    assert run(["runs", str(tmp_path / "a.db")]) == 1


def test_an_interrupt_at_the_question_ends_it(served: Sandbox, tmp_path: Path) -> None:
    parent, child = pty.openpty()
    command = [*CLI, "rotate-secrets", "2", "--sink", str(tmp_path / "s"), "--journal", str(tmp_path / "j.db")]
    process = subprocess.Popen(command, stdin=child, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    os.close(child)
    assert process.stderr is not None
    seen = ""
    while "to go on: " not in seen:
        seen += process.stderr.read(1)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=10)
    os.close(parent)
    assert process.returncode == 130
    assert "Traceback" not in said
    assert served.effects["rotate_secret_token", 2] == 0


@pytest.mark.parametrize("given", ["slack_incoming_webhook=hunter2", "conversations_settings=hunter2", "9" * 5_000])
def test_what_is_no_assignment_is_told_without_repeating_it(served: Sandbox, given: str, capfd: Output) -> None:
    assert run(["set", "1", "timezone=UTC", given]) == 2
    said = capfd.readouterr().err
    assert "hunter2" not in said
    assert len(said) < 500
    assert not served.calls
