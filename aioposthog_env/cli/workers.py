"""What ``workers run`` does, and how other commands find the workers' queue."""

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit, urlunsplit

import attrs

from aioposthog_env.cli import DONE
from aioposthog_env.cli.arguments import QUEUE, Connection, OnWorkers
from aioposthog_env.cli.connect import connect
from aioposthog_env.cli.output import Output
from aioposthog_env.cli.signals import when_stopped
from aioposthog_env.errors import ConfigurationError

if TYPE_CHECKING:
    from aioposthog_env.workers import Workers

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


async def run(connection: Connection, how: HowToWork) -> int:
    """Work until interrupted."""
    from aioposthog_env.redis_address import shown
    from aioposthog_env.workers import work_forever
    from aioposthog_env.workers.connection import checked_url

    _check_address("--redis", how.redis)
    output, url = Output(json=connection.json), checked_url(with_password(how.redis), allow_insecure=how.allow_insecure)
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
            )
        )
        output.say(f"Working for {environments.host}, from {shown(url)}, {connection.concurrency} jobs at a time.")
        asked = list[int]()

        def stop() -> None:
            asked.append(1)
            if len(asked) == 1:
                output.say("Finishing what is in flight; another Ctrl-C stops at once.")
            working.cancel()

        when_stopped(stop)
        with contextlib.suppress(asyncio.CancelledError):
            await working
    return DONE


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

    return Workers(with_password(on.workers), name=on.queue, allow_insecure=on.allow_insecure)


def same_workers(on: OnWorkers) -> list[str]:
    """The arguments that name the workers, for a command that is to be typed next."""
    if on.workers is None:
        return []
    named = [] if on.queue == QUEUE else ["--queue", on.queue]
    return ["--workers", on.workers, *named, *(["--allow-insecure"] if on.allow_insecure else [])]


def with_password(url: str) -> str:
    """The address with the password of the variable, where it has none."""
    password = os.environ.get(PASSWORD)
    try:
        parts = urlsplit(url)
    except ValueError:
        return url  # what is wrong with it is told where it is used
    if not password or parts.password is not None or parts.scheme not in {"redis", "rediss"}:
        return url
    user, _, place = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{place}"))
