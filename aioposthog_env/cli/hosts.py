"""Several hosts at the same time: one client for each profile, with a rate limiter of its own, and one result.

Commands that only look ask each host by itself (``ask_each``): what fails as a whole at one is said, and the others go on.
Commands that change have all hosts open at once (``connect_each``), so that everything is planned and confirmed before
anything is changed anywhere.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Generic, TypeVar

import anyio
import attrs

from aioposthog_env.bulk.run import BulkRun
from aioposthog_env.bulk.selection import Selected
from aioposthog_env.cli import DONE, PARTLY
from aioposthog_env.cli.arguments import Choice, Connection
from aioposthog_env.cli.choice import chosen
from aioposthog_env.cli.connect import connect
from aioposthog_env.cli.output import Output
from aioposthog_env.cli.profiles import find_profile
from aioposthog_env.cli.progress import Bar, Told
from aioposthog_env.cli.reporting import Reporting
from aioposthog_env.cli.running import Part, connected
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
    check_hosts(connection, by_id=by_id)
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
            output.say_lines(f"{name}: {failed[name]}")
    return Answers({name: done[name] for name in names if name in done}, PARTLY if failed else DONE, several=True)


def check_hosts(connection: Connection, *, by_id: bool) -> None:
    """See that several hosts can be told apart, and are known.

    Raises:
        ConfigurationError: Ids with several profiles, or an unknown profile.
    """
    names = connection.profiles
    if len(names) < 2:
        return
    if by_id:
        raise ConfigurationError(
            "An id means another environment at each host: select by --name or --where, or give one profile."
        )
    for name in names:
        find_profile(name)


@attrs.frozen(kw_only=True, eq=False)
class Site:
    """One of the hosts that a command works at.

    Attributes:
        environments: Its client.
        connection: How it is reached.
        label: The name of its profile, where several are worked at; else empty.
        told: What the progress says of it.
    """

    environments: AsyncEnvironments
    connection: Connection
    label: str
    told: Told

    @property
    def host(self) -> str:
        """Its origin."""
        return self.environments.host

    @property
    def words(self) -> str:
        """What goes before a sentence about this host."""
        return f"{self.label}: " if self.label else ""

    @property
    def arguments(self) -> list[str]:
        """The arguments that name it, for a command that is to be typed next."""
        return connected(self.connection)

    def part(self, run: BulkRun[T], what: str, total: int, resume: Sequence[str] = (), *, elsewhere: bool = False) -> Part[T]:
        """Its part of the run.

        Args:
            run: The run.
            what: What it does, in a word.
            total: How many environments it has.
            resume: The command that goes on.
            elsewhere: Whether workers make the calls, so that the limiter of this process tells nothing of them.
        """
        self.told.total = total
        bar = Bar(f"{self.words}{what}", self.told, None if elsewhere else self.environments.limiter)
        # An embedded PostHog ends with the command. What goes on would reach whatever the variables name.
        return Part(run=run, bar=bar, profile=self.label, resume=() if self.connection.sandbox else resume)


@asynccontextmanager
async def connect_each(
    connection: Connection, reporting: Reporting, *, calls_each: int, by_id: bool, session: bool = False
) -> AsyncGenerator[list[Site], None]:
    """A client for each host.

    Args:
        connection: Which hosts.
        reporting: What is to be told of their requests.
        calls_each: How many requests an environment takes, as far as is known before.
        by_id: Whether environments are named by ids, which are those of one host.
        session: As for ``connect``.

    Raises:
        ConfigurationError: Ids with several profiles, an unknown profile, or a key that cannot be had.
    """
    check_hosts(connection, by_id=by_id)
    names: Sequence[str | None] = connection.profiles or (connection.profile,)
    async with AsyncExitStack() as stack:
        sites: list[Site] = []
        for name in names:
            alone, told = replace(connection, profile=name), Told(0, calls_each)
            client = await stack.enter_async_context(connect(alone, session=session))
            hooks = [told.hook, *reporting.hooks_at(client.host)]
            label = str(name) if len(names) > 1 else ""
            sites.append(Site(environments=client.with_options(hooks=hooks), connection=alone, label=label, told=told))
        yield sites


async def at_each(sites: Sequence[Site], output: Output, work: Callable[[Site], Awaitable[T]]) -> list[T]:
    """Do the same at each of the hosts, before anything is changed.

    Raises:
        PostHogEnvError: It failed at a host; where there are several, each is said, and this is the first.
    """
    done: dict[Site, T] = {}
    failed: dict[Site, PostHogEnvError] = {}

    async def one(site: Site) -> None:
        try:
            done[site] = await work(site)
        except PostHogEnvError as error:
            failed[site] = error

    async with anyio.create_task_group() as group:
        for site in sites:
            group.start_soon(one, site)
    errors = [(site, failed[site]) for site in sites if site in failed]
    for site, error in errors[1:]:
        output.say_lines(f"{site.words}{error}")
    if errors:
        site, error = errors[0]
        error.message = f"{site.words}{error.message}"
        raise error
    return [done[site] for site in sites]


async def chosen_at_each(
    sites: Sequence[Site],
    output: Output,
    ids: Sequence[int],
    choice: Choice,
    *,
    with_names: bool = False,
    once: bool = False,
) -> list[list[Selected]]:
    """The environments that the arguments mean, host by host. At some of several hosts there may be none.

    Args:
        sites: The hosts.
        output: Where to say which.
        ids: Those that are arguments.
        choice: The other arguments.
        with_names: As for ``chosen``.
        once: What is to be done must not be done twice, so no environment may be reached by two profiles.

    Raises:
        ConfigurationError: As for ``chosen``; or an environment is reached by two profiles.
    """
    each = replace(choice, allow_empty=True) if len(sites) > 1 else choice

    async def choose(site: Site) -> list[Selected]:
        return await chosen(site.environments, output, ids, each, with_names=with_names, where=site.words)

    found = await at_each(sites, output, choose)
    if not any(found) and not choice.allow_empty:
        raise ConfigurationError("Nothing is selected at any of the hosts. If that may be, add --allow-empty.")
    if once:
        _check_once(sites, found)
    return found


def _check_once(sites: Sequence[Site], found: Sequence[Sequence[Selected]]) -> None:
    """See that no environment would be worked on twice.

    Raises:
        ConfigurationError: Two profiles, of two accounts at the same host, both reach one.
    """
    reached: dict[tuple[str, int], Site] = {}
    for site, some in zip(sites, found, strict=True):
        for one in some:
            first = reached.setdefault((site.host, one.ref.id), site)
            if first is not site:
                raise ConfigurationError(
                    f"Environment {one.ref.id} of {site.host} is reached by {first.label} and {site.label}, so this would be "
                    "done twice to it. Give these profiles one after the other, or one of them."
                )
