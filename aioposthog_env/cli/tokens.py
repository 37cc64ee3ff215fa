"""What ``rotate-secrets``, ``delete-secret-backups``, ``reset-tokens`` and ``delete`` do: calls that cannot be taken back."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs

from aioposthog_env.bulk.each import Each
from aioposthog_env.bulk.run import BulkRun
from aioposthog_env.cli.app import Connection
from aioposthog_env.cli.change import new_journal
from aioposthog_env.cli.choice import HERE, UNCHOSEN, Choice, OnWorkers, chosen
from aioposthog_env.cli.commands import connect
from aioposthog_env.cli.confirm import confirm
from aioposthog_env.cli.output import Output
from aioposthog_env.cli.progress import Told
from aioposthog_env.cli.reporting import Reporting
from aioposthog_env.cli.running import connected, finish, nothing_to_do, watch
from aioposthog_env.cli.workers import same_workers, workers_of
from aioposthog_env.errors import ScopeError


@attrs.frozen(kw_only=True)
class Destructive:
    """One of these commands.

    Attributes:
        name: As it is typed.
        verb: What the person confirms, such as ``rotate``.
        doing: What the progress says.
        session: Whether the call takes a session only.
        arguments: What it was given, for the command that resumes it.
    """

    name: str
    verb: str
    doing: str
    session: bool = True
    arguments: Sequence[str] = ()


@attrs.frozen(kw_only=True)
class How:
    """The arguments that all of these commands have.

    Attributes:
        journal: Where to record; None for a new file.
        yes: Do not ask.
        report: Where to write a report; None for none.
        on: Who makes the calls.
    """

    journal: Path | None
    yes: bool
    report: Path | None
    on: OnWorkers = HERE


async def run_on(
    command: Destructive,
    connection: Connection,
    ids: Sequence[int],
    choice: Choice,
    start: Callable[[Each], BulkRun[Any]],
    how: How,
) -> int:
    """Select, confirm, run, and say how to go on."""
    output, reporting = Output(json=connection.json), Reporting(how.report, f"aioposthog-env {command.name}")
    told = Told(0, 2)
    async with connect(connection, session=command.session, hooks=[told.hook, *reporting.hooks]) as environments:
        reporting.host = environments.host
        try:
            start(environments.each([]))  # what the credential can never do is said before anybody is asked
        except ScopeError as error:
            error.message += (
                " On the command line: set POSTHOG_SESSION_ID and POSTHOG_CSRF_TOKEN to the two cookies of a browser."
            )
            raise
        # Names are read to be typed; a run that goes on may have deleted what they belong to.
        selected = await chosen(environments, output, ids, choice, with_names=not how.yes)
        if not selected:
            return nothing_to_do(output)
        one = len(selected) == 1
        phrase = f"{command.verb} {selected[0].name if one else f'{len(selected)} environments'}"
        confirm(output, phrase, yes=how.yes, explicit=choice == UNCHOSEN and bool(ids))
        path = how.journal or new_journal(command.name)
        each = environments.each(
            [item.ref for item in selected],
            concurrency=connection.concurrency,
            journal=path,
            keep="outcomes",
            adopt=True,
            on=workers_of(how.on),
        )
        told.total = len(selected)
        resume = ["aioposthog-env", command.name, *(str(item.ref.id) for item in selected), *command.arguments]
        resume += ["--journal", str(path), *same_workers(how.on), *connected(connection), "--yes"]
        watched = await watch(output, start(each), command.doing, told, environments.limiter, resume)
    output.say(f"Recorded in {path}.")
    reporting.write(output, watched.report, names={item.ref.id: item.name for item in selected})
    return finish(output, watched, resume)


async def rotate(connection: Connection, ids: Sequence[int], choice: Choice, *, sink: Path, verify: bool, how: How) -> int:
    """Rotate secret tokens, and hand the new ones to a file."""
    arguments = ["--sink", str(sink), *(["--verify"] if verify else [])]
    command = Destructive(name="rotate-secrets", verb="rotate", doing="rotating", arguments=arguments)
    return await run_on(
        command,
        connection,
        ids,
        choice,
        lambda each: each.rotate_secret_token(sink=sink, verify=verify),
        how,
    )


async def delete_backups(connection: Connection, ids: Sequence[int], choice: Choice, *, min_age: float, how: How) -> int:
    """Drop the backups of secret tokens that are old enough."""
    command = Destructive(
        name="delete-secret-backups", verb="drop backups of", doing="dropping", arguments=["--min-age", f"{min_age:g}"]
    )
    return await run_on(
        command,
        connection,
        ids,
        choice,
        lambda each: each.delete_secret_token_backup(min_age=min_age),
        how,
    )


async def reset(connection: Connection, ids: Sequence[int], choice: Choice, how: How) -> int:
    """Replace project tokens."""
    command = Destructive(name="reset-tokens", verb="reset", doing="resetting")
    return await run_on(command, connection, ids, choice, lambda each: each.reset_token(), how)


async def delete(connection: Connection, ids: Sequence[int], choice: Choice, how: How) -> int:
    """Delete environments."""
    command = Destructive(name="delete", verb="delete", doing="deleting", session=False)
    return await run_on(command, connection, ids, choice, lambda each: each.delete(), how)
