"""What ``doctor`` does: whether host, credential and limits are as the work ahead needs them. Sends no write."""

import contextlib
import os
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, TypeAlias

import attrs

from aioposthog_env.access import AccessReport
from aioposthog_env.api import calls
from aioposthog_env.api.endpoints import CREATE, DELETE, LIST, RETRIEVE, UPDATE, Endpoint, Target
from aioposthog_env.api.routes import Place, RouteMemory
from aioposthog_env.auth import REGIONS
from aioposthog_env.cli import DONE, ERROR, PARTLY
from aioposthog_env.cli.arguments import Connection
from aioposthog_env.cli.connect import connect, has_key, has_session
from aioposthog_env.cli.output import Output
from aioposthog_env.environments import AsyncEnvironments
from aioposthog_env.errors import (
    AuthenticationError,
    ConfigurationError,
    NotSentError,
    PermissionDeniedError,
    PostHogEnvError,
    ScopeError,
    TransportError,
)
from aioposthog_env.models.keys import KeyInfo
from aioposthog_env.plural import counted
from aioposthog_env.policy.retry_after import http_date
from aioposthog_env.session import PostHogSession
from aioposthog_env.telemetry import DeprecationSeen, Event

Level: TypeAlias = Literal["ok", "warning", "problem"]

_SKEW: Final = timedelta(seconds=30)
"""More than this between the two clocks is told. Ages of plans and of backups are held against the server's."""


@attrs.frozen
class Finding:
    """One thing that was looked at, and what to do where it is not well."""

    level: Level
    what: str
    remedy: str = ""


async def doctor(connection: Connection, ids: Sequence[int], *, other_region: bool = False) -> int:
    """Look at everything, with the key and with the session where both are at hand, and say what to do."""
    output, findings, reached = Output(json=connection.json), list[tuple[str, Finding]](), list[bool]()
    for name in connection.profiles or (None,):
        seen = list[Finding]()
        at = replace(connection, profile=name)
        with_session = has_session(at)
        if has_key(at) or not with_session:
            reached.append(await _examine(at, ids, seen, session=False, other_region=other_region))
        if with_session:
            reached.append(await _examine(at, ids, seen, session=True, other_region=other_region))
        findings += [(name or "", one) for one in dict.fromkeys(seen)]
    several = len(connection.profiles) > 1
    if connection.json:
        output.data([{**({"profile": name} if several else {}), **attrs.asdict(one)} for name, one in findings])
    else:
        rows = [(*((name,) if several else ()), one.level, one.what, one.remedy) for name, one in findings]
        output.table((*(("profile",) if several else ()), "", "finding", "what to do"), rows)
    if not any(reached):
        return ERROR
    return PARTLY if any(one.level == "problem" for _, one in findings) else DONE


async def _examine(
    connection: Connection, ids: Sequence[int], findings: list[Finding], *, session: bool, other_region: bool
) -> bool:
    """Look with one credential; whether anything could be asked with it."""
    events = list[Event]()
    async with AsyncExitStack() as stack:
        try:
            environments = await stack.enter_async_context(connect(connection, session=session, hooks=[events.append]))
        except PostHogEnvError as error:
            if connection.profile is None or connection.host is not None or connection.sandbox:
                raise
            findings.append(Finding("problem", str(error), "See to the credential of the profile: aioposthog-env config check"))
            return False
        findings.append(Finding("ok", f"the host is {environments.host}"))
        reached, one, seen = await _reach(environments)
        if not reached:
            findings += seen + _proxy()
            if other_region:
                findings += await _other_region(environments)
            return False
        # The generation and the style are known only now, and come first in what is shown.
        report = await environments.check_access(of=ids)
        if not ids and one is not None:
            with contextlib.suppress(PostHogEnvError):
                await environments.retrieve(one)  # a read finds out the URL style of calls to one environment
        described = await _clock_and_key(environments, report)
        findings += [
            *described,
            *_generation(environments, events),
            *_styles(_session(environments).routes, ids or (one,)),
            *seen,
        ]
        findings += [*_access(report), *_limits(environments)]
        return True


async def _reach(environments: AsyncEnvironments) -> tuple[bool, int | None, list[Finding]]:
    """Whether the host answers this credential, and the id of the first environment that it sees."""
    kind = _session(environments).credential.kind
    try:
        found = [one async for one in environments.list()]
    except AuthenticationError as error:
        remedy = "Make a new key, or give the host of the region that issued it: us or eu. A key is valid in one region only."
        if environments.host in REGIONS.values():
            remedy += " --other-region asks the other one, which sends the key there."
        return False, None, [Finding("problem", f"{kind}: {error}", remedy)]
    except (NotSentError, TransportError) as error:
        return False, None, [Finding("problem", str(error), "Check the host, the network, and a proxy in between.")]
    except (PermissionDeniedError, ScopeError) as error:
        # A key that is limited to projects is refused here, and works elsewhere.
        remedy = "Name the environments by id. To select by name or condition, use a key without limits."
        return True, None, [Finding("warning", f"the {kind} cannot list environments: {error}", remedy)]
    except PostHogEnvError as error:
        return False, None, [Finding("problem", str(error), "Is this PostHog? Try the address in a browser.")]
    first = found[0].id if found else None
    return True, first, [Finding("ok", f"the {kind} is valid and sees {counted(len(found), 'environment')}")]


def _session(environments: AsyncEnvironments) -> PostHogSession:
    return environments.each(()).session


async def _other_region(environments: AsyncEnvironments) -> list[Finding]:
    """Whether PostHog Cloud's other region takes the credential."""
    found: list[Finding] = []
    for name, origin in REGIONS.items():
        if environments.host not in REGIONS.values() or origin == environments.host:
            continue
        async with AsyncEnvironments(origin, auth=_session(environments).credential) as other:
            reached, _, seen = await _reach(other)
        remedy = f"Give the host as {name}." if reached else "Neither region takes it: make a new one."
        found.append(Finding("ok" if reached else "problem", f"{origin}: {seen[0].what}", remedy))
    return found


def _proxy() -> list[Finding]:
    """A proxy that the variables name, which the client does not take from there."""
    names = [name for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy") if os.environ.get(name)]
    if not names:
        return []
    return [Finding("warning", f"{names[0]} names a proxy, which these commands do not use", "Allow the host to be reached.")]


async def _clock_and_key(environments: AsyncEnvironments, report: AccessReport) -> list[Finding]:
    """How far the clocks are apart, and what a personal API key's own record says of it."""
    session, before = _session(environments), datetime.now(UTC)
    try:
        if report.credential == "personal API key":
            key = await session.call(calls.current_key(), Place())
            return [_clock(key.date, before), *_described(key.value)]
    except PostHogEnvError:
        pass  # servers of 2024 and 2025 do not show a key its record
    try:
        return [_clock((await session.call(calls.list_page(limit=1, offset=0, search=None), Place())).date, before)]
    except PostHogEnvError:
        return []


def _clock(date: str | None, before: datetime) -> Finding:
    apart = skew(date, before, datetime.now(UTC))
    if apart is None:
        return Finding("warning", "the server does not tell its time", "Ages of plans are measured by this machine alone.")
    if abs(apart) <= _SKEW:
        return Finding("ok", "the clocks of this machine and of the server agree")
    ahead = "ahead of" if apart > timedelta(0) else "behind"
    told = f"the server's clock is {abs(apart).total_seconds():.0f} s {ahead} this machine's"
    return Finding("warning", told, "Set the clock: ages of plans and of backups are wrong by as much.")


def skew(date: str | None, before: datetime, after: datetime) -> timedelta | None:
    """How far a server's clock is ahead; None where its header ``Date`` does not tell.

    Args:
        date: The header, in whole seconds.
        before: When the request was sent.
        after: When its answer was there. What lies within the two, or within that second, counts as no difference.
    """
    told = http_date(date)
    if told is None:
        return None
    if told > after:
        return told - after
    return min(timedelta(0), told + timedelta(seconds=1) - before)


def _described(key: KeyInfo) -> list[Finding]:
    found = [Finding("ok", f"the key is called {key.label!r}")] if isinstance(key.label, str) else []
    for what, limits in (("projects", key.scoped_teams), ("organizations", key.scoped_organizations)):
        if isinstance(limits, list) and limits:
            named = ", ".join(map(str, limits))
            remedy = "" if what == "projects" else "PostHog holds this against the organization its owner last looked at."
            found.append(Finding("warning", f"the key is limited to {what if len(limits) > 1 else what[:-1]} {named}", remedy))
    return found


def _generation(environments: AsyncEnvironments, events: Sequence[Event]) -> list[Finding]:
    found = [Finding("ok", f"the generation of PostHog is {environments.era.value}")]
    found += [
        Finding(
            "warning",
            f"{event.path} is announced to end ({event.sunset or 'no date'})",
            "Nothing; the client uses its successor.",
        )
        for event in events
        if isinstance(event, DeprecationSeen)
    ]
    return found


def _styles(routes: RouteMemory, ids: Sequence[int | None]) -> list[Finding]:
    """The URL style that each kind of call uses, on one environment where it acts on one."""
    known, refused = list[str](), list[Finding]()
    for name, endpoint in _KINDS.items():
        place = Place() if endpoint.target is Target.COLLECTION else Place(environment_id=ids[0])
        try:
            style = routes.style_for(endpoint, place)
        except ConfigurationError as error:
            refused.append(Finding("warning", f"{name} has no URL style on this host", str(error)))
        else:
            known.append(f"{name} {style or 'not known yet'}")
    return [Finding("ok", f"URL style of calls: {', '.join(known)}"), *refused]


_KINDS: Final[Mapping[str, Endpoint]] = {"list": LIST, "read": RETRIEVE, "write": UPDATE, "delete": DELETE, "create": CREATE}
"""The calls whose URL styles may differ."""


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
