"""Interleaved rounds: every rival runs once in each round, so that a drift of the machine hits all of them alike.

What is compared is CPU time of this process, all its threads together; wall time stands beside it. A ratio is taken round
by round, and the median of those ratios is shown.
"""

import gc
import statistics
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter, process_time
from typing import Final, Literal, TypeAlias

import attrs

Row: TypeAlias = dict[str, str | float]
"""One line of a table: texts that say what was measured, and figures.

A figure that varies has its lowest and highest beside it, as ``cpu_us_low`` and ``cpu_us_high``.
"""


@attrs.frozen
class Spent:
    """Seconds that so many pieces of work took together."""

    cpu: float
    wall: float
    pieces: int = 1


Unit: TypeAlias = Literal["us", "ms"]
_PER_SECOND: Final[Mapping[Unit, float]] = {"us": 1e6, "ms": 1e3}

Run: TypeAlias = Callable[[], Spent]
Rounds: TypeAlias = dict[str, list[Spent]]


class Clock:
    """Started when made."""

    def __init__(self) -> None:
        self._wall, self._cpu = perf_counter(), process_time()

    def spent(self, pieces: int) -> Spent:
        return Spent(process_time() - self._cpu, perf_counter() - self._wall, pieces)


def repeated(work: Callable[[], object], times: int) -> Run:
    """Measure a plain function, called so many times."""

    def run() -> Spent:
        numbers, clock = range(times), Clock()
        for _ in numbers:
            work()
        return clock.spent(times)

    return run


def interleaved(rivals: Mapping[str, Run], rounds: int, *, warm: bool = True) -> Rounds:
    """Run all rivals in each round, beginning with another one each time, from a clean heap."""
    names = list(rivals)
    if warm:
        for run in rivals.values():
            run()
    taken: Rounds = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            gc.collect()
            taken[name].append(rivals[name]())
    return taken


def rows_of(taken: Rounds, *, floor: str | None, unit: Unit = "us", **case: str | float) -> list[Row]:
    """One row per rival: what one piece of work takes.

    Where there is a floor, also how much more than the floor's CPU time (``over_us``), and the ratio.
    """
    rows: list[Row] = []
    for name, rounds in taken.items():
        cpu = [spent.cpu / spent.pieces for spent in rounds]
        row: Row = {**case, "name": name}
        row |= spread(f"cpu_{unit}", cpu, unit)
        row |= spread(f"wall_{unit}", [spent.wall / spent.pieces for spent in rounds], unit)
        if floor is not None:
            base = [spent.cpu / spent.pieces for spent in taken[floor]]
            row |= spread(f"over_{unit}", [one - least for one, least in zip(cpu, base, strict=True)], unit)
            row |= spread("ratio", [one / least for one, least in zip(cpu, base, strict=True)])
        rows.append(row)
    return rows


def spread(figure: str, values: Sequence[float], unit: Unit | None = None) -> Row:
    """The median of a figure with its lowest and highest; seconds in another unit, where one is given."""
    scaled = [value * (1 if unit is None else _PER_SECOND[unit]) for value in values]
    return {
        figure: round(statistics.median(scaled), 3),
        f"{figure}_low": round(min(scaled), 3),
        f"{figure}_high": round(max(scaled), 3),
    }
