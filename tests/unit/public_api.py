"""The public names with their signatures, as text, read from the source.

``python -m tests.unit.public_api`` writes ``public_api.txt`` anew: do so when a change of the contract with users is meant,
and say in CHANGELOG what changes for them.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final, TypeAlias

import aioposthog_env

SNAPSHOT: Final = Path(__file__).with_name("public_api.txt")
ROOT: Final = Path(aioposthog_env.__file__ or "").parents[1]

PUBLIC: Final[dict[str, tuple[str, ...]]] = {
    "aioposthog_env": (),
    "aioposthog_env.bulk.each": ("Each",),
    "aioposthog_env.otel": (),
    "aioposthog_env.pytest_plugin": ("environments", "posthog_sandbox", "sandbox_in_a_thread"),
    "aioposthog_env.reports": (),
    "aioposthog_env.reports.requests": ("RequestLog",),
    "aioposthog_env.reports.rows": ("rows_of",),
    "aioposthog_env.sandbox": (),
    "aioposthog_env.telemetry": (),
}
"""The public modules, with their public names where no ``__all__`` gives them."""

_UNSHOWN: Final = {"__reduce__", "__getstate__", "__setstate__", "__repr__", "__hash__", "__eq__", "__copy__", "__deepcopy__"}
"""What every class has, whether it says so or not."""
_INTERNAL_MARK: Final = "printable_half_built"
"""A decorator that changes nothing for users."""

Definition: TypeAlias = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | ast.AnnAssign | ast.Assign


def snapshot() -> str:
    """The whole contract."""
    return "\n".join(line for module in PUBLIC for line in (f"# {module}", *_module(module), ""))


def names_of(module: str) -> tuple[str, ...]:
    """The public names of a module."""
    if PUBLIC[module]:
        return PUBLIC[module]
    (listed,) = [one for one in _body(module) if isinstance(one, ast.Assign) and _names(one) == {"__all__"}]
    return tuple(sorted(ast.literal_eval(listed.value)))


def _module(module: str) -> Iterator[str]:
    public = set(names_of(module))
    for name in sorted(public):
        home, definitions = _find(module, name)
        if not definitions:
            yield f"{name}: from {home}"
        for definition in definitions:
            yield from _shown(home, definition, public)


@cache
def _body(module: str) -> tuple[ast.stmt, ...]:
    """The statements of a module, with those that only type checkers see."""
    path = ROOT.joinpath(*module.split("."))
    tree = ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text("utf-8"))
    for_checkers = [one for one in tree.body if isinstance(one, ast.If) and ast.unparse(one.test) == "TYPE_CHECKING"]
    return (*tree.body, *(inner for one in for_checkers for inner in one.body))


def _find(module: str, name: str) -> tuple[str, list[Definition]]:
    """Where a name is defined, and how; nothing where it comes from another package."""
    found = [one for one in _body(module) if isinstance(one, Definition) and name in _names(one)]
    if found:
        return module, found
    for one in _body(module):
        if isinstance(one, ast.ImportFrom) and name in {alias.asname or alias.name for alias in one.names}:
            source = one.module or ""
            return _find(source, name) if source.startswith("aioposthog_env") else (source, [])
    raise LookupError(f"{module} has no {name}")


def _names(one: Definition) -> set[str]:
    match one:
        case ast.AnnAssign():
            return {ast.unparse(one.target)}
        case ast.Assign():
            return set(map(ast.unparse, one.targets))
        case _:
            return {one.name}


def _shown(module: str, one: Definition, public: set[str], indent: str = "") -> Iterator[str]:
    match one:
        case ast.ClassDef():
            yield from (f"@{shown}" for mark in one.decorator_list if (shown := ast.unparse(mark)) != _INTERNAL_MARK)
            yield f"class {one.name}({', '.join(map(ast.unparse, one.bases))})"
            yield from (f"    {line}" for line in _members(module, one, public))
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            yield from (f"{indent}@{ast.unparse(mark)}" for mark in one.decorator_list)
            word = "async def" if isinstance(one, ast.AsyncFunctionDef) else "def"
            returns = "" if one.returns is None else f" -> {ast.unparse(one.returns)}"
            yield f"{indent}{word} {one.name}({ast.unparse(one.args)}){returns}"
        case _ if "__version__" in _names(one):
            yield "__version__"
        case _:
            yield f"{indent}{ast.unparse(one)}"


def _members(module: str, one: ast.ClassDef, public: set[str]) -> Iterator[str]:
    """What a class has, and what it has from classes that are not public themselves."""
    for base in one.bases:
        name = ast.unparse(base).partition("[")[0]
        if name not in public:
            home, definitions = _find_base(module, name)
            for inherited in definitions:
                if isinstance(inherited, ast.ClassDef):
                    yield from _members(home, inherited, public)
    methods = sorted((m for m in one.body if isinstance(m, ast.FunctionDef | ast.AsyncFunctionDef)), key=lambda m: m.name)
    for member in one.body:
        if isinstance(member, ast.AnnAssign | ast.Assign) and not all(name.startswith("_") for name in _names(member)):
            yield ast.unparse(member)
    for method in methods:
        if method.name == "__init__":
            yield from (f"self.{name}: {kind}" for name, kind in _set_in(method))
        if not method.name.startswith("_") or (method.name.startswith("__") and method.name not in _UNSHOWN):
            yield from _shown(module, method, public)


def _find_base(module: str, name: str) -> tuple[str, list[Definition]]:
    try:
        return _find(module, name)
    except LookupError:
        return "builtins", []  # such as Exception


def _set_in(method: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[tuple[str, str]]:
    for one in ast.walk(method):
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Attribute) and not one.target.attr.startswith("_"):
            yield one.target.attr, ast.unparse(one.annotation)


if __name__ == "__main__":
    SNAPSHOT.write_text(snapshot(), "utf-8")
