"""The commands that only look, and the one that counts an interest."""

import json
from pathlib import Path
from typing import Any

import pytest

from aioposthog_env.cli.app import run
from aioposthog_env.sandbox import Sandbox
from tests.cli.test_changing import lines, served

__all__ = ["served"]

Output = pytest.CaptureFixture[str]


def findings(capfd: Output) -> list[dict[str, Any]]:
    return json.loads(capfd.readouterr().out)  # type: ignore[no-any-return]


def test_the_doctor_of_a_good_session(served: Sandbox, capfd: Output) -> None:
    assert run(["doctor", "1", "--json"]) == 0
    told = findings(capfd)
    assert {one["level"] for one in told} <= {"ok", "warning"}
    said = " / ".join(one["what"] for one in told)
    assert "sees 5 environments" in said
    assert "it is a session" in said
    assert "URL style root" in said or "URL style project" in said
    assert "the caller is an admin there" in said
    assert "does not limit" in said
    assert run(["doctor"]) == 0
    assert "ok\tthe credential is valid" in capfd.readouterr().out


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
    assert [one["done"] for one in lines(capfd)] == ["added", "added"]
    assert run(["intent", "complete", "session_replay", "1"]) == 0
    assert [served.effects["add_product_intent", id] for id in (1, 2, 3)] == [1, 1, 0]
    assert served.effects["complete_product_onboarding", 1] == 1


def test_a_part_that_fails_and_wrong_usage(served: Sandbox, capfd: Output) -> None:
    assert run(["restrictions", "1", "99"]) == 3
    assert "99: " in capfd.readouterr().err
    assert run(["restrictions", "99"]) == 1
    assert run(["activity"]) == 2
    assert run(["intent", "sell", "session_replay", "1"]) == 2
    assert "Traceback" not in capfd.readouterr().err
