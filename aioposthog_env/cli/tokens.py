"""What ``rotate-secrets``, ``delete-secret-backups``, ``reset-tokens`` and ``delete`` do: calls that cannot be taken back."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs

from aioposthog_env.api.endpoints import (
    DELETE,
    DELETE_SECRET_TOKEN_BACKUP,
    RESET_TOKEN,
    ROTATE_SECRET_TOKEN,
    Endpoint,
)
from aioposthog_env.bulk.each import Each
from aioposthog_env.bulk.journal import Journal
from aioposthog_env.bulk.run import BulkRun
from aioposthog_env.bulk.selection import Selected
from aioposthog_env.cli.arguments import HERE, Choice, Connection, OnWorkers
from aioposthog_env.cli.choice import names_ids, only_by_id
from aioposthog_env.cli.confirm import confirm, named
from aioposthog_env.cli.connect import check_kind
from aioposthog_env.cli.hosts import Site, chosen_at_each, connect_each
from aioposthog_env.cli.journals import journal_at, new_journal, runs_at
from aioposthog_env.cli.output import Output
from aioposthog_env.cli.places import check_apart, typed
from aioposthog_env.cli.reporting import Reporting
from aioposthog_env.cli.running import Part, exact, finish, nothing_to_do, watch
from aioposthog_env.cli.workers import check_workers, same_workers, workers_of
from aioposthog_env.reports.rows import rows_of


@attrs.frozen(kw_only=True)
class Destructive:
    """One of these commands.

    Attributes:
        name: As it is typed.
        verb: What the person confirms, such as ``rotate``.
        doing: What the progress says.
        endpoint: What is called.
        session: Whether the call takes a session only.
        arguments: What it was given, for the command that resumes it.
        sink: The file of the new secrets, where there are any.
    """

    name: str
    verb: str
    doing: str
    endpoint: Endpoint
    session: bool = True
    arguments: Sequence[str] = ()
    sink: Path | None = None


@attrs.frozen(kw_only=True)
class How:
    """The arguments that all of these commands have.

    Attributes:
        journal: Where to record; None for a new file.
        yes: Do not ask.
        report: Where to write a report; None for none.
        on: Who makes the calls.
        moved: Use the journal although it may be an old copy.
    """

    journal: Path | None
    yes: bool
    report: Path | None
    on: OnWorkers = HERE
    moved: bool = False


async def run_on(
    command: Destructive,
    connection: Connection,
    ids: Sequence[int],
    choice: Choice,
    start: Callable[[Each], BulkRun[Any]],
    how: How,
) -> int:
    """Select, confirm, run, and say how to go on."""
    check_workers(connection, how.on)
    check_apart(how.journal, sink=command.sink, ids=choice.ids_from, report=how.report)
    output = Output(json=connection.json)
    reporting = Reporting(how.report, f"aioposthog-env {command.name}", elsewhere=how.on.elsewhere)
    by_id = names_ids(ids, choice)
    async with connect_each(connection, reporting, calls_each=2, by_id=by_id, session=command.session) as sites:
        for site in sites:
            check_kind(site.environments, start)
        # Names are read to be typed; a run that goes on may have deleted what they belong to.
        selected = await chosen_at_each(sites, output, ids, choice, with_names=not how.yes, once=True)
        every = [one for some in selected for one in some]
        if not every:
            return nothing_to_do(output)
        one = named(every[0].ref.id, every[0].name) if len(every) == 1 else f"{len(every)} environments"
        phrase = f"{command.verb} {one}"
        path = how.journal or new_journal(command.name)
        journal = await journal_at(output, path, moved=how.moved)
        confirm(output, phrase, yes=how.yes, explicit=by_id and only_by_id(choice))
        parts = await _parts(command, connection, list(zip(sites, selected, strict=True)), journal, start, how.on)
        watched = await watch(output, parts)
    output.say(f"Recorded in {path}.")
    rows = [
        row
        for site, some, part in zip(sites, selected, parts, strict=True)
        for row in rows_of(watched.reports[part], site.host, {one.ref.id: one.name for one in some})
    ]
    code = finish(output, watched)
    return reporting.write(output, [site.host for site in sites], code, rows=rows)


async def _parts(
    command: Destructive,
    connection: Connection,
    selected: Sequence[tuple[Site, Sequence[Selected]]],
    journal: Journal,
    start: Callable[[Each], BulkRun[Any]],
    on: OnWorkers,
) -> list[Part[Any]]:
    """The run at each host, all recorded in one journal. Each goes on by a command of its own, which names the ids."""
    parts = list[Part[Any]]()
    names = await runs_at(journal.path, command.endpoint.name, [site for site, _ in selected])
    for (site, some), run in zip(selected, names, strict=True):
        each = site.environments.each(
            [one.ref for one in some],
            concurrency=connection.concurrency,
            journal=journal,
            run=run,
            keep="outcomes",
            adopt=True,
            on=workers_of(on),
        )
        resume = ["aioposthog-env", command.name, *(str(one.ref.id) for one in some), *command.arguments]
        resume += ["--journal", typed(journal.path), *same_workers(on), *site.arguments, "--yes"]
        parts.append(site.part(start(each), command.doing, len(some), resume, elsewhere=on.elsewhere))
    return parts


async def rotate(connection: Connection, ids: Sequence[int], choice: Choice, *, sink: Path, verify: bool, how: How) -> int:
    """Rotate secret tokens, and hand the new ones to a file."""
    arguments = ["--sink", typed(sink), *(["--verify"] if verify else [])]
    command = Destructive(
        name="rotate-secrets", verb="rotate", doing="rotating", endpoint=ROTATE_SECRET_TOKEN, arguments=arguments, sink=sink
    )
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
        name="delete-secret-backups",
        verb="drop backups of",
        doing="dropping",
        endpoint=DELETE_SECRET_TOKEN_BACKUP,
        arguments=["--min-age", exact(min_age)],
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
    command = Destructive(name="reset-tokens", verb="reset", doing="resetting", endpoint=RESET_TOKEN)
    return await run_on(command, connection, ids, choice, lambda each: each.reset_token(), how)


async def delete(connection: Connection, ids: Sequence[int], choice: Choice, how: How) -> int:
    """Delete environments."""
    command = Destructive(name="delete", verb="delete", doing="deleting", endpoint=DELETE, session=False)
    return await run_on(command, connection, ids, choice, lambda each: each.delete(), how)
