"""A bulk operator's script: no environment keeps IP addresses, recorded in a journal, and with a page to show around.

    POSTHOG_HOST=eu POSTHOG_PERSONAL_API_KEY=phx_… python examples/operator.py

Start it again after a crash: it goes on where it stopped.
"""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from aioposthog_env import AsyncEnvironments, Plan, Selection, TeamSettings, Where
from aioposthog_env.reports import Report, write_report
from aioposthog_env.reports.requests import RequestLog
from aioposthog_env.reports.rows import rows_of


async def main() -> None:
    log, started = RequestLog(), datetime.now(UTC)
    async with AsyncEnvironments(hooks=[log.hook("PostHog")]) as environments:
        path = Path("anonymize.plan.json")
        if path.exists():  # the plan of the run that is to go on
            plan = Plan.load(path)
        else:
            selected = await environments.select(Selection(where=Where.parse("not anonymize_ips and not is_demo")))
            plan = await environments.plan(TeamSettings(anonymize_ips=True), [one.ref for one in selected])
            plan.save(path)
        print(plan)
        report = await environments.apply(plan, journal="anonymize.db", canary=3, stop_after_failures=5)
        print(report)
        page = Report(
            title="Anonymize IP addresses",
            command="examples/operator.py",
            started=started,
            seconds=report.seconds,
            hosts=(environments.host,),
            rows=rows_of(report, environments.host, plan=plan),
            requests=log.marks,
        )
        write_report(page, "anonymize.md")
    report.raise_for_failures()


if __name__ == "__main__":
    asyncio.run(main())
