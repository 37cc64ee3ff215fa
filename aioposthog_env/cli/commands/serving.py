"""The commands that serve others until they are stopped, `sandbox` and `workers`, and `demo`, with their arguments."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter, validators

from aioposthog_env.cli.app import app, started
from aioposthog_env.cli.arguments import ASKED_AS_USUAL, QUEUE, Connection, Decimal, Era, Whole
from aioposthog_env.errors import ConfigurationError


@app.command
def demo(
    *,
    environments: Whole = 250,
    concurrency: Whole = 32,
    era: Era = "current",
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Do the main job on an embedded PostHog: find the environments that keep IP addresses, and change that.

    It lists all environments, reads their settings, shows how many lack anonymize_ips, switches it on there, and reads
    the result. Nothing leaves this machine.

    Parameters
    ----------
    environments
        How many environments the embedded PostHog has. 250 fit into one minute of PostHog's rate limit; with 1000 the
        limiter is seen at work.
    concurrency
        How many environments are worked on at a time.
    era
        Which generation of PostHog is played.
    json
        Print JSON.
    """
    from aioposthog_env.cli import demo as room

    if environments < 1 or concurrency < 1:
        raise ConfigurationError("--environments and --concurrency take whole numbers above 0.")
    return started(room.demo(environments, concurrency=concurrency, era=era, json=json))


@app.command
def sandbox(
    *,
    environments: Whole = 25,
    era: Era = "current",
    port: Whole = 8010,
    load: Path | None = None,
    save: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Serve an embedded PostHog on this machine until Ctrl-C or SIGTERM, for any client in any language.

    It prints keys, a session, a login and a curl line to try, and lines that set the variables which name it to the other
    commands. Ending it is no failure: the exit code is 0.

    Parameters
    ----------
    environments
        How many environments it has.
    era
        Which generation of PostHog is played.
    port
        The port; 0 takes a free one.
    load
        A JSON file with a scene that was saved; --environments and --era are those of the scene then.
    save
        Where to save the scene at the end. The file holds its made-up secrets.
    json
        Print JSON.
    """
    from aioposthog_env.cli import sandbox as room

    if environments < 0 or not 0 <= port < 65_536:
        raise ConfigurationError("--environments and --port take whole numbers from 0, ports below 65536.")
    return started(room.serve(environments, era=era, port=port, load=load, save=save, json=json))


workers: App = App(name="workers", help="Worker processes that make the calls of bulk runs, on any number of machines.")
app.command(workers)


@workers.command
def run(
    *,
    redis: str,
    queue: str = QUEUE,
    session: Annotated[bool, Parameter(negative="")] = False,
    lease: Annotated[Decimal, Parameter(validator=validators.Number(gt=0))] = 15.0,
    any_credential: Annotated[bool, Parameter(negative="")] = False,
    allow_insecure: Annotated[bool, Parameter(negative="")] = False,
    allow_open_queue: Annotated[bool, Parameter(negative="")] = False,
    connection: Connection = ASKED_AS_USUAL,
) -> int:
    """Make the calls that `apply --workers` and `rotate-secrets --workers` submit, until stopped.

    The credential is this process's own, from its variables or its profile. Ctrl-C or SIGTERM finishes what is in flight;
    a second one stops at once, and other workers take that up.

    Parameters
    ----------
    redis
        Redis or Valkey, as redis://, rediss:// or unix://. Whoever can write to it can run code here. A password is better
        kept in the variable AIOPOSTHOG_ENV_REDIS_PASSWORD than in the address.
    queue
        The name of the queue; one for each host and credential.
    session
        Use a browser's session, as for `rotate-secrets`: for jobs whose call takes no key.
    lease
        Seconds after which a worker that gives no sign of life is taken for dead.
    any_credential
        Take jobs of another credential, too: this one is of the same owner.
    allow_insecure
        Take a Redis beyond this machine that asks for no password or speaks no TLS.
    allow_open_queue
        Take a Redis of this machine that asks for no password: each user of the machine can then run code as this worker.
    """
    from aioposthog_env.cli import workers as room

    how = room.HowToWork(
        redis=redis,
        queue=queue,
        session=session,
        lease=lease,
        any_credential=any_credential,
        allow_insecure=allow_insecure,
        allow_open_queue=allow_open_queue,
    )
    return started(room.run(connection, how))
