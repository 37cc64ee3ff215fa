"""What ``plan``, ``apply``, ``undo`` and ``runs`` do."""

import os
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import attrs
from platformdirs import user_state_path

from aioposthog_env.bulk.apply import Desired
from aioposthog_env.bulk.journal import Journal
from aioposthog_env.bulk.plan import Plan
from aioposthog_env.cli import DONE, ERROR, PARTLY
from aioposthog_env.cli.app import Connection
from aioposthog_env.cli.choice import HERE, UNCHOSEN, Choice, OnWorkers, chosen
from aioposthog_env.cli.commands import assigned, connect
from aioposthog_env.cli.confirm import confirm
from aioposthog_env.cli.output import Output
from aioposthog_env.cli.progress import Told
from aioposthog_env.cli.reporting import Reporting
from aioposthog_env.cli.running import connected, finish, nothing_to_do, summarise, watch
from aioposthog_env.cli.workers import same_workers, workers_of
from aioposthog_env.environments import AsyncEnvironments
from aioposthog_env.errors import ConfigurationError, JournalError
from aioposthog_env.settings_file import SettingsFile

DEFAULT_MAX_AGE: Final = 600.0
"""Seconds after which an environment is read again before it is changed."""


@attrs.frozen(kw_only=True)
class Wanted:
    """What is desired, from the arguments."""

    assignments: Sequence[str] = ()
    file: Path | None = None

    @property
    def is_given(self) -> bool:
        """Whether anything is."""
        return bool(self.assignments) or self.file is not None


@attrs.frozen(kw_only=True)
class HowToApply:
    """The arguments of ``apply`` that are about how."""

    journal: Path | None
    no_journal: bool
    canary: int
    verify: bool
    max_age: float
    stop_after_failures: int | None
    dry_run: bool
    yes: bool
    report: Path | None
    on: OnWorkers = HERE


async def make_plan(connection: Connection, ids: Sequence[int], choice: Choice, wanted: Wanted, save: Path | None) -> int:
    """Show what would change, and perhaps save it."""
    output = Output(json=connection.json)
    async with connect(connection) as environments:
        plan = await _planned(environments, output, ids, choice, wanted, connection.concurrency)
    if save is not None:
        plan.save(save)
        output.say(
            f"Saved as {save}; apply it with: {shlex.join(['aioposthog-env', 'apply', str(save), *connected(connection)])}"
        )
    if connection.json:
        output.data(plan.to_json())
    else:
        output.text(str(plan))
    return PARTLY if plan.changing or plan.unreadable else DONE


async def _planned(
    environments: AsyncEnvironments, output: Output, ids: Sequence[int], choice: Choice, wanted: Wanted, concurrency: int
) -> Plan:
    if bool(wanted.assignments) == (wanted.file is not None):
        raise ConfigurationError("Give what is desired either as --set NAME=VALUE or as --settings FILE.")
    desired: Desired
    if wanted.file is not None:
        file = SettingsFile.load(wanted.file)
        desired = file.desired
        if not ids and choice == UNCHOSEN and file.ids:
            ids = file.ids  # the file names the environments itself
    else:
        desired = assigned(wanted.assignments)
    selected = await chosen(environments, output, ids, choice)
    return await environments.plan(desired, [one.ref for one in selected], concurrency=concurrency)


async def apply(connection: Connection, path: Path | None, choice: Choice, wanted: Wanted, how: HowToApply) -> int:
    """Apply a plan that was saved, or one that is made now."""
    _check(path, choice, wanted)
    output, reporting = Output(json=connection.json), Reporting(how.report, "Settings applied")
    told = Told(0, 2 if how.verify else 1)
    explicit = path is not None or choice == UNCHOSEN
    async with connect(connection, hooks=[told.hook, *reporting.hooks]) as environments:
        reporting.host = environments.host
        if path is not None:
            plan = await _loaded(environments, path, wanted)
        else:
            plan = await _planned(environments, output, (), choice, wanted, connection.concurrency)
        output.say(str(plan))
        if not plan.changing and not plan.unreadable:
            output.say("Everything is as desired.")
            return nothing_to_do(output)
        journal = None if how.no_journal or how.dry_run else how.journal or new_journal("apply")
        if journal is not None and path is None:
            path = journal.with_suffix(".plan.json")
            plan.save(path)
        if not how.dry_run:
            confirm(output, f"change {len(plan.changing)} environments", yes=how.yes, explicit=explicit)
        resume = [] if journal is None else _resume(connection, path, journal, plan, wanted, how)
        run = environments.apply(
            plan,
            journal=journal,
            concurrency=connection.concurrency,
            max_age=how.max_age,
            verify=how.verify,
            canary=how.canary,
            stop_after_failures=how.stop_after_failures,
            dry_run=how.dry_run,
            keep="outcomes",
            on=workers_of(how.on),
        )
        told.total = len(plan) + len(plan.unreadable)
        watched = await watch(output, run, "changing", told, environments.limiter, resume)
    if journal is not None:
        back = ["aioposthog-env", "undo", str(journal), *connected(connection)]
        output.say(f"Recorded in {journal}; undo with: {shlex.join(back)}")
    reporting.write(output, watched.report, plan=plan)
    if how.dry_run:
        summarise(output, watched)
        return PARTLY
    return finish(output, watched, resume)


def _check(path: Path | None, choice: Choice, wanted: Wanted) -> None:
    if path is None and not wanted.is_given:
        raise ConfigurationError(
            "Give a plan (`apply plan.json`), or what is desired and where (`apply --settings FILE --all`)."
        )
    if path is not None and (choice != UNCHOSEN or wanted.assignments):
        raise ConfigurationError(
            "A plan names its environments and what is desired of them; leave the selection and --set out. "
            "With a plan, --settings FILE gives the sensitive values again, which a saved plan does not hold."
        )


async def _loaded(environments: AsyncEnvironments, path: Path, wanted: Wanted) -> Plan:
    """A saved plan, with its sensitive values from the file of settings."""
    plan = Plan.load(path)
    lacking = [one.ref for one in plan if one.withheld]
    if not lacking:
        return plan
    if wanted.file is None:
        names = sorted({name for one in plan for name in one.withheld})
        raise ConfigurationError(
            f"{path} does not hold the values of {', '.join(names)}, which are secrets. Give the file of settings that it was "
            f"made from again: apply {path} --settings FILE"
        )
    desired = SettingsFile.load(wanted.file).desired
    read = await environments.each(lacking).retrieve()
    read.raise_for_failures()
    return plan.with_secrets({one.ref.id: desired(one.value) for one in read if one.value is not None})


def _resume(connection: Connection, path: Path | None, journal: Path, plan: Plan, wanted: Wanted, how: HowToApply) -> list[str]:
    """The command that goes on with a run."""
    words = ["aioposthog-env", "apply", str(path), "--journal", str(journal), *connected(connection)]
    if wanted.file is not None and any(change.sensitive for one in plan for change in one.changes):
        words += ["--settings", str(wanted.file)]
    if how.verify:
        words.append("--verify")
    if how.max_age != DEFAULT_MAX_AGE:
        words += ["--max-age", f"{how.max_age:g}"]
    if how.stop_after_failures is not None:
        words += ["--stop-after-failures", str(how.stop_after_failures)]
    return [*words, *same_workers(how.on), "--yes"]


async def undo(connection: Connection, journal: Path, run: str, *, yes: bool) -> int:
    """Give back what a run has changed."""
    output = Output(json=connection.json)
    counts = next((one.counts for one in await Journal(journal).runs() if one.name == run), None)
    if counts is None:
        raise ConfigurationError(f"{journal} holds no run {run!r}. See: aioposthog-env runs {journal}")
    changed = counts.get("succeeded", 0) + counts.get("unknown", 0) + counts.get("intended", 0)
    output.say(f"The run {run!r} of {journal} has changed {changed} environments.")
    confirm(output, f"undo {changed} environments", yes=yes, explicit=True)
    told = Told(changed, 2)
    async with connect(connection, hooks=[told.hook]) as environments:
        undoing = environments.undo(journal, run=run, concurrency=connection.concurrency, keep="outcomes")
        resume = ["aioposthog-env", "undo", str(journal), "--run", run, *connected(connection), "--yes"]
        watched = await watch(output, undoing, "undoing", told, environments.limiter, resume)
    return finish(output, watched, resume)


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
        output.say(f"{len(rows)} runs")
    for row, counts in zip(rows, every, strict=True):
        if any(counts.get(state) for state in _UNFINISHED):
            output.say(f"{row['journal']}, run {row['run']}: not finished; what began it goes on with the same --journal")
    if not unreadable:
        return DONE
    return PARTLY if rows else ERROR


_UNFINISHED: Final = ("intended", "unfinished", "failed", "unknown", "skipped")


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count)


def journal_folder() -> Path:
    """Where runs are recorded that were given no journal."""
    folder = user_state_path("aioposthog-env") / "runs"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def new_journal(command: str) -> Path:
    """A new file in that folder."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%S")
    return journal_folder() / f"{now}-{command}-{os.getpid()}.db"
