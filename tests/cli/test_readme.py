"""What README shows works as it stands there."""

import re
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
    (example,) = blocks("python")
    assert 'AsyncEnvironments("eu")' in example
    with serving(20, lacking_anonymize_ips=7) as sandbox:
        monkeypatch.setenv("POSTHOG_HOST", sandbox.url)
        monkeypatch.setenv("POSTHOG_PERSONAL_API_KEY", sandbox.key())
        exec(compile(example.replace('"eu"', ""), "README.md", "exec"), {"__name__": "__main__"})
        assert all(sandbox.environment(id).settings["anonymize_ips"] for id in sandbox.environment_ids)
    assert capsys.readouterr().out.startswith("7 environments in ")


def test_the_shell_examples(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    commands = [line for line in blocks("sh")[2].splitlines() if line.startswith("aioposthog-env ")]
    assert len(commands) == 3
    with serving(50) as sandbox:
        monkeypatch.setenv("POSTHOG_HOST", sandbox.url)
        monkeypatch.setenv("POSTHOG_PERSONAL_API_KEY", sandbox.key())
        assert [run(command.split()[1:]) for command in commands] == [0, 0, 0]
        assert sandbox.environment(43).settings["timezone"] == "Europe/Berlin"
    capfd.readouterr()


def test_the_endpoint_table_is_that_of_the_code() -> None:
    rows: dict[str, str] = dict(re.findall(r"^\| `(\w+)\([^|]*\| .* \| ([^|]+) \|$", README, re.M))
    needs = {row.name: f"`{row.scope}`" if row.scope else "a session" for row in ENDPOINTS if row is not CURRENT_KEY}
    assert rows == needs
    assert all(hasattr(AsyncEnvironments, name) for name in rows)
    assert {name for name in rows if hasattr(Each, name)} == set(rows) - {"list", "create"}
