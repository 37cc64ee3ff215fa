"""A real server for each test: Valkey from its wheel, on a free port, with a temporary folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.redis.server import ValkeyProcess


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[ValkeyProcess]:
    """A server that keeps nothing when it is killed."""
    with ValkeyProcess(tmp_path) as server:
        yield server
