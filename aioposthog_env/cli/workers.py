"""What ``workers run`` does, and how other commands find the workers' queue."""

import asyncio
import contextlib
import logging
import os
from collections.abc import Generator
from typing import TYPE_CHECKING, Final, TextIO
from urllib.parse import quote, urlsplit, urlunsplit

import attrs

from aioposthog_env.cli import DONE
from aioposthog_env.cli.arguments import QUEUE, Connection, OnWorkers
from aioposthog_env.cli.connect import connect
from aioposthog_env.cli.output import Output
from aioposthog_env.cli.signals import code_of, stopping
from aioposthog_env.errors import ConfigurationError
from aioposthog_env.redacted import RedactedText, redacted

if TYPE_CHECKING:
    from aioposthog_env.workers import Workers

_OUTAGE: Final = 30.0
"""Seconds without a word of the task engine after which another word of it is about another outage."""
PASSWORD: Final = "AIOPOSTHOG_ENV_REDIS_PASSWORD"  # noqa: S105  the name of the variable


@attrs.frozen(kw_only=True)
class HowToWork:
    """The arguments of ``workers run``."""

    redis: str
    queue: str
    session: bool
    lease: float
    any_credential: bool
    allow_insecure: bool
    allow_open_queue: bool


async def run(connection: Connection, how: HowToWork) -> int:
    """Work until interrupted."""
    from aioposthog_env.redis_address import shown
    from aioposthog_env.workers import work_forever
    from aioposthog_env.workers.connection import checked_url

    _check_address("--redis", how.redis)
    output, url = Output(json=connection.json), with_password(how.redis)
    checked_url(url, allow_insecure=how.allow_insecure)
    async with connect(connection, session=how.session) as environments:
        working = asyncio.create_task(
            work_forever(
                environments,
                url,
                name=how.queue,
                concurrency=connection.concurrency,
                lease=how.lease,
                any_credential=how.any_credential,
                allow_insecure=how.allow_insecure,
                allow_open_queue=how.allow_open_queue,
            )
        )
        output.say(f"Working for {environments.host}, from {shown(url)}, {connection.concurrency} jobs at a time.")
        with (
            told_once(output, shown(url)),
            stopping(output, working.cancel, working.cancel) as received,
            contextlib.suppress(asyncio.CancelledError),
        ):
            await working
    if len(received) > 1:
        output.say("Stopped at once; other workers take up what was in flight.")
        return code_of(received)
    return DONE


class _Outages(logging.StreamHandler[TextIO]):
    """Prints what the task engine logs; that Redis is away, which it logs each second, once for each outage."""

    def __init__(self, output: Output, server: str) -> None:
        super().__init__()
        self.setLevel(logging.WARNING)
        self._output = output
        self._server = server
        self._until = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        if "Redis" not in record.getMessage():
            super().emit(record)
            return
        if record.created > self._until:
            self._output.say(f"Redis at {self._server} cannot be reached; trying again.")
        self._until = record.created + _OUTAGE


@contextlib.contextmanager
def told_once(output: Output, server: str) -> Generator[None, None, None]:
    """Inside, an outage of Redis is told once."""
    engine, handler = logging.getLogger("docket"), _Outages(output, server)
    engine.addHandler(handler)
    engine.propagate = False
    try:
        yield
    finally:
        engine.propagate = True
        engine.removeHandler(handler)


def check_workers(connection: Connection, on: OnWorkers) -> None:
    """See that a run may be submitted, before anything is asked.

    Raises:
        ConfigurationError: The address holds a password; or there are several hosts, of which a worker serves one.
    """
    if on.workers is None:
        return
    _check_address("--workers", on.workers)
    if len(connection.profiles) > 1:
        raise ConfigurationError("The workers of a queue serve one host and refuse the jobs of others: give one profile.")


def _check_address(argument: str, url: str) -> None:
    login = url.partition("://")[2].rpartition("@")[0]
    if ":" in login or "password=" in url:
        raise ConfigurationError(
            f"Others on this machine can see arguments, and a report names them: give {argument} no password; "
            f"that is taken from the variable {PASSWORD}."
        )


def workers_of(on: OnWorkers) -> "Workers | None":
    """The workers of a queue; None where this process makes the calls."""
    if on.workers is None:
        return None
    from aioposthog_env.workers import Workers

    return Workers(
        with_password(on.workers),
        name=on.queue,
        allow_insecure=on.allow_insecure,
        allow_open_queue=on.allow_open_queue,
    )


def same_workers(on: OnWorkers) -> list[str]:
    """The arguments that name the workers, for a command that is to be typed next."""
    if on.workers is None:
        return []
    named = [] if on.queue == QUEUE else ["--queue", on.queue]
    insecure = ["--allow-insecure"] if on.allow_insecure else []
    return ["--workers", on.workers, *named, *insecure, *(["--allow-open-queue"] if on.allow_open_queue else [])]


def with_password(url: str) -> str:
    """The address with the password of the variable, where it has none."""
    password = redacted(os.environ.get(PASSWORD))
    try:
        parts = urlsplit(url)
    except ValueError:
        return url  # what is wrong with it is told where it is used
    if not password or parts.password is not None or parts.scheme not in {"redis", "rediss"}:
        return url
    user, _, place = parts.netloc.rpartition("@")
    return RedactedText(urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{place}")))
