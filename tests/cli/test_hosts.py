"""Several hosts in one run: one client each, one result."""

import json
import shlex
from collections.abc import Generator
from pathlib import Path

import pytest

from aioposthog_env.cli.app import run
from aioposthog_env.sandbox import Sandbox
from tests.cli.test_changing import lines
from tests.cli.test_commands import serving

Output = pytest.CaptureFixture[str]
FORBIDDEN = {"type": "authentication_error", "code": "permission_denied", "detail": "no"}


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
    found = lines(capfd)
    assert [(one["profile"], one["id"]) for one in found] == [("us", 1), ("us", 2), ("us", 3), ("eu", 1), ("eu", 2)]
    assert run(["list", "--profile", "us,eu"]) == 0
    shown = capfd.readouterr()
    assert shown.out.startswith("us\t1\t")
    assert "5 environments" in shown.err
    assert run(["list", "--profile", "us", "--json"]) == 0
    assert "profile" not in lines(capfd)[0]


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


def test_the_settings_of_two_hosts(two: tuple[Sandbox, Sandbox], capfd: Output) -> None:
    assert run(["show", "--name", "*0002", "--profile", "us,eu", "--json"]) == 0
    assert [(one["profile"], one["id"]) for one in json.loads(capfd.readouterr().out)] == [("us", 2), ("eu", 2)]


def zones(two: tuple[Sandbox, Sandbox]) -> list[list[object]]:
    return [[one.environment(id).settings["timezone"] for id in one.environment_ids] for one in two]


def test_two_hosts_are_planned_changed_and_given_back_in_one_run(
    two: tuple[Sandbox, Sandbox], tmp_path: Path, capfd: Output
) -> None:
    plan, journal, report = tmp_path / "plan.json", tmp_path / "run.db", tmp_path / "run.json"
    both = ["--profile", "us,eu"]
    assert run(["plan", "--all", "--set", "timezone=Asia/Tokyo", "-o", str(plan), *both]) == 3
    assert {one.name for one in tmp_path.glob("plan*")} == {"plan.us.json", "plan.eu.json"}
    shown = capfd.readouterr()
    assert shown.out.startswith("us: ")
    assert "\neu: " in shown.out
    assert f"apply {plan} --profile us,eu" in shown.err

    two[1].answer_next("update", 403)
    apply = ["apply", str(plan), "--journal", str(journal), *both, "--concurrency", "1", "--yes"]
    assert run([*apply, "--json", "--report", str(report)]) == 3
    shown = capfd.readouterr()
    *told, summary = (json.loads(line) for line in shown.out.splitlines())
    assert sorted((one["profile"], one["id"], one["status"]) for one in told) == [
        ("eu", 1, "failed"),
        ("eu", 2, "succeeded"),
        ("us", 1, "succeeded"),
        ("us", 2, "succeeded"),
        ("us", 3, "succeeded"),
    ]
    assert summary["summary"] | {"seconds": 0} == {
        "succeeded": 4, "unchanged": 0, "failed": 1, "unknown": 0, "skipped": 0, "done_earlier": 0, "seconds": 0,
        "interrupted": False,
    }  # fmt: skip
    assert "eu 1 failed: " in shown.err
    resume = ["apply", str(plan), "--journal", str(journal), *both, "--yes"]
    assert f"To go on: {shlex.join(['aioposthog-env', *resume])}" in shown.err
    written = json.loads(report.read_text())
    assert [(row["host"], row["id"]) for row in written["rows"]] == [
        *((two[0].url, id) for id in (1, 2, 3)),
        *((two[1].url, id) for id in (1, 2)),
    ]
    assert zones(two) == [["Asia/Tokyo"] * 3, ["UTC", "Asia/Tokyo"]]

    assert run(resume) == 0
    assert zones(two) == [["Asia/Tokyo"] * 3, ["Asia/Tokyo"] * 2]
    assert [one.effects["setting timezone", 2] for one in two] == [1, 1]
    capfd.readouterr()
    assert run(["runs", str(journal), "--json"]) == 0
    assert [(one["run"], one["host"]) for one in lines(capfd)] == [("us", two[0].url), ("eu", two[1].url)]

    assert run(["undo", str(journal), "--profile", "eu", "--yes"]) == 0
    assert zones(two) == [["Asia/Tokyo"] * 3, ["UTC"] * 2]
    assert run(["undo", str(journal), *both, "--yes"]) == 0
    assert zones(two) == [["UTC"] * 3, ["UTC"] * 2]


def test_two_accounts_at_one_host_have_runs_of_their_own(
    two: tuple[Sandbox, Sandbox], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Output
) -> None:
    us, _ = two
    other, file, journal = us.key(), tmp_path / "config.toml", tmp_path / "run.db"
    for name in ("OTHER", "POSTHOG_PERSONAL_API_KEY"):
        monkeypatch.setenv(name, other)
    file.write_text(file.read_text() + f'[profiles.other]\nhost = "{us.url}"\nkey_env = "OTHER"\n')
    plan, both = tmp_path / "plan.json", "us,other"
    apply = ["--journal", str(journal), "--yes", "--profile"]
    assert run(["plan", "--name", "*0001", "--set", "timezone=Asia/Tokyo", "--profile", both, "-o", str(plan)]) == 3
    for _ in range(2):
        assert run(["apply", str(plan), *apply, both, "--max-age", "0"]) == 0
    assert run(["apply", str(tmp_path / "plan.other.json"), *apply, "other"]) == 0
    capfd.readouterr()
    assert run(["runs", str(journal), "--json"]) == 0
    assert {one["run"] for one in lines(capfd)} == {"us", "other"}
    assert run(["undo", str(journal), "--host", us.url, "--yes"]) == 2
    assert "several runs" in capfd.readouterr().err
    assert run(["undo", str(journal), "--profile", both, "--yes"]) == 0
    assert us.environment(1).settings["timezone"] == "UTC"


def test_nothing_is_changed_anywhere_while_one_host_cannot_be_asked(
    two: tuple[Sandbox, Sandbox], tmp_path: Path, capfd: Output
) -> None:
    journal = tmp_path / "run.db"
    arguments = ["apply", "--all", "--set", "timezone=Asia/Tokyo", "--journal", str(journal), "--profile", "us,wrong"]
    assert run(arguments) == 1
    assert "wrong: " in capfd.readouterr().err
    assert not journal.exists()
    assert zones(two) == [["UTC"] * 3, ["UTC"] * 2]


def test_a_name_need_not_be_at_each_host_but_somewhere(two: tuple[Sandbox, Sandbox], capfd: Output) -> None:
    assert run(["plan", "--name", "*0003", "--set", "timezone=Asia/Tokyo", "--profile", "us,eu"]) == 3
    assert "eu: Nothing is selected." in capfd.readouterr().err
    assert run(["plan", "--name", "nobody", "--set", "timezone=Asia/Tokyo", "--profile", "us,eu"]) == 2
    assert "at any of the hosts" in " ".join(capfd.readouterr().err.split())


def test_an_intent_at_two_hosts(two: tuple[Sandbox, Sandbox], capfd: Output) -> None:
    assert run(["intent", "add", "surveys", "--name", "*0002", "--profile", "us,eu"]) == 0
    assert capfd.readouterr().out == "us\t2\tsucceeded\neu\t2\tsucceeded\n"


def test_secrets_of_two_hosts_are_rotated_once_however_the_host_is_named(
    two: tuple[Sandbox, Sandbox], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Output
) -> None:
    file, sink, journal = tmp_path / "config.toml", tmp_path / "secrets.jsonl", tmp_path / "run.db"
    text = ""
    for name, sandbox in zip(("us", "eu"), two, strict=True):
        session = sandbox.session()
        monkeypatch.setenv(f"{name}_ID", session.session_id)
        monkeypatch.setenv(f"{name}_CSRF", session.csrf_token)
        text += f'[profiles.{name}]\nhost = "{sandbox.url}"\nsession_id_env = "{name}_ID"\ncsrf_token_env = "{name}_CSRF"\n'
    file.write_text(text)
    two[0].answer_next("rotate_secret_token", 403, FORBIDDEN)
    arguments = ["--sink", str(sink), "--journal", str(journal)]
    monkeypatch.setattr("aioposthog_env.cli.tokens.confirm", lambda output, phrase, **_: output.say(f"Typed {phrase}"))
    assert run(["rotate-secrets", "--all", *arguments, "--profile", "us,eu", "--concurrency", "1"]) == 3
    told = capfd.readouterr().err
    assert "Typed rotate 5 environments" in told
    assert f"To go on: aioposthog-env rotate-secrets 1 2 3 --sink {sink} --journal {journal} --profile us --yes" in told
    assert "--profile eu --yes" not in told
    held = [json.loads(line) for line in sink.read_text().splitlines()]
    assert sorted((one["host"], one["environment"]) for one in held) == sorted(
        [*((two[0].url, id) for id in (2, 3)), *((two[1].url, id) for id in (1, 2))]
    )

    assert run(["rotate-secrets", "1", "2", "3", *arguments, "--profile", "us", "--yes"]) == 0
    session = two[0].session()
    for name, value in (("POSTHOG_SESSION_ID", session.session_id), ("POSTHOG_CSRF_TOKEN", session.csrf_token)):
        monkeypatch.setenv(name, value)
    assert run(["rotate-secrets", "1", "2", "3", *arguments, "--host", two[0].url, "--yes"]) == 0
    assert [one.effects["rotate_secret_token", id] for one in two for id in one.environment_ids] == [1] * 5
    # The same file knows when each was rotated.
    backups = ["delete-secret-backups", "1", "2", "3", "--min-age", "0", "--journal", str(journal), "--profile", "us", "--yes"]
    assert run(backups) == 0
    assert run(["runs", str(journal), "--json"]) == 0
    assert [one["run"] for one in map(json.loads, capfd.readouterr().out.splitlines()[-3:])] == [
        "us",
        "eu",
        "us delete_secret_token_backup",
    ]


def test_a_host_that_fails_is_said_and_the_other_is_shown(two: tuple[Sandbox, Sandbox], capfd: Output) -> None:
    assert run(["list", "--profile", "us,wrong", "--json"]) == 3
    shown = capfd.readouterr()
    assert [json.loads(line)["profile"] for line in shown.out.splitlines()] == ["us"] * 3
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
        (["show", "1", "--profile", "us,eu"], "another environment at each host"),
        (["set", "1", "timezone=UTC", "--profile", "us,eu"], "another environment at each host"),
        (["delete", "1", "--yes", "--profile", "us,eu"], "another environment at each host"),
        (["plan", "1", "--set", "timezone=UTC", "--profile", "us,eu"], "another environment at each host"),
        (["apply", "--all", "--set", "timezone=UTC", "--profile", "us,eu", "--workers", "redis://127.0.0.1"], "serve one host"),
        (["export", "--all", "--profile", "us,eu"], "one host at a time"),
        (["list", "--profile", "us,eu", "--host", "eu"], "names its own host"),
        (["list", "--profile", ","], "There is no profile"),
    ],
)
def test_wrong_usage(two: tuple[Sandbox, Sandbox], arguments: list[str], says: str, capfd: Output) -> None:
    assert run(arguments) == 2
    assert says in " ".join(capfd.readouterr().err.split())
    assert not two[0].calls
    assert not two[1].calls


def test_the_doctor_finds_a_credential_that_is_missing_and_looks_at_the_rest(
    two: tuple[Sandbox, Sandbox], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: Output
) -> None:
    monkeypatch.delenv("EU")
    assert run(["doctor", "--profile", "us,eu", "--json"]) == 3
    found = json.loads(capfd.readouterr().out)
    assert [(one["profile"], one["level"]) for one in found if "variable EU" in one["what"]] == [("eu", "problem")]
    assert {one["profile"] for one in found if "sees 3 environments" in one["what"]} == {"us"}
    assert run(["doctor", "--profile", "us,eu"]) == 3
    assert {line.split("\t")[0] for line in capfd.readouterr().out.splitlines()} == {"us", "eu"}
    assert run(["doctor", "--profile", "eu"]) == 1
    assert run(["doctor", "--profile", "us,none"]) == 2
    assert run(["doctor", "--profile", "us,eu", "--sandbox"]) == 2
    capfd.readouterr()
    config = tmp_path / "config.toml"
    config.write_text(
        config.read_text().replace('key_env = "US"\n', 'key_env = "US"\nsession_id_env="S"\ncsrf_token_env="T"\n', 1)
    )
    assert run(["doctor", "--profile", "us", "--json"]) == 3
    found = json.loads(capfd.readouterr().out)
    assert [one["level"] for one in found if "variable S, " in one["what"]] == ["problem"]
    assert any("sees 3 environments" in one["what"] for one in found)
    assert not any("profile" in one for one in found)
