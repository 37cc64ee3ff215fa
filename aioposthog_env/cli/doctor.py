"""What ``doctor`` does: whether host, credential and limits are as the work ahead needs them. Sends no write."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import attrs

from aioposthog_env.access import AccessReport
from aioposthog_env.cli import DONE, ERROR, PARTLY
from aioposthog_env.cli.app import Connection
from aioposthog_env.cli.commands import connect
from aioposthog_env.cli.output import Output
from aioposthog_env.environments import AsyncEnvironments
from aioposthog_env.errors import (
    AuthenticationError,
    NotSentError,
    PermissionDeniedError,
    PostHogEnvError,
    ScopeError,
    TransportError,
)
from aioposthog_env.telemetry import DeprecationSeen, Event, StyleFound

Level: TypeAlias = Literal["ok", "warning", "problem"]


@attrs.frozen
class Finding:
    """One thing that was looked at, and what to do where it is not well."""

    level: Level
    what: str
    remedy: str = ""


async def doctor(connection: Connection, ids: Sequence[int]) -> int:
    """Look at everything, and say what to do."""
    output, events = Output(json=connection.json), list[Event]()
    async with connect(connection, session=True, hooks=[events.append]) as environments:
        findings = [Finding("ok", f"the host is {environments.host}")]
        reached, seen = await _reach(environments)
        findings += seen
        if reached:
            report = await environments.check_access(of=ids)
            findings += [*_style(environments, events), *_access(report), *_limits(environments)]
    if connection.json:
        output.data([attrs.asdict(one) for one in findings])
    else:
        output.table(("", "finding", "what to do"), [(one.level, one.what, one.remedy) for one in findings])
    if not reached:
        return ERROR
    return PARTLY if any(one.level == "problem" for one in findings) else DONE


async def _reach(environments: AsyncEnvironments) -> tuple[bool, list[Finding]]:
    """Whether the host answers this credential."""
    try:
        found = [one async for one in environments.list()]
    except AuthenticationError as error:
        remedy = "Make a new key, or give the host of the region that issued it: us or eu. A key is valid in one region only."
        return False, [Finding("problem", str(error), remedy)]
    except (NotSentError, TransportError) as error:
        return False, [Finding("problem", str(error), "Check the host, the network, and a proxy in between.")]
    except (PermissionDeniedError, ScopeError) as error:
        # A key that is limited to projects is refused here, and works elsewhere.
        remedy = "Name the environments by id. To select by name or condition, use a key without limits."
        return True, [Finding("warning", f"it cannot list environments: {error}", remedy)]
    except PostHogEnvError as error:
        return False, [Finding("problem", str(error), "Is this PostHog? Try the address in a browser.")]
    return True, [Finding("ok", f"the credential is valid and sees {len(found)} environments")]


def _style(environments: AsyncEnvironments, events: Sequence[Event]) -> list[Finding]:
    found = [Finding("ok", f"the generation of PostHog is {environments.era.value}")]
    if styles := sorted({event.style for event in events if isinstance(event, StyleFound)}):
        found.append(Finding("ok", f"environments are served in the URL style {', '.join(styles)}"))
    found += [
        Finding("warning", f"{event.path} is announced to end ({event.sunset or 'no date'})", "None: the successor is used.")
        for event in events
        if isinstance(event, DeprecationSeen)
    ]
    return found


def _access(report: AccessReport) -> list[Finding]:
    scopes = "not known; the server decides" if report.scopes is None else ", ".join(sorted(report.scopes)) or "none"
    found = [Finding("ok", f"it is a {report.credential}; scopes: {scopes}")]
    for verdict, level in (("allowed", "ok"), ("unknown", "warning"), ("refused", "warning")):
        named = [one for one in report.endpoints if one.verdict == verdict]
        if named:
            remedy = "" if verdict == "allowed" else named[0].reason
            found.append(Finding(level, f"{verdict}: {', '.join(one.endpoint for one in named)}", remedy))  # type: ignore[arg-type]
    for environment in report.environments:
        if environment.readable:
            role = {True: "an admin", False: "no admin", None: "of unknown role"}[environment.admin]
            found.append(Finding("ok", f"environment {environment.ref.id} can be read; the caller is {role} there"))
        else:
            remedy = "Check the id, and whether the credential reaches it."
            found.append(Finding("problem", f"environment {environment.ref.id}: {environment.error}", remedy))
    return found


def _limits(environments: AsyncEnvironments) -> list[Finding]:
    limiter = environments.limiter
    if limiter is None:
        return [Finding("ok", "PostHog does not limit this kind of credential")]
    used = [f"{count} of {limit.count} in {limit.window:.0f} s" for limit, count in limiter.statistics().used]
    remedy = "What other programs use of this key is not known until PostHog refuses a request."
    return [Finding("ok", f"used by this command: {', '.join(used)}", remedy)]
