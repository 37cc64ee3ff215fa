"""The command line as an app of cyclopts, and how one command is run. The modules in ``commands`` add the commands."""

import os
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
        check_text(arguments)
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
    except OSError as error:
        errors.print(f"[red]Error:[/] {_escaped(described(error))}")
        return ERROR
    return result if isinstance(result, int) else DONE


def check_text(arguments: Sequence[str]) -> None:
    """Refuse arguments that are not text, before a command reads them.

    The argument is not quoted: it may hold a password.

    Raises:
        ConfigurationError: An argument holds bytes that this locale does not decode.
    """
    for number, argument in enumerate(arguments, 1):
        try:
            argument.encode()
        except UnicodeEncodeError:
            try:
                argument.encode("utf-8", "surrogateescape").decode()
            except UnicodeError:
                raise ConfigurationError(f"Argument {number} is not UTF-8. Encode it as UTF-8.") from None
            locale = f"the encoding of this locale, {sys.getfilesystemencoding()}"
            raise ConfigurationError(f"Argument {number} does not fit {locale}. Set LC_ALL=C.UTF-8 or PYTHONUTF8=1.") from None


def described(error: OSError) -> str:
    """A sentence about what the operating system refuses."""
    reason = error.strerror or str(error)
    return f"{os.fsdecode(error.filename)}: {reason}." if isinstance(error.filename, str | bytes) else f"{reason}."


def _safe(error: PostHogEnvError) -> str:
    return _escaped(str(error))


def _escaped(text: str) -> str:
    from rich.markup import escape

    from aioposthog_env.harmless import harmless

    return escape("\n".join(map(harmless, text.split("\n"))))
