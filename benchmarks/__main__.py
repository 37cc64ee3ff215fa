"""The runner: ``python -m benchmarks [NAME …] [--quick] [--json FILE] [--profile]``."""

import argparse
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from benchmarks import report
from benchmarks.measure import Row

NAMES: Final = (
    "throughput", "decode", "overhead", "fanout", "resume", "rate_limit", "import_time", "sandbox", "workers", "soak",
)  # fmt: skip
"""Modules here, each with a function ``rows(quick)``; ``overhead`` has ``profile()`` too, and ``rate_limit`` ``measure()``."""


def rows_of(name: str, *, quick: bool) -> list[Row]:
    """Run one benchmark."""
    module = import_module(f"benchmarks.{name}")
    rows: list[Row] = _played(module.measure, quick=quick) if name == "rate_limit" else module.rows(quick)
    return rows


def _played(measure: Callable[..., list[dict[str, Any]]], *, quick: bool) -> list[Row]:
    """The rows of ``rate_limit``, whose time is virtual: what it calls scenario, strategy and spread has other names here."""
    played = measure(sizes=(500,), seeds=(1,)) if quick else measure()
    rows: list[Row] = []
    for one in played:
        row: Row = {"case": f"{one['scenario']}, {one['calls']:,} calls", "name": one["strategy"]}
        for figure in ("seconds", "efficiency", "refusals"):
            row[figure] = one[figure]
            if spread := one.get(f"{figure}_spread"):
                row[f"{figure}_low"], row[f"{figure}_high"] = spread
        rows.append(row)
    return rows


def is_here(name: str) -> bool:
    return find_spec(f"benchmarks.{name}") is not None


def _arguments() -> Any:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="What the library costs, beside its rivals.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one or more of {', '.join(NAMES)}; default: all")
    parser.add_argument("--quick", action="store_true", help="little work and few rounds: whether it runs, not how fast")
    parser.add_argument("--json", type=Path, help="where to write the rows of a single benchmark")
    parser.add_argument("--profile", action="store_true", help="where the time of one call goes (overhead only)")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(NAMES):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    if arguments.json and len(arguments.names) != 1:
        parser.error("--json takes one benchmark")
    return arguments


def main() -> None:
    arguments = _arguments()
    if arguments.profile:
        import_module("benchmarks.overhead").profile()
        return
    named = ", ".join(f"{name} {version}" for name, version in report.versions().items())
    sys.stdout.write(f"{named}\n")
    for name in arguments.names or filter(is_here, NAMES):
        sys.stdout.write(f"\n{name}\n")
        sys.stdout.flush()
        rows = rows_of(name, quick=arguments.quick)
        report.show(rows)
        report.write(arguments.json or report.RESULTS / f"{name}.json", name, rows, quick=arguments.quick)


if __name__ == "__main__":
    main()
