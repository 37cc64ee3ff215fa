"""What a newcomer does first, with the library as it is installed. `nox -s package` runs this on the wheel."""

import os
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import pytest

import aioposthog_env
from aioposthog_env import AsyncEnvironments, PersonalAPIKey, Sandbox, TeamSettings
from aioposthog_env.reports import Report, write_report

FROM_WHEEL = os.environ.get("TEST_THE_WHEEL") == "1"


@pytest.mark.skipif(not FROM_WHEEL, reason="only where the wheel is tested")
def test_it_is_the_installed_library_that_is_tested() -> None:
    here = Path(aioposthog_env.__file__ or "")
    assert "site-packages" in here.parts
    assert here.with_name("py.typed").is_file()


async def test_a_first_call() -> None:
    async with Sandbox(2) as sandbox, AsyncEnvironments(sandbox.url, auth=PersonalAPIKey(sandbox.key())) as environments:
        environment = await environments.retrieve(1)
    assert environment.settings.timezone == "UTC"


async def test_a_first_bulk_run_with_a_journal(tmp_path: Path) -> None:
    async with Sandbox(5) as sandbox, AsyncEnvironments(sandbox.url, auth=PersonalAPIKey(sandbox.key())) as environments:
        each = environments.each(environments.list(), journal=tmp_path / "run.db")
        report = await each.update(TeamSettings(timezone="Europe/Berlin"))
    assert report.counts["succeeded"] == 5


@pytest.mark.posthog(environments=3)
async def test_a_first_test_with_the_plugin(environments: AsyncEnvironments, posthog_sandbox: Sandbox) -> None:
    assert len([one async for one in environments.list()]) == 3
    assert len(posthog_sandbox.environment_ids) == 3


def test_the_demo_and_a_report(tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("aioposthog-env")
    if not command.exists():
        pytest.skip("the command is not beside this Python")
    done = subprocess.run([command, "demo", "--environments", "20"], capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    write_report(Report(title="A first run", command="", started=datetime.now(UTC)), tmp_path / "report.html")
    assert "A first run" in (tmp_path / "report.html").read_text("utf-8")


def test_the_metadata_is_complete() -> None:
    told = metadata.metadata("aioposthog-env")
    assert told["License-Expression"] == "MIT"
    assert told["Requires-Python"] == ">=3.11"
    assert told["Description-Content-Type"] == "text/markdown"
    assert told["Version"] == aioposthog_env.__version__
    assert set(told.get_all("Provides-Extra") or []) >= {"cli", "keyring", "report", "otel"}
    assert {f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13, 14)} <= set(
        told.get_all("Classifier") or []
    )
    scripts = {(point.group, point.name) for point in metadata.distribution("aioposthog-env").entry_points}
    assert {("console_scripts", "aioposthog-env"), ("pytest11", "aioposthog_env")} <= scripts
