"""The figures of reliability: what single tests count is added up over the whole run and printed at its end.

A test asks for the fixture ``count`` and hands what it has counted to a row of ``ROWS``. Of a row's figures, whole numbers are
added up over all tests that passed; of other numbers the largest is shown, and of texts each.
"""

from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

import pytest

Figure: TypeAlias = int | float | str
Count: TypeAlias = Callable[..., None]

ROWS: Final = {
    "twice": "calls that must not happen twice, under faults",
    "killed": "changes and rotations killed at random instants and resumed: each happened once, none lost",
    "torn": "torn checkpoint states of a journal, opened with all rows",
    "full": "a disk that is full at any size, while a run is recorded or its journal closed; then resumed",
    "workers": "workers, coordinators and Redis killed while they rotate: each secret rotated once, none lost",
    "requests": "one request per attempt, also over a connection that has died",
    "cancelled": "cancelled at each await: nothing leaked, the next call works",
    "hostile": "hostile servers: typed errors in time, memory bounded, no credential elsewhere",
    "secrets": "search for the secrets that sandboxes issued",
    "recorded": "recorded answers of a real server",
    "soak": "many calls with 2 % faults",
}
_MARK: Final = "reliability"


@pytest.fixture
def count(request: pytest.FixtureRequest) -> Count:
    """Adds figures to a row of the summary: ``count("twice", calls=100, doubled=0)``."""
    return lambda row, **figures: add(request.node, row, **figures)


def add(test: pytest.Item, row: str, **figures: Figure) -> None:
    """Add figures of a test to a row of the summary."""
    assert row in ROWS
    test.user_properties.append((_MARK, [row, figures]))


def total(given: Iterable[tuple[str, dict[str, Figure]]]) -> dict[str, dict[str, list[Figure]]]:
    """The figures of each row: sums and maxima as one value, texts as all of them."""
    rows: dict[str, dict[str, list[Figure]]] = {}
    for row, figures in given:
        for name, figure in figures.items():
            seen = rows.setdefault(row, {}).setdefault(name, [])
            if isinstance(figure, str):
                seen += [] if figure in seen else [figure]
            else:
                earlier = seen.pop() if seen else type(figure)()
                assert not isinstance(earlier, str)
                seen.append(earlier + figure if isinstance(figure, int) else max(earlier, figure))
    return rows


def pytest_terminal_summary(terminalreporter: "pytest.TerminalReporter") -> None:
    """Print the rows that any test of this run has counted for."""
    stats = terminalreporter.stats
    bad = {report.nodeid for kind in ("failed", "error") for report in stats.get(kind, [])}
    # The report of a test's end has what its fixtures counted as well.
    ended = [report for report in stats.get("", []) if report.when == "teardown" and report.nodeid not in bad]
    rows = total(value for report in ended for mark, value in report.user_properties if mark == _MARK)
    if rows:
        terminalreporter.section("reliability")
    for row, title in ROWS.items():
        if row in rows:
            figures = ", ".join(f"{_shown(seen)} {name.replace('_', ' ')}" for name, seen in rows[row].items())
            terminalreporter.write_line(f"{title}: {figures}")


def _shown(seen: list[Figure]) -> str:
    return " and ".join(one if isinstance(one, str) else f"{round(one, 1):,}" for one in seen)
