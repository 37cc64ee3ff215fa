"""Mutation testing: which small faults in the modules that decide about writes would no test see?

``python -m tests.mutation`` changes one place of a module at a time, in a copy of the tree, and runs the tests named for that
module. A mutant is killed where they fail, or do not end in time. What survives is printed; ``mutation_survivors.md`` says of
each why it may. The mutants of a module are numbered in the order of its syntax tree: the same seed gives the same sample.

Wording is no behaviour: docstrings, annotations, f-strings, texts of four words and more, and what is raised are left alone.
"""

import argparse
import ast
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

ROOT: Final = Path(__file__).resolve().parent.parent
EXPLAINED: Final = ROOT / "tests" / "mutation_survivors.md"
LEAST: Final = 0.9
"""The part of the mutants that must be killed, module by module."""

_PLANS: Final = "tests/safety/test_plan_apply_undo.py"
_JOURNAL: Final = "tests/safety/test_journal.py"
_FILES: Final = "tests/safety/test_journal_files.py"
_SLOW: Final = [
    f"--deselect={_JOURNAL}::test_resuming_keeps_only_what_is_left_in_memory",
    f"--deselect={_PLANS}::test_plan_apply_and_undo_of_500_environments_return_each_to_its_first_state",
]
TESTS: Final[dict[str, list[str]]] = {
    "policy/delivery.py": ["tests/unit/test_retry.py"],
    "policy/priority.py": ["tests/unit/test_priority.py"],
    "policy/rate_limit.py": [
        "tests/unit/test_rate_limit.py", "tests/unit/test_priority.py", "tests/engine/test_limiter.py",
        "tests/engine/test_rate_limit_model.py",
    ],
    "policy/retry.py": ["tests/unit/test_retry.py", "tests/unit/test_public_names.py"],
    "policy/retry_after.py": ["tests/unit/test_retry_after.py"],
    "recovery.py": ["tests/unit/test_recovery.py", "tests/sandbox/test_reading_back.py", "tests/safety/test_edges.py"],
    "bulk/journal.py": [_JOURNAL, _FILES, _PLANS, "tests/safety/test_rotation.py", *_SLOW],
    "bulk/journal_items.py": [_JOURNAL, _FILES, _PLANS, *_SLOW],
    "bulk/plan.py": [_PLANS, "tests/unit/test_drift.py", *_SLOW],
}  # fmt: skip
"""By module, the tests that are to see a fault in it, the quickest first."""

_FLAGS: Final = "-x -q -p no:randomly -p no:cacheprovider --hypothesis-seed=0 -Wignore::pytest.PytestAssertRewriteWarning"

Mutation: TypeAlias = tuple[ast.AST, str, Any]
"""A node, the name of its field, and what is put there."""

_SWAPPED: Final[dict[type[ast.AST], type[ast.AST]]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult,
    ast.BitOr: ast.BitAnd,
}  # fmt: skip
_LEFT_ALONE: Final = (ast.JoinedStr, ast.Raise)
_DELETED: Final = (ast.Expr, ast.AugAssign, ast.Raise, ast.Continue, ast.Break)


def mutations(tree: ast.AST) -> Iterator[Mutation]:
    """All places of a tree that can be changed, in its order."""
    for node in _code(tree):
        match node:
            case ast.Compare(ops=[op, *others]) if type(op) in _SWAPPED:
                yield node, "ops", [_SWAPPED[type(op)](), *others]
                for place, later in enumerate(others, 1):
                    yield node, "ops", [*node.ops[:place], _SWAPPED[type(later)](), *node.ops[place + 1 :]]
            case ast.BoolOp(op=op) | ast.BinOp(op=op) | ast.AugAssign(op=op) if type(op) in _SWAPPED:
                yield node, "op", _SWAPPED[type(op)]()
            case ast.Constant(value=bool(value)):
                yield node, "value", not value
            case ast.Constant(value=int(value) | float(value)):
                yield node, "value", value + 1
            case ast.Constant(value=str(value)) if len(value.split()) < 4:
                yield node, "value", f"{value}?"
            case ast.Return(value=value) if value is not None and not (isinstance(value, ast.Constant) and value.value is None):
                yield node, "value", ast.Constant(None)
            case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test) if not isinstance(
                test, ast.Compare | ast.BoolOp
            ):
                yield node, "test", test.operand if isinstance(test, ast.UnaryOp) else ast.UnaryOp(ast.Not(), test)
            case ast.Call(func=ast.Name(id="min")):
                yield node, "func", ast.Name("max", ast.Load())
            case ast.Call(func=ast.Name(id="max")):
                yield node, "func", ast.Name("min", ast.Load())
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            yield node, "operand", ast.UnaryOp(ast.Not(), node.operand)
        for name, block in ast.iter_fields(node):
            for place, statement in enumerate(block if isinstance(block, list) else ()):
                if isinstance(statement, _DELETED) and not _is_text(statement):
                    yield node, name, [*block[:place], ast.Pass(), *block[place + 1 :]]


def _code(node: ast.AST) -> Iterator[ast.AST]:
    """What of a tree runs and decides."""
    yield node
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns", "decorator_list"}:
            continue
        for child in value if isinstance(value, list) else [value]:
            alias = isinstance(child, ast.AnnAssign) and ast.unparse(child.annotation) == "TypeAlias"
            if isinstance(child, ast.AST) and not (isinstance(child, _LEFT_ALONE) or alias or _is_text(child)):
                yield from _code(child)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def mutant(source: str, number: int) -> tuple[str, str]:
    """A module with one fault in it, and the fault in words: what the line was and what it is now, without its far ends."""
    tree = ast.parse(source)
    before = ast.unparse(tree).splitlines()
    node, field, value = list(mutations(tree))[number]
    setattr(node, field, value)
    changed = ast.unparse(ast.fix_missing_locations(tree))
    after = changed.splitlines()
    was, now = next((a.strip(), b.strip()) for a, b in zip(before, after, strict=False) if a != b)
    start = _alike(was, now)
    end = _alike(was[start:][::-1], now[start:][::-1])
    return changed, f"`{was[start : len(was) - end]}` -> `{now[start : len(now) - end]}`"


def _alike(one: str, other: str) -> int:
    """How many characters need not be shown: two texts begin with them and with fifty more."""
    first = next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return max(0, first - 50)


def run_forked(arguments: Sequence[str], within: float) -> bool:
    """Whether the tests pass, in a process that starts with everything imported but the library."""
    child = os.fork()
    if not child:
        os.setsid()
        quiet = os.open(os.devnull, os.O_RDWR)
        for number in range(3):
            os.dup2(quiet, number)
        import pytest

        status: int = 70
        try:
            status = int(pytest.main([*arguments, *_FLAGS.split()]))
        finally:
            os._exit(status)
    until = time.monotonic() + within
    try:
        while time.monotonic() < until:
            if (ended := os.waitpid(child, os.WNOHANG))[0]:
                child = 0
                return ended[1] == 0
            time.sleep(0.02)
        return False
    finally:
        if child:  # it does not end, or we are to end
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _keep_bytecode(keep: bool) -> None:
    """That of the sound modules saves time; a mutant as long as another, of the same second, must not be taken for it."""
    sys.dont_write_bytecode = not keep
    os.environ["PYTHONDONTWRITEBYTECODE"] = "" if keep else "1"


def examine(module: str, numbers: Callable[[int], Sequence[int]]) -> bool:
    """Try mutants of one module, print those that survive, and tell whether enough were killed."""
    place = Path("aioposthog_env", module)
    source, tests = place.read_text("utf-8"), TESTS[module]
    began = time.monotonic()
    _keep_bytecode(True)
    if not run_forked(tests, 600):
        sys.exit(f"{module}: its tests fail without any fault: {' '.join(tests)}")
    _keep_bytecode(False)
    within = 20 + 4 * (time.monotonic() - began)
    explained, survivors = EXPLAINED.read_text("utf-8"), list[str]()
    chosen = numbers(len(list(mutations(ast.parse(source)))))
    for number in chosen:
        changed, fault = mutant(source, number)
        place.write_text(changed, "utf-8")
        if run_forked(tests, within):
            survivors.append(fault)
            why = "" if f"`{module}`: {fault}" in explained else "  (not explained)"
            print(f"  {number} `{module}`: {fault}{why}", flush=True)
    place.write_text(source, "utf-8")
    killed = len(chosen) - len(survivors)
    print(
        f"{module}: {killed} of {len(chosen)} killed, {killed / len(chosen):.1%}; {time.monotonic() - began:.0f} s", flush=True
    )
    return killed >= LEAST * len(chosen)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("modules", nargs="*", default=list(TESTS), metavar="MODULE", help="such as recovery.py; else all")
    parser.add_argument("--sample", type=int, default=0, help="so many mutants of each module, by chance; else all")
    parser.add_argument("--seed", type=int, default=1, help="of the sample")
    parser.add_argument("--only", type=int, nargs="+", help="these mutants, by number")
    given = parser.parse_args()

    def numbers(count: int) -> Sequence[int]:
        if given.only:
            return [number for number in given.only if number < count]
        return sorted(random.Random(given.seed).sample(range(count), min(given.sample or count, count)))

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the copy is removed then, too
    print(f"seed {given.seed}, sample {given.sample or 'all'}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "tree")
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "__pycache__", "site"))
        os.environ["PYTHONPATH"] = str(copy)
        sys.path[:] = [str(copy), *(path for path in sys.path if path not in {"", str(ROOT)})]
        os.chdir(copy)
        for name in (
            "aiohttp",
            "anyio",
            "cattrs",
            "hypothesis",
            "looptime",
            "msgspec.json",
            "pytest_asyncio.plugin",
            "trustme",
            "uvloop",
        ):
            __import__(name)
        enough = [examine(module, numbers) for module in given.modules]
        os.chdir(ROOT)
    sys.exit(not all(enough))


if __name__ == "__main__":
    main()
