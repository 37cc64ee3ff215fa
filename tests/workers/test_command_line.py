"""The command line end to end: workers and submitters as processes of their own."""

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from aioposthog_env.cli.app import run
from tests.cli.test_commands import CLI, serving


def test_workers_apply_and_rotate(
    redis: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving(6, lacking_anonymize_ips=6) as sandbox:
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        session = sandbox.session()
        for name, value in {
            "POSTHOG_HOST": sandbox.url,
            "POSTHOG_PERSONAL_API_KEY": sandbox.key(),
            "POSTHOG_SESSION_ID": session.session_id,
            "POSTHOG_CSRF_TOKEN": session.csrf_token,
        }.items():
            monkeypatch.setenv(name, value)
        started = [
            subprocess.Popen(
                [*CLI, "workers", "run", "--redis", redis, "--allow-open-queue", "--queue", queue, *more],
                stderr=subprocess.PIPE,
            )
            for queue, more in (("keys", []), ("sessions", ["--session"]))
        ]
        try:
            page = tmp_path / "run.json"
            plan = str(tmp_path / "plan.json")
            assert run(["plan", "--all", "--set", "anonymize_ips=true", "-o", plan]) == 3
            capfd.readouterr()
            applying = ["apply", plan, "--yes", "--json", "--report", str(page)]
            assert run([*applying, "--workers", redis, "--allow-open-queue", "--queue", "keys"]) == 0
            captured = capfd.readouterr()
            lines = [json.loads(line) for line in captured.out.splitlines()]
            assert lines[-1]["summary"]["succeeded"] == 6
            report = json.loads(page.read_text())
            attempts = sum(row["attempts"] for row in report["rows"])
            assert attempts >= 12  # to read and to change each
            assert report["requests"] == []
            assert [f"the rows hold {attempts} attempts" in note for note in report["notes"]] == [True]
            sink = tmp_path / "secrets.jsonl"
            rotating = [
                "rotate-secrets",
                "1",
                "2",
                "--sink",
                str(sink),
                "--yes",
                "--workers",
                redis,
                "--allow-open-queue",
                "--queue",
                "sessions",
            ]
            assert run(rotating) == 0
            assert {json.loads(line)["environment"] for line in sink.read_text().splitlines()} == {1, 2}
            assert all(sandbox.effects["rotate_secret_token", id] == 1 for id in (1, 2))
            assert all(sandbox.environment(id).settings["anonymize_ips"] for id in sandbox.environment_ids)
        finally:
            for process in started:
                process.send_signal(signal.SIGTERM)
            said = [process.communicate(timeout=20)[1].decode() for process in started]
        assert [process.returncode for process in started] == [0, 0]
        assert all("Working for" in words and "Finishing what is in flight" in words for words in said)
        assert all(session.session_id not in words for words in said)


def test_a_queue_that_is_not_there_is_an_error_and_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with serving(1, lacking_anonymize_ips=1) as sandbox:
        monkeypatch.setenv("POSTHOG_HOST", sandbox.url)
        monkeypatch.setenv("POSTHOG_PERSONAL_API_KEY", sandbox.key())
        began = time.monotonic()
        monkeypatch.setenv("AIOPOSTHOG_ENV_REDIS_PASSWORD", "hunter2")
        nowhere = "redis://127.0.0.1:1"
        plan = str(tmp_path / "plan.json")
        assert run(["plan", "1", "--set", "anonymize_ips=true", "-o", plan]) == 3
        assert run(["apply", plan, "--yes", "--workers", nowhere]) == 1
        monkeypatch.delenv("AIOPOSTHOG_ENV_REDIS_PASSWORD")
        assert run(["apply", plan, "--yes", "--workers", "redis://redis.example.com"]) == 2
        assert run(["apply", plan, "--yes", "--workers", "foo"]) == 2
        assert time.monotonic() - began < 30
    said = capfd.readouterr().err
    assert "cannot be used" in said
    assert "This is not a Redis URL" in said
    assert "foo" not in said
    assert "hunter2" not in said
    assert "can run code on the workers" in said
    assert "on the command line the password in AIOPOSTHOG_ENV_REDIS_PASSWORD" in said
    assert "(--allow-insecure)" in said


@pytest.mark.parametrize("address", ["redis://:hunter2@127.0.0.1:1", "rediss://127.0.0.1:1?password=hunter2"])
def test_a_password_is_no_argument_and_so_in_no_report(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with serving(1, lacking_anonymize_ips=1) as sandbox:
        monkeypatch.setenv("POSTHOG_HOST", sandbox.url)
        monkeypatch.setenv("POSTHOG_PERSONAL_API_KEY", sandbox.key())
        applying = ["apply", "--settings", str(tmp_path / "settings.yaml"), "--yes", "--report", str(tmp_path / "run.json")]
        (tmp_path / "settings.yaml").write_text("environments: [1]\nsettings: {anonymize_ips: true}\n")
        assert run([*applying, "--workers", address]) == 2
        assert run(["workers", "run", "--redis", address]) == 2
        assert not sandbox.effects
    said = capfd.readouterr().err
    assert said.count("AIOPOSTHOG_ENV_REDIS_PASSWORD") == 2
    assert "hunter2" not in said
    assert not (tmp_path / "run.json").exists()


def test_workers_of_one_queue_serve_one_host(
    redis: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving(1) as us, serving(1) as eu:
        file = tmp_path / "config.toml"
        file.write_text(
            "".join(f'[profiles.{name}]\nhost = "{at.url}"\nkey_env = "KEY"\n' for name, at in (("us", us), ("eu", eu)))
        )
        file.chmod(0o600)
        monkeypatch.setenv("AIOPOSTHOG_ENV_CONFIG", str(file))
        monkeypatch.setenv("KEY", us.key())
        queue = ["--workers", redis, "--allow-open-queue", "--profile", "us,eu"]
        assert run(["apply", "--all", "--set", "anonymize_ips=true", *queue]) == 2
        assert run(["rotate-secrets", "--all", "--sink", str(tmp_path / "s"), *queue]) == 2
        assert " ".join(capfd.readouterr().err.split()).count("one profile") == 2
        assert not us.calls
        assert not eu.calls


def test_a_worker_that_is_stopped_twice_says_what_it_leaves(
    redis: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with serving(1, lacking_anonymize_ips=1) as sandbox:
        monkeypatch.setenv("POSTHOG_HOST", sandbox.url)
        monkeypatch.setenv("POSTHOG_PERSONAL_API_KEY", sandbox.key())
        sandbox.fault("delay_before_effect", "update", before=20)
        plan = str(tmp_path / "plan.json")
        assert run(["plan", "1", "--set", "anonymize_ips=true", "-o", plan]) == 3
        started = [
            subprocess.Popen([*CLI, *command], stderr=subprocess.PIPE)
            for command in (
                ["workers", "run", "--redis", redis, "--allow-open-queue"],
                ["apply", plan, "--yes", "--workers", redis, "--allow-open-queue"],
            )
        ]
        worker, coordinator = started
        try:
            deadline = time.monotonic() + 20
            while sandbox.pending_faults and time.monotonic() < deadline:
                time.sleep(0.05)
            for _ in range(2):
                worker.send_signal(signal.SIGTERM)
                time.sleep(0.3)
            said = worker.communicate(timeout=10)[1].decode()
        finally:
            for process in started:
                process.kill()
            coordinator.communicate(timeout=10)
    assert worker.returncode == 143
    assert "Stopped at once; other workers take up what was in flight." in said
    assert "Traceback" not in said


def test_a_worker_tells_once_that_redis_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTHOG_HOST", "http://127.0.0.1:1")
    monkeypatch.setenv("POSTHOG_PERSONAL_API_KEY", "phx_" + "a" * 40)
    worker = subprocess.Popen(
        [*CLI, "workers", "run", "--redis", "redis://127.0.0.1:1", "--allow-open-queue"], stderr=subprocess.PIPE
    )
    assert worker.stderr is not None
    said = [worker.stderr.readline().decode() for _ in range(2)]
    time.sleep(2.5)
    worker.send_signal(signal.SIGTERM)
    said += worker.communicate(timeout=20)[1].decode().splitlines()
    assert worker.returncode == 0
    assert said[1:] == [
        "Redis at redis://127.0.0.1:1 cannot be reached; trying again.\n",
        "Finishing what is in flight; another Ctrl-C stops at once.",
    ]
