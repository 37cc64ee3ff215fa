"""The commands that plan and change, with their arguments."""

from pathlib import Path
from typing import Annotated, TypeAlias

from cyclopts import Parameter, validators

from aioposthog_env.cli.app import app, started
from aioposthog_env.cli.arguments import (
    ASKED_AS_USUAL,
    HERE,
    UNCHOSEN,
    AllowEnv,
    Choice,
    Connection,
    Decimal,
    Ids,
    Moved,
    OnWorkers,
    ReportTo,
    Whole,
    Yes,
)

Assignments: TypeAlias = Annotated[list[str], Parameter(name="--set", negative="")]


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
def plan(
    ids: Ids = [],  # noqa: B006  never changed
    /,
    *,
    set_: Assignments = [],  # noqa: B006  never changed
    settings: Path | None = None,
    allow_env: AllowEnv = [],  # noqa: B006  never changed
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    choice: Choice = UNCHOSEN,
    connection: Connection = ASKED_AS_USUAL,
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
    allow_env
        An environment variable whose value the file may send as a setting; may be repeated.
    output
        Save the plan here, for `apply`.
    """
    from aioposthog_env.cli import change

    wanted = change.Wanted(assignments=set_, file=settings, allow_env=allow_env)
    return started(change.make_plan(connection, ids, choice, wanted, output))


@app.command
def apply(
    plan: Annotated[Path | None, Parameter(name="PLAN")] = None,
    /,
    *,
    set_: Assignments = [],  # noqa: B006  never changed
    settings: Path | None = None,
    allow_env: AllowEnv = [],  # noqa: B006  never changed
    journal: Path | None = None,
    moved: Moved = False,
    no_journal: Annotated[bool, Parameter(negative="")] = False,
    canary: Annotated[Whole, Parameter(validator=validators.Number(gte=0))] = 0,
    verify: Annotated[bool, Parameter(negative="")] = False,
    max_age: Annotated[Decimal | None, Parameter(validator=validators.Number(gte=0))] = None,
    stop_after_failures: Annotated[Whole | None, Parameter(validator=validators.Number(gte=1))] = None,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    yes: Yes = False,
    report: ReportTo = None,
    on: OnWorkers = HERE,
    choice: Choice = UNCHOSEN,
    connection: Connection = ASKED_AS_USUAL,
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
    allow_env
        An environment variable whose value the file may send as a setting; may be repeated.
    journal
        The file to record in, or to resume from. Default: a new one in this user's folder; see `runs`.
    moved
        Use the journal although it may be an old copy; only if no run has used another copy since.
    no_journal
        Record nothing.
    canary
        Change so many environments first, and go on only if all succeeded.
    verify
        Read each environment again afterwards.
    max_age
        Read an environment again right before it is changed, if the plan has read it longer ago than so many seconds.
        Default: 0, or 600 with --no-journal.
    stop_after_failures
        Skip the rest after so many failures.
    dry_run
        Compare each environment with the plan, and change nothing.
    yes
        Do not ask.
    report
        Write a report: .html, .csv, .json or .md.
    """
    from aioposthog_env.cli import change

    wanted = change.Wanted(assignments=set_, file=settings, allow_env=allow_env)
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
        on=on,
        moved=moved,
    )
    return started(change.apply(connection, plan, choice, wanted, how))


@app.command
def undo(
    journal: Annotated[Path, Parameter(name="JOURNAL")],
    /,
    *,
    run: str | None = None,
    moved: Moved = False,
    yes: Yes = False,
    report: ReportTo = None,
    connection: Connection = ASKED_AS_USUAL,
) -> int:
    """Give back the previous values of what a run has changed, where nobody has changed them since.

    Parameters
    ----------
    journal
        The journal of the run.
    run
        The run's name within it, where it holds several that changed settings at the host.
    moved
        Use the journal although it may be an old copy; only if no run has used another copy since.
    yes
        Do not ask.
    report
        Write a report: .html, .csv, .json or .md.
    """
    from aioposthog_env.cli import journals

    return started(journals.undo(connection, journal, run, yes=yes, report=report, moved=moved))


@app.command
def runs(
    places: Annotated[list[Path], Parameter(name="JOURNAL", negative="")] = [],  # noqa: B006  never changed
    /,
    *,
    connection: Connection = ASKED_AS_USUAL,
) -> int:
    """List the runs of journals, and how many environments are in which state.

    Parameters
    ----------
    places
        Journals, or folders of them. Default: this user's folder.
    """
    from aioposthog_env.cli import journals

    return started(journals.runs(connection, places))


@app.command
def rotate_secrets(
    ids: Ids = [],  # noqa: B006  never changed
    /,
    *,
    sink: Path,
    verify: Annotated[bool, Parameter(negative="")] = False,
    journal: Path | None = None,
    moved: Moved = False,
    yes: Yes = False,
    report: ReportTo = None,
    on: OnWorkers = HERE,
    choice: Choice = UNCHOSEN,
    connection: Connection = ASKED_AS_USUAL,
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
    moved
        Use the journal although it may be an old copy; only if no run has used another copy since.
    yes
        Do not ask; goes with explicit ids only.
    report
        Write a report: .html, .csv, .json or .md.
    """
    from aioposthog_env.cli import tokens

    how = tokens.How(journal=journal, moved=moved, yes=yes, report=report, on=on)
    return started(tokens.rotate(connection, ids, choice, sink=sink, verify=verify, how=how))


@app.command
def delete_secret_backups(
    ids: Ids = [],  # noqa: B006  never changed
    /,
    *,
    min_age: Annotated[Decimal, Parameter(validator=validators.Number(gte=0))],
    journal: Path | None = None,
    moved: Moved = False,
    yes: Yes = False,
    report: ReportTo = None,
    choice: Choice = UNCHOSEN,
    connection: Connection = ASKED_AS_USUAL,
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
    moved
        Use the journal although it may be an old copy; only if no run has used another copy since.
    yes
        Do not ask; goes with explicit ids only.
    report
        Write a report: .html, .csv, .json or .md.
    """
    from aioposthog_env.cli import tokens

    how = tokens.How(journal=journal, moved=moved, yes=yes, report=report)
    return started(tokens.delete_backups(connection, ids, choice, min_age=min_age, how=how))


@app.command
def reset_tokens(
    ids: Ids = [],  # noqa: B006  never changed
    /,
    *,
    journal: Path | None = None,
    moved: Moved = False,
    yes: Yes = False,
    report: ReportTo = None,
    choice: Choice = UNCHOSEN,
    connection: Connection = ASKED_AS_USUAL,
) -> int:
    """Replace project tokens. Events sent with the old ones are lost from that moment. Takes a session.

    Parameters
    ----------
    ids
        The ids of the environments.
    journal
        The file to record in, or to resume from.
    moved
        Use the journal although it may be an old copy; only if no run has used another copy since.
    yes
        Do not ask; goes with explicit ids only.
    report
        Write a report: .html, .csv, .json or .md.
    """
    from aioposthog_env.cli import tokens

    how = tokens.How(journal=journal, moved=moved, yes=yes, report=report)
    return started(tokens.reset(connection, ids, choice, how))


@app.command
def delete(
    ids: Ids = [],  # noqa: B006  never changed
    /,
    *,
    journal: Path | None = None,
    moved: Moved = False,
    yes: Yes = False,
    report: ReportTo = None,
    choice: Choice = UNCHOSEN,
    connection: Connection = ASKED_AS_USUAL,
) -> int:
    """Delete environments and their data.

    Parameters
    ----------
    ids
        The ids of the environments.
    journal
        The file to record in, or to resume from.
    moved
        Use the journal although it may be an old copy; only if no run has used another copy since.
    yes
        Do not ask; goes with explicit ids only.
    report
        Write a report: .html, .csv, .json or .md.
    """
    from aioposthog_env.cli import tokens

    how = tokens.How(journal=journal, moved=moved, yes=yes, report=report)
    return started(tokens.delete(connection, ids, choice, how))
