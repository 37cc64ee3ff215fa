"""The help of commands where Python was started with ``-OO``, which drops docstrings: they are read from the source."""

import ast
from pathlib import Path
from types import ModuleType


def give_back(module: ModuleType) -> None:
    """Put the docstrings of a module's functions into place. Without its source the help lists the commands only."""
    try:
        tree = ast.parse(Path(module.__file__ or "").read_bytes())
    except OSError:
        return
    for one in tree.body:
        if isinstance(one, ast.FunctionDef):
            getattr(module, one.name).__doc__ = ast.get_docstring(one)
