"""Asking several hosts in parallel: one client for each profile, with a rate limiter of its own, and one result.

What fails as a whole at one host is said, and the others go on.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Generic, TypeVar

import anyio
import attrs

from aioposthog_env.cli import DONE, PARTLY
from aioposthog_env.cli.app import Connection
from aioposthog_env.cli.commands import connect
from aioposthog_env.cli.output import Output
from aioposthog_env.cli.profiles import find_profile
from aioposthog_env.environments import AsyncEnvironments
from aioposthog_env.errors import ConfigurationError, PostHogEnvError

T = TypeVar("T")


@attrs.frozen
class Answers(Generic[T]):
    """What the hosts gave.

    Attributes:
        by_profile: By profile, in the order of the argument; one without a name where no profile was given.
        code: The exit code as far as reaching the hosts goes.
        several: Whether more than one was asked, so that a row has to tell whose it is.
    """

    by_profile: dict[str, T]
    code: int
    several: bool


async def ask_each(
    connection: Connection,
    output: Output,
    work: Callable[[AsyncEnvironments], Awaitable[T]],
    *,
    by_id: bool = False,
    session: bool = False,
) -> Answers[T]:
    """Do the same at each host.

    Args:
        connection: Which hosts.
        output: Where to say what fails at one of several.
        work: What to do at one.
        by_id: Whether ids were given.
        session: As for ``connect``.

    Raises:
        ConfigurationError: Ids with several profiles, an unknown profile, or all of them failed like this.
        PostHogEnvError: The only host failed, or all did; this is the first's.
    """
    names = connection.profiles
    if len(names) < 2:
        connection = replace(connection, profile=names[0]) if names else connection
        async with connect(connection, session=session) as environments:
            return Answers({connection.profile or "": await work(environments)}, DONE, several=False)
    if by_id:
        raise ConfigurationError(
            "An id means another environment at each host: select by --name or --where, or give one profile."
        )
    for name in names:
        find_profile(name)
    done: dict[str, T] = {}
    failed: dict[str, PostHogEnvError] = {}

    async def ask(name: str) -> None:
        try:
            async with connect(replace(connection, profile=name), session=session) as environments:
                done[name] = await work(environments)
        except PostHogEnvError as error:
            failed[name] = error

    async with anyio.create_task_group() as group:
        for name in names:
            group.start_soon(ask, name)
    if not done:
        raise failed[names[0]]
    for name in names:
        if name in failed:
            output.say(f"{name}: {failed[name]}")
    return Answers({name: done[name] for name in names if name in done}, PARTLY if failed else DONE, several=True)
