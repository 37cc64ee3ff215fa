"""How far a run is, live on a terminal: how many are done, the windows of the rate limit, and how long it still takes."""

import contextlib
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
import attrs
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from aioposthog_env.bulk.outcome import Outcome
from aioposthog_env.cli.output import Output
from aioposthog_env.limiter import RateLimiter, RateLimiterStatistics
from aioposthog_env.policy.rate_limit import RateLimit
from aioposthog_env.telemetry import Event, RetryScheduled

_PAUSE: Final = 0.5
"""Seconds between two looks at the rate limit."""


def least_time(calls: int, used: Sequence[tuple[RateLimit, int]]) -> float:
    """The least time in seconds that so many calls take under the limits, from what their windows hold now.

    A window that is full is taken to empty a whole window from now, so it may be less.
    """
    waits = [0.0]
    for limit, held in used:
        beyond = calls - max(0, limit.count - held)
        if beyond > 0:
            waits.append(limit.window * -(-beyond // limit.count))
    return max(waits)


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

    def hook(self, event: Event) -> None:
        """Take note of a repeat."""
        if isinstance(event, RetryScheduled):
            self._repeat = event

    def add(self, outcome: Outcome[Any]) -> None:
        """Take note of an outcome."""
        self._counts[outcome.status] += 1
        self._repeat = None

    def text(self, elapsed: float, statistics: RateLimiterStatistics | None) -> str:
        """The words behind the bar.

        Args:
            elapsed: Seconds since the start.
            statistics: Of the limiter; None where there is none.
        """
        done = self._counts.total()
        parts = [", ".join(f"{count} {status}" for status, count in sorted(self._counts.items())) or "nothing yet"]
        left = self.total - done
        estimate = elapsed / done * left if done else 0.0
        if statistics is not None:
            parts += [f"{held} of {limit.count} in {in_words(limit.window)}" for limit, held in statistics.used]
            estimate = max(estimate, least_time(left * self._calls_each, statistics.used))
            if statistics.gate > 0:
                parts.append(f"PostHog asks to wait {in_words(statistics.gate)}")
            elif statistics.waiting:
                parts.append(f"{statistics.waiting} wait for the rate limit")
        if self._repeat is not None:
            parts.append(f"{self._repeat.environment_id} again: {self._repeat.reason}")
        if left and done:
            parts.append(f"about {in_words(estimate)} left")
        return " · ".join(parts)


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


@asynccontextmanager
async def live(output: Output, bars: Sequence[Bar]) -> AsyncGenerator[Callable[[Bar, Outcome[Any]], None], None]:
    """A display that lives as long as the run; nothing where there is no terminal. Gives what takes the outcomes."""
    if not output.words.is_terminal:
        yield lambda bar, outcome: bar.told.add(outcome)
        return
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn())
    words = TextColumn("{task.fields[told]}", markup=False)
    # What goes to a file or a pipe must not be caught for the terminal.
    with Progress(*columns, words, console=output.words, redirect_stdout=sys.stdout.isatty()) as display:
        tasks = {bar: display.add_task(escape(bar.what), total=bar.told.total, told="") for bar in bars}
        began = anyio.current_time()

        def show(bar: Bar) -> None:
            statistics = None if bar.limiter is None else bar.limiter.statistics()
            display.update(tasks[bar], told=bar.told.text(anyio.current_time() - began, statistics))

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
