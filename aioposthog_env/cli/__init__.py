"""The command line (extra ``cli``). Data goes to stdout, words and progress to stderr.

Exit codes: 0 done, 1 error, 2 wrong usage, 3 differences found, or partly failed, 130 interrupted, 143 stopped by SIGTERM.
"""

import sys
from collections.abc import Sequence
from typing import Final

DONE: Final = 0
ERROR: Final = 1
USAGE: Final = 2
PARTLY: Final = 3
INTERRUPTED: Final = 130


class StoppedAtOnceError(Exception):
    """A second Ctrl-C or SIGTERM has ended a command.

    Attributes:
        code: The exit code.
    """

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


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
