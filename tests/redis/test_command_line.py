"""``--limiter`` and the variable ``POSTHOG_LIMITER``."""

import pytest

from aioposthog_env.cli.app import run
from tests.redis.server import ValkeyProcess


def states(valkey: ValkeyProcess) -> int:
    with valkey.ask() as server:
        return len(server.keys("aioposthog_env:{*}:state"))


def test_a_command_shares_the_limit(valkey: ValkeyProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(["list", "--sandbox"]) == 0
    assert states(valkey) == 0
    assert run(["list", "--sandbox", "--limiter", valkey.url]) == 0
    assert states(valkey) == 1
    monkeypatch.setenv("POSTHOG_LIMITER", valkey.url)
    assert run(["list", "--sandbox"]) == 0  # another sandbox with another key
    assert states(valkey) == 2


def test_a_password_is_no_argument(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for url in ("redis://:grandmother@localhost", "redis://localhost?password=grandmother"):
        assert run(["list", "--sandbox", "--limiter", url]) == 2
        told = capfd.readouterr().err
        assert "POSTHOG_LIMITER" in told
        assert "grandmother" not in told
    monkeypatch.setenv("POSTHOG_LIMITER", "redis://redis.internal")
    assert run(["list", "--sandbox"]) == 2
    said = " ".join(capfd.readouterr().err.split())
    assert "asks for no password" in said
    assert "on the command line in the variable POSTHOG_LIMITER" in said
    monkeypatch.delenv("POSTHOG_LIMITER")
    for typed in ("127.0.0.1:18020", "foo"):
        assert run(["list", "--sandbox", "--limiter", typed]) == 2
        said = capfd.readouterr().err
        assert "This is not a Redis URL" in said
        assert typed not in said  # it may be a password
