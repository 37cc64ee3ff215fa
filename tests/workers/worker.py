"""A worker process of the tests: quick retries, short settle times."""

import asyncio
import os
import signal
import sys

from aioposthog_env import AsyncEnvironments, RetryPolicy, SessionCookie, Timeout
from aioposthog_env.workers import work_forever

POLICY = RetryPolicy(first_wait=0.01, settle=0.5, settle_after_500=0.5, resend_after_settle=True)
TIMEOUT = Timeout(connect=2, read=2, total=2)


async def main(url: str, redis: str, lease: float, concurrency: int) -> None:
    auth = SessionCookie(os.environ["SESSION_ID"], os.environ["CSRF_TOKEN"])
    async with AsyncEnvironments(url, auth=auth, retry=POLICY, timeout=TIMEOUT, routes="project") as environments:
        working = asyncio.create_task(work_forever(environments, redis, lease=lease, concurrency=concurrency))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, working.cancel)
        print("ready", flush=True)
        await asyncio.wait([working])


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])))
