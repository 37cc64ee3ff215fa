"""Two results of one benchmark, as ratios: ``python -m benchmarks.compare old.json new.json [--fail-above PERCENT]``.

A change of more than 10 % is marked. Times of different machines, or of one machine on different days, differ by more than
that: compare the ratios of each run first.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from benchmarks.measure import Row

MARKED: Final = 10.0
"""Per cent."""
HIGHER_IS_BETTER: Final = frozenset({"efficiency"})


@attrs.frozen
class Change:
    """A figure that both results have."""

    what: str
    figure: str
    old: float
    new: float

    @property
    def ratio(self) -> float:
        """New to old; infinite where there was nothing before."""
        return self.new / self.old if self.old else 1.0 if self.new == self.old else float("inf")

    @property
    def percent_worse(self) -> float:
        worse = 100 * (self.ratio - 1)
        return -worse if self.figure in HIGHER_IS_BETTER else worse


def changes(old: Sequence[Row], new: Sequence[Row]) -> Iterator[Change]:
    """The figures that both have, in the order of the new ones."""
    before = {_what(row): row for row in old}
    for row in new:
        known: Mapping[str, Any] = before.get(_what(row), {})
        for figure, value in row.items():
            if isinstance(value, str) or figure.endswith(("_low", "_high")) or not isinstance(known.get(figure), int | float):
                continue
            yield Change(_what(row), figure, float(known[figure]), float(value))


def _what(row: Row) -> str:
    return ", ".join(value for value in row.values() if isinstance(value, str))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description="Two results, as ratios.")
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--fail-above", type=float, metavar="PERCENT", help="exit with 1 where a figure is worse by more")
    asked = parser.parse_args(arguments)
    old, new = (json.loads(path.read_text()) for path in (asked.old, asked.new))
    for name in sorted(old["versions"].keys() | new["versions"].keys()):
        was, now = old["versions"].get(name, "absent"), new["versions"].get(name, "absent")
        if was != now:
            sys.stdout.write(f"{name}: {was} before, {now} now\n")
    found = list(changes(old["rows"], new["rows"]))
    for change in found:
        mark = "" if abs(change.percent_worse) <= MARKED else "  worse" if change.percent_worse > 0 else "  better"
        sys.stdout.write(
            f"{change.ratio:6.2f}  {change.old:12,.2f} -> {change.new:12,.2f}  {change.figure:10} {change.what}{mark}\n"
        )
    worst = max((change.percent_worse for change in found), default=0.0)
    return 1 if asked.fail_above is not None and worst > asked.fail_above else 0


if __name__ == "__main__":
    sys.exit(main())
