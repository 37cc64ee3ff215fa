"""The command line (extra ``cli``). Data goes to stdout, words and progress to stderr.

Exit codes: 0 done, 1 error, 2 wrong usage, 3 differences found, or partly failed, 130 interrupted.
"""

import sys
from collections.abc import Sequence
from typing import Final

DONE: Final = 0
ERROR: Final = 1
USAGE: Final = 2
PARTLY: Final = 3
INTERRUPTED: Final = 130


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    try:
        from aioposthog_env.cli.app import run
        from aioposthog_env.cli.streams import prepare
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in {"cyclopts", "rich"}:
            raise
        sys.stderr.write("The command line needs its extra: pip install 'aioposthog-env[cli]'\n")
        sys.exit(ERROR)
    prepare()
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))
