"""A bulk run as a person watches it: progress, outcomes as they come, and what Ctrl-C does.

The first Ctrl-C, or SIGTERM, begins no further environment and lets what is in flight finish, so that nothing is left in
doubt. The second cancels at once; then the journal says what is in doubt.
"""

import asyncio
import shlex
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, TypeVar

import anyio
import attrs

from aioposthog_env.bulk.outcome import BulkReport, Collected, Outcome
from aioposthog_env.bulk.run import BulkRun
from aioposthog_env.cli import DONE, ERROR, INTERRUPTED, PARTLY, StoppedAtOnceError
from aioposthog_env.cli.arguments import Connection
from aioposthog_env.cli.failures import helped_by_going_on, what_failed
from aioposthog_env.cli.output import Output
from aioposthog_env.cli.progress import Bar, live
from aioposthog_env.cli.signals import code_of, stopping
from aioposthog_env.errors import PostHogEnvError
from aioposthog_env.plural import counted

T = TypeVar("T")


@attrs.frozen(kw_only=True, eq=False)
class Part(Generic[T]):
    """The run at one host.

    Attributes:
        run: The run.
        bar: What the display shows of it.
        profile: The name of the host, where several are worked on; else empty.
        resume: The command that goes on; nothing where it is not recorded.
    """

    run: BulkRun[T]
    bar: Bar
    profile: str = ""
    resume: Sequence[str] = ()


@attrs.define
class Watched:
    """What became of the parts of a run.

    Attributes:
        reports: Part by part, what became of its environments.
        seconds: How long all took.
        interrupted: The exit code where somebody pressed Ctrl-C, or SIGTERM came; else 0.
        failed: The parts that failed as a whole, when others did not.
    """

    reports: dict[Part[Any], BulkReport[Any]]
    seconds: float
    interrupted: int
    failed: dict[Part[Any], PostHogEnvError] = attrs.field(factory=dict["Part[Any]", PostHogEnvError])

    @property
    def report(self) -> BulkReport[Any]:
        """All of them together."""
        return BulkReport(tuple(outcome for report in self.reports.values() for outcome in report), self.seconds)


async def watch(output: Output, parts: Sequence[Part[Any]]) -> Watched:
    """Run the parts at the same time, show how far they are, and print each outcome as a line of JSON where that was asked for.

    What fails as a whole at one of several hosts leaves the others going on.

    Raises:
        PostHogEnvError: The only part failed as a whole, or all did; this is the first's.
    """
    reports: dict[Part[Any], BulkReport[Any]] = {}
    failed: dict[Part[Any], PostHogEnvError] = {}
    began = asyncio.get_running_loop().time()
    output.begin_changes()

    async def follow(part: Part[Any], step: Callable[[Bar, Outcome[Any]], None]) -> None:
        collected: Collected[Any] = Collected("outcomes")
        try:
            async with part.run as outcomes:
                async for outcome in outcomes:
                    collected.add(outcome)
                    if output.json:
                        output.line(described(outcome, part.profile))
                    step(part.bar, outcome)
        except PostHogEnvError as error:
            failed[part] = error
        reports[part] = collected.report(asyncio.get_running_loop().time() - began, part.run.stopped_by)

    def stop() -> None:
        for part in parts:
            part.run.stop()

    task = asyncio.current_task()
    with stopping(output, stop, lambda: task is not None and task.cancel()) as received:
        try:
            async with live(output, [part.bar for part in parts]) as step, anyio.create_task_group() as group:
                for part in parts:
                    group.start_soon(follow, part, step)
        except asyncio.CancelledError:
            for command in _commands(parts):
                output.say(f"Stopped at once; the journal says what is in doubt. To go on: {command}")
            raise StoppedAtOnceError(code_of(received) or INTERRUPTED) from None
    if len(failed) == len(parts):
        raise failed[parts[0]]
    in_order = {part: reports[part] for part in parts}
    return Watched(in_order, asyncio.get_running_loop().time() - began, code_of(received), failed)


def _commands(parts: Iterable[Part[Any]]) -> list[str]:
    """The commands that go on, each once."""
    return list(dict.fromkeys(shlex.join(part.resume) for part in parts if part.resume))


def described(outcome: Outcome[Any], profile: str = "") -> dict[str, object]:
    """An outcome as JSON, without what the call returned."""
    return {
        **({"profile": profile} if profile else {}),
        "id": outcome.ref.id,
        "status": outcome.status,
        "reason": outcome.reason,
        "error": None if outcome.error is None else str(outcome.error),
        "not_applied": list(outcome.not_applied),
        "attempts": outcome.attempts,
    }


def finish(output: Output, watched: Watched) -> int:
    """Say how it ended, what is to be looked at, and how to go on.

    Returns:
        The exit code.
    """
    _say_failures(output, watched)
    summarise(output, watched)
    unfinished = [part for part, report in watched.reports.items() if part in watched.failed or not _is_done(report)]
    for command in _commands(part for part in unfinished if _goes_on(part, watched)):
        output.say(f"To go on: {command}")
    if output.lost:
        output.say(f"Standard output could not be written, so something is missing there: {output.lost}.")
    if watched.interrupted:
        return watched.interrupted
    if not unfinished:
        return ERROR if output.lost else DONE
    return PARTLY if watched.report.succeeded or watched.report.unchanged else ERROR


def finish_trial(output: Output, watched: Watched) -> int:
    """Say what a run that changes nothing has found: how many environments would change, and which would not and why.

    Returns:
        The exit code.
    """
    _say_failures(output, watched)
    report = watched.report
    changing = sum(one.reason == "dry run" for one in report)
    output.say(f"{counted(changing, 'environment')} would change. Nothing was changed.")
    summarise(output, watched)
    if watched.interrupted:
        return watched.interrupted
    if _is_done(report) and not watched.failed:
        return ERROR if output.lost else DONE
    return PARTLY if report.unchanged or report.skipped else ERROR


def _say_failures(output: Output, watched: Watched) -> None:
    """Say what failed as a whole, and what is to be looked at."""
    for part, error in watched.failed.items():
        output.say(f"{part.profile}: {error}")
    for part, report in watched.reports.items():
        for line in what_failed(one for one in report if one.reason != "dry run"):
            output.say(f"{part.profile} {line}" if part.profile else line)


def _goes_on(part: Part[Any], watched: Watched) -> bool:
    return part in watched.failed or any(map(helped_by_going_on, watched.reports[part]))


def _is_done(report: BulkReport[Any]) -> bool:
    return not (report.failed or report.unknown or report.skipped)


def show_outcomes(output: Output, watched: Watched) -> None:
    """Print what became of each environment as a table; as JSON it was printed already."""
    if output.json:
        return
    several = len(watched.reports) > 1
    names = (*(("profile",) if several else ()), "id", "outcome")
    rows = [
        (*((part.profile,) if several else ()), one.ref.id, one.status)
        for part, report in watched.reports.items()
        for one in sorted(report, key=lambda one: one.ref.id)
    ]
    output.table(names, rows)


def summarise(output: Output, watched: Watched) -> None:
    """Say in one line how it ended."""
    report = watched.report
    output.say(str(report))
    if output.json:
        output.line(
            {
                "summary": {
                    **report.counts,
                    "done_earlier": report.done_earlier,
                    "seconds": round(report.seconds, 1),
                    "interrupted": bool(watched.interrupted),
                }
            }
        )


def nothing_to_do(output: Output) -> int:
    """Nothing was selected, or everything is as desired.

    Returns:
        The exit code.
    """
    summarise(output, Watched({}, 0.0, interrupted=0))
    return DONE


def exact(seconds: float) -> str:
    """A number as it was typed, for a command that is to be typed next."""
    return f"{seconds:.15g}"


def connected(connection: Connection) -> list[str]:
    """The arguments that name the host, the limiter and the URL style, for a command that is to be typed next."""
    options = {
        "--profile": connection.profile,
        "--host": connection.host if connection.profile is None else None,
        "--limiter": connection.limiter,
        "--routes": connection.routes,
    }
    return [word for option, value in options.items() if value is not None for word in (option, value)]
