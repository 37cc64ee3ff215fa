"""Every command, where the operating system passes bytes that are not text, or refuses a folder, a file or a stream."""

import errno
import os
import re
import resource
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from aioposthog_env.cli.app import app, run
from aioposthog_env.sandbox import Sandbox
from tests.cli.shell import Ran, interrupted, typed
from tests.cli.test_commands import CLI
from tests.cli.test_matrix import commands, posthog  # noqa: F401  a fixture
from tests.cli.test_streams import gone

LINES: Mapping[str, str] = {
    "demo": "demo --environments 3",
    "doctor": "doctor 1",
    "config": "config",
    "config init": "config init",
    "list": "list",
    "show": "show 1",
    "export": "export 1",
    "audit": "audit 1",
    "plan": "plan 1 --set timezone=Asia/Tokyo",
    "apply": "apply --ids-from ids --set timezone=Asia/Tokyo --yes",
    "undo": "undo run.db --yes",
    "runs": "runs",
    "set": "set 1 timezone=Asia/Tokyo",
    "rotate-secrets": "rotate-secrets 1 --sink sink.jsonl --yes",
    "delete-secret-backups": "delete-secret-backups 1 --min-age 0 --yes",
    "reset-tokens": "reset-tokens 1 --yes",
    "delete": "delete 1 --yes",
    "activity": "activity 1",
    "restrictions": "restrictions 1",
    "demo-data": "demo-data 1",
    "intent": "intent add session_replay 1",
    "sandbox": "sandbox --port 0",
    "workers run": "workers run --redis redis://127.0.0.1:1",
}
"""A line for each command that works where nothing is refused."""
