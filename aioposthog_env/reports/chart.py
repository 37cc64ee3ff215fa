"""The picture of the requests: how many there were at each time, and how full each window of the rate limit was.

The limiter keeps two sliding logs, so what is drawn is what it looks at: at each time, the requests of the last 60 seconds and
of the last hour. Requests that never left, and those that were refused with a 429, take no room in the log that is full; they
are not counted in a window.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import Final

import attrs

from aioposthog_env.policy.rate_limit import RateLimit
from aioposthog_env.reports.model import RequestMark

WIDTH: Final = 885.0
HEIGHT: Final = 120.0
_BUCKETS: Final = 150
_SAMPLES: Final = 460
_STEPS: Final = (
    0.02,
    0.05,
    0.1,
    0.2,
    0.5,
    1.0,
    2.0,
    5.0,
    10.0,
    15.0,
    30.0,
    60.0,
    120.0,
    300.0,
    600.0,
    1_800.0,
    3_600.0,
    7_200.0,
    21_600.0,
)
_ROUND: Final = tuple(size * 10.0**power for power in range(9) for size in (1, 2, 5))
_FREE: Final = frozenset({"throttled", "notsent"})


@attrs.frozen(kw_only=True)
class Bar:
    """The requests of one stretch of time: where it is drawn, and how many of them were refused."""

    x: float
    y: float
    width: float
    height: float
    at: float
    count: int
    refused: int


@attrs.frozen(kw_only=True)
class Tick:
    """A mark on an axis."""

    at: float
    label: str


@attrs.frozen(kw_only=True)
class Window:
    """How full one window was over time.

    Attributes:
        limit: What it may hold.
        name: Its length in words.
        peak: The most that it held.
        path: A line of an SVG path.
        area: The same, closed below.
        line: Where the limit is drawn.
        ticks: Marks of the axis of counts.
    """

    limit: RateLimit
    name: str
    peak: int
    path: str
    area: str
    line: float
    ticks: tuple[Tick, ...]


@attrs.frozen(kw_only=True)
class Chart:
    """The requests to one host."""

    host: str
    total: int
    refused: int
    bucket: str
    busiest: int
    bars: tuple[Bar, ...]
    windows: tuple[Window, ...]
    seconds: tuple[Tick, ...]
    counts: tuple[Tick, ...]


def charts(marks: Sequence[RequestMark], limits: Sequence[RateLimit], seconds: float) -> tuple[Chart, ...]:
    """A picture for each host that was asked.

    Args:
        marks: The requests, in the order of time.
        limits: What they are held against.
        seconds: How long the run took.
    """
    end = max([seconds, 0.1, *(mark.at for mark in marks)])
    hosts = dict.fromkeys(mark.host for mark in marks)
    return tuple(_chart(host, [mark for mark in marks if mark.host == host], limits, end) for host in hosts)


def _chart(host: str, marks: Sequence[RequestMark], limits: Sequence[RateLimit], end: float) -> Chart:
    bucket = next((step for step in _STEPS if end / step <= _BUCKETS), end / _BUCKETS)
    number = math.floor(end / bucket) + 1
    sent, refused = [0] * number, [0] * number
    for mark in marks:
        sent[int(mark.at / bucket)] += mark.count
        refused[int(mark.at / bucket)] += mark.count if mark.outcome == "throttled" else 0
    busiest, scale, width = max(sent), _scale(max(sent)), WIDTH / number
    bars = (
        Bar(
            x=width * place,
            y=HEIGHT * (1 - count / scale),
            width=max(width - 1, width * 0.7),
            height=HEIGHT * count / scale,
            at=bucket * place,
            count=count,
            refused=refused[place],
        )
        for place, count in enumerate(sent)
        if count
    )
    whole = number * bucket
    return Chart(
        host=host,
        total=sum(sent),
        refused=sum(refused),
        bucket=duration(bucket),
        busiest=busiest,
        bars=tuple(bars),
        windows=tuple(_window(marks, limit, whole) for limit in sorted(limits, key=lambda limit: limit.window)),
        seconds=tuple(Tick(at=WIDTH * at / whole, label=duration(at)) for at in _even(whole, 8, _STEPS)),
        counts=_counts(scale),
    )


def _window(marks: Sequence[RequestMark], limit: RateLimit, end: float) -> Window:
    counted = [mark for mark in marks if mark.outcome not in _FREE]
    held = list(_held(counted, limit.window, end))
    peak = max(held, default=0)
    scale = _scale(max(limit.count * 1.05, peak))
    points = [(WIDTH * place / (_SAMPLES - 1), HEIGHT * (1 - count / scale)) for place, count in enumerate(held)]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return Window(
        limit=limit,
        name="hour" if limit.window == 3_600 else duration(limit.window),
        peak=peak,
        path=path,
        area=f"{path}L{WIDTH:.1f} {HEIGHT:.1f}L0 {HEIGHT:.1f}Z",
        line=HEIGHT * (1 - limit.count / scale),
        ticks=_counts(scale),
    )


def _held(marks: Sequence[RequestMark], window: float, end: float) -> Iterable[int]:
    """The most that the window held in each of the stretches that are drawn."""
    held, oldest, newest = 0, 0, 0
    for sample in range(_SAMPLES):
        until = end * (sample + 1) / _SAMPLES
        while oldest < newest and marks[oldest].at <= end * sample / _SAMPLES - window:
            held -= marks[oldest].count
            oldest += 1
        most = held
        while newest < len(marks) and marks[newest].at < until:
            held += marks[newest].count
            while marks[oldest].at <= marks[newest].at - window:
                held -= marks[oldest].count
                oldest += 1
            newest += 1
            most = max(most, held)
        yield most


def _scale(most: float) -> float:
    """A round figure that is not below another, for the top of an axis."""
    size = 10.0 ** math.floor(math.log10(max(most, 1)))
    return next(size * step for step in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if size * step >= most)


def _counts(scale: float) -> tuple[Tick, ...]:
    return tuple(Tick(at=HEIGHT * (1 - at / scale), label=f"{at:,.0f}") for at in _even(scale, 4, _ROUND))


def _even(end: float, most: int, steps: Sequence[float]) -> list[float]:
    """Round figures from 0 to an end, at most so many after the first."""
    step = next((step for step in steps if end / step <= most), end)
    return list(takewhile(lambda at: at <= end, (round(step * number, 6) for number in range(most + 1))))


def duration(seconds: float) -> str:
    """A length of time in words."""
    if seconds and seconds % 3_600 == 0:
        return "1 hour" if seconds == 3_600 else f"{seconds / 3_600:.0f} hours"
    if seconds > 120 and seconds % 60 == 0:
        return f"{seconds / 60:.0f} min"
    return f"{seconds:g} s"
