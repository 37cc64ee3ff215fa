"""What a person sees while a run goes on."""

import os
import pty
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from aioposthog_env import SERVER_LIMITS, EnvironmentRef, Outcome, RateLimit, RateLimiterStatistics
from aioposthog_env.cli.progress import Told, in_words, least_time
from aioposthog_env.sandbox import Sandbox
from aioposthog_env.telemetry import RetryScheduled
from tests.cli.test_changing import served
from tests.cli.test_commands import CLI

__all__ = ["served"]

MINUTE, HOUR = SERVER_LIMITS


@pytest.mark.parametrize(
    ("calls", "minute", "hour", "seconds"),
    [
        (0, 0, 0, 0),
        (480, 0, 0, 0),
        (481, 0, 0, 60),
        (960, 480, 480, 120),
        (10, 480, 480, 60),
        (2_000, 0, 0, 240),
        (4_801, 0, 0, 3_600),
        (1, 0, 4_800, 3_600),
    ],
)
def test_the_least_time_under_the_limits(calls: int, minute: int, hour: int, seconds: float) -> None:
    assert least_time(calls, [(MINUTE, minute), (HOUR, hour)]) == seconds


def test_times_in_words() -> None:
    assert [in_words(one) for one in (3.2, 89, 90, 240, 5_399, 7_200)] == ["3 s", "89 s", "2 min", "4 min", "90 min", "2.0 h"]


def statistics(**changes: Any) -> RateLimiterStatistics:
    values: dict[str, Any] = {
        "used": ((RateLimit(480, 60.0), 240), (RateLimit(4_800, 3_600.0), 300)),
        "in_flight": 0, "waiting": 0, "gate": 0.0, "pace": None, "acquired": 300, "refusals": 0,
    }  # fmt: skip
    return RateLimiterStatistics(**values | changes)


def test_the_words_behind_the_bar() -> None:
    told = Told(1_000, 1)
    assert told.text(0.0, None) == "nothing yet"
    for status in ("succeeded", "succeeded", "failed"):
        told.add(Outcome(ref=EnvironmentRef(1), status=status))
    assert (
        told.text(0.3, statistics()) == "1 failed, 2 succeeded · 240 of 480 in 60 s · 300 of 4800 in 60 min · about 2 min left"
    )
    assert "7 wait for the rate limit" in told.text(0.3, statistics(waiting=7))
    assert "PostHog asks to wait 12 s" in told.text(0.3, statistics(waiting=7, gate=12.0))
    told.hook(RetryScheduled(endpoint="update", environment_id=7, attempt=2, wait=1.0, reason="status 502"))
    assert "7 again: status 502" in told.text(0.3, None)
    assert "about 100 s left" not in told.text(0.3, None)
    assert "about 17 min left" in told.text(3.0, None)


def test_a_terminal_shows_the_run_and_the_windows(served: Sandbox, tmp_path: Path) -> None:
    served.fault("delay_before_effect", "update", before=0.7, times=None)
    command = [*CLI, "apply", "--set", "timezone=Asia/Tokyo", "--all", "--concurrency", "2"]
    parent, child = pty.openpty()
    process = subprocess.Popen(
        command, stdin=child, stdout=child, stderr=child, env=os.environ | {"COLUMNS": "200", "TERM": "xterm"}
    )
    os.close(child)
    seen = ""
    while True:
        try:
            piece = os.read(parent, 4096).decode("utf-8", "replace")
        except OSError:
            break
        seen += piece
        if "Type 'change 5 environments'" in seen and "change 5 environments\n" not in seen:
            os.write(parent, b"change 5 environments\n")
            seen += "change 5 environments\n"
    os.close(parent)
    assert process.wait(timeout=30) == 0
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen)
    assert re.search(r"changing .* [12]/5 .* succeeded · \d+ of 480 in 60 s · \d+ of 4800 in 60 min · about \d+ s left", plain)
    assert "5 succeeded" in plain
