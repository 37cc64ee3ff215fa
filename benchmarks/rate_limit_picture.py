"""Draw four clients on one key against the server's two windows, a row for each strategy: ``docs/pictures/rate-limit.svg``.

Run as ``python -m benchmarks.rate_limit_picture``. The left column shows the minute's window over the first minutes, the right
one the hour's window over the whole run.
"""

import math
import sys
from collections import Counter
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Final

import attrs

from benchmarks.rate_limit import STRATEGIES
from benchmarks.rate_limit_model import Run, Scenario, Server, play

CALLS: Final = 10_000
SCENARIO: Final = Scenario(name="4 clients", clients=4)
TARGET: Final = Path(__file__).parent.parent / "docs" / "pictures" / "rate-limit.svg"

_WIDTH: Final = 980
_PANEL: Final = 430
_HEIGHT: Final = 58
_ROW: Final = 108
_TOP: Final = 116
_STYLE: Final = """
text { font: 12px system-ui, 'DejaVu Sans', sans-serif; fill: #475569 }
.title { font-size: 18px; font-weight: 600; fill: #0f172a }
.name { font-size: 13px; font-weight: 600; fill: #0f172a }
.head { fill: #0f172a }
.bad { fill: #b91c1c }
.end { text-anchor: end }
.middle { text-anchor: middle }
.area { fill: #2563eb; fill-opacity: .16; stroke: none }
.line { fill: none; stroke: #2563eb; stroke-width: 1.3; stroke-linejoin: round }
.limit { stroke: #64748b; stroke-dasharray: 4 3 }
.base { stroke: #cbd5e1 }
.refused { stroke: #dc2626; stroke-width: 1; stroke-opacity: .75 }
.done { stroke: #15803d; stroke-width: 1.5 }
.green { fill: #15803d }
"""


@attrs.frozen
class Panel:
    """One window of the server over time, in one column."""

    log: int
    left: float
    limit: int
    seconds: float
    step: float
    ticks: tuple[tuple[float, str], ...]

    def x(self, moment: float) -> float:
        return self.left + moment / self.seconds * _PANEL

    def y(self, top: float, count: float) -> float:
        return top + _HEIGHT * (1 - count / (self.limit * 1.12))


_MINUTE: Final = Panel(0, 36, 480, 300.0, 0.75, tuple((60.0 * n, f"{n} min") for n in range(6)))
_HOUR: Final = Panel(1, 522, 4_800, 9_000.0, 15.0, tuple((1_800.0 * n, f"{n / 2:g} h") for n in range(6)))


def counts(run: Run, panel: Panel) -> list[tuple[float, int]]:
    """How many requests the window held until the run ended: the stamps are asked once more. Level parts have two points."""
    server, points, moment = Server(), [(0.0, 0)], panel.step
    for stamp, _ in [*(run.stamps or []), (math.inf, True)]:
        while moment <= min(stamp, run.seconds, panel.seconds):
            held = server.used(moment)[panel.log]
            if len(points) > 1 and points[-1][1] == points[-2][1] == held:
                points.pop()
            points.append((moment, held))
            moment += panel.step
        server.ask(stamp)
    return points


def _drawn(panel: Panel, run: Run, top: float) -> Iterable[str]:
    stamps = run.stamps or []
    base, right = top + _HEIGHT, panel.left + _PANEL
    points = counts(run, panel)
    path = " ".join(f"{panel.x(moment):.1f},{panel.y(top, count):.1f}" for moment, count in points)
    end = f"{panel.x(points[-1][0]):.1f},{base}"
    yield f'<polygon class="area" points="{panel.left},{base} {path} {end}"/><polyline class="line" points="{path}"/>'
    limit = panel.y(top, panel.limit)
    yield f'<path class="limit" d="M{panel.left} {limit:.1f}H{right}"/><path class="base" d="M{panel.left} {base}H{right}"/>'
    yield f'<text class="end" x="{panel.left - 4}" y="{limit + 4:.1f}">{panel.limit:,}</text>'
    refused = Counter(round(panel.x(stamp)) for stamp, through in stamps if not through and stamp <= panel.seconds)
    marks = "".join(f"M{x} {base + 3}v{min(16, 3 + math.sqrt(number)):.1f}" for x, number in sorted(refused.items()))
    yield f'<path class="refused" d="{marks}"/>' if marks else ""
    if run.seconds <= panel.seconds:
        x = panel.x(run.seconds)
        yield f'<path class="done" d="M{x:.1f} {top}V{base}"/><text class="green" x="{x + 5:.1f}" y="{base - 6}">done</text>'


def _row(name: str, run: Run, top: float) -> Iterable[str]:
    yield f'<text class="name" x="{_MINUTE.left}" y="{top - 10}">{escape(name)}</text>'
    refused, taken = f"{run.refusals:,} refused", f"{run.seconds / 60:.1f} min, {run.efficiency:.3f} of what is possible"
    right = _HOUR.left + _PANEL
    yield f'<text class="end" x="{right}" y="{top - 10}"><tspan class="bad">{refused}</tspan> · {taken}</text>'
    yield from _drawn(_MINUTE, run, top)
    yield from _drawn(_HOUR, run, top)


def picture(runs: dict[str, Run]) -> str:
    """The whole picture as SVG."""
    bottom = _TOP + _ROW * len(runs)
    least = next(iter(runs.values())).least
    said = "; ".join(f"{name}: {run.seconds / 60:.1f} minutes, {run.refusals:,} refused" for name, run in runs.items())
    size = f'viewBox="0 0 {_WIDTH} {bottom + 20}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title desc">',
        f'<title id="title">Requests in PostHog\'s two rate limit windows, {CALLS:,} calls by four clients on one key</title>',
        f'<desc id="desc">Least possible: {least / 60:.1f} minutes. {escape(said)}.</desc>',
        f'<style>{_STYLE}</style><rect width="{_WIDTH}" height="{bottom + 20}" rx="10" fill="#fff"/>',
        f'<text class="title" x="36" y="36">{CALLS:,} calls, four clients that do not know of each other, one key</text>',
        f'<text x="36" y="58">Least possible time: {least / 60:.1f} min. Blue: requests in the window. Dashed: the limit. '
        "Red marks: requests refused with 429, the longer the more at once.</text>",
        f'<text class="head" x="{_MINUTE.left}" y="84">The 60 s window, first five minutes</text>',
        f'<text class="head" x="{_HOUR.left}" y="84">The 3,600 s window, whole run</text>',
    ]
    for number, (name, run) in enumerate(runs.items()):
        parts += _row(name, run, _TOP + _ROW * number)
    for panel in (_MINUTE, _HOUR):
        for moment, label in panel.ticks:
            parts.append(f'<text class="middle" x="{panel.x(moment):.1f}" y="{bottom - 12}">{label}</text>')
    return "\n".join(part for part in parts if part) + "\n</svg>\n"


def main() -> None:
    runs = {name: play(make, SCENARIO, CALLS, seed=1, keep=True) for name, make in STRATEGIES.items()}
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(picture(runs), encoding="utf-8")
    sys.stdout.write(f"{TARGET.name}: {TARGET.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    main()
