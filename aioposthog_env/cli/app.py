"""The command line as an app of cyclopts, and how one command is run. The modules in ``commands`` add the commands."""

import sys
from collections.abc import Coroutine, Sequence
from typing import Any

from cyclopts import App, CycloptsError

from aioposthog_env.cli import DONE, ERROR, INTERRUPTED, USAGE, StoppedAtOnceError
from aioposthog_env.cli.streams import Words
from aioposthog_env.errors import ConfigurationError, PostHogEnvError
from aioposthog_env.version import __version__

EPILOGUE = """\
The credential comes from the environment variable POSTHOG_PERSONAL_API_KEY, never from an argument.

Examples:

    aioposthog-env demo

    aioposthog-env list --search prod --json

    aioposthog-env set 42 43 anonymize_ips=true timezone=Europe/Berlin

    aioposthog-env show 1 --sandbox
"""

app: App = App(
    name="aioposthog-env",
    help="The safe way to read and change many PostHog environments at once.",
    help_epilogue=EPILOGUE,
    help_format="plaintext",  # Markdown would load a parser of it
    version=__version__,
    help_flags=["--help", "-h"],
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)


def started(work: Coroutine[Any, Any, int]) -> int:
    """Run what a command does.

    Returns:
        The exit code.
    """
    import asyncio  # half of what printing the help would cost

    try:
        return asyncio.run(work)
    except asyncio.CancelledError:  # the second Ctrl-C
        raise KeyboardInterrupt from None


def run(arguments: Sequence[str]) -> int:
    """Run one command.

    Returns:
        The exit code.
    """
    from aioposthog_env.cli import commands

    if sys.flags.optimize > 1:
        from aioposthog_env.cli.docstrings import give_back

        for module in commands.MODULES:
            give_back(module)

    errors = Words()
    try:
        result = app(list(arguments), exit_on_error=False, print_error=True, error_console=errors)
    except CycloptsError:
        return USAGE
    except ConfigurationError as error:
        errors.print(f"[red]Error:[/] {_safe(error)}")
        return USAGE
    except PostHogEnvError as error:
        errors.print(f"[red]Error:[/] {_safe(error)}")
        return ERROR
    except KeyboardInterrupt:
        errors.print("Interrupted.")
        return INTERRUPTED
    except StoppedAtOnceError as stopped:
        errors.print("Interrupted.")
        return stopped.code
    except BrokenPipeError:
        return DONE  # the reader of the output has gone, as with `| head`
    return result if isinstance(result, int) else DONE


def _safe(error: PostHogEnvError) -> str:
    from rich.markup import escape

    from aioposthog_env.harmless import harmless

    return escape("\n".join(map(harmless, str(error).split("\n"))))
