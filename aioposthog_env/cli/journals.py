"""What ``undo`` and ``runs`` do, and where commands record what they do.

A run is found in its journal by what it does and where, so that a command goes on with it whether the host is named by a
profile, by one of several, or by a variable.
"""

import os
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import anyio
from platformdirs import user_state_path

from aioposthog_env.api.endpoints import DELETE_SECRET_TOKEN_BACKUP, UPDATE
from aioposthog_env.bulk.journal import Journal
from aioposthog_env.bulk.journal_items import RunSummary
from aioposthog_env.bulk.record import MAIN
from aioposthog_env.cli import DONE, ERROR, PARTLY
from aioposthog_env.cli.arguments import Connection
from aioposthog_env.cli.confirm import confirm
from aioposthog_env.cli.connect import check_lasts
from aioposthog_env.cli.hosts import Site, connect_each
from aioposthog_env.cli.output import Output
from aioposthog_env.cli.places import check_apart, typed
from aioposthog_env.cli.reporting import Reporting
from aioposthog_env.cli.running import finish, watch
from aioposthog_env.cli.streams import is_terminal, stdin
from aioposthog_env.errors import ConfigurationError, JournalError
from aioposthog_env.plural import counted
from aioposthog_env.reports.rows import rows_of


async def journal_at(output: Output, path: Path, *, moved: bool) -> Journal:
    """Return the journal of a command; where it may be an old copy, ask first.

    Args:
        output: Where to ask.
        path: The file, which need not exist.
        moved: The answer, given in advance by ``--moved``. ``--yes`` does not answer this.

    Raises:
        ConfigurationError: The person does not want it, or there is no terminal to ask at.
        JournalError: The file cannot be used.
    """
    if not moved and await anyio.Path(path).exists() and (how := await Journal(path).moved_from()) is not None:
        words = f"The journal {path} may be an old copy. {how}"
        if not is_terminal(stdin()):
            raise ConfigurationError(f"{words} Nothing was sent. If no run has used another copy since, add --moved.")
        output.say(words)
        confirm(output, "use this copy", yes=False, explicit=True)
        moved = True
    return Journal(path, moved=moved)


async def undo(
    connection: Connection, path: Path, run: str | None, *, yes: bool, report: Path | None, moved: bool = False
) -> int:
    """Give back what runs have changed: at one host the run that was named, else the only one there is."""
    check_lasts(connection)
    check_apart(path, report=report)
    output, reporting = Output(json=connection.json), Reporting(report, "Settings given back")
    held = await Journal(path).runs()
    journal = await journal_at(output, path, moved=moved)
    if run is not None and run not in {one.name for one in held}:
        raise ConfigurationError(f"{path} holds no run {run!r}. See: aioposthog-env runs {shlex.quote(typed(path))}")
    async with connect_each(connection, reporting, calls_each=2, by_id=run is not None) as sites:
        undone = [(site, _changes_at(held, path, site, run)) for site in sites]
        total = 0
        for site, one in undone:
            changed = _changed(one)
            total += changed
            output.say(f"{site.words}The run {one.name!r} of {path} has changed {counted(changed, 'environment')}.")
        confirm(output, f"undo {counted(total, 'environment')}", yes=yes, explicit=True)
        parts = [
            site.part(
                site.environments.undo(journal, run=one.name, adopt=True, concurrency=connection.concurrency, keep="outcomes"),
                "undoing",
                _changed(one),
                ["aioposthog-env", "undo", typed(path), "--run", one.name, *site.arguments, "--yes"],
            )
            for site, one in undone
        ]
        watched = await watch(output, parts)
        rows = [row for site, part in zip(sites, parts, strict=True) for row in rows_of(watched.reports[part], site.host)]
    code = finish(output, watched)
    return reporting.write(output, [site.host for site in sites], code, rows=rows)


def _changes_at(held: Sequence[RunSummary], path: Path, site: Site, run: str | None) -> RunSummary:
    """The run to undo at a host: the one that was named, or that has the name of the profile, or the only one."""
    if run is not None:
        return next(one for one in held if one.name == run)
    here = [one for one in held if _is_at(one, site, UPDATE.name)]
    own = [one for one in here if one.name == site.connection.profile] or here
    if len(own) == 1:
        return own[0]
    if not own:
        raise ConfigurationError(
            f"{path} holds no run that changed settings at {site.host}, and nothing else can be undone. "
            f"See: aioposthog-env runs {shlex.quote(typed(path))}"
        )
    names = ", ".join(one.name for one in own)
    raise ConfigurationError(f"{path} holds several runs that changed settings at {site.host}: add --run with one of {names}.")


async def has_changes(path: Path) -> bool:
    """Whether a journal holds a change of settings that could be undone."""
    return any(_changed(one) for one in await Journal(path).runs() if one.endpoint == UPDATE.name and one.undoes is None)


def _changed(run: RunSummary) -> int:
    return sum(run.counts.get(state, 0) for state in ("succeeded", "unknown", "intended"))


async def runs_at(journal: Path, endpoint: str, sites: Sequence[Site]) -> list[str]:
    """The names of the runs that a command begins, or goes on with, at each of its hosts.

    Args:
        journal: The file.
        endpoint: What is called.
        sites: The hosts.

    Raises:
        ConfigurationError: The file holds several such runs, and none has the name of the profile; or it holds runs of other
            hosts only, and this one was not named.
        JournalError: It cannot be read.
    """
    held = await Journal(journal).runs() if await anyio.Path(journal).exists() else []
    taken, profiles, names = {one.name for one in held}, {site.connection.profile for site in sites}, list[str]()
    for site in sites:
        _check_host(journal, held, site)
        own = site.connection.profile or MAIN
        # Of two accounts at one host, each has its own.
        here = [
            one.name
            for one in held
            if _is_at(one, site, endpoint) and (one.name == own or one.name not in profiles) and one.name not in names
        ]
        if own not in here and len(here) > 1:
            raise ConfigurationError(
                f"{journal} holds several runs of {endpoint} at {site.host} ({', '.join(here)}), so it is not clear which is "
                "meant. Take another journal, or go on from Python, where a run is named."
            )
        new = own if own not in taken else f"{own} {endpoint}"
        names.append(own if own in here else here[0] if here else new)
    return names


def _check_host(journal: Path, held: Sequence[RunSummary], site: Site) -> None:
    """See that a run which is gone on with does not begin anew at another host, because the variables have changed.

    Raises:
        ConfigurationError: The file holds runs of other hosts only, and this one was not named.
    """
    named = site.connection.profile is not None or site.connection.host is not None or site.connection.sandbox
    hosts = dict.fromkeys(one.host for one in held)
    if hosts and not named and site.host not in hosts:
        raise ConfigurationError(
            f"{journal} holds what was done at {', '.join(hosts)}, and this is {site.host}. Nothing was sent. Name the host "
            "with --host or --profile, or take another journal."
        )


def _is_at(run: RunSummary, site: Site, endpoint: str) -> bool:
    return run.host == site.host and run.endpoint == endpoint and run.undoes is None


async def runs(connection: Connection, places: Sequence[Path]) -> int:
    """List the runs of journals."""
    output = Output(json=connection.json)
    found: list[Path] = []
    for place in places or [journal_folder()]:
        found += sorted(place.glob("*.db")) if place.is_dir() else [place]
    rows: list[dict[str, object]] = []
    every: list[Mapping[str, int]] = []
    unreadable = 0
    for path in found:
        try:
            held = await Journal(path).runs()
        except JournalError as error:
            output.say(str(error))
            unreadable += 1
            continue
        for one in held:
            every.append(one.counts)
            rows.append(
                {
                    "journal": str(path),
                    "run": one.name,
                    "started": one.started.isoformat(timespec="seconds"),
                    "host": one.host,
                    "endpoint": one.endpoint,
                    "counts": {state: count for state, count in one.counts.items() if count},
                }
            )
    if connection.json:
        for row in rows:
            output.line(row)
    else:
        shown = [(*list(row.values())[:-1], _counted(counts)) for row, counts in zip(rows, every, strict=True)]
        output.table(("journal", "run", "started", "host", "endpoint", "outcomes"), shown)
        output.say(counted(len(rows), "run"))
    for row, counts in zip(rows, every, strict=True):
        # What was skipped because it has changed is skipped again; a backup that is too young becomes older.
        waits = counts.get("skipped") and row["endpoint"] == DELETE_SECRET_TOKEN_BACKUP.name
        if waits or any(counts.get(state) for state in _UNFINISHED):
            output.say(f"{row['journal']}, run {row['run']}: not finished; what began it goes on with the same --journal")
    if not unreadable:
        return DONE
    return PARTLY if rows else ERROR


_UNFINISHED: Final = ("intended", "unfinished", "failed", "unknown")


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count)


def journal_folder() -> Path:
    """The folder of the runs that were given no journal; created if it is missing.

    Raises:
        ConfigurationError: It cannot be created.
    """
    folder = user_state_path("aioposthog-env") / "runs"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"{folder}, the folder for journals, cannot be created: {error.strerror}. Set XDG_STATE_HOME to a folder that you "
            "can write to, or name a journal."
        ) from None
    return folder


def new_journal(command: str) -> Path:
    """A new file in that folder."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%S")
    return journal_folder() / f"{now}-{command}-{os.getpid()}.db"
