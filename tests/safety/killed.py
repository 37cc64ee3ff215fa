"""What the kill test runs: apply a plan, rotate all secrets; both recorded, both resumed however often it is killed."""

import asyncio
import os
import sys
from pathlib import Path

from aioposthog_env import AsyncEnvironments, Journal, Plan, RetryPolicy, SessionCookie

POLICY = RetryPolicy(first_wait=0.01, settle=0.5, settle_after_500=0.5, resend_after_settle=True)


async def main(url: str, folder: Path) -> None:
    auth = SessionCookie(os.environ["SESSION_ID"], os.environ["CSRF_TOKEN"])
    plan, journal = Plan.load(folder / "plan.json"), Journal(folder / "run.db")
    async with AsyncEnvironments(url, auth=auth, retry=POLICY, routes="project") as environments:
        applied = await environments.apply(plan, journal=journal, run="apply", concurrency=4)
        applied.raise_for_failures()
        refs = [one.ref for one in plan]
        each = environments.each(refs, journal=journal, run="rotate", concurrency=4)
        (await each.rotate_secret_token(sink=folder / "secrets.jsonl")).raise_for_failures()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
