"""A bulk run as a person watches it: progress, outcomes as they come, and what Ctrl-C does.

The first Ctrl-C begins no further environment and lets what is in flight finish, so that nothing is left in doubt. The second
cancels at once; then the journal says what is in doubt.
"""

import asyncio
import contextlib
import shlex
import signal
from collections.abc import Generator, Sequence
from typing import Any, TypeVar

import attrs

from aioposthog_env.bulk.outcome import BulkReport, Collected, Outcome
from aioposthog_env.bulk.run import BulkRun
from aioposthog_env.cli import DONE, ERROR, INTERRUPTED, PARTLY
from aioposthog_env.cli.app import Connection
from aioposthog_env.cli.failures import what_failed
from aioposthog_env.cli.output import Output
from aioposthog_env.cli.progress import Told, live
from aioposthog_env.limiter import RateLimiter

T = TypeVar("T")


@attrs.define
class Watched:
    """What became of a run."""

    report: BulkReport[Any]
    interrupted: bool


async def watch(
    output: Output, run: BulkRun[T], what: str, told: Told, limiter: RateLimiter | None, resume: Sequence[str] = ()
) -> Watched:
    """Run it, show how far it is, and print each outcome as a line of JSON where that was asked for.

    Args:
        output: Where to print.
        run: The run.
        what: What it does, in a word.
        told: What the display says.
        limiter: Whose windows it shows.
        resume: The command that goes on; nothing where it is not recorded.
    """
    collected: Collected[T] = Collected("outcomes")
    began = asyncio.get_running_loop().time()
    with interruptible(output, run) as interrupts:
        try:
            async with live(output, what, told, limiter) as step, run as outcomes:
                async for outcome in outcomes:
                    collected.add(outcome)
                    if output.json:
                        output.line(described(outcome))
                    step(outcome)
        except asyncio.CancelledError:
            if resume:
                output.say(f"Stopped at once; the journal says what is in doubt. To go on: {shlex.join(resume)}")
            raise
    seconds = asyncio.get_running_loop().time() - began
    return Watched(collected.report(seconds, run.stopped_by), bool(interrupts))


@contextlib.contextmanager
def interruptible(output: Output, run: BulkRun[Any]) -> Generator[list[int], None, None]:
    """Inside, Ctrl-C stops the run, and a second one cancels it. Gives a list that holds the interrupts."""
    loop, task, interrupts = asyncio.get_running_loop(), asyncio.current_task(), list[int]()

    def interrupt() -> None:
        interrupts.append(1)
        if len(interrupts) == 1:
            output.say("Finishing what is in flight; another Ctrl-C stops at once.")
            run.stop()
        elif task is not None:
            task.cancel()

    try:
        loop.add_signal_handler(signal.SIGINT, interrupt)
    except (NotImplementedError, RuntimeError, ValueError):  # not on this system, or not in the main thread
        yield interrupts
        return
    try:
        yield interrupts
    finally:
        loop.remove_signal_handler(signal.SIGINT)


def described(outcome: Outcome[Any]) -> dict[str, object]:
    """An outcome as JSON, without what the call returned."""
    return {
        "id": outcome.ref.id,
        "status": outcome.status,
        "reason": outcome.reason,
        "error": None if outcome.error is None else str(outcome.error),
        "not_applied": list(outcome.not_applied),
        "attempts": outcome.attempts,
    }


def finish(output: Output, watched: Watched, resume: Sequence[str] = ()) -> int:
    """Say how it ended, what is to be looked at, and how to go on.

    Args:
        output: Where to print.
        watched: The run.
        resume: The command that resumes it; nothing where it was not recorded.

    Returns:
        The exit code.
    """
    report = watched.report
    for line in what_failed(report):
        output.say(line)
    summarise(output, watched)
    unfinished = report.failed or report.unknown or report.skipped
    if unfinished and resume:
        output.say(f"To go on: {shlex.join(resume)}")
    if watched.interrupted:
        return INTERRUPTED
    if not unfinished:
        return DONE
    return PARTLY if report.succeeded or report.unchanged else ERROR


def summarise(output: Output, watched: Watched) -> None:
    """Say in one line how it ended."""
    report = watched.report
    output.say(str(report))
    if output.json:
        output.line({"summary": {**report.counts, "seconds": round(report.seconds, 1), "interrupted": watched.interrupted}})


def nothing_to_do(output: Output) -> int:
    """Nothing was selected, or everything is as desired.

    Returns:
        The exit code.
    """
    summarise(output, Watched(BulkReport(()), interrupted=False))
    return DONE


def connected(connection: Connection) -> list[str]:
    """The arguments that name the host, for a command that is to be typed next."""
    if connection.profile is not None:
        return ["--profile", connection.profile]
    return [] if connection.host is None else ["--host", connection.host]
