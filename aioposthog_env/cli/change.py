"""What ``plan`` and ``apply`` do, at one host or at several, and ``set``."""

import shlex
from collections.abc import Sequence
from pathlib import Path

import attrs

from aioposthog_env.api.endpoints import UPDATE
from aioposthog_env.bulk.apply import Desired
from aioposthog_env.bulk.journal import Journal
from aioposthog_env.bulk.plan import Plan
from aioposthog_env.bulk.record import MAIN
from aioposthog_env.cli import DONE, PARTLY
from aioposthog_env.cli.arguments import HERE, UNCHOSEN, Choice, Connection, OnWorkers
from aioposthog_env.cli.assignments import assigned, parse_assignments
from aioposthog_env.cli.choice import names_ids, only_by_id
from aioposthog_env.cli.confirm import confirm
from aioposthog_env.cli.connect import check_lasts
from aioposthog_env.cli.hosts import Site, at_each, check_hosts, chosen_at_each, connect_each
from aioposthog_env.cli.journals import has_changes, journal_at, new_journal, runs_at
from aioposthog_env.cli.output import Output, check_place
from aioposthog_env.cli.places import check_apart, check_ends, check_replaceable, typed
from aioposthog_env.cli.reporting import Reporting
from aioposthog_env.cli.running import Part, connected, exact, finish, finish_trial, nothing_to_do, show_outcomes, watch
from aioposthog_env.cli.workers import check_workers, same_workers, workers_of
from aioposthog_env.environments import AsyncEnvironments
from aioposthog_env.errors import ConfigurationError, PostHogEnvError
from aioposthog_env.models.environment import Environment
from aioposthog_env.plural import counted
from aioposthog_env.reports.rows import rows_of
from aioposthog_env.settings_file import SettingsFile


@attrs.frozen(kw_only=True)
class Wanted:
    """What is desired, from the arguments."""

    assignments: Sequence[str] = ()
    file: Path | None = None
    allow_env: Sequence[str] = ()

    def load(self, file: Path) -> SettingsFile:
        """Read the file of settings."""
        return SettingsFile.load(file, allow_env=self.allow_env)

    @property
    def file_arguments(self) -> list[str]:
        """The arguments that give the file again, for a command that is to be typed next."""
        allowed = [word for name in self.allow_env for word in ("--allow-env", name)]
        return [] if self.file is None else ["--settings", typed(self.file), *allowed]

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
    max_age: float | None
    stop_after_failures: int | None
    dry_run: bool
    yes: bool
    report: Path | None
    on: OnWorkers = HERE
    moved: bool = False

    @property
    def calls_each(self) -> int:
        """How many requests an environment takes that changes, as far as is known before."""
        if self.dry_run:
            return 1
        compared = not self.no_journal if self.max_age is None else self.max_age == 0
        return 1 + compared + self.verify


async def make_plan(connection: Connection, ids: Sequence[int], choice: Choice, wanted: Wanted, save: Path | None) -> int:
    """Show what would change, and perhaps save it."""
    output, reporting = Output(json=connection.json), Reporting(None, "")
    check_place(save)
    check_apart(settings=wanted.file, ids=choice.ids_from, output=save)
    check_replaceable(save, plan=True)
    async with connect_each(connection, reporting, calls_each=1, by_id=names_ids(ids, choice)) as sites:
        plans = await _planned(sites, connection, output, ids, choice, wanted)
    if save is not None:
        for site, plan in zip(sites, plans, strict=True):
            plan.save(_plan_path(save, site))
        command = ["aioposthog-env", "apply", typed(save), *connected(connection), *_secrets_from(wanted, plans)]
        saved = ", ".join(str(_plan_path(save, site)) for site in sites)
        output.say(f"Saved as {saved}" + ("." if connection.sandbox else f"; apply it with: {shlex.join(command)}"))
    if connection.json:
        profiles = [{"profile": site.label} if site.label else {} for site in sites]
        whole = [{**profile, **plan.to_json()} for profile, plan in zip(profiles, plans, strict=True)]
        output.data(whole if len(sites) > 1 else whole[0])
    else:
        for site, plan in zip(sites, plans, strict=True):
            output.text(f"{site.words}{plan}")
    return PARTLY if any(plan.changing or plan.unreadable for plan in plans) else DONE


async def _planned(
    sites: Sequence[Site], connection: Connection, output: Output, ids: Sequence[int], choice: Choice, wanted: Wanted
) -> list[Plan]:
    """What would change at each host."""
    if bool(wanted.assignments) == (wanted.file is not None):
        raise ConfigurationError("Give what is desired either as --set NAME=VALUE or as --settings FILE.")
    desired: Desired
    if wanted.file is not None:
        file = wanted.load(wanted.file)
        desired = file.desired
        if not ids and choice == UNCHOSEN and file.ids:
            check_hosts(connection, by_id=True)
            ids = file.ids  # the file names the environments itself
    else:
        desired = assigned(wanted.assignments)
    selected = dict(zip(sites, await chosen_at_each(sites, output, ids, choice), strict=True))

    async def plan(site: Site) -> Plan:
        refs = [one.ref for one in selected[site]]
        made = await site.environments.plan(desired, refs, concurrency=connection.concurrency)
        if made.unreadable and not len(made):
            first = made.unreadable[0][1]
            raise PostHogEnvError(f"None of {len(made.unreadable)} environments could be read. The first: {first}")
        return made

    return await at_each(sites, output, plan)


def _plan_path(path: Path, site: Site) -> Path:
    """The file of the plan for one host: ``plan.json``, or ``plan.eu.json`` where there are several.

    Raises:
        ConfigurationError: The name of the profile is none for a file.
    """
    if not site.label:
        return path
    if not site.label.replace("-", "").replace("_", "").isalnum():
        raise ConfigurationError(f"A plan is saved by the name of its profile, and {site.label!r} is no name for a file.")
    return path.with_name(f"{path.stem}.{site.label}{path.suffix}")


async def apply(connection: Connection, path: Path | None, choice: Choice, wanted: Wanted, how: HowToApply) -> int:
    """Apply plans that were saved, or that are made now."""
    _check(path, choice, wanted)
    place = _beside(how.journal) if path is None and how.journal is not None else path
    files = _plan_paths(place, connection)
    check_apart(how.journal, plan=files, settings=wanted.file, ids=choice.ids_from, report=how.report)
    if path is not None:
        check_lasts(connection)
    check_workers(connection, how.on)
    if path is None and how.journal is not None and not (how.no_journal or how.dry_run):
        _check_new(how.journal, connection, wanted)
    output, reporting = Output(json=connection.json), Reporting(how.report, "Settings applied", elsewhere=how.on.elsewhere)
    explicit = path is not None or only_by_id(choice)
    async with connect_each(connection, reporting, calls_each=how.calls_each, by_id=names_ids((), choice)) as sites:
        plans = await _plans(sites, connection, output, path, choice, wanted)
        for site, plan in zip(sites, plans, strict=True):
            output.say_lines(f"{site.words}{plan}")
        if not any(plan.changing or plan.unreadable for plan in plans):
            output.say("Everything is as desired.")
            return nothing_to_do(output)
        journal = None if how.no_journal or how.dry_run else how.journal or new_journal("apply")
        recorded = None if journal is None else await journal_at(output, journal, moved=how.moved)
        if not how.dry_run:
            number = counted(sum(len(plan.changing) for plan in plans), "environment")
            confirm(output, f"change {number}", yes=how.yes, explicit=explicit)
        if journal is not None and path is None:
            path = _beside(journal)
            for site, plan in zip(sites, plans, strict=True):
                plan.save(_plan_path(path, site))
        resume = [] if journal is None or path is None else _resume(connection, path, journal, plans, wanted, how)
        parts = await _parts(sites, plans, connection, recorded, how, resume)
        watched = await watch(output, parts)
    if journal is not None:
        back = ["aioposthog-env", "undo", typed(journal), *connected(connection)]
        can_undo = not connection.sandbox and await has_changes(journal)
        output.say(f"Recorded in {journal}" + (f"; undo with: {shlex.join(back)}" if can_undo else "."))
    rows = [
        row
        for site, plan, part in zip(sites, plans, parts, strict=True)
        for row in rows_of(watched.reports[part], site.host, plan=plan)
    ]
    code = finish_trial(output, watched) if how.dry_run else finish(output, watched)
    return reporting.write(output, [site.host for site in sites], code, rows=rows)


def _plan_paths(path: Path | None, connection: Connection) -> list[Path]:
    """The files of the plans for all hosts."""
    if path is None or len(connection.profiles) < 2:
        return [] if path is None else [path]
    return [path.with_name(f"{path.stem}.{name}{path.suffix}") for name in connection.profiles]


def _beside(journal: Path) -> Path:
    """Where a plan is kept that was made for a journal, so that the run can go on."""
    if journal.is_dir():
        raise ConfigurationError(f"{journal} is a folder. Give a file as the journal.")
    return journal.with_suffix(".plan.json")


def _check_new(journal: Path, connection: Connection, wanted: Wanted) -> None:
    """See that a new plan does not take the place of one that a run in the journal is to go on with.

    Raises:
        ConfigurationError: There is one.
    """
    kept = _beside(journal)
    if journal.exists() and any(one.exists() for one in _plan_paths(kept, connection)):
        command = ["aioposthog-env", "apply", typed(kept), "--journal", typed(journal), *connected(connection)]
        command += wanted.file_arguments
        raise ConfigurationError(
            f"{journal} has a plan already, {kept}. To go on with it: {shlex.join(command)}. For a new plan, take another "
            "journal."
        )


async def _plans(
    sites: Sequence[Site], connection: Connection, output: Output, path: Path | None, choice: Choice, wanted: Wanted
) -> list[Plan]:
    """The plans that were saved, or those that are made now."""
    if path is None:
        return await _planned(sites, connection, output, (), choice, wanted)
    saved = path

    async def load(site: Site) -> Plan:
        return await _loaded(site.environments, _plan_path(saved, site), wanted)

    return await at_each(sites, output, load)


async def _parts(
    sites: Sequence[Site],
    plans: Sequence[Plan],
    connection: Connection,
    journal: Journal | None,
    how: HowToApply,
    resume: Sequence[str],
) -> list[Part[Environment]]:
    """The run at each host, all recorded in one journal."""
    parts = list[Part[Environment]]()
    names = [MAIN for _ in sites] if journal is None else await runs_at(journal.path, UPDATE.name, sites)
    for site, plan, name in zip(sites, plans, names, strict=True):
        run = site.environments.apply(
            plan,
            journal=journal,
            run=name,
            adopt=True,
            concurrency=connection.concurrency,
            max_age=how.max_age,
            verify=how.verify,
            canary=how.canary,
            stop_after_failures=how.stop_after_failures,
            dry_run=how.dry_run,
            keep="outcomes",
            on=workers_of(how.on),
        )
        parts.append(site.part(run, "changing", len(plan) + len(plan.unreadable), resume, elsewhere=how.on.elsewhere))
    return parts


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
    check_ends(path)
    plan = Plan.load(path)
    lacking = [one.ref for one in plan if one.withheld]
    if not lacking:
        return plan
    if wanted.file is None:
        names = sorted({name for one in plan for name in one.withheld})
        raise ConfigurationError(
            f"{path} does not hold the values of {', '.join(names)}, which are secrets. Give the file of settings that it was "
            f"made from again: apply {shlex.quote(typed(path))} --settings FILE"
        )
    desired = wanted.load(wanted.file).desired
    read = await environments.each(lacking).retrieve()
    read.raise_for_failures()
    return plan.with_secrets({one.ref.id: desired(one.value) for one in read if one.value is not None})


def _secrets_from(wanted: Wanted, plans: Sequence[Plan]) -> list[str]:
    """The arguments that give the sensitive values of plans again, which a saved plan does not hold."""
    if wanted.file is None or not any(change.sensitive for plan in plans for one in plan for change in one.changes):
        return []
    return wanted.file_arguments


def _resume(
    connection: Connection, path: Path, journal: Path, plans: Sequence[Plan], wanted: Wanted, how: HowToApply
) -> list[str]:
    """The command that goes on with a run."""
    words = ["aioposthog-env", "apply", typed(path), "--journal", typed(journal), *connected(connection)]
    words += _secrets_from(wanted, plans)
    if how.canary:
        words += ["--canary", str(how.canary)]
    if how.verify:
        words.append("--verify")
    if how.max_age is not None:
        words += ["--max-age", exact(how.max_age)]
    if how.stop_after_failures is not None:
        words += ["--stop-after-failures", str(how.stop_after_failures)]
    return [*words, *same_workers(how.on), "--yes"]


async def set_settings(connection: Connection, what: Sequence[str], report: Path | None) -> int:
    """Change settings at once, without a plan and a journal."""
    ids, settings = parse_assignments(what)
    output, reporting = Output(json=connection.json), Reporting(report, "Settings changed")
    async with connect_each(connection, reporting, calls_each=1, by_id=True) as (site,):
        run = site.environments.each(ids, concurrency=connection.concurrency, keep="outcomes").update(settings)
        watched = await watch(output, [site.part(run, "changing", len(set(ids)))])
    show_outcomes(output, watched)
    code = finish(output, watched)
    return reporting.write(output, [site.host], code, rows=rows_of(watched.report, site.host))
