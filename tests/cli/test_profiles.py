"""Profiles: which host, whose key, and that neither reaches the other's place."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from aioposthog_env.cli.app import run
from aioposthog_env.cli.profiles import load_profiles
from aioposthog_env.errors import ConfigurationError
from aioposthog_env.sandbox import Sandbox
from tests.cli.test_commands import CLI, serving

Output = pytest.CaptureFixture[str]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config.toml"
    monkeypatch.setenv("AIOPOSTHOG_ENV_CONFIG", str(path))
    for name in ("POSTHOG_HOST", "POSTHOG_PERSONAL_API_KEY", "POSTHOG_SESSION_ID", "POSTHOG_CSRF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return path


def write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o600)


def sources(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, folder: Path) -> dict[str, str]:
    """Three places of one key."""
    key = sandbox.key()
    monkeypatch.setenv("A_KEY", key)
    ring = SimpleNamespace(get_password=lambda service, user: key if (service, user) == ("posthog", "me") else None)
    monkeypatch.setitem(sys.modules, "keyring", ring)
    (folder / "key.txt").write_text(key + "\n")
    return {"key_env": "A_KEY", "key_keyring": "posthog/me", "key_command": f"cat '{folder / 'key.txt'}'"}


@pytest.mark.parametrize("source", ["key_env", "key_keyring", "key_command"])
def test_a_key_from_each_place(file: Path, source: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: Output) -> None:
    with serving(3) as sandbox:
        place = sources(sandbox, monkeypatch, tmp_path)[source]
        write(file, f'[profiles.mine]\nhost = "{sandbox.url}"\n{source} = "{place}"\n')
        assert run(["list", "--profile", "mine", "--json"]) == 0
        assert len(capfd.readouterr().out.splitlines()) == 3
        assert run(["config", "check"]) == 0
        shown = capfd.readouterr()
        assert "a personal API key" in shown.out
        assert not any(secret in shown.out + shown.err for secret in sandbox.secrets)


def test_a_session_for_what_takes_no_key(file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with serving(2) as sandbox:
        session = sandbox.session()
        monkeypatch.setenv("S", session.session_id)
        monkeypatch.setenv("C", session.csrf_token)
        write(file, f'[profiles.mine]\nhost = "{sandbox.url}"\nsession_id_env = "S"\ncsrf_token_env = "C"\n')
        command = ["rotate-secrets", "1", "--sink", str(tmp_path / "s"), "--journal", str(tmp_path / "j"), "--yes"]
        assert run([*command, "--profile", "mine"]) == 0
        assert sandbox.effects["rotate_secret_token", 1] == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[profiles.mine]\nkey_env = "A"\n', "needs a host"),
        ('[profiles.mine]\nhost = "us"\n', "names no key"),
        ('[profiles.mine]\nhost = "us"\nkey = "phx_abc"\n', "Say where it is instead"),
        ('[profiles.mine]\nhost = "us"\nkey_enw = "A"\n', "did you mean 'key_env'?"),
        ('[profiles.mine]\nhost = "us"\nkey_env = 5\n', "wrong type"),
        ('[profiles.mine]\nhost = "us"\nkey_env = "A"\nkey_command = "b"\n', "more than one place"),
        ('[profiles.mine]\nhost = "https://eu.i.posthog.com"\nkey_env = "A"\n', "ingestion host"),
        ('[profiles.mine]\nhost = "us"\nkey_env = "NOT_SET"\n', "which is not set"),
        ('[profiles.mine]\nhost = "us"\nkey_command = "/no/such/command"\n', "No such file"),
        ('[profiles.mine]\nhost = "us"\nkey_command = "false"\n', "ended with 1"),
        ('[profiles.mine]\nhost = "us"\nkey_command = " "\n', "is no command"),
        ("[profiles.mine]\nhost = 'us'\nkey_command = 'op \"read'\n", "is no command"),
        ('[profiles.mine]\nhost = "us"\nkey_command = "true"\n', "printed nothing"),
        ('[profiles.mine]\nhost = "us"\nkey_command = "echo phc_abcdefghijklmnop"\n', "project token"),
        ('[profiles.main]\nhost = "us"\nkey_env = "A"\n', "did you mean 'main'?"),
        ("[profiles.mine]\nhost = 'us'\nkey_command = \"printf '\\\\377'\"\n", "no text"),
        ('[profiles.mine]\nhost = "us"\nkey_keyring = "posthog"\n', "a slash between"),
        ('[profiles.mine]\nhost = "us"\nsession_id_env = "A"\n', "both session_id_env and csrf_token_env"),
        ('[profiles.mine]\nhost = "us"\nemail = "a@example.com"\n', "both email and password_command"),
        ("x = 1\n", "nothing else"),
        ("[profiles\n", "cannot be read"),
        ("", "There are: none"),
    ],
)
def test_what_is_wrong_is_said(file: Path, text: str, said: str, capfd: Output) -> None:
    write(file, text)
    assert run(["list", "--profile", "mine"]) == 2
    shown = capfd.readouterr().err
    assert said in " ".join(shown.split())
    assert "phx_abc" not in shown
    assert "abcdefghijklmnop" not in shown


def test_a_keyring_that_cannot_be_asked(file: Path, monkeypatch: pytest.MonkeyPatch, capfd: Output) -> None:
    def locked(service: str, user: str) -> str:
        raise RuntimeError("locked")

    monkeypatch.setitem(sys.modules, "keyring", SimpleNamespace(get_password=locked))
    write(file, '[profiles.mine]\nhost = "us"\nkey_keyring = "posthog/me"\n')
    assert run(["list", "--profile", "mine"]) == 2
    assert "gave no key for the profile 'mine': RuntimeError" in " ".join(capfd.readouterr().err.split())
    monkeypatch.setitem(sys.modules, "keyring", None)
    assert run(["list", "--profile", "mine"]) == 2
    assert "aioposthog-env[keyring]" in capfd.readouterr().err


def test_a_login_with_a_password_command(file: Path, tmp_path: Path, capfd: Output) -> None:
    with serving(2) as sandbox:
        (tmp_path / "password").write_text(sandbox.user.password + "\n")
        profile = f'[profiles.mine]\nhost = "{sandbox.url}"\nemail = "{sandbox.user.email}"\n'
        write(file, f"{profile}password_command = \"cat '{tmp_path / 'password'}'\"\n")
        assert run(["demo-data", "1", "--profile", "mine"]) == 0
        assert run(["config", "check"]) == 0
        assert "a session" in capfd.readouterr().out
        write(file, f'{profile}password_command = "echo wrong"\n')
        assert run(["demo-data", "1", "--profile", "mine"]) == 1
        assert "does not accept this e-mail and password" in capfd.readouterr().err


def test_a_command_that_takes_too_long(file: Path, monkeypatch: pytest.MonkeyPatch, capfd: Output) -> None:
    monkeypatch.setattr("aioposthog_env.cli.profiles._SECONDS", 0.2)
    write(file, '[profiles.mine]\nhost = "us"\nkey_command = "sleep 20"\n')
    assert run(["list", "--profile", "mine"]) == 2
    assert "took longer than" in capfd.readouterr().err


def test_an_interrupt_while_a_command_gives_the_key(file: Path, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    script = tmp_path / "slow.sh"
    script.write_text(f"#!/bin/sh\ntouch '{begun}'\nexec sleep 20\n")
    script.chmod(0o700)
    write(file, f'[profiles.mine]\nhost = "us"\nkey_command = "\'{script}\'"\n')
    child = subprocess.Popen([*CLI, "list", "--profile", "mine"], stderr=subprocess.PIPE, text=True)
    while not begun.exists():
        assert child.poll() is None
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    _, words = child.communicate(timeout=10)
    assert (child.returncode, words) == (130, "Interrupted.\n")


def test_where_no_key_is_set_the_profiles_are_named(file: Path, capfd: Output) -> None:
    write(file, '[profiles.mine]\nhost = "us"\nkey_env = "A"\n')
    assert run(["list"]) == 2
    assert "give --profile mine" in " ".join(capfd.readouterr().err.split())


def test_a_file_that_others_can_change_is_refused(file: Path, capfd: Output) -> None:
    write(file, '[profiles.mine]\nhost = "us"\nkey_command = "echo"\n')
    file.chmod(0o620)
    assert run(["list", "--profile", "mine"]) == 2
    assert f"chmod 600 {file}" in "".join(capfd.readouterr().err.split("\n"))


@pytest.mark.skipif(sys.platform == "win32", reason="files have no such owner there")
def test_a_file_of_another_user_is_refused(file: Path, capfd: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    write(file, '[profiles.mine]\nhost = "us"\nkey_command = "echo"\n')
    if os.geteuid() == 0:
        os.chown(file, 65534, -1)
    else:
        me = os.geteuid()
        monkeypatch.setattr("os.geteuid", lambda: me + 1)
    assert run(["list", "--profile", "mine"]) == 2
    assert "belongs to another user" in " ".join(capfd.readouterr().err.split())


def test_a_host_comes_from_the_same_place_as_its_key(file: Path, capfd: Output) -> None:
    write(file, '[profiles.mine]\nhost = "us"\nkey_env = "A"\n')
    for other in (["--host", "eu"], ["--sandbox"]):
        assert run(["list", "--profile", "mine", *other]) == 2
        assert "names its own host" in capfd.readouterr().err


def test_no_file_is_no_profile(file: Path, capfd: Output) -> None:
    assert run(["config", "--json"]) == 0
    assert json.loads(capfd.readouterr().out) == {"path": str(file), "profiles": []}
    assert run(["config"]) == 0
    assert "which is not there" in capfd.readouterr().err


def test_a_key_that_cannot_be_had_is_found_by_the_check(file: Path, capfd: Output) -> None:
    write(file, '[profiles.mine]\nhost = "us"\nkey_env = "NOT_SET"\n')
    assert run(["config", "check", "--json"]) == 3
    assert "NOT_SET" in json.loads(capfd.readouterr().out)["profiles"][0]["check"]


def test_the_profiles_of_the_docs_are_read(file: Path, capfd: Output) -> None:
    docs = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```toml\n(.*?)```", docs, re.S)
    write(file, block)
    assert run(["config", "--json"]) == 0
    assert [one["key"] for one in json.loads(capfd.readouterr().out)["profiles"]] == ["command op", "keyring posthog/internal"]


def test_a_file_to_fill_in(file: Path, capfd: Output) -> None:
    assert run(["config"]) == 0
    assert "which is not there" in capfd.readouterr().err
    assert run(["config", "init"]) == 0
    assert capfd.readouterr().out == f"{file}\n"
    assert file.stat().st_mode & 0o777 == 0o600
    assert load_profiles() == {}
    filled = re.sub(r"^# (?=\[|\w+ =)", "", file.read_text(), flags=re.M)
    write(file, filled)
    with pytest.raises(ConfigurationError, match="more than one place of its key"):
        load_profiles()
    one = re.sub("^(key_env|key_command|email|password_command) =.*$", "", filled, flags=re.M)
    write(file, one)
    assert load_profiles()["eu"].has_session
    assert run(["config", "init"]) == 2
    assert "left as it is" in " ".join(capfd.readouterr().err.split())
    assert file.read_text() == one
    assert run(["config", "path", "--json"]) == 0
    assert json.loads(capfd.readouterr().out) == {"path": str(file)}
