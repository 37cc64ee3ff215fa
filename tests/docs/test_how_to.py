"""What the guides and the other new pages say, done against the sandbox, page by page."""

import asyncio
import json
import re
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aioposthog_env.cli.app import run
from aioposthog_env.sandbox import Sandbox
from tests.cli.test_commands import CLI, serving
from tests.docs.pages import DOCS, ROOT, Reader, blocks_of

Output = pytest.CaptureFixture[str]
Follow = Callable[..., list[int]]


@pytest.fixture
def follow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Follow:
    """Do what a page says, with key and session at hand; gives the exit codes of its commands."""

    def follow(page: str, sandbox: Sandbox, *, done: int = 0, replaced: Mapping[str, str] | None = None) -> list[int]:
        if not done:
            give(sandbox, monkeypatch)
        monkeypatch.chdir(tmp_path)
        reader = Reader(tmp_path, sandbox.url, replaced or {})
        reader.follow(page, done)
        return reader.codes

    return follow


def give(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the variables that name a host, a key and a session."""
    session = sandbox.session()
    monkeypatch.setenv("POSTHOG_HOST", sandbox.url)
    monkeypatch.setenv("POSTHOG_PERSONAL_API_KEY", sandbox.key())
    monkeypatch.setenv("POSTHOG_SESSION_ID", session.session_id)
    monkeypatch.setenv("POSTHOG_CSRF_TOKEN", session.csrf_token)


def changes(sandbox: Sandbox, setting: str) -> list[int]:
    """How often a setting has really changed, environment by environment."""
    return [sandbox.effects[f"setting {setting}", id] for id in sandbox.environment_ids]


def test_every_guide_is_followed() -> None:
    followed = set(re.findall(r'follow\("(how-to/[^"]+)"', Path(__file__).read_text(encoding="utf-8")))
    assert followed == {path.relative_to(DOCS).as_posix() for path in DOCS.glob("how-to/*.md")}


def test_the_pages_of_the_reference_hold_no_examples() -> None:
    languages = {block.language for path in DOCS.glob("reference/*.md") for block in blocks_of(f"reference/{path.name}")}
    assert languages == {"text"}  # how a command is called


def test_start(follow: Follow, tmp_path: Path, capfd: Output) -> None:
    with serving(50, lacking_anonymize_ips=3) as sandbox:
        assert follow("index.md", sandbox) == [0, 0, 0, 0]
        assert sum(changes(sandbox, "anonymize_ips")) == 3
    assert "50 Environment 0050\nUTC" in (shown := capfd.readouterr().out)
    assert "50 environments in " in shown


def test_changing_one_setting_everywhere(follow: Follow, tmp_path: Path, capfd: Output) -> None:
    with serving(12, lacking_anonymize_ips=4) as sandbox:
        assert follow("how-to/change-everywhere.md", sandbox) == [0]
        assert sorted(changes(sandbox, "anonymize_ips")) == [0] * 8 + [1] * 4
    assert "0 are left" in capfd.readouterr().out
    assert "anonymize_ips" in (tmp_path / "run.html").read_text()


def test_an_audit(follow: Follow, tmp_path: Path, capfd: Output) -> None:
    with serving(6, lacking_anonymize_ips=2) as sandbox:
        for id in sandbox.environment_ids:
            sandbox.environment(id).settings["timezone"] = "UTC"
        assert follow("how-to/audit.md", sandbox) == [3, 3, 3, 3, 0, 0]
        assert sandbox.environment(3).settings["timezone"] == "Europe/Berlin"
        assert all(sandbox.environment(id).settings["anonymize_ips"] for id in sandbox.environment_ids)
    assert "Europe/Berlin" in (tmp_path / "audit.html").read_text()
    capfd.readouterr()


def test_a_rotation(follow: Follow, tmp_path: Path, capfd: Output) -> None:
    with serving(3) as sandbox:
        assert follow("how-to/rotate-secrets.md", sandbox) == [1]
        # Once from the shell and once from Python.
        assert [sandbox.effects["rotate_secret_token", id] for id in (1, 2, 3)] == [2, 2, 2]
        handed_over = [json.loads(line) for line in (tmp_path / "secrets.jsonl").read_text().splitlines()]
        assert {one["environment"]: one["secret_api_token"] for one in handed_over} == {
            id: sandbox.environment(id).secret_api_token_backup for id in (1, 2, 3)
        }
        assert not any(secret in capfd.readouterr().out for secret in sandbox.secrets)


def test_a_run_that_was_killed(follow: Follow, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: Output) -> None:
    with serving(40, lacking_anonymize_ips=40, latency=0.01, throttle=False) as sandbox:
        give(sandbox, monkeypatch)
        monkeypatch.chdir(tmp_path)
        plan, apply = [line.split()[1:] for line in next(blocks_of("how-to/resume-and-undo.md")).text.splitlines()]
        assert run(plan) == 3
        with subprocess.Popen([*CLI, *apply], cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
            while not any(changes(sandbox, "anonymize_ips")) and process.poll() is None:
                time.sleep(0.001)
            process.kill()
        assert 0 < sum(changes(sandbox, "anonymize_ips")) < 40, "it was killed too late"
        assert follow("how-to/resume-and-undo.md", sandbox, done=1) == [0, 0, 0, 0]
        assert changes(sandbox, "anonymize_ips") == [4] * 40  # there, back, there, and back
        assert not any(sandbox.environment(id).settings["anonymize_ips"] for id in sandbox.environment_ids)
    assert "main update" in capfd.readouterr().out


def test_a_web_service(follow: Follow, tmp_path: Path) -> None:
    async def served() -> str:
        app = SimpleNamespace(state=SimpleNamespace())
        async with lifespan(app):
            environment = await app.state.environments.retrieve(1)
        return str(environment.name)

    with serving(1) as sandbox:
        assert follow("how-to/web-service.md", sandbox) == []
        names: dict[str, Any] = {}
        exec((tmp_path / "lifespan.py").read_text(), names)
        lifespan = names["lifespan"]
        assert asyncio.run(served()) == "Environment 0001"
    example = (ROOT / "examples" / "service.py").read_text()  # tests/examples runs it
    assert (tmp_path / "service.py").read_text() == example


def test_one_rate_limit(follow: Follow, capfd: Output) -> None:
    with serving(3) as sandbox:
        assert follow("how-to/one-rate-limit.md", sandbox) == []
    shown = capfd.readouterr().out
    assert " of 480 in 60 s\n" in shown
    assert shown.count("3 environments in ") == 2


def test_several_hosts(follow: Follow, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: Output) -> None:
    with serving(3, lacking_anonymize_ips=3) as us, serving(2, lacking_anonymize_ips=2) as eu:
        (tmp_path / "config.toml").touch(mode=0o600)
        (tmp_path / "key.txt").write_text(key := eu.key())
        monkeypatch.setenv("AIOPOSTHOG_ENV_CONFIG", str(tmp_path / "config.toml"))
        monkeypatch.setenv("POSTHOG_US_KEY", us.key())
        monkeypatch.setenv("POSTHOG_EU_KEY", key)
        replaced = {f'host = "{name}"': f'host = "{sandbox.url}"' for name, sandbox in (("us", us), ("eu", eu))}
        replaced |= {f'anonymize("{name}"': f'anonymize("{sandbox.url}"' for name, sandbox in (("us", us), ("eu", eu))}
        replaced["op read op://team/posthog-eu/key"] = f"cat {tmp_path / 'key.txt'}"
        assert follow("how-to/several-hosts.md", us, replaced=replaced) == [0, 0, 3, 0, 3, 3]
        assert changes(us, "anonymize_ips") + changes(eu, "anonymize_ips") == [1] * 5
    capfd.readouterr()


def test_testing_your_own_code(follow: Follow, capfd: Output) -> None:
    with serving(1) as sandbox:
        assert follow("how-to/test-your-code.md", sandbox) == [0]
    assert "3 passed" in capfd.readouterr().out


def test_what_a_credential_may_do(follow: Follow, capfd: Output) -> None:
    with serving(2) as sandbox:
        assert follow("how-to/credential.md", sandbox) == [0, 0]
        assert not sandbox.effects
    shown = capfd.readouterr().out
    assert "rotate_secret_token refused" in shown
    assert "1 True True" in shown


def test_the_rate_limits(follow: Follow, capfd: Output) -> None:
    with serving(1) as sandbox:
        assert follow("limits.md", sandbox) == []
    assert "0 0.0 None 0\n" in capfd.readouterr().out


def test_the_generations(follow: Follow, capfd: Output) -> None:
    with serving(1) as sandbox:
        assert follow("url-styles.md", sandbox) == []
    assert capfd.readouterr().out.startswith("Era.")
