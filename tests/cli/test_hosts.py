"""Several hosts in one run: one client each, one result."""

import json
from collections.abc import Generator
from pathlib import Path

import pytest

from aioposthog_env.cli.app import run
from aioposthog_env.sandbox import Sandbox
from tests.cli.test_changing import lines
from tests.cli.test_commands import serving

Output = pytest.CaptureFixture[str]


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Generator[tuple[Sandbox, Sandbox], None, None]:
    """Two hosts, and a third profile whose key its host does not know."""
    with serving(3) as us, serving(2) as eu:
        file = tmp_path / "config.toml"
        file.write_text(
            f'[profiles.us]\nhost = "{us.url}"\nkey_env = "US"\n[profiles.eu]\nhost = "{eu.url}"\nkey_env = "EU"\n'
            f'[profiles.wrong]\nhost = "{eu.url}"\nkey_env = "US"\n'
        )
        file.chmod(0o600)
        for name, value in (("AIOPOSTHOG_ENV_CONFIG", str(file)), ("US", us.key()), ("EU", eu.key())):
            monkeypatch.setenv(name, value)
        for sandbox in (us, eu):
            for id in sandbox.environment_ids:
                sandbox.environment(id).settings["timezone"] = "UTC"
        yield us, eu


def test_a_list_of_two_hosts(two: tuple[Sandbox, Sandbox], capfd: Output) -> None:
    assert run(["list", "--profile", "us, eu,us", "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert [(one["profile"], one["id"]) for one in found] == [("us", 1), ("us", 2), ("us", 3), ("eu", 1), ("eu", 2)]
    assert run(["list", "--profile", "us,eu"]) == 0
    shown = capfd.readouterr()
    assert shown.out.startswith("us\t1\t")
    assert "5 environments" in shown.err
    assert run(["list", "--profile", "us", "--json"]) == 0
    assert "profile" not in json.loads(capfd.readouterr().out)[0]


def test_an_audit_over_two_hosts_takes_the_majority_of_both(
    two: tuple[Sandbox, Sandbox], tmp_path: Path, capfd: Output
) -> None:
    two[1].environment(2).settings["timezone"] = "Asia/Tokyo"
    report = tmp_path / "drift.json"
    assert run(["audit", "--all", "--profile", "us,eu", "--json", "--report", str(report)]) == 3
    rows = [row for row in lines(capfd) if row["setting"] == "timezone"]
    assert [(row["profile"], row["id"], row["value"], row["usual"]) for row in rows] == [("eu", 2, "Asia/Tokyo", "UTC")]
    written = json.loads(report.read_text())
    assert written["hosts"] == [sandbox.url for sandbox in two]
    assert {row["host"] for row in written["drift"]} == {sandbox.url for sandbox in two}
    assert {mark["host"] for mark in written["requests"]} == {sandbox.url for sandbox in two}


def test_rows_name_the_profile(two: tuple[Sandbox, Sandbox], capfd: Output) -> None:
    assert run(["restrictions", "--all", "--profile", "us,eu", "--json"]) == 0
    capfd.readouterr()
    policy = ["--name", "*0001", "--profile", "eu,us"]
    two[0].environment(1).settings["timezone"] = "Asia/Tokyo"
    assert run(["audit", *policy]) == 3
    assert {line.split("\t")[0] for line in capfd.readouterr().out.splitlines()} <= {"us", "eu"}


def test_a_host_that_fails_is_said_and_the_other_is_shown(two: tuple[Sandbox, Sandbox], capfd: Output) -> None:
    assert run(["list", "--profile", "us,wrong", "--json"]) == 3
    shown = capfd.readouterr()
    assert [one["profile"] for one in json.loads(shown.out)] == ["us"] * 3
    assert shown.err.startswith("wrong: list: ")
    assert run(["list", "--profile", "wrong,wrong"]) == 1
    assert run(["doctor", "--profile", "us,wrong", "--json"]) == 3
    levels = [one["level"] for one in json.loads(capfd.readouterr().out)]
    assert "problem" in levels
    assert "ok" in levels
    assert not any(secret in shown.out + shown.err for sandbox in two for secret in sandbox.secrets)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["restrictions", "1", "--profile", "us,eu"], "another environment at each host"),
        (["restrictions", "--ids-from", "-", "--profile", "us,eu"], "another environment at each host"),
        (["list", "--profile", "us,uk"], "There is no profile 'uk'"),
        (["show", "1", "--profile", "us,eu"], "one host at a time"),
        (["set", "1", "timezone=UTC", "--profile", "us,eu"], "one host at a time"),
        (["list", "--profile", "us,eu", "--host", "eu"], "names its own host"),
        (["list", "--profile", ","], "There is no profile"),
    ],
)
def test_wrong_usage(two: tuple[Sandbox, Sandbox], arguments: list[str], says: str, capfd: Output) -> None:
    assert run(arguments) == 2
    assert says in " ".join(capfd.readouterr().err.split())
    assert not two[0].calls
    assert not two[1].calls
