"""docs/safety.md: its tables name what there is, and its code runs."""

import re
import textwrap
from pathlib import Path
from typing import Any, get_args

import pytest

from aioposthog_env import Journal, Sandbox
from aioposthog_env.bulk.outcome import Reason, Status
from tests.conftest import logged_in

DOCS = (Path(__file__).parents[2] / "docs" / "safety.md").read_text(encoding="utf-8")


def test_every_status_and_every_reason_is_explained() -> None:
    rows = re.findall(r"^\| `([a-z ]+)` \|", DOCS, re.M)
    assert set(rows) == set(get_args(Status)) | set(get_args(Reason)) - {"already done", "done earlier"}
    assert len(rows) == len(set(rows))
    assert "`already done`" in DOCS
    assert "`done earlier`" in DOCS


async def test_its_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", DOCS, re.S)
    assert len(blocks) == 2
    async with Sandbox(3) as sandbox, logged_in(sandbox) as environments:
        names: dict[str, Any] = {"environments": environments, "refs": [1, 2, 3], "Journal": Journal}
        for _ in range(2):
            for block in blocks:
                exec(f"async def run():\n{textwrap.indent(block, '    ')}", names)
                await names["run"]()
        assert [sandbox.effects["rotate_secret_token", id] for id in (1, 2, 3)] == [1, 1, 1]
    assert "main rotate_secret_token" in capsys.readouterr().out
