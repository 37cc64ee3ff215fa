"""A tour of all commands at the highest log level, over a server full of crafted texts: no secret and no control character."""

import json
import logging
from pathlib import Path
from typing import Final

import pytest

from aioposthog_env.cli import commands  # noqa: F401  adds the commands
from aioposthog_env.cli.app import app, run
from aioposthog_env.sandbox import Sandbox
from tests.cli.test_changing import served
from tests.sweep import Sweep
from tests.wire.hostile import CRAFTED

__all__ = ["served"]

REPORTS: Final = ("html", "json", "md", "csv")

TOUR: Final = (
    ["list"],
    ["list", "--json"],
    ["show", "1"],
    ["show", "1", "2", "--json"],
    ["doctor", "1"],
    ["doctor", "1", "--json"],
    ["config"],
    ["config", "--json"],
    ["plan", "1", "2", "--set", "timezone=Asia/Tokyo", "-o", "plan.json"],
    ["apply", "plan.json", "--journal", "run.db", "--yes", "--report", "applied.html"],
    ["apply", "plan.json", "--journal", "run.db", "--yes", "--json", "--report", "applied.json"],
    ["runs", "run.db"],
    ["runs", "run.db", "--json"],
    ["undo", "run.db", "--yes"],
    ["set", "3", "timezone=Asia/Tokyo", f"name={CRAFTED}"],
    ["set", "3", "timezone=Asia/Tokyo", "--json"],
    ["set", "3", "no_such_\x1b[2J=1"],
    ["audit", "--all", "--report", "audit.html"],
    ["audit", "--all", "--json", "--report", "audit.json"],
    ["audit", "--all", "--report", "audit.md"],
    ["audit", "--all", "--report", "audit.csv"],
    ["audit", "--where", "name == 'x\x1b[2J'"],
    ["export", "--all", "-o", "all.yaml"],
    ["export", "--all"],
    ["export", "1", "--format", "json"],
    ["rotate-secrets", "1", "2", "--sink", "secrets.jsonl", "--journal", "rotated.db", "--yes", "--report", "rotated.html"],
    ["rotate-secrets", "3", "--sink", "secrets.jsonl", "--journal", "again.db", "--yes", "--json", "--report", "rotated.csv"],
    ["delete-secret-backups", "1", "--min-age", "0", "--yes", "--journal", "backups.db"],
    ["reset-tokens", "2", "--yes", "--journal", "reset.db", "--report", "reset.md"],
    ["activity", "1", "2"],
    ["activity", "1", "2", "--json"],
    ["restrictions", "--all"],
    ["restrictions", "--all", "--json"],
    ["demo-data", "1"],
    ["demo-data", "1", "--json"],
    ["intent", "add", "session_replay", "1"],
    ["intent", "complete", "session_replay", "1", "--json"],
    ["delete", "4", "--yes", "--journal", "deleted.db"],
    ["show", "999"],
    ["show", "999", "--json"],
    ["sandbox", "--environments", "0"],
    ["workers", "run", "--redis", "redis://[\x1b[2J"],
    ["demo", "--environments", "10"],
)


@pytest.fixture
def crafted(served: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """A server where every text that anybody can set is crafted."""
    monkeypatch.chdir(tmp_path)
    for id in (1, 2, 3, 5):
        environment = served.environment(id)
        environment.settings["name"] = f"{id} {CRAFTED}"
        environment.settings["app_urls"] = [CRAFTED]
        environment.settings["test_account_filters"] = [{"key": CRAFTED, "value": CRAFTED}]
        environment.settings["slack_incoming_webhook"] = served.key()  # a secret among the settings
        environment.restrictions = [{"restriction_type": CRAFTED, "distinct_ids": [CRAFTED], "pipelines": [CRAFTED]}]
    served.environment(1).settings["conversations_settings"] = {"widget_public_token": served.oauth_token(), "x": CRAFTED}
    served.user.first_name = CRAFTED
    return served


def test_every_command_is_on_the_tour() -> None:
    assert {command[0] for command in TOUR} >= {name for name in app if not name.startswith("-")}


def test_the_tour(crafted: Sandbox, tmp_path: Path, sweep: Sweep, capfd: pytest.CaptureFixture[str]) -> None:
    logging.getLogger().setLevel(logging.DEBUG)
    try:
        for command in TOUR:
            if command[0] == "sandbox":
                continue  # serves until it is interrupted, and prints keys because that is what it is for
            assert run(command) in {0, 1, 2, 3}, command
            printed = capfd.readouterr()
            shown = printed.out + printed.err
            assert sweep.hits(shown) == [], command
            assert [char for char in shown if not (char.isprintable() or char in "\n\t")] == [], command
            assert "Traceback" not in shown, command
    finally:
        logging.getLogger().setLevel(logging.WARNING)
    assert sweep.look(tmp_path) == []
    assert crafted.effects["rotate_secret_token", 1] == 1
    written = {file.name for file in tmp_path.iterdir()}
    assert written >= {"plan.json", "run.db", "rotated.db", "secrets.jsonl", "all.yaml", "applied.html", "reset.md"}
    for file in tmp_path.iterdir():
        if file.suffix in {".html", ".md", ".csv", ".json", ".yaml"}:
            text = file.read_text()
            assert [char for char in text if not (char.isprintable() or char in "\n\t")] == [], file
            assert file.suffix != ".json" or json.loads(text)
