"""How far a run is, live on a terminal: how many are done, the windows of the rate limit, and how long it still takes."""

import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
import attrs
from rich.console import RenderableType
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from aioposthog_env.bulk.outcome import Outcome
from aioposthog_env.cli.output import Output
from aioposthog_env.cli.streams import is_terminal, stdout
from aioposthog_env.limiter import RateLimiter, RateLimiterStatistics
from aioposthog_env.telemetry import Event, RetryScheduled

_PAUSE: Final = 0.5
"""Seconds between two looks at the rate limit."""


def in_words(seconds: float) -> str:
    """A time as a person says it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Told:
    """What the display says, made from what has happened.

    Args:
        total: How many environments there are.
        calls_each: How many requests each takes, as far as is known before.
    """

    def __init__(self, total: int, calls_each: int) -> None:
        self.total = total
        self._calls_each = calls_each
        self._counts: Counter[str] = Counter()
        self._repeat: RetryScheduled | None = None
        self._at_work = 0.0

    def hook(self, event: Event) -> None:
        """Take note of a repeat."""
        if isinstance(event, RetryScheduled):
            self._repeat = event

    def add(self, outcome: Outcome[Any]) -> None:
        """Take note of an outcome."""
        self._counts[outcome.reason if outcome.reason == "done earlier" else outcome.status] += 1
        self._repeat = None

    def passed(self, seconds: float, *, limited: bool) -> None:
        """Take note of time that has passed. What was spent waiting for a limit tells nothing of how fast the rest will go."""
        if not limited:
            self._at_work += seconds

    def calls_left(self, in_flight: int) -> int:
        """How many requests are still to leave, as far as is known."""
        return max(0, (self.total - self._counts.total()) * self._calls_each - in_flight)

    def text(self, statistics: RateLimiterStatistics | None, least: float = 0.0) -> str:
        """The words under the bar.

        Args:
            statistics: Of the limiter; None where there is none.
            least: Seconds until what is left can have been sent under the limits.
        """
        done = self._counts.total()
        left = self.total - done
        parts = [", ".join(f"{count} {status}" for status, count in sorted(self._counts.items())) or "nothing yet"]
        if statistics is not None:
            parts += [f"{held} of {limit.count} in {in_words(limit.window)}" for limit, held in statistics.used]
            parts += _waits(statistics)
        if self._repeat is not None:
            parts.append(f"{self._repeat.environment_id} again in {in_words(self._repeat.wait)}: {self._repeat.reason}")
        here = done - self._counts["done earlier"]  # the others took no time
        if left and here:
            parts.append(f"about {in_words(max(least, self._at_work / here * left))} left")
        elif left and least:
            parts.append(f"at least {in_words(least)} left")
        return " · ".join(parts)


def limited(statistics: RateLimiterStatistics | None) -> bool:
    """Whether requests wait for the rate limit."""
    return statistics is not None and bool(statistics.waiting or statistics.gate)


def _waits(statistics: RateLimiterStatistics) -> list[str]:
    """What waits, and for what."""
    waiting = f"{statistics.waiting} {'waits' if statistics.waiting == 1 else 'wait'}" if statistics.waiting else "all wait"
    if statistics.gate > 0:
        return [f"{waiting} {in_words(statistics.gate)}, as PostHog asks"]
    if not statistics.waiting:
        return []
    if statistics.pace is not None:
        return [f"{waiting} for a share of the key, which somebody else uses too"]
    full = [f"{limit.count} in {in_words(limit.window)}" for limit, held in statistics.used if held >= limit.count]
    return [f"{waiting} for the limit of {' and '.join(full)}"] if full else [f"{waiting} for the rate limit"]


@attrs.frozen(eq=False)
class Bar:
    """What the display shows of the run at one host.

    Attributes:
        what: What it does, in a word.
        told: What it says.
        limiter: Whose windows it shows; None where there is no limit.
    """

    what: str
    told: Told
    limiter: RateLimiter | None


_COLUMNS: Final = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())


class _Display(Progress):
    """Bars, and under them words, which wrap where the terminal is narrow."""

    words: tuple[str, ...] = ()

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        words = Table.grid()  # in a table text wraps, whatever the console does with lines that are too long
        for line in self.words:
            words.add_row(Text(line))
        yield words


@asynccontextmanager
async def live(output: Output, bars: Sequence[Bar]) -> AsyncGenerator[Callable[[Bar, Outcome[Any]], None], None]:
    """A display that lives as long as the run; nothing where there is no terminal. Gives what takes the outcomes."""
    if not output.words.is_terminal:
        yield lambda bar, outcome: bar.told.add(outcome)
        return
    # What goes to a file or a pipe must not be caught for the terminal.
    with _Display(*_COLUMNS, console=output.words, redirect_stdout=is_terminal(stdout())) as display:
        tasks = {bar: display.add_task(escape(bar.what), total=bar.told.total) for bar in bars}
        seen, words = dict.fromkeys(bars, anyio.current_time()), dict.fromkeys(bars, "")

        def show(bar: Bar) -> None:
            limiter, told, now = bar.limiter, bar.told, anyio.current_time()
            statistics = None if limiter is None else limiter.statistics()
            told.passed(now - seen[bar], limited=limited(statistics))
            seen[bar] = now
            least = 0.0 if limiter is None or statistics is None else limiter.least_time(told.calls_left(statistics.in_flight))
            words[bar] = told.text(statistics, least)
            display.words = tuple(f"{one.what}: {said}" if len(bars) > 1 else said for one, said in words.items())

        def add(bar: Bar, outcome: Outcome[Any]) -> None:
            bar.told.add(outcome)
            display.advance(tasks[bar])
            show(bar)

        async def look() -> None:
            while True:
                for bar in bars:
                    show(bar)
                await anyio.sleep(_PAUSE)

        async with anyio.create_task_group() as looking:
            looking.start_soon(look)
            with contextlib.ExitStack() as stack:
                stack.callback(looking.cancel_scope.cancel)
                yield add
        for bar in bars:
            show(bar)
