"""A worker process: takes jobs from the queue and makes their calls, until it is stopped."""

import asyncio
import contextlib
import os
import socket
import uuid
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, Final

import anyio

from aioposthog_env.environments import AsyncEnvironments
from aioposthog_env.errors import ConfigurationError
from aioposthog_env.redacted import redacted
from aioposthog_env.telemetry import log
from aioposthog_env.workers.connection import must_take_us, queue_url
from aioposthog_env.workers.coordinator import JOB, engine, load_engine
from aioposthog_env.workers.lease import DEFAULT_LEASE, Leases
from aioposthog_env.workers.run_item import run_item

DEFAULT_CONCURRENCY: Final = 16
_RECONNECT: Final = timedelta(milliseconds=500)
_LOOK: Final = timedelta(milliseconds=20)
"""How often the engine looks for work; its own default costs a third of the throughput."""


async def work_forever(
    environments: AsyncEnvironments,
    url: str,
    *,
    name: str = "aioposthog-env",
    concurrency: int = DEFAULT_CONCURRENCY,
    lease: float = DEFAULT_LEASE,
    any_credential: bool = False,
    allow_insecure: bool = False,
    allow_open_queue: bool = False,
) -> None:
    """Work on jobs until this task is cancelled; then what is in flight is finished first, unless it is cancelled once more.

    A process may be killed at any time: another worker takes up its jobs after ``lease``, or, where a request was on its way,
    after the longest time that one may take. Redis may be away for any time.

    Args:
        environments: The client that makes the calls, open, with this worker's credential.
        url: The queue; see ``Workers``.
        name: The queue's name, as ``Workers`` has it.
        concurrency: How many jobs are worked on at a time.
        lease: Seconds after which a worker that gives no sign of life is taken for dead.
        any_credential: Take jobs of another credential, too: this worker's is of the same owner, and may do the same.
        allow_insecure: Take a server beyond this machine that asks for no password or speaks no TLS.
        allow_open_queue: Take a server of this machine that asks for no password, though each user of the machine can then run
            code as this worker.

    Raises:
        ConfigurationError: The address cannot be used, the server refuses the login, or a figure is not positive.
    """
    for what, value in (("concurrency", concurrency), ("lease", lease)):
        if not value > 0:
            raise ConfigurationError(f"{what} must be a number above 0, not {value!r}.")
    url = queue_url(redacted(url), allow_insecure=allow_insecure, allow_open_queue=allow_open_queue)
    leases = Leases(url, name=name, seconds=lease, allow_insecure=allow_insecure, queued=True)
    docket = load_engine()
    await must_take_us(url)

    async def work(run: str, environment: int) -> None:
        try:
            item = await leases.item(run, environment)
        except ConfigurationError as error:
            log.error("Job %s of environment %s: %s", run, environment, error)
            await leases.refuse(run, environment, error)
            return
        if item is None:
            return  # its coordinator has its outcome
        outcome = await run_item(item, environments, leases=leases, any_credential=any_credential)
        log.info("%s: %s", environment, outcome.status)

    async def serve() -> None:
        async with leases, engine(docket, name, url) as queue:
            queue.register(work, names=[JOB])
            async with docket.Worker(
                queue,
                name=f"{socket.gethostname()}#{os.getpid()}#{uuid.uuid4().hex[:8]}",
                concurrency=concurrency,
                redelivery_timeout=timedelta(seconds=lease),
                reconnection_delay=_RECONNECT,
                minimum_check_interval=_LOOK,
                schedule_automatic_tasks=False,
            ) as worker:
                await worker.run_forever()

    await _until_cancelled(serve())


async def _until_cancelled(serving: Coroutine[Any, Any, None]) -> None:
    """Serve in a task of its own, so that being cancelled lets the engine finish what is in flight; a second time, not."""
    task = asyncio.create_task(serving)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        with anyio.CancelScope(shield=True):
            while not task.done():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([task])
        raise
