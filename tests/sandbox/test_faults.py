"""Each fault: what the client sees, and what effect the server counted."""

import asyncio
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import attrs
import pytest

from aioposthog_env import (
    NotSentError,
    OutcomeUnknownError,
    PermissionDeniedError,
    PostHogEnvError,
    RetryPolicy,
    Sandbox,
    TeamSettings,
    ThrottledError,
    Timeout,
)
from aioposthog_env.sandbox import FAULTS, Throttle
from aioposthog_env.sandbox.faults import Fault, FaultPlan, named_fault
from tests.conftest import QUICK, connect, logged_in
from tests.sandbox.test_server import calling

ONCE = attrs.evolve(RetryPolicy.disabled(), read_back=False)

SEEN: dict[str, tuple[int | type[Exception], int]] = {
    # what a client that repeats nothing sees of a token call, and how often the token was reset
    "drop_unread": (OutcomeUnknownError, 0),
    "drop_midway": (OutcomeUnknownError, 0),
    "drop_after_effect": (OutcomeUnknownError, 1),
    "500_after_effect": (OutcomeUnknownError, 1),
    "502_after_effect": (OutcomeUnknownError, 1),
    "504_after_effect": (OutcomeUnknownError, 1),
    "500_before_effect": (OutcomeUnknownError, 0),
    "502_before_effect": (OutcomeUnknownError, 0),
    "delay_before_effect": (200, 1),
    "delay_after_effect": (200, 1),
    "truncate": (OutcomeUnknownError, 1),
    "stall": (OutcomeUnknownError, 1),
    "wrong_length": (OutcomeUnknownError, 1),
    "html": (OutcomeUnknownError, 1),
    "bad_json": (OutcomeUnknownError, 1),
    "bad_utf8": (OutcomeUnknownError, 1),
    # PostHog never throttles a session, so these prove nothing.
    "throttle": (OutcomeUnknownError, 0),
    "throttle_without_wait": (OutcomeUnknownError, 0),
    "database_unavailable": (ThrottledError, 0),
    "close_idle": (200, 1),
    "redirect_same_origin": (OutcomeUnknownError, 0),
    "redirect_other_origin": (OutcomeUnknownError, 0),
}


def test_every_fault_is_tried() -> None:
    assert set(SEEN) == set(FAULTS)


@pytest.mark.parametrize("name", SEEN)
@pytest.mark.parametrize("era", ["2024-10", "2025-11", "current"])
async def test_what_the_client_sees_and_what_the_server_counted(era: Any, name: str) -> None:
    seen, effects = SEEN[name]
    short = {"after": 0.05} if name in {"stall", "delay_after_effect"} else {"before": 0.05} if "delay" in name else {}
    async with Sandbox(2, era=era) as sandbox, logged_in(sandbox, retry=ONCE, routes="root") as environments:
        sandbox.fault(name, "reset_token", **short)
        if seen == 200:
            assert (await environments.reset_token(1)).api_token is not None
        else:
            assert isinstance(seen, type)
            with pytest.raises(seen):
                await environments.reset_token(1)
        assert sandbox.effects["reset_token", 1] == effects
        usual = environments.with_options(retry=QUICK)  # a connection that closes just now costs a read one repeat
        assert (await usual.retrieve(2)).id == 2


@pytest.mark.parametrize("name", sorted(set(FAULTS) - {"redirect_other_origin"}))
async def test_a_call_that_may_be_repeated_survives_every_fault(name: str) -> None:
    short = {"after": 0.05} if name == "stall" else {}
    headers = {"headers": {"Retry-After": "0"}} if name in {"throttle", "database_unavailable"} else {}
    async with Sandbox(1) as sandbox, connect(sandbox, routes="project", enforce_scopes=False) as environments:
        sandbox.fault(name, "update", **short, **headers)
        if name in {"html", "bad_json", "bad_utf8"}:
            with pytest.raises(
                PostHogEnvError, match=r"update of environment 1.*has probably taken effect; calling again is safe"
            ):
                await environments.update(1, TeamSettings(timezone="Europe/Berlin"))
        else:
            updated = await environments.update(1, TeamSettings(timezone="Europe/Berlin"))
            assert updated.settings.timezone == "Europe/Berlin"
        assert sandbox.effects["setting timezone", 1] == 1


async def test_another_origin_is_never_asked() -> None:
    async with Sandbox(1) as other, Sandbox(1) as sandbox, connect(sandbox, routes="project") as environments:
        sandbox.fault("redirect_other_origin", "retrieve", headers={"Location": f"{other.url}/api/projects/1/"})
        with pytest.raises(PostHogEnvError, match="was not followed"):
            await environments.retrieve(1)
        assert other.calls == []


async def test_refused_connections() -> None:
    async with Sandbox(1) as sandbox, connect(sandbox, routes="project", retry=ONCE) as environments:
        async with sandbox.refusing_connections():
            with pytest.raises(NotSentError):
                await _retrieve_once(sandbox)
        assert (await environments.retrieve(1)).id == 1


async def _retrieve_once(sandbox: Sandbox) -> None:
    """Over a new connection, in one attempt."""
    async with connect(sandbox, retry=ONCE, enforce_scopes=False, timeout=Timeout(connect=1)) as environments:
        await environments.retrieve(1)


async def test_a_kept_alive_connection_that_closes_while_idle_costs_nothing() -> None:
    async with Sandbox(1) as sandbox, connect(sandbox, routes="project", enforce_scopes=False) as environments:
        sandbox.fault("close_idle", times=20)
        for _ in range(10):
            assert (await environments.retrieve(1)).id == 1


async def test_how_often_and_how_likely() -> None:
    async with calling(1, throttle=False) as (sandbox, call):
        key = sandbox.key()

        async def statuses(count: int) -> list[int]:
            return [(await call("GET", "/api/projects/1/", key)).status for _ in range(count)]

        sandbox.fault("500_before_effect", times=2)
        assert await statuses(3) == [500, 500, 200]
        sandbox.fault("502_before_effect", "update")
        assert await statuses(1) == [200]
        sandbox.fault("502_before_effect", times=None)
        assert await statuses(5) == [502] * 5
        sandbox.clear_faults()
        sandbox.fault("502_before_effect", times=None, probability=0.3)
        assert 10 <= (await statuses(100)).count(502) <= 60


def test_a_script_is_met_in_its_order_and_a_seed_repeats_it() -> None:
    def script() -> list[str | None]:
        plan = FaultPlan(random.Random(5))
        plan.add(named_fault("stall", endpoint="update", probability=0.5, times=3))
        plan.add(named_fault("drop_unread", endpoint=None, times=2))
        met = [plan.meet("update") for _ in range(20)]
        return [None if fault is None else fault.wire for fault in met]

    first = script()
    assert first == script()
    assert first.count("stall") == 3
    assert first.count("drop unread") == 2


def test_what_is_no_fault() -> None:
    with pytest.raises(ValueError, match="There is no fault 'flood'"):
        named_fault("flood")
    with pytest.raises(ValueError, match="at most 30 s"):
        named_fault("stall", after=31)
    assert Fault().wire == "whole"


async def test_the_race_of_the_real_throttle() -> None:
    async with calling(1, throttle=Throttle(minute=(10, 60.0), race=True)) as (sandbox, call):
        key = sandbox.key()
        for _ in range(8):
            await call("GET", "/api/projects/1/", key)
        statuses = await _at_once(call, key, 8)
        assert statuses.count(200) > 2
        assert (await call("GET", "/api/projects/1/", key)).status == 429


async def _at_once(call: Any, key: str, count: int) -> list[int]:
    answers = await asyncio.gather(*(call("GET", "/api/projects/1/", key) for _ in range(count)))
    return [answer.status for answer in answers]


async def test_a_plain_client_meets_them_too() -> None:
    async with calling(1) as (sandbox, call):
        sandbox.fault("truncate")
        with pytest.raises(aiohttp.ClientPayloadError):
            await call("GET", "/api/projects/1/", sandbox.key())
        sandbox.fault("throttle_without_wait")
        refused = await call("GET", "/api/projects/1/", sandbox.key())
        assert refused.status == 429
        assert "Retry-After" not in refused.headers


async def test_where_client_and_sandbox_disagree_it_is_seen() -> None:
    """Three deliberate disagreements: the sandbox judges by its own rules."""
    async with Sandbox(1) as sandbox, connect(sandbox) as environments:
        # The client lets any time zone pass, because servers differ; the sandbox knows the real names.
        with pytest.raises(PostHogEnvError, match="is not a valid choice"):
            await environments.update(1, TeamSettings(timezone="Mars/Base"))
        # The client sends a setting of 2025 to a server of 2026, which ignores it.
        with pytest.raises(PostHogEnvError, match="did not take"):
            await environments.update(1, TeamSettings(slack_incoming_webhook="https://hooks.example/x"))
        # The client lets a member's key try; the sandbox asks for an admin.
        async with connect(sandbox, user=sandbox.member) as member:
            with pytest.raises(PermissionDeniedError, match="Only project admins"):
                await member.update(1, TeamSettings(timezone="UTC", anonymize_ips=True))


async def test_the_client_never_deletes_a_project_by_accident() -> None:
    for era in ("2024-10", "2025-11"):
        async with Sandbox(4, era=era, environments_per_project=4) as sandbox, connect(sandbox) as environments:
            await environments.delete(2)
            assert sandbox.environment_ids == [1, 3, 4]
            assert {call.path for call in sandbox.calls if call.verb == "DELETE"} == {"/api/environments/2/"}


@pytest.mark.parametrize("endpoint", ["updat", "PATCH", ""])
def test_an_endpoint_that_is_not_there_is_no_place_for_a_fault(endpoint: str) -> None:
    sandbox = Sandbox(1)
    plans: tuple[Callable[[], None], ...] = (
        lambda: sandbox.fault("drop_unread", endpoint),
        lambda: sandbox.answer_next(endpoint, 500),
        lambda: sandbox.drop_next(endpoint),
    )
    for plan in plans:
        with pytest.raises(ValueError, match=rf"There is no endpoint '{endpoint}'; there are list, .*update.*None for any"):
            plan()
    assert sandbox.pending_faults == 0


def test_the_faults_of_the_docs_are_those_of_the_code() -> None:
    docs = (Path(__file__).parents[2] / "docs" / "sandbox.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| (yes|no) \|", docs, re.M)
    stated = {name: effect == "yes" for names, effect in rows for name in re.findall(r"`(\w+)`", names)}
    assert stated == {name: fault.get("effect", True) for name, fault in FAULTS.items()}
