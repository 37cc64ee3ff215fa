"""How near to the least possible time the limiter comes, in an exact model of PostHog's throttle on a virtual clock.

Run as ``python -m benchmarks.rate_limit``; with ``--quick``, fewer rounds and no 20,000 calls. The clients, the limiter, its
waits and the retry decision are the real ones; only the clock and the wire are not. Efficiency is the least possible time
divided by the time until the last answer, so it is below 1 by a latency or two even where no slot is wasted.
"""

import os
import statistics
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from typing import Any, Final, TypeAlias

from aioposthog_env.limiter import RateLimiter
from benchmarks.rate_limit_model import Limiter, Run, Scenario, in_bursts, play, steadily
from benchmarks.rate_limit_rivals import Gate, Mirror, NoLimiter, Paced, TokenBucket

SEEDS: Final = (1, 2, 3, 4, 5)
SIZES: Final = (1_000, 5_000, 20_000)

OURS: Final = "this library"
STRATEGIES: Final[dict[str, Callable[[], Limiter]]] = {
    OURS: RateLimiter,
    "mirror, paced share": Paced,
    "mirror, no share": Mirror,
    "Retry-After, one gate": Gate,
    "token bucket, 8/s": TokenBucket,
    "no limiter, retries": NoLimiter,
}

COMPARED: Final = (Scenario(name="sole user"), Scenario(name="2 clients", clients=2), Scenario(name="4 clients", clients=4))
"""Played with all strategies."""
FURTHER: Final = (
    Scenario(name="2 clients, starts within 30 s", clients=2, stagger=30.0),
    Scenario(name="4 clients, starts within 30 s", clients=4, stagger=30.0),
    Scenario(name="8 clients, starts within 5 s", clients=8, stagger=5.0),
    Scenario(name="4 clients, slow server (0.5 to 1.5 s)", clients=4, latency=(0.5, 1.5)),
    Scenario(name="another program, 0.5/s", other=steadily(0.5)),
    Scenario(name="another program, 2/s", other=steadily(2.0)),
    Scenario(name="another program, 200 each 5 min", other=in_bursts(200, 300.0)),
    Scenario(name="sole user, server's clock 0.01 % slow", drift=-1e-4),
    Scenario(name="sole user, server's clock 0.01 % fast", drift=1e-4),
    Scenario(name="sole user, 1 % take 5 s", spikes=0.01),
    Scenario(name="sole user, 10 % of waits cancelled", cancelled=0.1),
)
"""Played with ours, and with 5,000 calls by the rule before it."""
_SCENARIOS: Final = {scenario.name: scenario for scenario in (*COMPARED, *FURTHER)}

Cell: TypeAlias = tuple[str, str, int]
"""A scenario, a strategy, a number of calls."""


def cells(sizes: Iterable[int]) -> list[Cell]:
    """All that is measured."""
    sizes = tuple(sizes)
    compared: list[Cell] = [(one.name, name, calls) for one in COMPARED for calls in sizes for name in STRATEGIES]
    further = [(one.name, OURS, calls) for one in FURTHER for calls in sizes]
    further += [(one.name, "mirror, paced share", 5_000) for one in FURTHER if 5_000 in sizes]
    return compared + further


def _play(cell: Cell, seed: int) -> Run:
    scenario, strategy, calls = cell
    return play(STRATEGIES[strategy], _SCENARIOS[scenario], calls, seed)


def _row(cell: Cell, runs: list[Run]) -> dict[str, Any]:
    efficiency, refusals = [run.efficiency for run in runs], [run.refusals for run in runs]
    return {
        "scenario": cell[0],
        "strategy": cell[1],
        "calls": cell[2],
        "least_seconds": round(runs[0].least, 3),
        "seconds": round(statistics.median(run.seconds for run in runs), 3),
        "efficiency": round(statistics.median(efficiency), 5),
        "efficiency_spread": [round(min(efficiency), 5), round(max(efficiency), 5)],
        "refusals": statistics.median(refusals),
        "refusals_spread": [min(refusals), max(refusals)],
    }


def measure(sizes: Iterable[int] = SIZES, seeds: Iterable[int] = SEEDS) -> list[dict[str, Any]]:
    """Play every cell once per seed. The rows hold plain values; the same seeds give the same rows anywhere."""
    seeds, wanted = tuple(seeds), cells(sizes)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        runs = {cell: [pool.submit(_play, cell, seed) for seed in seeds] for cell in wanted}
        return [_row(cell, [one.result() for one in runs[cell]]) for cell in wanted]


def table(rows: Iterable[dict[str, Any]]) -> str:
    """The rows as a table in Markdown."""
    lines = [
        "| scenario | calls | strategy | seconds | efficiency | spread | refusals | spread |",
        "|---|---:|---|---:|---:|---|---:|---|",
    ]
    for row in rows:
        low, high = row["efficiency_spread"]
        fewest, most = row["refusals_spread"]
        lines.append(
            f"| {row['scenario']} | {row['calls']:,} | {row['strategy']} | {row['seconds']:,.0f} | {row['efficiency']:.4f} "
            f"| {low:.4f} to {high:.4f} | {row['refusals']:,.0f} | {fewest:,} to {most:,} |"
        )
    return "\n".join(lines)


def main() -> None:
    quick = "--quick" in sys.argv[1:]
    sizes, seeds = (SIZES[:2], SEEDS[:2]) if quick else (SIZES, SEEDS)
    sys.stdout.write(f"Seeds {', '.join(map(str, seeds))}. Time is virtual, so nothing depends on the machine.\n\n")
    sys.stdout.write(table(measure(sizes, seeds)) + "\n")


if __name__ == "__main__":
    main()
