"""The commands that a run prints to go on: they do the rest of that run, where it began, and nothing else."""

import json
import re
import shlex
from pathlib import Path

import pytest

from aioposthog_env.cli.app import run
from aioposthog_env.sandbox import Sandbox
from tests.cli.test_commands import serving

Output = pytest.CaptureFixture[str]
FORBIDDEN = {"type": "authentication_error", "code": "permission_denied", "detail": "no"}


@pytest.fixture(autouse=True)
def _folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def name_host(monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox) -> None:
    session = sandbox.session()
    variables = {
        "POSTHOG_HOST": sandbox.url,
        "POSTHOG_PERSONAL_API_KEY": sandbox.key(),
        "POSTHOG_SESSION_ID": session.session_id,
        "POSTHOG_CSRF_TOKEN": session.csrf_token,
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def zones(sandbox: Sandbox) -> list[object]:
    return [sandbox.environment(id).settings["timezone"] for id in sandbox.environment_ids]


def printed(capfd: Output) -> list[list[str]]:
    """The arguments of the commands that were printed."""
    return [shlex.split(line) for line in re.findall(r"[Tt]o go on: aioposthog-env (.*)", capfd.readouterr().err)]


def test_what_was_tried_on_the_embedded_posthog_is_not_gone_on_with_at_a_real_one(
    monkeypatch: pytest.MonkeyPatch, capfd: Output
) -> None:
    with serving(3) as real:
        name_host(monkeypatch, real)
        assert run(["delete", "1", "999", "--sandbox", "--yes"]) == 3
        for command in printed(capfd):
            run(command)
        assert real.environment_ids == [1, 2, 3]
        assert not real.calls


def test_a_destructive_run_does_not_go_on_at_another_host_that_the_variables_name_by_now(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: Output
) -> None:
    with serving(3) as began, serving(3) as other:
        name_host(monkeypatch, began)
        began.answer_next("rotate_secret_token", 403, FORBIDDEN)
        rotating = ["rotate-secrets", "1", "2", "--sink", str(tmp_path / "s"), "--concurrency", "1", "--yes"]
        assert run(rotating) == 3
        (command,) = printed(capfd)
        name_host(monkeypatch, other)
        assert run(command) == 2
        said = " ".join(capfd.readouterr().err.split())
        assert began.url in said
        assert other.url in said
        assert not other.effects
        name_host(monkeypatch, began)
        assert run(command) == 0
        assert [began.effects["rotate_secret_token", id] for id in (1, 2)] == [1, 1]


def test_an_environment_that_two_profiles_reach_is_rotated_once_or_not_at_all(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: Output
) -> None:
    with serving(3) as sandbox:
        text = ""
        for name in ("one", "two"):
            session = sandbox.session()
            monkeypatch.setenv(f"{name}_ID", session.session_id)
            monkeypatch.setenv(f"{name}_CSRF", session.csrf_token)
            text += f'[profiles.{name}]\nhost = "{sandbox.url}"\nsession_id_env = "{name}_ID"\n'
            text += f'csrf_token_env = "{name}_CSRF"\n'
        file = tmp_path / "config.toml"
        file.write_text(text)
        file.chmod(0o600)
        monkeypatch.setenv("AIOPOSTHOG_ENV_CONFIG", str(file))
        monkeypatch.setattr("aioposthog_env.cli.tokens.confirm", lambda *_, **__: None)
        rotating = ["rotate-secrets", "--all", "--sink", str(tmp_path / "s"), "--profile", "one,two"]
        assert run(rotating) == 2
        assert "one and two" in " ".join(capfd.readouterr().err.split())
        assert run(["intent", "add", "surveys", "--all", "--profile", "one,two"]) == 2
        assert not sandbox.effects


def test_a_command_that_cannot_help_is_not_printed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: Output) -> None:
    with serving(3) as sandbox:
        name_host(monkeypatch, sandbox)
        for id in sandbox.environment_ids:
            sandbox.environment(id).settings["timezone"] = "UTC"
        plan, journal = str(tmp_path / "plan.json"), str(tmp_path / "run.db")
        assert run(["plan", "1", "2", "--set", "timezone=Asia/Tokyo", "-o", plan]) == 3
        assert run(["set", "1", "timezone=Europe/Berlin"]) == 0
        assert run(["apply", plan, "--journal", journal, "--max-age", "0", "--yes"]) == 3
        assert "1 skipped" in capfd.readouterr().err
        assert run(["runs", journal]) == 0
        assert "not finished" not in capfd.readouterr().err
        monkeypatch.setattr("aioposthog_env.cli.tokens.confirm", lambda *_, **__: None)
        sandbox.answer_next("delete", 400, FORBIDDEN | {"detail": "This project is already being deleted."})
        assert run(["delete", "3", "--journal", str(tmp_path / "deleting.db")]) == 1
        said = capfd.readouterr().err
        assert "already being deleted" in said
        assert "To go on" not in said


def test_what_waits_for_time_is_gone_on_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: Output) -> None:
    with serving(2) as sandbox:
        name_host(monkeypatch, sandbox)
        journal = str(tmp_path / "run.db")
        assert run(["rotate-secrets", "1", "--sink", str(tmp_path / "secrets.jsonl"), "--yes"]) == 0
        assert run(["delete-secret-backups", "1", "--min-age", "3600", "--journal", journal, "--yes"]) == 1
        assert len(printed(capfd)) == 1
        assert run(["runs", journal]) == 0
        assert "not finished" in capfd.readouterr().err


def test_a_canary_goes_first_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: Output) -> None:
    with serving(4) as sandbox:
        name_host(monkeypatch, sandbox)
        for id in sandbox.environment_ids:
            sandbox.environment(id).settings["timezone"] = "UTC"
        sandbox.answer_next("update", 403, times=2)
        plan = str(tmp_path / "plan.json")
        assert run(["plan", "--all", "--set", "timezone=Asia/Tokyo", "-o", plan]) == 3
        capfd.readouterr()
        assert run(["apply", plan, "--canary", "1", "--yes"]) == 1
        said = capfd.readouterr().err
        assert "2, 3, 4 skipped: left alone, since one of the first failed\n" in said
        (command,) = [shlex.split(line) for line in re.findall(r"To go on: aioposthog-env (.*)", said)]
        assert run(command) == 1
        assert zones(sandbox) == ["UTC"] * 4
        assert run(command) == 0
        assert zones(sandbox) == ["Asia/Tokyo"] * 4


def test_the_same_words_once_more_leave_the_plan_that_is_gone_on_with(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: Output
) -> None:
    with serving(3) as sandbox:
        name_host(monkeypatch, sandbox)
        for id in sandbox.environment_ids:
            sandbox.environment(id).settings["timezone"] = "UTC"
        sandbox.answer_next("update", 403)
        applying = ["apply", "--all", "--set", "timezone=Asia/Tokyo", "--journal", str(tmp_path / "run.db")]
        monkeypatch.setattr("aioposthog_env.cli.change.confirm", lambda *_, **__: None)
        assert run([*applying, "--concurrency", "1"]) == 3
        (command,) = printed(capfd)
        assert run(applying) == 2
        assert "apply " in capfd.readouterr().err
        assert run(command) == 0
        assert zones(sandbox) == ["Asia/Tokyo"] * 3


def test_a_command_keeps_the_limiter_and_every_digit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: Output) -> None:
    with serving(2) as sandbox:
        name_host(monkeypatch, sandbox)
        assert run(["delete-secret-backups", "1", "999", "--min-age", "1234564", "--yes"]) != 0
        (command,) = printed(capfd)
        assert command[command.index("--min-age") + 1] == "1234564"
        # A session has no limit, so nothing is asked there.
        limiter = ["--limiter", "redis://127.0.0.1:1/0"]
        assert run(["delete-secret-backups", "1", "999", "--min-age", "0", *limiter, "--yes"]) != 0
        (command,) = printed(capfd)
        assert command[command.index("--limiter") + 1] == limiter[1]


def test_a_plan_goes_on_after_another_login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: Output) -> None:
    with serving(2) as sandbox:
        name_host(monkeypatch, sandbox)
        for id in sandbox.environment_ids:
            sandbox.environment(id).settings["timezone"] = "UTC"
        sandbox.answer_next("update", 403)
        plan = str(tmp_path / "plan.json")
        assert run(["plan", "--all", "--set", "timezone=Asia/Tokyo", "-o", plan]) == 3
        capfd.readouterr()
        assert run(["apply", plan, "--yes", "--concurrency", "1"]) == 3
        (command,) = printed(capfd)
        name_host(monkeypatch, sandbox)  # another key
        assert run(command) == 0
        assert zones(sandbox) == ["Asia/Tokyo"] * 2


def test_a_plan_that_was_not_confirmed_is_in_nobodys_way(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: Output
) -> None:
    with serving(2) as sandbox:
        name_host(monkeypatch, sandbox)
        for id in sandbox.environment_ids:
            sandbox.environment(id).settings["timezone"] = "UTC"
        applying = ["apply", "--all", "--set", "timezone=Asia/Tokyo", "--journal", str(tmp_path / "run.db")]
        assert run([*applying, "--yes"]) == 2
        assert run(applying) == 2
        assert "there is no terminal" in capfd.readouterr().err
        assert not list(tmp_path.glob("*.json"))
        (tmp_path / "run.plan.json").write_text("{}")  # of a run that was killed before it began
        monkeypatch.setattr("aioposthog_env.cli.change.confirm", lambda *_, **__: None)
        assert run(applying) == 0
        assert zones(sandbox) == ["Asia/Tokyo"] * 2


def test_the_commands_for_a_plan_with_secrets_name_the_file_that_holds_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: Output
) -> None:
    policy, journal = tmp_path / "sl.yaml", str(tmp_path / "run.db")
    policy.write_text("settings: {slack_incoming_webhook: {env: HOOK}}\n")
    monkeypatch.setenv("HOOK", "https://hooks.example.com/very-secret")
    monkeypatch.setattr("aioposthog_env.cli.change.confirm", lambda *_, **__: None)
    with serving(2, era="2024-10", seed=7) as sandbox:
        name_host(monkeypatch, sandbox)
        settings = ["--settings", str(policy), "--allow-env", "HOOK"]
        assert run(["plan", "1", *settings, "-o", str(tmp_path / "sl.json")]) == 3
        (line,) = re.findall(r"apply it with: aioposthog-env (.*)", capfd.readouterr().err)
        assert run([*shlex.split(line), "--yes"]) == 0
        sandbox.answer_next("update", 403)
        applying = ["apply", *settings, "--all", "--journal", journal]
        assert run(applying) == 3
        capfd.readouterr()
        assert run(applying) == 2
        (line,) = re.findall(r"To go on with it: aioposthog-env (.*)\. For a", " ".join(capfd.readouterr().err.split()))
        assert run([*shlex.split(line), "--yes"]) == 0
        assert sandbox.environment(2).settings["slack_incoming_webhook"] == "https://hooks.example.com/very-secret"


def test_a_file_whose_name_looks_like_an_option(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: Output) -> None:
    monkeypatch.chdir(tmp_path)
    with serving(2) as sandbox:
        name_host(monkeypatch, sandbox)
        for id in sandbox.environment_ids:
            sandbox.environment(id).settings["timezone"] = "UTC"
        assert run(["plan", "--all", "--set", "timezone=Asia/Tokyo", "-o", "./-x.json"]) == 3
        (line,) = re.findall(r"apply it with: aioposthog-env (.*)", capfd.readouterr().err)
        sandbox.answer_next("update", 403)
        assert run([*shlex.split(line), "--journal", "./-y.db", "--yes", "--concurrency", "1"]) == 3
        said = capfd.readouterr().err
        for name in ("To go on", "undo with"):
            (line,) = re.findall(rf"{name}: aioposthog-env (.*)", said)
            assert run([*shlex.split(line), *(["--yes"] if name == "undo with" else [])]) == 0
        assert zones(sandbox) == ["UTC"] * 2


def test_what_a_resumed_run_prints_and_reports_is_the_whole_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: Output
) -> None:
    with serving(4) as sandbox:
        name_host(monkeypatch, sandbox)
        for id in sandbox.environment_ids:
            sandbox.environment(id).settings["timezone"] = "UTC"
        plan, report = str(tmp_path / "plan.json"), tmp_path / "report.json"
        applying = [
            "apply",
            plan,
            "--journal",
            str(tmp_path / "run.db"),
            "--report",
            str(report),
            "--yes",
            "--concurrency",
            "1",
        ]
        assert run(["plan", "--all", "--set", "timezone=Asia/Tokyo", "-o", plan]) == 3
        sandbox.answer_next("update", 403)
        assert run(applying) == 3
        assert json.loads(report.read_text())["counts"]["succeeded"] == 3
        capfd.readouterr()
        assert run([*applying, "--json"]) == 0
        shown = capfd.readouterr()
        assert "4 succeeded (3 done earlier)" in shown.err
        *outcomes, summary = map(json.loads, shown.out.splitlines())
        assert sorted((one["status"], one["reason"] or "") for one in outcomes) == [
            ("succeeded", ""),
            *[("succeeded", "done earlier")] * 3,
        ]
        assert (summary["summary"]["succeeded"], summary["summary"]["done_earlier"]) == (4, 3)
        whole = json.loads(report.read_text())
        assert (whole["counts"]["succeeded"], whole["done_earlier"]) == (4, 3)
        assert [[change["after"] for change in row["changes"]] for row in whole["rows"]] == [["Asia/Tokyo"]] * 4


def test_a_dry_run_says_what_would_change_and_what_would_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: Output
) -> None:
    with serving(4) as sandbox:
        name_host(monkeypatch, sandbox)
        for id in sandbox.environment_ids:
            sandbox.environment(id).settings["timezone"] = "UTC"
        plan = str(tmp_path / "plan.json")
        assert run(["plan", "--all", "--set", "timezone=Asia/Tokyo", "-o", plan]) == 3
        assert run(["set", "1", "timezone=Europe/Berlin"]) == 0
        assert run(["set", "2", "timezone=Asia/Tokyo"]) == 0
        before = dict(sandbox.effects)
        capfd.readouterr()
        assert run(["apply", plan, "--dry-run"]) == 3
        said = capfd.readouterr().err
        assert "1 skipped: update of environment 1: A setting that is to be changed has another value by now." in said
        assert "2 environments would change. Nothing was changed." in said
        assert "1 unchanged, 3 skipped" in said
        assert sandbox.effects == before
        assert not (tmp_path / "state").exists() or not list((tmp_path / "state").rglob("*.db"))
        for id in (1, 3, 4):
            sandbox.environment(id).settings["timezone"] = "Asia/Tokyo"
        assert run(["apply", plan, "--dry-run"]) == 0
        sandbox.answer_next("retrieve", 403, FORBIDDEN, times=20)
        assert run(["apply", plan, "--dry-run"]) == 1
