"""An async worker that rotates the secrets of environments, whose jobs a queue may deliver more than once.

A job holds an id and the digest of the secret that it is to replace, never the secret. The environment is compared first: where
that secret is the backup by now, the job was done before, and nothing is sent.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypedDict

from aioposthog_env import AsyncEnvironments, OutcomeUnknownError, Secret, StateChangedError


class Job(TypedDict):
    """What stands in the queue."""

    environment: int
    expected: str


async def make_job(environments: AsyncEnvironments, environment: int) -> Job:
    """What the one who fills the queue does."""
    secret = (await environments.retrieve(environment)).secret_api_token
    if not isinstance(secret, Secret):
        raise LookupError(f"Environment {environment} shows no secret.")
    return {"environment": environment, "expected": secret.digest()}


async def rotate(environments: AsyncEnvironments, job: Job, store: Callable[[int, Secret], Awaitable[None]]) -> str:
    """What a worker does with a job. However often it is delivered, the secret is rotated once."""
    try:
        environment = await environments.rotate_secret_token(job["environment"], expected=job["expected"])
    except StateChangedError:
        return "somebody else has rotated it since"
    except OutcomeUnknownError as error:
        return f"look at it: {error}"
    if isinstance(environment.secret_api_token, Secret):
        await store(job["environment"], environment.secret_api_token)
    return "rotated"


async def work(
    environments: AsyncEnvironments, jobs: "asyncio.Queue[Job]", store: Callable[[int, Secret], Awaitable[None]]
) -> None:
    """A worker's loop; cancel it to stop."""
    while True:
        job = await jobs.get()
        print(job["environment"], await rotate(environments, job, store))
        jobs.task_done()
