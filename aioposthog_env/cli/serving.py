"""The commands that go on until they are stopped, and their arguments: workers."""

from typing import Annotated

from cyclopts import App, Parameter, validators

from aioposthog_env.cli.app import ASKED_AS_USUAL, Connection, app, started
from aioposthog_env.cli.choice import QUEUE

workers = App(name="workers", help="Worker processes that make the calls of bulk runs, on any number of machines.")
app.command(workers)


@workers.command
def run(
    *,
    redis: str,
    queue: str = QUEUE,
    session: Annotated[bool, Parameter(negative="")] = False,
    lease: Annotated[float, Parameter(validator=validators.Number(gt=0))] = 15.0,
    any_credential: Annotated[bool, Parameter(negative="")] = False,
    allow_insecure: Annotated[bool, Parameter(negative="")] = False,
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
        Take a Redis beyond this machine that asks for no password.
    """
    from aioposthog_env.cli import workers as room

    how = room.HowToWork(
        redis=redis,
        queue=queue,
        session=session,
        lease=lease,
        any_credential=any_credential,
        allow_insecure=allow_insecure,
    )
    return started(room.run(connection, how))
