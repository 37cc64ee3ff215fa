"""The requests are collected in bounded memory, and the picture of them is what the limiter counts."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioposthog_env import AsyncEnvironments, PersonalAPIKey, RateLimit, Sandbox
from aioposthog_env.reports import RequestMark
from aioposthog_env.reports.chart import HEIGHT, WIDTH, charts, duration
from aioposthog_env.reports.requests import RequestLog
from aioposthog_env.telemetry import AttemptFinished, AttemptStarted, LimiterWaited

STARTED = AttemptStarted(endpoint="update", environment_id=1, attempt=1, resend=0, host="", verb="PATCH", path="")
FINISHED = AttemptFinished(
    endpoint="update", environment_id=1, attempt=1, outcome="answered", status=200, seconds=0.1, started=STARTED
)


async def test_a_client_tells_the_log_of_its_requests() -> None:
    log = RequestLog()
    async with Sandbox(3) as sandbox:
        url = sandbox.url
        key = PersonalAPIKey(sandbox.key())
        async with AsyncEnvironments(url, auth=key, hooks=[log.hook(url)]) as environments:
            await environments.each([1, 2, 3]).retrieve()
        assert len(log.marks) == len(sandbox.calls)
    assert {(mark.host, mark.outcome, mark.count) for mark in log.marks} <= {
        (url, "answered", 1),
        (url, "refused", 1),
    }
    assert [mark.at for mark in log.marks] == sorted(mark.at for mark in log.marks)


def test_other_events_are_no_requests() -> None:
    log = RequestLog()
    log.hook("h")(LimiterWaited(endpoint="update", environment_id=1, seconds=1.0))
    assert log.marks == ()


def test_a_long_run_is_thinned_out_and_counted_whole() -> None:
    now = 100.0
    log = RequestLog(clock=lambda: now, most=1_000)
    hooks = [log.hook("a"), log.hook("b")]
    for number in range(50_000):
        now = 100.0 + number / 10
        hooks[number % 2](FINISHED)
    assert len(log.marks) <= 1_000
    assert sum(mark.count for mark in log.marks) == 50_000
    assert sum(mark.count for mark in log.marks if mark.host == "a") == 25_000
    assert all(one.at <= other.at for one, other in pairwise(log.marks))
    assert len(log.marks) > 200
    assert 4_900 < log.marks[-1].at < 5_000


def test_a_log_with_hardly_any_room_ends() -> None:
    log = RequestLog(clock=lambda: 0.0, most=1)
    for host in ("a", "b", "c"):
        log.hook(host)(FINISHED)
    assert sum(mark.count for mark in log.marks) == 3


MARKS = st.lists(
    st.builds(
        RequestMark,
        at=st.floats(0, 400),
        host=st.just("h"),
        outcome=st.sampled_from(["answered", "throttled", "notsent", "lost"]),
        count=st.integers(1, 3),
    ),
    min_size=1,
    max_size=60,
).map(lambda marks: tuple(sorted(marks, key=lambda mark: mark.at)))


@given(MARKS, st.sampled_from([1.0, 60.0, 3_600.0]))
def test_the_peak_is_the_most_that_any_window_holds(marks: tuple[RequestMark, ...], window: float) -> None:
    (chart,) = charts(marks, [RateLimit(10, window)], 100.0)
    counted = [mark for mark in marks if mark.outcome in {"answered", "lost"}]
    most = max((sum(other.count for other in counted if one.at - window < other.at <= one.at) for one in counted), default=0)
    assert chart.windows[0].peak == most
    assert chart.total == sum(mark.count for mark in marks)
    assert sum(bar.count for bar in chart.bars) == chart.total
    assert chart.refused == sum(mark.count for mark in marks if mark.outcome == "throttled")
    assert all(0 <= bar.x <= WIDTH and bar.y >= 0 and bar.y + bar.height <= HEIGHT + 0.01 for bar in chart.bars)


def test_each_host_has_its_own_picture() -> None:
    marks = [RequestMark(at=1.0, host=host, outcome="answered") for host in ("a", "b", "a")]
    assert [(chart.host, chart.total) for chart in charts(marks, (), 2.0)] == [("a", 2), ("b", 1)]
    assert charts([], (), 2.0) == ()


@pytest.mark.parametrize("seconds", [0.0, 0.3, 7.0, 500.0, 4_000.0, 90_000.0, 2_000_000.0])
def test_axes_have_few_round_figures(seconds: float) -> None:
    (chart,) = charts([RequestMark(at=seconds, host="h", outcome="answered", count=700)], [RateLimit(4_800, 3_600.0)], seconds)
    assert 1 <= len(chart.seconds) <= 9
    assert len(chart.bars) == 1
    assert [tick.label for tick in chart.windows[0].ticks] == ["0", "2,000", "4,000", "6,000"]
    assert chart.windows[0].name == "hour"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.5, "0.5 s"), (60, "60 s"), (300, "5 min"), (3_600, "1 hour"), (7_200, "2 hours")]
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words
