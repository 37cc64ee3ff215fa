"""The main job on an embedded PostHog: find the environments that keep IP addresses, and change that."""

from time import perf_counter

from aioposthog_env.auth import PersonalAPIKey
from aioposthog_env.bulk.outcome import Outcome
from aioposthog_env.bulk.run import BulkRun
from aioposthog_env.cli import DONE, PARTLY
from aioposthog_env.cli.output import Output
from aioposthog_env.cli.progress import Bar, Told, live
from aioposthog_env.environments import AsyncEnvironments
from aioposthog_env.limiter import RateLimiter
from aioposthog_env.models.environment import Environment
from aioposthog_env.models.settings import TeamSettings
from aioposthog_env.plural import counted
from aioposthog_env.policy.rate_limit import SERVER_LIMITS
from aioposthog_env.sandbox import Sandbox
from aioposthog_env.sandbox.eras import EraName
from aioposthog_env.telemetry import Event, RetryScheduled


async def demo(number: int, *, concurrency: int, era: EraName, json: bool) -> int:
    """List, read, change, and show what it took."""
    output = Output(json=json)
    retries: list[Event] = []
    began = perf_counter()
    async with Sandbox(number, era=era) as sandbox:
        key = PersonalAPIKey(sandbox.key("project:read", "project:write"))
        async with AsyncEnvironments(
            sandbox.url,
            auth=key,
            hooks=[lambda event: retries.append(event) if isinstance(event, RetryScheduled) else None],
        ) as environments:
            output.say(f"An embedded PostHog with {counted(number, 'environment')} listens at {sandbox.url}.")
            listed = [summary async for summary in environments.list()]
            if number * 1.4 > SERVER_LIMITS[0].count:
                limit = SERVER_LIMITS[0]
                output.say(f"PostHog takes {limit.count} calls in {limit.window:.0f} s, so this takes a few minutes.")
            reading = environments.each(listed, concurrency=concurrency).retrieve()
            read = await _watch(output, "reading", reading, len(listed), environments.limiter)
            lacking = [one.ref for one in read if one.value is not None and one.value.settings.anonymize_ips is not True]
            output.say(f"{len(lacking)} of {len(listed)} do not anonymize IP addresses; switching it on there.")
            change = TeamSettings(anonymize_ips=True)
            changing = environments.each(lacking, concurrency=concurrency).update(change)
            changed = await _watch(output, "changing", changing, len(lacking), environments.limiter)
        still = [one for one in sandbox.environment_ids if sandbox.environment(one).settings["anonymize_ips"] is not True]
        calls, refusals = len(sandbox.calls), sandbox.refusals
    counts = {
        "environments": len(read),
        "changed": sum(one.status == "succeeded" for one in changed),
        "still lacking it": len(still),
        "calls": calls,
        "refusals": refusals,
        "retries": len(retries),
        "seconds": round(perf_counter() - began, 1),
    }
    if json:
        output.data({name.replace(" ", "_"): value for name, value in counts.items()})
    else:
        output.table(("what", "how many"), list(counts.items()))
    bad = [one for one in (*read, *changed) if one.status != "succeeded"]
    for one in bad[:10]:
        output.say(f"{one.ref.id}: {one.error}")
    return PARTLY if bad or still or refusals else DONE


async def _watch(
    output: Output, what: str, run: BulkRun[Environment], total: int, limiter: RateLimiter | None
) -> list[Outcome[Environment]]:
    outcomes: list[Outcome[Environment]] = []
    bar = Bar(what, Told(total, calls_each=1), limiter)
    async with live(output, [bar]) as show, run as stream:
        async for outcome in stream:
            outcomes.append(outcome)
            show(bar, outcome)
    return outcomes
