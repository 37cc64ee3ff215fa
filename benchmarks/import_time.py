"""What it costs to import the library and to ask its command line for help: CPU time of fresh interpreters."""

import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from time import perf_counter
from typing import Final

from benchmarks.measure import Rounds, Row, Run, Spent, interleaved, rows_of, spread

_BARE: Final = "an interpreter that does nothing"
_AIOHTTP: Final = "import aiohttp"
_DEPENDENCIES: Final = "import aiohttp, attrs, cattrs, anyio, backoff, msgspec"
_CLIENT: Final = "from aioposthog_env import AsyncEnvironments"
_HELP: Final = "aioposthog-env --help"

COMMANDS: Final[dict[str, Sequence[str]]] = {
    _BARE: ("-c", "pass"),
    _AIOHTTP: ("-c", _AIOHTTP),
    _DEPENDENCIES: ("-c", _DEPENDENCIES),
    "import aioposthog_env": ("-c", "import aioposthog_env"),
    _CLIENT: ("-c", _CLIENT),
    _HELP: ("-m", "aioposthog_env", "--help"),
}


def timed(arguments: Sequence[str]) -> Run:
    def run() -> Spent:
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), perf_counter()
        environment = os.environ | {"PYTHONDONTWRITEBYTECODE": ""}  # compiled modules are part of an installation
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, env=environment)
        wall, after = perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        return Spent(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall)

    return run


def rows(quick: bool) -> list[Row]:
    rivals = {name: timed(arguments) for name, arguments in COMMANDS.items()}
    taken = interleaved(rivals, 1 if quick else 15, warm=not quick)
    beyond: Row = {"name": "the client beyond the dependencies"}
    asked: Row = {"name": "--help against import aiohttp"}
    return [
        *rows_of(taken, floor=_BARE, unit="ms"),
        beyond | spread("percent", _beyond_dependencies(taken)),
        asked | spread("percent", _share(taken, _HELP, _AIOHTTP)),
    ]


def _beyond_dependencies(taken: Rounds) -> list[float]:
    """What the client's import adds to the import of what it depends on; the bare interpreter counts for neither."""
    rounds = zip(taken[_CLIENT], taken[_DEPENDENCIES], taken[_BARE], strict=True)
    return [100 * (client.cpu - least.cpu) / (least.cpu - bare.cpu) for client, least, bare in rounds]


def _share(taken: Rounds, name: str, of: str) -> list[float]:
    return [100 * one.cpu / whole.cpu for one, whole in zip(taken[name], taken[of], strict=True)]
