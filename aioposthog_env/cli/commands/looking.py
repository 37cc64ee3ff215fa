"""The commands that only look, and `intent`, with their arguments."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter, validators

from aioposthog_env.cli.app import app, started
from aioposthog_env.cli.arguments import ASKED_AS_USUAL, UNCHOSEN, AllowEnv, Choice, Connection, Ids, ReportTo, Whole
from aioposthog_env.errors import ConfigurationError


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


@app.command
def export(
    ids: Ids = [],  # noqa: B006  never changed
    /,
    *,
    format: Literal["yaml", "toml", "json"] = "yaml",
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    choice: Choice = UNCHOSEN,
    connection: Connection = ASKED_AS_USUAL,
) -> int:
    """Write the settings of environments to a file that `plan --settings` takes. Sensitive settings are left out.

    Parameters
    ----------
    ids
        The ids of the environments.
    format
        YAML, TOML or JSON. TOML has no null, so what is null is left out.
    output
        The file; without it, standard output.
    """
    from aioposthog_env.cli import audit as room

    return started(room.export(connection, ids, choice, format=format, path=output))


@app.command
def audit(
    ids: Ids = [],  # noqa: B006  never changed
    /,
    *,
    policy: Path | None = None,
    allow_env: AllowEnv = [],  # noqa: B006  never changed
    report: ReportTo = None,
    choice: Choice = UNCHOSEN,
    connection: Connection = ASKED_AS_USUAL,
) -> int:
    """Show where environments differ from a file of desired settings, or from what most of them have. Changes nothing.

    Exit code 3 where there is a difference. With --json one line for each.

    Parameters
    ----------
    ids
        The ids of the environments.
    policy
        A file of desired settings; without it, what most environments have.
    allow_env
        An environment variable whose value the file may compare with a setting; may be repeated.
    report
        Write a report: .html, .csv, .json or .md.
    """
    from aioposthog_env.cli import audit as room

    return started(room.audit(connection, ids, choice, policy=policy, allow_env=allow_env, report=report))


@app.command
def activity(
    ids: Ids = [],  # noqa: B006  never changed
    /,
    *,
    most: Annotated[Whole, Parameter(validator=validators.Number(gte=1))] = 20,
    choice: Choice = UNCHOSEN,
    connection: Connection = ASKED_AS_USUAL,
) -> int:
    """Show the newest entries of activity logs. Takes a session.

    Parameters
    ----------
    ids
        The ids of the environments.
    most
        How many entries of each.
    """
    from aioposthog_env.cli import reading

    return started(reading.read(connection, ids, choice, reading.activity(most)))


@app.command
def restrictions(
    ids: Ids = [],  # noqa: B006  never changed
    /,
    *,
    choice: Choice = UNCHOSEN,
    connection: Connection = ASKED_AS_USUAL,
) -> int:
    """Show what the ingestion holds back; PostHog's staff manage it.

    Parameters
    ----------
    ids
        The ids of the environments.
    """
    from aioposthog_env.cli import reading

    return started(reading.read(connection, ids, choice, reading.restrictions()))


@app.command
def demo_data(
    ids: Ids = [],  # noqa: B006  never changed
    /,
    *,
    choice: Choice = UNCHOSEN,
    connection: Connection = ASKED_AS_USUAL,
) -> int:
    """Show whether demo data is being made. Takes a session.

    Parameters
    ----------
    ids
        The ids of the environments.
    """
    from aioposthog_env.cli import reading

    return started(reading.read(connection, ids, choice, reading.demo_data()))


@app.command
def intent(
    what: Literal["add", "complete"],
    product: str,
    ids: Ids = [],  # noqa: B006  never changed
    /,
    *,
    context: str | None = None,
    choice: Choice = UNCHOSEN,
    connection: Connection = ASKED_AS_USUAL,
) -> int:
    """Say that a product is of interest, or that its onboarding is complete. Counted by PostHog, so never repeated.

    With --json one line for each environment, and a summary.

    Parameters
    ----------
    what
        add an interest, or complete the onboarding.
    product
        The product, such as session_replay.
    ids
        The ids of the environments.
    context
        What led to the interest.
    """
    from aioposthog_env.cli import reading

    complete = what == "complete"
    if complete and context is not None:
        raise ConfigurationError("--context goes with intent add only.")
    return started(reading.intent(connection, ids, choice, product, context=context, complete=complete))


@app.command
def doctor(
    ids: Ids = [],  # noqa: B006  never changed
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
