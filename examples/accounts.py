"""Several accounts at once: the same setting at hosts and accounts that have a key each, one journal, one report.

    POSTHOG_KEY_US=phx_… POSTHOG_KEY_EU=phx_… python examples/accounts.py

A client has its own rate limit, so the accounts go on side by side. A plain task group is all it takes.
"""

import asyncio
import os

import anyio

from aioposthog_env import AsyncEnvironments, BulkReport, Environment, Journal, PersonalAPIKey, TeamSettings

ACCOUNTS = {"us": "POSTHOG_KEY_US", "eu": "POSTHOG_KEY_EU"}
"""Hosts, and the variables that hold the keys."""

WANTED = TeamSettings(anonymize_ips=True)


async def main(accounts: dict[str, str] = ACCOUNTS, journal: str = "accounts.db") -> BulkReport[Environment]:
    # One file, open while any of the runs goes on; each run has a name of its own in it.
    shared, reports = Journal(journal), dict[str, BulkReport[Environment]]()

    async def run(host: str, variable: str) -> None:
        async with AsyncEnvironments(host, auth=PersonalAPIKey(os.environ[variable])) as environments:
            refs = [summary.ref async for summary in environments.list()]
            reports[host] = await environments.each(refs, journal=shared, run=host).update(WANTED)

    async with anyio.create_task_group() as group:
        for host, variable in accounts.items():
            group.start_soon(run, host, variable)
    report = BulkReport.merge(reports)
    print(report)
    for host, part in report.parts.items():
        print(f"{host}: {part}")
    return report


if __name__ == "__main__":
    asyncio.run(main())
