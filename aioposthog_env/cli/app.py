"""The commands and their arguments. What a command does is imported only when it runs."""

import sys
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

from cyclopts import App, CycloptsError, Group, Parameter, validators
from rich.console import Console

from aioposthog_env.cli import DONE, ERROR, INTERRUPTED, USAGE
from aioposthog_env.cli.choice import UNCHOSEN, Choice, Ids, ReportTo
from aioposthog_env.errors import ConfigurationError, PostHogEnvError, RateLimitWaitTooLong
from aioposthog_env.version import __version__

Era: TypeAlias = Literal["2024-10", "2025-11", "current"]

CONNECTION = Group("Connection", sort_key=1)

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


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Connection:
    """Which PostHog is asked, and how the answer is printed."""

    profile: Annotated[str | None, Parameter(group=CONNECTION)] = None
    "A profile, which names host and key together; see config. Several as us,eu where a command only looks."
    host: Annotated[str | None, Parameter(group=CONNECTION)] = None
    "us, eu, or a URL; goes with the key of the variables. Default: the variable POSTHOG_HOST, else us."
    sandbox: Annotated[bool, Parameter(group=CONNECTION, negative="")] = False
    "Ask an embedded PostHog with 25 made-up environments instead."
    era: Annotated[Era, Parameter(group=CONNECTION)] = "current"
    "Which generation of PostHog the sandbox plays."
    json: Annotated[bool, Parameter(negative="")] = False
    "Print JSON."
    limiter: Annotated[str | None, Parameter(group=CONNECTION)] = field(default=None, repr=False)
    "A Redis that shares the rate limit among processes with one key, as redis://HOST/0. Default: the variable POSTHOG_LIMITER."
    concurrency: Annotated[int, Parameter(group=CONNECTION, validator=validators.Number(gte=1))] = 32
    "How many environments are worked on at a time."

    @property
    def profiles(self) -> tuple[str, ...]:
        """The names of the profiles that were asked for, each once."""
        names = (name.strip() for name in (self.profile or "").split(","))
        return tuple(dict.fromkeys(name for name in names if name))


ASKED_AS_USUAL: Final = Connection()


@app.command
def demo(
    *,
    environments: int = 250,
    concurrency: int = 32,
    era: Era = "current",
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Do the main job on an embedded PostHog: find the environments that keep IP addresses, and change that.

    It lists all environments, reads their settings, shows how many lack anonymize_ips, switches it on there, and reads
    the result. Nothing leaves this machine.

    Parameters
    ----------
    environments
        How many environments the embedded PostHog has. 250 fit into one minute of PostHog's rate limit; with 1000 the
        limiter is seen at work.
    concurrency
        How many environments are worked on at a time.
    era
        Which generation of PostHog is played.
    json
        Print JSON.
    """
    from aioposthog_env.cli import demo as room

    if environments < 1 or concurrency < 1:
        raise ConfigurationError("--environments and --concurrency take whole numbers above 0.")
    return started(room.demo(environments, concurrency=concurrency, era=era, json=json))


@app.command(name="list")
def list_(
    ids: Ids = [],  # noqa: B006  never changed
    /,
    *,
    search: str | None = None,
    choice: Choice = UNCHOSEN,
    connection: Connection = ASKED_AS_USUAL,
) -> int:
    """List environments: all that the credential can see, or those that are chosen. With --json one line for each.

    Parameters
    ----------
    ids
        The ids of the environments.
    search
        Only names that contain this text, ignoring case; PostHog looks for it.
    """
    from aioposthog_env.cli import reading

    return started(reading.list_environments(connection, ids, choice, search))


@app.command
def show(
    ids: Ids = [],  # noqa: B006  never changed
    /,
    *,
    choice: Choice = UNCHOSEN,
    connection: Connection = ASKED_AS_USUAL,
) -> int:
    """Show the settings of environments.

    Parameters
    ----------
    ids
        The ids of the environments.
    """
    from aioposthog_env.cli import reading

    return started(reading.show(connection, ids, choice))


@app.command(name="set")
def set_(
    what: Annotated[list[str], Parameter(name="ID|NAME=VALUE", negative="")],
    /,
    *,
    report: ReportTo = None,
    connection: Connection = ASKED_AS_USUAL,
) -> int:
    """Change settings of environments: ids first, then NAME=VALUE.

    A value is read as JSON where it is JSON, else as text: anonymize_ips=true, session_recording_sample_rate=0.4,
    timezone=Europe/Berlin, app_urls='["https://example.com"]', autocapture_opt_out=null.

    Parameters
    ----------
    what
        Ids of environments, and settings as NAME=VALUE.
    report
        Write a report: .html, .csv, .json or .md.
    """
    from aioposthog_env.cli import change

    return started(change.set_settings(connection, what, report))


@app.command
def doctor(
    ids: Annotated[list[int], Parameter(name="ID", negative="")] = [],  # noqa: B006  never changed
    /,
    *,
    other_region: Annotated[bool, Parameter(negative="")] = False,
    connection: Connection = ASKED_AS_USUAL,
) -> int:
    """Look whether host, credential, scopes and limits are as they should be, and say what to do. Changes nothing.

    Exit code 3 where there is a problem, 1 where nothing could be asked.

    Parameters
    ----------
    ids
        Environments that must be reached.
    other_region
        Where PostHog Cloud refuses the key, send it to the other region too.
    """
    from aioposthog_env.cli import doctor as room

    return started(room.doctor(connection, ids, other_region=other_region))


@app.command
def config(
    what: Literal["show", "check", "path", "init"] = "show",
    /,
    *,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Show the profiles: hosts, and where their keys come from. Keys themselves are never shown.

    Parameters
    ----------
    what
        show the profiles; check whether each key can be had, which may ask you to unlock a store, and sends nothing but a
        login; print the path of the file; or init one to fill in.
    json
        Print JSON.
    """
    from aioposthog_env.cli import config as room

    return started(room.config(what, json=json))


@app.command
def sandbox(
    *,
    environments: int = 25,
    era: Era = "current",
    port: int = 8010,
    load: Path | None = None,
    save: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Serve an embedded PostHog on this machine until Ctrl-C, for any client in any language.

    It prints keys, a session, a login and a curl line to try.

    Parameters
    ----------
    environments
        How many environments it has.
    era
        Which generation of PostHog is played.
    port
        The port; 0 takes a free one.
    load
        A JSON file with a scene that was saved; --environments and --era are those of the scene then.
    save
        Where to save the scene at the end. The file holds its made-up secrets.
    json
        Print JSON.
    """
    from aioposthog_env.cli import sandbox as room

    if environments < 0 or not 0 <= port < 65_536:
        raise ConfigurationError("--environments and --port take whole numbers from 0, ports below 65536.")
    return started(room.serve(environments, era=era, port=port, load=load, save=save, json=json))


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
    added = ("changing", "looking", "serving")  # each adds its commands
    rooms = [sys.modules[__name__], *(import_module(f"aioposthog_env.cli.{room}") for room in added)]
    if sys.flags.optimize > 1:
        from aioposthog_env.cli.docstrings import give_back

        for room in rooms:
            give_back(room)

    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        result = app(list(arguments), exit_on_error=False, print_error=True, error_console=errors)
    except CycloptsError:
        return USAGE
    except ConfigurationError as error:
        errors.print(f"[red]Error:[/] {_safe(error)}")
        return USAGE
    except (PostHogEnvError, RateLimitWaitTooLong) as error:
        errors.print(f"[red]Error:[/] {_safe(error)}")
        return ERROR
    except KeyboardInterrupt:
        errors.print("Interrupted.")
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # the reader of the output has gone, as with `| head`
        return DONE
    return result if isinstance(result, int) else DONE


def _safe(error: PostHogEnvError) -> str:
    from rich.markup import escape

    return escape(str(error))
