"""docs/workers.md: its code runs, its commands exist, and its figures are what the limits make of them."""

import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

from aioposthog_env import SERVER_LIMITS, Sandbox
from aioposthog_env.cli.app import run
from tests.workers.conftest import at_work

DOCS = (Path(__file__).parents[2] / "docs" / "workers.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", DOCS, re.S)


@pytest.mark.parametrize("number", range(2))
async def test_its_code(
    number: int, guarded_redis: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(BLOCKS) == 2
    async with Sandbox(3) as sandbox, at_work(sandbox, guarded_redis) as environments:
        names: dict[str, Any] = {
            "environments": environments,
            "refs": [1, 2, 3],
            "redis_url": guarded_redis,
            "__name__": __name__,
        }
        exec(f"async def run():\n{textwrap.indent(BLOCKS[number], '    ')}", names)
        await names["run"]()
        assert [sandbox.effects["rotate_secret_token", id] for id in (1, 2, 3)] == [1, 1, 1]
    if number:
        assert capsys.readouterr().out == "succeeded\n" * 6


def test_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["workers", "run"], ["apply"], ["rotate-secrets"]):
        assert run([*command, "--help"]) == 0
        shown = capsys.readouterr().out
        assert ("--redis" if command[0] == "workers" else "--workers") in shown
    assert set(re.findall(r"`(--[a-z-]+)", DOCS)) <= {
        *("--session", "--any-credential", "--concurrency", "--limiter", "--journal", "--queue", "--workers")
    }


def least_hours(calls: int) -> float:
    """The least time under both limits: a window is used up in one go, and the next opens a whole window later."""
    minute, hour = SERVER_LIMITS
    full, rest = divmod(calls - 1, hour.count)
    return (full * hour.window + rest // minute.count * minute.window) / 3600


def test_its_sizes() -> None:
    rows = re.findall(r"^\| ([\d,]+) \| ([\d.]+) (min|h) \| ([\d.]+) (min|h) \|", DOCS, re.M)
    assert len(rows) == 3
    for environments, one, unit, five, unit_of_five in rows:
        calls = 2 * int(environments.replace(",", ""))
        for keys, said, of in ((1, one, unit), (5, five, unit_of_five)):
            hours = float(said) / {"min": 60, "h": 1}[of]
            assert hours == pytest.approx(least_hours(calls // keys), rel=0.05), (environments, keys)
