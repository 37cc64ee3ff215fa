"""What README shows works as it stands there."""

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from aioposthog_env import AsyncEnvironments
from aioposthog_env.api.endpoints import CURRENT_KEY, ENDPOINTS
from aioposthog_env.bulk.each import Each
from aioposthog_env.cli.app import run
from tests.cli.test_commands import serving

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


def test_the_python_example(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    example = blocks("python")[0]
    assert 'AsyncEnvironments("eu")' in example
    with serving(20, lacking_anonymize_ips=7) as sandbox:
        monkeypatch.setenv("POSTHOG_HOST", sandbox.url)
        monkeypatch.setenv("POSTHOG_PERSONAL_API_KEY", sandbox.key())
        exec(compile(example.replace('"eu"', ""), "README.md", "exec"), {"__name__": "__main__"})
        assert all(sandbox.environment(id).settings["anonymize_ips"] for id in sandbox.environment_ids)
    assert capsys.readouterr().out.startswith("7 environments in ")


def test_the_example_of_plan_apply_and_undo(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    example = blocks("python")[1]
    monkeypatch.chdir(tmp_path)
    with serving(20, lacking_anonymize_ips=7) as sandbox:
        monkeypatch.setenv("POSTHOG_HOST", sandbox.url)
        monkeypatch.setenv("POSTHOG_PERSONAL_API_KEY", sandbox.key())
        exec(compile(example.replace('"eu"', ""), "README.md", "exec"), {"__name__": "__main__"})
        assert all(sandbox.effects["setting anonymize_ips", id] in {0, 2} for id in sandbox.environment_ids)
        assert sum(sandbox.effects.values()) > 0
    assert "7 of 20 environments would change." in capsys.readouterr().out
    assert {one.name for one in tmp_path.iterdir()} == {"plan.json", "run.db"}


def test_the_example_of_a_rotation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    example = blocks("python")[2].replace('"eu"', "HOST").replace('"alice@example.com", "…"', "EMAIL, PASSWORD")
    monkeypatch.chdir(tmp_path)
    with serving(50) as sandbox:
        names = {"HOST": sandbox.url, "EMAIL": sandbox.user.email, "PASSWORD": sandbox.user.password}
        for _ in range(3):  # however often it is started again, each time with another log-in
            exec(compile(example, "README.md", "exec"), {"__name__": "__main__", **names})
        assert [sandbox.effects["rotate_secret_token", id] for id in (41, 42, 43)] == [0, 1, 1]
    assert len((tmp_path / "secrets.jsonl").read_text().splitlines()) == 2


def test_the_example_of_a_rotation_that_is_killed_and_started_again(tmp_path: Path) -> None:
    example = blocks("python")[2].replace('"eu"', "HOST").replace('"alice@example.com", "…"', "EMAIL, PASSWORD")
    assert "settle=60" in example
    example = example.replace("settle=60", "settle=1")
    with serving(50) as sandbox:
        script = tmp_path / "rotation.py"
        names = f"HOST, EMAIL, PASSWORD = {sandbox.url!r}, {sandbox.user.email!r}, {sandbox.user.password!r}"
        script.write_text(f"{names}\n{example}")
        with subprocess.Popen([sys.executable, script.name], cwd=tmp_path, stderr=subprocess.PIPE) as process:
            until(lambda: sandbox.effects["rotate_secret_token", 42] > 0 or process.poll() is not None)
            process.kill()
        for _ in range(2):
            subprocess.run([sys.executable, script.name], cwd=tmp_path, check=True, capture_output=True)
        assert [sandbox.effects["rotate_secret_token", id] for id in (41, 42, 43)] == [0, 1, 1]
        lines = map(json.loads, (tmp_path / "secrets.jsonl").read_text().splitlines())
        handed_over = {line["environment"]: line["secret_api_token"] for line in lines}
        assert handed_over == {id: sandbox.environment(id).secret_api_token for id in (42, 43)}


def test_the_example_of_plan_apply_and_undo_that_is_killed_and_started_again(tmp_path: Path) -> None:
    example = blocks("python")[1].replace('"eu"', "HOST")
    with serving(20, lacking_anonymize_ips=20) as sandbox:
        script = tmp_path / "change.py"
        script.write_text(f"HOST = {sandbox.url!r}\n{example}")
        command, env = [sys.executable, script.name], {**os.environ, "POSTHOG_PERSONAL_API_KEY": sandbox.key()}
        ids = sandbox.environment_ids
        with subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            until(lambda: sandbox.effects["setting anonymize_ips", ids[0]] > 0 or process.poll() is not None)
            process.kill()
        before = {id: sandbox.effects["setting anonymize_ips", id] for id in ids}
        assert sum(before.values()) < 20, "it was killed too late"
        done = subprocess.run(command, cwd=tmp_path, env=env, check=True, capture_output=True, text=True)
        assert "20 of 20 environments would change." in done.stdout
        assert all(sandbox.effects["setting anonymize_ips", id] == 2 for id in ids)
        assert not any(sandbox.environment(id).settings["anonymize_ips"] for id in ids)


def until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.001)


def test_the_shell_examples(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    commands = [line for line in blocks("sh")[2].splitlines() if line.startswith("aioposthog-env ")]
    assert len(commands) == 3
    with serving(50) as sandbox:
        monkeypatch.setenv("POSTHOG_HOST", sandbox.url)
        monkeypatch.setenv("POSTHOG_PERSONAL_API_KEY", sandbox.key())
        assert [run(command.split()[1:]) for command in commands] == [0, 0, 0]
        assert sandbox.environment(43).settings["timezone"] == "Europe/Berlin"
    capfd.readouterr()


def test_the_whole_way_from_a_shell(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    commands = blocks("sh")[3].splitlines()
    with serving(20, lacking_anonymize_ips=7) as sandbox:
        monkeypatch.setenv("POSTHOG_HOST", sandbox.url)
        monkeypatch.setenv("POSTHOG_PERSONAL_API_KEY", sandbox.key())
        assert [run(shlex.split(command)[1:]) for command in commands] == [0, 3, 3, 0, 0, 0]
        assert sum(sandbox.effects["setting anonymize_ips", id] for id in sandbox.environment_ids) == 14
    assert "7 succeeded" in capfd.readouterr().out


def test_the_endpoint_table_is_that_of_the_code() -> None:
    rows: dict[str, str] = dict(re.findall(r"^\| `(\w+)\([^|]*\| .* \| ([^|]+) \|$", README, re.M))
    needs = {row.name: f"`{row.scope}`" if row.scope else "a session" for row in ENDPOINTS if row is not CURRENT_KEY}
    assert rows == needs
    assert all(hasattr(AsyncEnvironments, name) for name in rows)
    assert {name for name in rows if hasattr(Each, name)} == set(rows) - {"list", "create"}
