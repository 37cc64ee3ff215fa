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
The host comes from --host or the variable POSTHOG_HOST, the key from POSTHOG_PERSONAL_API_KEY, never from an argument.
What takes no key, such as rotate-secrets, takes a browser's session from POSTHOG_SESSION_ID and POSTHOG_CSRF_TOKEN.
Profiles name hosts with their keys and sessions: aioposthog-env config init

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


def add_commands() -> None:
    """Put the commands into the app, with their help also where Python drops docstrings."""
    from aioposthog_env.cli import commands

    if sys.flags.optimize > 1:
        from aioposthog_env.cli.docstrings import give_back

        for module in commands.MODULES:
            give_back(module)


def run(arguments: Sequence[str]) -> int:
    """Run one command.

    Returns:
        The exit code.
    """
    add_commands()
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
