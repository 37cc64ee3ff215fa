"""The command line as a person uses it, in a process of its own where that matters."""

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from aioposthog_env.cli.app import run
from aioposthog_env.pytest_plugin import sandbox_in_a_thread
from aioposthog_env.sandbox import Sandbox

CLI = [sys.executable, "-m", "aioposthog_env"]


@contextmanager
def serving(*args: Any, **options: Any) -> Generator[Sandbox, None, None]:
    """A sandbox in a loop of another thread."""
    with sandbox_in_a_thread(Sandbox(*args, **options)) as sandbox:
        yield sandbox


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Generator[Sandbox, None, None]:
    """A host that the environment variables name."""
    with serving(5) as sandbox:
        monkeypatch.setenv("POSTHOG_HOST", sandbox.url)
        monkeypatch.setenv("POSTHOG_PERSONAL_API_KEY", sandbox.key())
        yield sandbox


def test_the_demo(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", "--environments", "20", "--json"]) == 0
    shown = json.loads(capfd.readouterr().out)
    seconds = shown.pop("seconds")
    assert seconds < 30
    assert shown == {"environments": 20, "changed": 7, "still_lacking_it": 0, "calls": 29, "refusals": 0, "retries": 0}


def test_the_demo_of_2025_as_a_table(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", "--environments", "10", "--era", "2025-11"]) == 0
    captured = capfd.readouterr()
    assert "changed\t4" in captured.out
    assert "4 of 10 do not anonymize IP addresses" in captured.err


def test_list(served: Sandbox, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["list"]) == 0
    captured = capfd.readouterr()
    assert [line.split("\t")[:2] for line in captured.out.splitlines()] == [
        [str(n), f"Environment {n:04}"] for n in range(1, 6)
    ]
    assert captured.err == "5 environments\n"
    assert run(["list", "--search", "0003", "--json"]) == 0
    assert [json.loads(line)["id"] for line in capfd.readouterr().out.splitlines()] == [3]


@pytest.mark.parametrize("arguments", [["3", "1"], ["--name", "*0001", "--name", "*0003"], ["--where", "id == 1 or id == 3"]])
def test_a_list_of_what_was_chosen(served: Sandbox, arguments: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["list", *arguments, "--json"]) == 0
    found = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [(one["id"], one["name"], one["timezone"]) for one in found] == [
        (1, "Environment 0001", "UTC"),
        (3, "Environment 0003", "UTC"),
    ]
    assert run(["list", *arguments, "--search", "x"]) == 2


def test_show_hides_secrets(served: Sandbox, capfd: pytest.CaptureFixture[str]) -> None:
    served.environment(2).settings["conversations_settings"] = {"widget_public_token": "very-secret"}
    assert run(["show", "2", "1", "--json"]) == 0
    text = capfd.readouterr().out
    first, second = json.loads(text)
    assert (first["id"], second["id"]) == (2, 1)
    assert first["settings"]["timezone"] == "UTC"
    assert first["settings"]["conversations_settings"] == "(secret)"
    assert "very-secret" not in text
    assert not any(secret in text for secret in served.secrets)
    assert run(["show", "1"]) == 0
    assert "timezone\tUTC" in capfd.readouterr().out


def test_set(served: Sandbox, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "1",
        "2",
        "timezone=Europe/Berlin",
        "session_recording_sample_rate=0.4",
        'app_urls=["https://a.example"]',
        "name=5",
    ]
    assert run(["set", *arguments[:1], *arguments[2:], "--json"]) == 0
    outcome, summary = map(json.loads, capfd.readouterr().out.splitlines())
    assert (outcome["id"], outcome["status"], outcome["error"]) == (1, "succeeded", None)
    assert summary["summary"]["succeeded"] == 1
    settings = served.environment(1).settings
    assert settings["timezone"] == "Europe/Berlin"
    assert settings["session_recording_sample_rate"] == "0.40"
    assert settings["app_urls"] == ["https://a.example"]
    assert settings["name"] == "5"
    assert run(["set", "3", "4", "autocapture_opt_out=null", "anonymize_ips=false"]) == 0
    assert capfd.readouterr().out == "3\tsucceeded\n4\tsucceeded\n"


def test_a_part_that_failed_is_exit_code_3_and_all_of_it_1(served: Sandbox, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["set", "1", "99", "anonymize_ips=true"]) == 3
    captured = capfd.readouterr()
    assert captured.out == "1\tsucceeded\n99\tfailed\n"
    assert "99 failed: update of environment 99: PostHog answered 404" in captured.err
    assert run(["show", "99"]) == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["set", "1"], "No setting was given"),
        (["set", "anonymize_ips=true"], "No environment was named"),
        (["set", "1", "anonymize_ip=true"], "did you mean anonymize_ips"),
        (["set", "1", "zzz=true"], "There is no setting 'zzz'"),
        (["set", "x1", "anonymize_ips=true"], "neither the id"),
        (["set", "1", "anonymize_ips=perhaps"], "anonymize_ips cannot be 'perhaps'"),
        (["set", "1", "session_recording_sample_rate=2"], "must be from 0 to 1"),
        (["demo", "--environments", "0"], "above 0"),
        (["list", "--sandbox", "--host", "us"], "not both"),
        (["apply", "plan.json", "--sandbox"], "aioposthog-env sandbox"),
        (["undo", "run.db", "--sandbox"], "aioposthog-env sandbox"),
        (["list", "--host", "https://us.i.posthog.com"], "ingestion host"),
        (["list", "--host", "http://posthog.example"], "allow_insecure_http"),
        (["list"], "POSTHOG_PERSONAL_API_KEY"),
        (["nonsense"], "nonsense"),
        (["list", "--nonsense"], "nonsense"),
        (["show", "abc"], "abc"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_says_what_to_do(
    arguments: list[str], says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    captured = capfd.readouterr()
    assert says in captured.err
    assert captured.out == ""


TAKE_A_SESSION = (
    ["rotate-secrets", "1", "--sink", "s"],
    ["reset-tokens", "1"],
    ["delete-secret-backups", "1", "--min-age", "1"],
    ["activity", "1"],
    ["demo-data", "1"],
    ["workers", "run", "--redis", "redis://127.0.0.1:9", "--session"],
)


@pytest.mark.parametrize("arguments", TAKE_A_SESSION)
def test_what_takes_a_session_asks_for_one(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "config.toml"
    monkeypatch.setenv("AIOPOSTHOG_ENV_CONFIG", str(config))
    for name in ("POSTHOG_SESSION_ID", "POSTHOG_CSRF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for profile in ("config init", "--profile mine."):
        assert run(arguments) == 2
        shown = " ".join(capfd.readouterr().err.split())
        assert "set POSTHOG_SESSION_ID and POSTHOG_CSRF_TOKEN to the two cookies" in shown
        assert "KEY" not in shown
        assert shown.endswith(profile)
        config.write_text('[profiles.mine]\nhost = "us"\nkey_env = "KEY"\n')
        config.chmod(0o600)


@pytest.mark.parametrize("arguments", TAKE_A_SESSION[:-1])
def test_what_takes_a_session_takes_no_key(
    arguments: list[str], served: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run([*arguments, "--yes"] if arguments[0] not in {"activity", "demo-data"} else arguments) == 1
    shown = " ".join(capfd.readouterr().err.split())
    assert "refuses every personal API key" in shown
    assert "set POSTHOG_SESSION_ID and POSTHOG_CSRF_TOKEN to the two cookies" in shown
    assert not served.effects


def test_the_help_names_what_is_to_be_set(capfd: Any) -> None:
    assert run(["--help"]) == 0
    shown = capfd.readouterr().out
    for name in (
        "--host",
        "POSTHOG_HOST",
        "POSTHOG_PERSONAL_API_KEY",
        "POSTHOG_SESSION_ID",
        "POSTHOG_CSRF_TOKEN",
        "config init",
    ):
        assert name in shown


def test_a_project_token_as_key_is_refused(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("POSTHOG_PERSONAL_API_KEY", "phc_" + "a" * 40)
    assert run(["list"]) == 2
    shown = capfd.readouterr().err
    assert "create a personal API key" in shown
    assert "phc_aaaa" not in shown


def test_a_key_that_the_host_does_not_know(
    served: Sandbox, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("POSTHOG_PERSONAL_API_KEY", "phx_" + "a" * 40)
    assert run(["list"]) == 1
    assert "another region" in capfd.readouterr().err


def test_the_sandbox_for_a_first_try(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["set", "1", "anonymize_ips=true", "--sandbox"]) == 0
    assert run(["show", "1", "--sandbox", "--era", "2025-11"]) == 0
    capfd.readouterr()


def test_a_sandbox_that_ends_is_not_gone_back_to(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    journal, plan = tmp_path / "run.db", tmp_path / "plan.json"
    assert run(["plan", "1", "--set", "timezone=UTC", "--sandbox", "-o", str(plan)]) == 0
    policy = tmp_path / "policy.yaml"
    policy.write_text("environments: [{id: 1}]\nsettings: {timezone: Asia/Tokyo}\n")
    assert run(["apply", "--settings", str(policy), "--sandbox", "--yes", "--journal", str(journal)]) == 0
    said = capfd.readouterr().err
    assert f"Saved as {plan}.\n" in said
    assert f"Recorded in {journal}.\n" in said
    assert "aioposthog-env apply" not in said
    assert "aioposthog-env undo" not in said


def test_help_and_version(capfd: pytest.CaptureFixture[str]) -> None:
    from aioposthog_env import __version__

    assert run(["--help"]) == 0
    assert "demo" in capfd.readouterr().out
    assert run(["--version"]) == 0
    assert capfd.readouterr().out.strip() == __version__


def process(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("POSTHOG")} | variables
    return subprocess.run([*CLI, *arguments], capture_output=True, text=True, env=environment, timeout=50, check=False)


def test_a_dead_port_is_an_error_and_no_traceback() -> None:
    done = process("list", "--host", "http://127.0.0.1:1", POSTHOG_PERSONAL_API_KEY="phx_" + "a" * 40)
    assert done.returncode == 1
    assert "The request never left" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_colours_and_no_progress_where_there_is_no_terminal() -> None:
    done = process("demo", "--environments", "5", FORCE_COLOR="", NO_COLOR="1")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout + done.stderr


def test_starting_imports_neither_aiohttp_nor_cattrs() -> None:
    code = (
        "import sys\nfrom aioposthog_env.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'aiohttp', 'cattrs', 'msgspec', 'anyio'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_an_interrupt_in_the_middle_of_a_run_is_exit_code_130() -> None:
    with serving(200, latency=0.2, throttle=False) as sandbox:
        environment = os.environ | {"POSTHOG_HOST": sandbox.url, "POSTHOG_PERSONAL_API_KEY": sandbox.key()}
        ids = [str(id) for id in sandbox.environment_ids]
        child = subprocess.Popen(
            [*CLI, "set", *ids, "timezone=Europe/Berlin", "--concurrency", "2"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        while len(sandbox.calls) < 8:
            assert child.poll() is None
            threading.Event().wait(0.02)
        child.send_signal(signal.SIGINT)
        told, words = child.communicate(timeout=20)
        assert child.returncode == 130
        assert "Finishing what is in flight" in words
        assert "were not begun." in words
        assert len(words.splitlines()) < 10
        done = [int(line.split("\t")[0]) for line in told.splitlines() if line.endswith("\tsucceeded")]
        assert done == [id for id in sandbox.environment_ids if sandbox.effects["setting timezone", id]]
        assert "Traceback" not in words
        assert len(sandbox.calls) < 100


@pytest.fixture
def server(tmp_path: Path) -> Generator[Callable[..., tuple[subprocess.Popen[str], dict[str, str]]], None, None]:
    """Starts `aioposthog-env sandbox` and reads what it prints first."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> tuple[subprocess.Popen[str], dict[str, str]]:
        child = subprocess.Popen(
            [*CLI, "sandbox", "--port", "0", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(child)
        assert child.stdout is not None
        rows = dict(child.stdout.readline().rstrip("\n").split("\t") for _ in range(8))
        return child, rows

    yield start
    for child in started:
        child.kill()
        child.communicate()


def get(rows: dict[str, str], path: str) -> Any:
    request = urllib.request.Request(rows["url"] + path, headers={"Authorization": f"Bearer {rows['key']}"})
    with urllib.request.urlopen(request, timeout=5) as answer:
        return json.load(answer)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_sandbox_as_a_server_whose_scene_is_saved_and_loaded(server: Any, tmp_path: Path, number: signal.Signals) -> None:
    scene = str(tmp_path / "scene.json")
    child, rows = server("--environments", "7", "--era", "2025-11", "--save", scene)
    assert rows["try"] == f'curl -H "Authorization: Bearer {rows["key"]}" {rows["url"]}/api/environments/'
    assert get(rows, "/api/environments/")["count"] == 7
    name = get(rows, "/api/environments/3/")["name"]
    child.send_signal(number)
    _, words = child.communicate(timeout=10)
    assert child.returncode == 0
    assert "Traceback" not in words
    _, again = server("--load", scene)
    assert get(again, "/api/environments/3/")["name"] == name
    assert get(again | {"key": rows["key"]}, "/api/environments/")["count"] == 7


@pytest.mark.parametrize("number", ["INT", "TERM"])
def test_a_sandbox_in_the_background_of_a_shell_is_stopped(tmp_path: Path, number: str) -> None:
    """A shell without job control lets what runs in its background ignore Ctrl-C."""
    script = (
        f"{shlex.join(CLI)} sandbox --port 0 --save scene.json > printed & server=$!; "
        f"until grep -q CSRF printed; do sleep 0.05; done; kill -s {number} $server; rm printed; wait $server"
    )
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert Sandbox.load(tmp_path / "scene.json").environment_ids


def test_what_the_sandbox_prints_is_ready_for_a_shell(server: Any) -> None:
    child, rows = server("--environments", "2")
    exports = "".join(child.stdout.readline() for _ in range(4))
    variables = ("POSTHOG_HOST", "POSTHOG_PERSONAL_API_KEY", "POSTHOG_SESSION_ID", "POSTHOG_CSRF_TOKEN")
    values = (rows["url"], rows["key"], rows["sessionid"], rows["posthog_csrftoken"])
    assert exports == "".join(f"export {name}={value}\n" for name, value in zip(variables, values, strict=True))
    commands = [shlex.join([*CLI, *words]) for words in (["list", "--json"], ["activity", "1"])]
    done = subprocess.run(["sh", "-ec", exports + "\n".join(commands)], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert '"id":1' in done.stdout.replace(" ", "")


def test_a_sandbox_that_cannot_be_served(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text("{}")
    assert run(["sandbox", "--load", str(broken)]) == 2
    assert run(["sandbox", "--load", str(tmp_path / "missing.json")]) == 2
    assert run(["sandbox", "--port", "99999"]) == 2
    with serving(1) as sandbox:
        assert run(["sandbox", "--port", sandbox.url.rpartition(":")[2]]) == 2
    shown = capfd.readouterr().err
    assert "cannot be read" in shown
    assert "cannot be used" in shown
