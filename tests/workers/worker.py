"""The processes of the tests, forked from one that has imported everything: workers and coordinators that can be killed.

It reads one line of JSON for each process to start, and answers with its id.
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import docket  # noqa: F401  imported once, for all
import redis.asyncio  # noqa: F401

from aioposthog_env import AsyncEnvironments, RetryPolicy, SessionCookie, Timeout, Workers
from aioposthog_env.telemetry import AttemptFinished, Event
from aioposthog_env.workers import work_forever

POLICY = RetryPolicy(first_wait=0.01, settle=0.5, settle_after_500=0.5, resend_after_settle=True)
TIMEOUT = Timeout(connect=2, read=1.5, total=1.5)


def client(order: dict[str, Any]) -> AsyncEnvironments:
    auth = SessionCookie(*order["session"])

    def die(event: Event) -> None:
        if isinstance(event, AttemptFinished) and order.get("dies_at") in {event.endpoint, event.outcome}:
            os.kill(os.getpid(), signal.SIGKILL)

    return AsyncEnvironments(order["host"], auth=auth, retry=POLICY, timeout=TIMEOUT, routes="project", hooks=[die])


async def work(order: dict[str, Any]) -> None:
    async with client(order) as environments:
        await work_forever(
            environments, order["redis"], allow_open_queue=True, lease=order["lease"], concurrency=order["concurrency"]
        )


async def coordinate(order: dict[str, Any]) -> None:
    """Rotate, and write down the statuses when it is over."""
    folder = Path(order["folder"])
    workers = Workers(
        order["redis"], allow_open_queue=True, in_flight=order["in_flight"], max_deliveries=order["max_deliveries"]
    )
    async with client(order) as environments:
        each = environments.each(order["refs"], journal=folder / "run.db", on=workers)
        report = await each.rotate_secret_token(sink=folder / "secrets.jsonl")
    (folder / "statuses.json").write_text(json.dumps({one.ref.id: [one.status, str(one.error)] for one in report}))


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        order = json.loads(line)
        if not (child := os.fork()):
            os.close(0)
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115
            asyncio.run({"work": work, "coordinate": coordinate}[order["what"]](order))
            os._exit(0)
        print(child, flush=True)


if __name__ == "__main__":
    main()
