"""That each benchmark runs and gives rows; how fast anything is, no test asserts."""

import json
import multiprocessing
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.__main__ import NAMES, is_here, rows_of
from benchmarks.compare import main as compare
from benchmarks.measure import Row, Spent, interleaved
from benchmarks.measure import rows_of as rows_of_rounds
from benchmarks.server import Answers, serve
from tests.figures import Count

RIVALS = {"throughput": ("httpx", "orjson", "pydantic", "requests"), "decode": ("orjson", "pydantic")}
"""What a benchmark needs that the tests do not."""


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", NAMES)
def test_runs_quickly_and_gives_rows(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], count: Count) -> None:
    for rival in RIVALS.get(name, ()):
        pytest.importorskip(rival)
    if not is_here(name):
        pytest.skip(f"there is no benchmark {name} here")
    rows = rows_of(name, quick=True)
    assert rows
    assert all(any(isinstance(value, str) for value in row.values()) for row in rows)
    if name == "soak":
        told = {row["name"]: row["figure"] for row in rows if "figure" in row}
        assert told["effects beyond what was told"] == 0
        assert told["told to have succeeded without an effect"] == 0
        assert told["outcomes that no error explains"] == 0
        count("soak", requests=told["requests that the sandbox saw"], unexplained_outcomes=0)
    report.write(tmp_path / "one.json", name, rows, quick=True)
    assert json.loads((tmp_path / "one.json").read_text())["rows"] == rows
    report.show(rows)
    assert len(capsys.readouterr().out.splitlines()) > len(rows)
    assert report.markdown(rows).count("\n| ") >= len(rows)


def test_rivals_take_turns() -> None:
    order: list[str] = []

    def run(name: str, cpu: float) -> Spent:
        order.append(name)
        return Spent(cpu, cpu, 2)

    taken = interleaved({"a": lambda: run("a", 2e-6), "b": lambda: run("b", 4e-6)}, 3)
    assert order == ["a", "b", "a", "b", "b", "a", "a", "b"]  # a warm-up, then another one first in each round
    first, second = rows_of_rounds(taken, floor="a", case="x")
    assert (first["cpu_us"], first["ratio"]) == (1.0, 1.0)
    assert (second["cpu_us"], second["over_us"], second["ratio"], second["ratio_high"]) == (2.0, 1.0, 2.0, 2.0)


def result(path: Path, rows: Sequence[Row]) -> str:
    report.write(path, "some", rows, quick=False)
    return str(path)


def test_compare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before: list[Row] = [{"name": "a", "cpu_us": 10.0}, {"name": "b", "efficiency": 0.5}, {"name": "gone", "x": 1}]
    after: list[Row] = [{"name": "a", "cpu_us": 12.0}, {"name": "b", "efficiency": 1.0}, {"name": "new", "x": 1}]
    old, new = result(tmp_path / "old.json", before), result(tmp_path / "new.json", after)
    assert compare([old, new]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.split() == ["1.20", "10.00", "->", "12.00", "cpu_us", "a", "worse"]
    assert second.split() == ["2.00", "0.50", "->", "1.00", "efficiency", "b", "better"]
    assert compare([old, new, "--fail-above", "25"]) == 0
    assert compare([old, new, "--fail-above", "15"]) == 1
    assert compare([old, old, "--fail-above", "0"]) == 0


def test_a_server_ends_when_whoever_started_it_is_gone() -> None:
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(there, [Answers(b"{}")]), daemon=True)
    process.start()
    there.close()
    try:
        assert len(here.recv()) == 1
        here.close()
        process.join(30)
        assert process.exitcode == 0
    finally:
        process.kill()
        process.join()
