"""The commands and their arguments. What a command does is imported only when it runs."""

import sys
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from cyclopts import App, CycloptsError, Group, Parameter, validators
from rich.console import Console

from aioposthog_env.cli import DONE, ERROR, INTERRUPTED, USAGE
from aioposthog_env.cli.choice import UNCHOSEN, Choice
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

app = App(
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

    host: Annotated[str | None, Parameter(group=CONNECTION)] = None
    "us, eu, or a URL. Default: the variable POSTHOG_HOST, else us."
    sandbox: Annotated[bool, Parameter(group=CONNECTION, negative="")] = False
    "Ask an embedded PostHog with 25 made-up environments instead."
    era: Annotated[Era, Parameter(group=CONNECTION)] = "current"
    "Which generation of PostHog the sandbox plays."
    json: Annotated[bool, Parameter(negative="")] = False
    "Print JSON."
    concurrency: Annotated[int, Parameter(group=CONNECTION, validator=validators.Number(gte=1))] = 32
    "How many environments are worked on at a time."


Ids: TypeAlias = Annotated[list[int], Parameter(name="ID", negative="")]
Yes: TypeAlias = Annotated[bool, Parameter(negative="")]
ReportTo: TypeAlias = Annotated[Path | None, Parameter(name="--report")]
Assignments: TypeAlias = Annotated[list[str], Parameter(name="--set", negative="")]


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
    return _run(room.demo(environments, concurrency=concurrency, era=era, json=json))


@app.command(name="list")
def list_(*, search: str | None = None, connection: Connection = Connection()) -> int:
    """List the environments that the credential can see.

    Parameters
    ----------
    search
        Only names that contain this text, ignoring case.
    """
    from aioposthog_env.cli import commands

    return _run(commands.list_environments(connection, search))


@app.command
def show(ids: Annotated[list[int], Parameter(name="ID", negative="")], /, *, connection: Connection = Connection()) -> int:
    """Show the settings of environments.

    Parameters
    ----------
    ids
        The ids of the environments.
    """
    from aioposthog_env.cli import commands

    return _run(commands.show(connection, ids))


@app.command(name="set")
def set_(
    what: Annotated[list[str], Parameter(name="ID|NAME=VALUE", negative="")],
    /,
    *,
    connection: Connection = Connection(),
) -> int:
    """Change settings of environments: ids first, then NAME=VALUE.

    A value is read as JSON where it is JSON, else as text: anonymize_ips=true, session_recording_sample_rate=0.4,
    timezone=Europe/Berlin, app_urls='["https://example.com"]', autocapture_opt_out=null.

    Parameters
    ----------
    what
        Ids of environments, and settings as NAME=VALUE.
    """
    from aioposthog_env.cli import commands

    return _run(commands.set_settings(connection, what, concurrency=connection.concurrency))


@app.command
def export(
    ids: Ids = [],  # noqa: B006  never changed
    /,
    *,
    format: Literal["yaml", "json"] = "yaml",
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    choice: Choice = UNCHOSEN,
    connection: Connection = Connection(),
) -> int:
    """Write the settings of environments to a file that `plan --settings` takes. Sensitive settings are left out.

    Parameters
    ----------
    ids
        The ids of the environments.
    format
        YAML or JSON.
    output
        The file; without it, standard output.
    """
    from aioposthog_env.cli import audit as room

    return _run(room.export(connection, ids, choice, format=format, path=output))


@app.command
def audit(
    ids: Ids = [],  # noqa: B006  never changed
    /,
    *,
    policy: Path | None = None,
    report: ReportTo = None,
    choice: Choice = UNCHOSEN,
    connection: Connection = Connection(),
) -> int:
    """Show where environments differ from a file of desired settings, or from what most of them have. Changes nothing.

    Exit code 3 where there is a difference. With --json one line for each.

    Parameters
    ----------
    ids
        The ids of the environments.
    policy
        A file of desired settings; without it, what most environments have.
    report
        Write a report: .html, .csv, .json or .md.
    """
    from aioposthog_env.cli import audit as room

    return _run(room.audit(connection, ids, choice, policy=policy, report=report))


@app.command
def plan(
    ids: Ids = [],  # noqa: B006  never changed
    /,
    *,
    set_: Assignments = [],  # noqa: B006  never changed
    settings: Path | None = None,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    choice: Choice = UNCHOSEN,
    connection: Connection = Connection(),
) -> int:
    """Show what would have to change, environment by environment. Changes nothing; exit code 3 where something would.

    Parameters
    ----------
    ids
        The ids of the environments.
    set_
        NAME=VALUE; may be repeated.
    settings
        A file of desired settings, in YAML, TOML or JSON.
    output
        Save the plan here, for `apply`.
    """
    from aioposthog_env.cli import change

    wanted = change.Wanted(assignments=set_, file=settings)
    return _run(change.make_plan(connection, ids, choice, wanted, output))


@app.command
def apply(
    plan: Annotated[Path | None, Parameter(name="PLAN")] = None,
    /,
    *,
    set_: Assignments = [],  # noqa: B006  never changed
    settings: Path | None = None,
    journal: Path | None = None,
    no_journal: Annotated[bool, Parameter(negative="")] = False,
    canary: Annotated[int, Parameter(validator=validators.Number(gte=0))] = 0,
    verify: Annotated[bool, Parameter(negative="")] = False,
    max_age: Annotated[float, Parameter(validator=validators.Number(gte=0))] = 600.0,
    stop_after_failures: Annotated[int | None, Parameter(validator=validators.Number(gte=1))] = None,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    yes: Yes = False,
    report: ReportTo = None,
    choice: Choice = UNCHOSEN,
    connection: Connection = Connection(),
) -> int:
    """Change what a plan says, and only where it still is as planned. Recorded in a journal, so that it resumes and undoes.

    Ctrl-C finishes what is in flight and says how to go on; a second one stops at once.

    Parameters
    ----------
    plan
        A plan that was saved. Without it, one is made now from --set or --settings.
    set_
        NAME=VALUE; may be repeated.
    settings
        A file of desired settings.
    journal
        The file to record in, or to resume from. Default: a new one in this user's folder; see `runs`.
    no_journal
        Record nothing.
    canary
        Change so many environments first, and go on only if all succeeded.
    verify
        Read each environment again afterwards.
    max_age
        Seconds after which an environment is read again before it is changed.
    stop_after_failures
        Skip the rest after so many failures.
    dry_run
        Send nothing.
    yes
        Do not ask.
    report
        Write a report: .html, .csv, .json or .md.
    """
    from aioposthog_env.cli import change

    wanted = change.Wanted(assignments=set_, file=settings)
    how = change.HowToApply(
        journal=journal,
        no_journal=no_journal,
        canary=canary,
        verify=verify,
        max_age=max_age,
        stop_after_failures=stop_after_failures,
        dry_run=dry_run,
        yes=yes,
        report=report,
    )
    return _run(change.apply(connection, plan, choice, wanted, how))


@app.command
def undo(
    journal: Annotated[Path, Parameter(name="JOURNAL")],
    /,
    *,
    run: str = "main",
    yes: Yes = False,
    connection: Connection = Connection(),
) -> int:
    """Give back the previous values of what a run has changed, where nobody has changed them since.

    Parameters
    ----------
    journal
        The journal of the run.
    run
        The run's name within it.
    yes
        Do not ask.
    """
    from aioposthog_env.cli import change

    return _run(change.undo(connection, journal, run, yes=yes))


@app.command
def runs(
    places: Annotated[list[Path], Parameter(name="JOURNAL", negative="")] = [],  # noqa: B006  never changed
    /,
    *,
    connection: Connection = Connection(),
) -> int:
    """List the runs of journals, and how many environments are in which state.

    Parameters
    ----------
    places
        Journals, or folders of them. Default: this user's folder.
    """
    from aioposthog_env.cli import change

    return _run(change.runs(connection, places))


@app.command
def rotate_secrets(
    ids: Ids = [],  # noqa: B006  never changed
    /,
    *,
    sink: Path,
    verify: Annotated[bool, Parameter(negative="")] = False,
    journal: Path | None = None,
    yes: Yes = False,
    report: ReportTo = None,
    choice: Choice = UNCHOSEN,
    connection: Connection = Connection(),
) -> int:
    """Rotate secret tokens, exactly once each, and append the new ones to a file. Takes a session, not a key.

    Set POSTHOG_SESSION_ID and POSTHOG_CSRF_TOKEN to the cookies of a browser in which an admin is logged in.

    Parameters
    ----------
    ids
        The ids of the environments.
    sink
        The file that gets the new secrets, as lines of JSON, for its owner only.
    verify
        Read each environment again afterwards.
    journal
        The file to record in, or to resume from. Default: a new one in this user's folder; see `runs`.
    yes
        Do not ask; goes with explicit ids only.
    report
        Write a report: .html, .csv, .json or .md.
    """
    from aioposthog_env.cli import tokens

    how = tokens.How(journal=journal, yes=yes, report=report)
    return _run(tokens.rotate(connection, ids, choice, sink=sink, verify=verify, how=how))


@app.command
def delete_secret_backups(
    ids: Ids = [],  # noqa: B006  never changed
    /,
    *,
    min_age: Annotated[float, Parameter(validator=validators.Number(gte=0))],
    journal: Path | None = None,
    yes: Yes = False,
    report: ReportTo = None,
    choice: Choice = UNCHOSEN,
    connection: Connection = Connection(),
) -> int:
    """Drop the backups of secret tokens that are old enough; services that still use them stop working. Takes a session.

    Parameters
    ----------
    ids
        The ids of the environments.
    min_age
        Seconds; younger backups are left.
    journal
        The file to record in, or to resume from.
    yes
        Do not ask; goes with explicit ids only.
    report
        Write a report: .html, .csv, .json or .md.
    """
    from aioposthog_env.cli import tokens

    how = tokens.How(journal=journal, yes=yes, report=report)
    return _run(tokens.delete_backups(connection, ids, choice, min_age=min_age, how=how))


@app.command
def reset_tokens(
    ids: Ids = [],  # noqa: B006  never changed
    /,
    *,
    journal: Path | None = None,
    yes: Yes = False,
    report: ReportTo = None,
    choice: Choice = UNCHOSEN,
    connection: Connection = Connection(),
) -> int:
    """Replace project tokens. Events sent with the old ones are lost from that moment. Takes a session.

    Parameters
    ----------
    ids
        The ids of the environments.
    journal
        The file to record in, or to resume from.
    yes
        Do not ask; goes with explicit ids only.
    report
        Write a report: .html, .csv, .json or .md.
    """
    from aioposthog_env.cli import tokens

    how = tokens.How(journal=journal, yes=yes, report=report)
    return _run(tokens.reset(connection, ids, choice, how))


@app.command
def delete(
    ids: Ids = [],  # noqa: B006  never changed
    /,
    *,
    journal: Path | None = None,
    yes: Yes = False,
    report: ReportTo = None,
    choice: Choice = UNCHOSEN,
    connection: Connection = Connection(),
) -> int:
    """Delete environments and their data.

    Parameters
    ----------
    ids
        The ids of the environments.
    journal
        The file to record in, or to resume from.
    yes
        Do not ask; goes with explicit ids only.
    report
        Write a report: .html, .csv, .json or .md.
    """
    from aioposthog_env.cli import tokens

    how = tokens.How(journal=journal, yes=yes, report=report)
    return _run(tokens.delete(connection, ids, choice, how))


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
    return _run(room.serve(environments, era=era, port=port, load=load, save=save, json=json))


def _run(work: Coroutine[Any, Any, int]) -> int:
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
