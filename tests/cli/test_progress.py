"""What a person sees while a run goes on."""

import os
import pty
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from aioposthog_env import SERVER_LIMITS, EnvironmentRef, Outcome, RateLimiterStatistics
from aioposthog_env.cli.progress import Told, in_words, limited
from aioposthog_env.sandbox import Sandbox
from aioposthog_env.telemetry import RetryScheduled
from tests.cli.test_changing import served
from tests.cli.test_commands import CLI

__all__ = ["served"]

MINUTE, HOUR = SERVER_LIMITS


def test_times_in_words() -> None:
    assert [in_words(one) for one in (3.2, 89, 90, 240, 5_399, 7_200)] == ["3 s", "89 s", "2 min", "4 min", "90 min", "2.0 h"]


def statistics(**changes: Any) -> RateLimiterStatistics:
    values: dict[str, Any] = {
        "used": ((MINUTE, 240), (HOUR, 300)),
        "in_flight": 0, "waiting": 0, "gate": 0.0, "pace": None, "acquired": 300, "refusals": 0,
    }  # fmt: skip
    return RateLimiterStatistics(**values | changes)


def told(total: int = 1_000, calls_each: int = 1, *, done: int = 3, seconds: float = 0.3) -> Told:
    told = Told(total, calls_each)
    for number in range(done):
        told.add(Outcome(ref=EnvironmentRef(1), status="failed" if number == 0 else "succeeded"))
    told.passed(seconds, limited=False)
    return told


def test_the_words_under_the_bar() -> None:
    assert Told(1_000, 1).text(None) == "nothing yet"
    assert Told(1_000, 1).text(None, 120.0) == "nothing yet · at least 2 min left"
    words = "1 failed, 2 succeeded · 240 of 480 in 60 s · 300 of 4800 in 60 min · about 2 min left"
    assert told().text(statistics(), 120.0) == words
    assert told(3).text(None) == "1 failed, 2 succeeded"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, None),
        ({"waiting": 7, "used": ((MINUTE, 480), (HOUR, 480))}, "7 wait for the limit of 480 in 60 s"),
        ({"waiting": 7, "used": ((MINUTE, 200), (HOUR, 4_800))}, "7 wait for the limit of 4800 in 60 min"),
        (
            {"waiting": 7, "used": ((MINUTE, 480), (HOUR, 4_801))},
            "7 wait for the limit of 480 in 60 s and 4800 in 60 min",
        ),
        ({"waiting": 7}, "7 wait for the rate limit"),
        ({"waiting": 7, "gate": 12.0, "pace": 3.0}, "7 wait 12 s, as PostHog asks"),
        ({"gate": 12.0}, "all wait 12 s, as PostHog asks"),
        ({"waiting": 7, "pace": 3.0}, "7 wait for a share of the key, which somebody else uses too"),
    ],
)
def test_what_waits_for_what(changes: dict[str, Any], words: str | None) -> None:
    parts = told().text(statistics(**changes)).split(" · ")
    assert parts[3:-1] == ([] if words is None else [words])
    assert limited(statistics(**changes)) == (words is not None)


def test_a_repeat_is_told_until_something_is_done() -> None:
    one = told()
    one.hook(RetryScheduled(endpoint="update", environment_id=7, attempt=2, wait=1.0, reason="status 502"))
    assert "7 again in 1 s: status 502" in one.text(None)
    one.add(Outcome(ref=EnvironmentRef(7), status="succeeded"))
    assert "again" not in one.text(None)


@pytest.mark.parametrize(
    ("at_work", "waited", "least", "left"),
    [
        (5.0, 0.0, 0.0, "about 5 s left"),
        (5.0, 55.0, 6.0, "about 6 s left"),
        (5.0, 55.0, 0.0, "about 5 s left"),
        (0.0, 60.0, 61.0, "about 61 s left"),
        (50.0, 0.0, 6.0, "about 50 s left"),
    ],
)
def test_the_time_left_is_that_of_the_work_or_of_the_limits(at_work: float, waited: float, least: float, left: str) -> None:
    one = told(960, done=480, seconds=at_work)
    one.passed(waited, limited=True)
    assert one.text(None, least).endswith(left)


def test_the_requests_that_are_left() -> None:
    assert told(1_000, 2).calls_left(0) == 1_994
    assert told(1_000, 2).calls_left(32) == 1_962
    assert told(4, 1).calls_left(32) == 0


def test_a_narrow_terminal_shows_the_run_and_the_windows(served: Sandbox, tmp_path: Path) -> None:
    served.fault("delay_before_effect", "update", before=0.7, times=None)
    command = [*CLI, "apply", "--set", "timezone=Asia/Tokyo", "--all", "--concurrency", "2"]
    parent, child = pty.openpty()
    process = subprocess.Popen(
        command, stdin=child, stdout=child, stderr=child, env=os.environ | {"COLUMNS": "80", "TERM": "xterm"}
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
    words = r"[12] succeeded · \d+ of 480 in 60 s · \d+ of 4800 in 60 min · about \d+ s left"
    assert re.search(rf"changing .* [12]/5 \S+ {words}", " ".join(plain.split())), plain
    assert "5 succeeded" in plain


def test_the_picture_of_the_docs_asks_nobody_for_anything() -> None:
    docs = Path(__file__).parents[2] / "docs"
    assert "](pictures/progress.svg)" in (docs / "command-line.md").read_text(encoding="utf-8")
    picture = (docs / "pictures" / "progress.svg").read_text(encoding="utf-8")
    assert set(re.findall(r"https?://[^\s\"<)]+", picture)) == {"http://www.w3.org/2000/svg", "https://www.textualize.io"}
    assert "@font-face" not in picture
    assert "url(http" not in picture
