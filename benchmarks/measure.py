"""Interleaved rounds, medians with their spread, and a table."""

import statistics
import sys
from collections.abc import Callable, Mapping

ROUNDS = 7


def interleaved(rivals: Mapping[str, Callable[[], float]], rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Run every rival once per round, so that a drift of the machine hits all of them alike."""
    seconds: dict[str, list[float]] = {name: [] for name in rivals}
    for run in rivals.values():
        run()  # warm
    for _ in range(rounds):
        for name, run in rivals.items():
            seconds[name].append(run())
    return seconds


def table(title: str, seconds: Mapping[str, list[float]], *, per: int, unit: str, floor: str) -> None:
    """Print the median of each rival, its spread, and its ratio to the floor, taken round by round."""
    sys.stdout.write(f"\n{title}\n{'':42}{unit:>10}{'spread':>16}{'to ' + floor:>34}\n")
    for name, rounds in seconds.items():
        scaled = [one / per * 1e6 for one in rounds]
        ratios = [one / base for one, base in zip(rounds, seconds[floor], strict=True)]
        spread = f"{min(scaled):.1f} to {max(scaled):.1f}"
        sys.stdout.write(f"{name:42}{statistics.median(scaled):10.1f}{spread:>16}{statistics.median(ratios):34.2f}\n")


def versions(*packages: str) -> None:
    """Name what was measured."""
    from importlib.metadata import version

    named = ", ".join(f"{package} {version(package)}" for package in packages)
    sys.stdout.write(f"Python {sys.version.split()[0]}, {named}\n")
