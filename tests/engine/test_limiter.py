"""The rate limiter under a virtual clock."""

import asyncio
from typing import Any

import anyio
import pytest

from aioposthog_env import (
    AsyncEnvironments,
    ConfigurationError,
    PersonalAPIKey,
    RateLimit,
    RateLimiter,
    RateLimitWaitTooLong,
    TeamSettings,
)
from aioposthog_env.limiter import shared_limiter
from aioposthog_env.policy.priority import Priority
from aioposthog_env.policy.rate_limit import Slot
from aioposthog_env.sandbox import Sandbox
from tests.conftest import oauth_of, session_of

pytestmark = pytest.mark.looptime

TWO_IN_TEN = (RateLimit(2, 10.0),)


async def take(limiter: RateLimiter, seconds: float = 0.0, **options: Any) -> float:
    """Send one request that takes some seconds. Gives the time at which it left."""
    slot = await limiter.acquire(**options)
    await asyncio.sleep(seconds)
    limiter.answered(slot)
    return slot.at


async def test_a_free_slot_is_given_at_once_and_the_next_after_a_window_has_passed_since_the_answer() -> None:
    limiter = RateLimiter(TWO_IN_TEN)
    began = anyio.current_time()
    first, second, third = [await take(limiter, 1.0) for _ in range(3)]

    assert first - began == 0
    assert second - began == pytest.approx(1)
    assert third - began == pytest.approx(11, abs=0.01)


async def test_first_come_first_served() -> None:
    limiter = RateLimiter(TWO_IN_TEN)
    order: list[int] = []

    async def one(number: int) -> None:
        await take(limiter)
        order.append(number)

    async with anyio.create_task_group() as tasks:
        for number in range(9):
            tasks.start_soon(one, number)
            await asyncio.sleep(0)
    assert order == list(range(9))


async def test_a_cancelled_waiter_leaves_no_trace() -> None:
    limiter = RateLimiter((RateLimit(1, 10.0),))
    await take(limiter)
    began = anyio.current_time()
    with anyio.move_on_after(3):
        await limiter.acquire()
    assert limiter.statistics().waiting == 0
    assert limiter.statistics().in_flight == 0
    assert await take(limiter) - began == pytest.approx(10, abs=0.01)


async def test_a_cancelled_waiter_in_the_queue_lets_those_behind_it_pass() -> None:
    limiter = RateLimiter((RateLimit(1, 10.0),))
    await take(limiter)
    began = anyio.current_time()
    first, second, third = (asyncio.create_task(take(limiter)) for _ in range(3))
    await asyncio.sleep(1)
    second.cancel()
    assert await first - began == pytest.approx(10, abs=0.01)
    assert await third - began == pytest.approx(20, abs=0.02)
    with pytest.raises(asyncio.CancelledError):
        await second


async def test_a_wait_beyond_the_ceiling_is_an_error_that_carries_the_time() -> None:
    limiter = RateLimiter(TWO_IN_TEN)
    await take(limiter)
    await take(limiter)
    with pytest.raises(RateLimitWaitTooLong) as caught:
        await limiter.acquire(ceiling=5)
    assert caught.value.retry_after == pytest.approx(10, abs=0.003)
    assert caught.value.ceiling == 5
    assert limiter.statistics().waiting == 0


async def test_those_who_wait_already_count_for_the_ceiling() -> None:
    limiter = RateLimiter((RateLimit(1, 10.0),))
    await take(limiter)
    waiting = asyncio.create_task(take(limiter))
    await asyncio.sleep(0)
    with pytest.raises(RateLimitWaitTooLong):
        await limiter.acquire(ceiling=15)
    await waiting


async def test_a_queue_too_long_for_the_ceiling_is_refused_at_once() -> None:
    limiter = RateLimiter((RateLimit(1, 10.0),))
    await take(limiter)
    queue = [asyncio.create_task(take(limiter)) for _ in range(4)]
    await asyncio.sleep(0)
    with pytest.raises(RateLimitWaitTooLong) as caught:
        await limiter.acquire(ceiling=35)
    assert caught.value.retry_after == pytest.approx(40)
    for task in queue:
        task.cancel()


async def test_a_refusal_closes_the_gate_for_everybody() -> None:
    limiter = RateLimiter((RateLimit(100, 60.0),))
    slot = await limiter.acquire()
    limiter.refused(slot, 7.0)
    began = anyio.current_time()
    assert limiter.statistics().gate == pytest.approx(7)
    assert limiter.statistics().refusals == 1
    assert await take(limiter) - began == pytest.approx(7, abs=0.01)


async def test_a_gate_that_closes_while_others_wait_holds_them_too() -> None:
    limiter = RateLimiter(TWO_IN_TEN)
    await take(limiter)
    slot = await limiter.acquire()
    began = anyio.current_time()
    waiting = asyncio.create_task(take(limiter))
    await asyncio.sleep(1)
    limiter.refused(slot, 30.0)
    assert await waiting - began >= 31


async def test_a_request_that_never_left_costs_nothing() -> None:
    limiter = RateLimiter((RateLimit(1, 10.0),))
    began = anyio.current_time()
    slot = await limiter.acquire()
    waiting = asyncio.create_task(take(limiter))
    await asyncio.sleep(1)
    limiter.not_sent(slot)
    assert await waiting - began == pytest.approx(1, abs=0.01)


async def test_interactive_calls_go_before_bulk_ones_that_came_first() -> None:
    limiter = RateLimiter((RateLimit(1, 10.0),))
    await take(limiter)
    order: list[str] = []

    async def one(name: str, priority: str) -> None:
        await take(limiter, priority=priority)
        order.append(name)

    async with anyio.create_task_group() as tasks:
        for name in ("bulk 1", "bulk 2", "single 1", "single 2"):
            tasks.start_soon(one, name, "bulk" if "bulk" in name else "interactive")
            await asyncio.sleep(1)
        assert limiter.statistics().waiting == 4
    assert order == ["single 1", "single 2", "bulk 1", "bulk 2"]


async def test_a_cancelled_interactive_waiter_lets_the_bulk_ones_pass() -> None:
    limiter = RateLimiter((RateLimit(1, 10.0),))
    held = await limiter.acquire()
    bulk = asyncio.create_task(take(limiter))
    single = asyncio.create_task(take(limiter, priority="interactive"))
    await asyncio.sleep(1)
    single.cancel()
    await asyncio.sleep(1)
    began = anyio.current_time()
    limiter.not_sent(held)
    assert await bulk - began == pytest.approx(0, abs=0.01)


async def test_bulk_calls_that_wait_behind_interactive_ones_keep_to_their_ceiling() -> None:
    limiter = RateLimiter((RateLimit(1, 10.0),))
    await take(limiter)
    bulk = asyncio.create_task(take(limiter, ceiling=15))
    single = [asyncio.create_task(take(limiter, priority="interactive")) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(RateLimitWaitTooLong):
        await bulk
    for task in single:
        task.cancel()


async def test_bulk_calls_leave_slots_to_interactive_ones_once_such_were_seen() -> None:
    limiter = RateLimiter((RateLimit(20, 10.0),))
    began = anyio.current_time()
    await take(limiter, priority="interactive")
    left = await asyncio.gather(*(take(limiter) for _ in range(19)))
    # Four such calls are to be expected in this window, of which three are to come, and one is to spare.
    assert sum(at == began for at in left) == 15


async def test_single_calls_are_interactive_and_those_of_runs_are_bulk_unless_told_otherwise() -> None:
    class Watched(RateLimiter):
        async def acquire(self, *, ceiling: float | None = None, priority: Priority = "bulk") -> Slot:
            seen.append(priority)
            raise RateLimitWaitTooLong(retry_after=1, ceiling=1)

    seen: list[str] = []
    key = PersonalAPIKey("phx_" + "a" * 40, scopes=["*"])
    async with AsyncEnvironments("http://127.0.0.1:1", auth=key, limiter=Watched(), routes="root") as environments:
        changed = environments.with_options(priority="interactive")
        for client in (environments, environments.with_options(priority="bulk")):
            with pytest.raises(RateLimitWaitTooLong):
                await client.retrieve(1)
        for client in (environments, changed):
            await client.each([1]).retrieve()
        await environments.plan(TeamSettings(name="x"), [1])
    assert seen == ["interactive", "bulk", "bulk", "interactive", "bulk"]


async def test_statistics() -> None:
    limiter = RateLimiter((RateLimit(2, 10.0), RateLimit(5, 100.0)))
    await take(limiter)
    await limiter.acquire()
    waiting = asyncio.create_task(take(limiter))
    await asyncio.sleep(0)
    statistics = limiter.statistics()
    assert statistics.used == ((RateLimit(2, 10.0), 2), (RateLimit(5, 100.0), 2))
    assert (statistics.in_flight, statistics.waiting, statistics.acquired) == (1, 1, 2)
    assert (statistics.gate, statistics.pace, statistics.refusals) == (0, None, 0)
    waiting.cancel()


async def test_the_pace_is_what_the_share_amounts_to() -> None:
    limiter = RateLimiter((RateLimit(100, 60.0),))
    for _ in range(20):
        await take(limiter)
    limiter.refused(await limiter.acquire(), 7.0)
    assert limiter.statistics().pace == pytest.approx(18 / 60)


async def test_no_limit_at_all_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="limiter=None"):
        RateLimiter(())


async def test_clients_with_the_same_key_at_the_same_host_share_one_limiter() -> None:
    key, other = PersonalAPIKey("phx_" + "a" * 40), PersonalAPIKey("phx_" + "b" * 40)
    async with (
        AsyncEnvironments("http://127.0.0.1:1", auth=key) as one,
        AsyncEnvironments("http://127.0.0.1:1", auth=key) as two,
        AsyncEnvironments("http://127.0.0.1:1", auth=other) as three,
        AsyncEnvironments("http://127.0.0.1:2", auth=key) as four,
    ):
        assert one.limiter is not None
        assert one.limiter is two.limiter
        assert len({id(client.limiter) for client in (one, two, three, four)}) == 3
    assert one.limiter is None


async def test_a_shared_limiter_is_kept_while_used_and_forgotten_an_hour_after() -> None:
    limiter = shared_limiter("host", "digest")
    await limiter.join("identity")
    await asyncio.sleep(7_300)
    assert shared_limiter("host", "digest") is limiter
    await limiter.leave()
    await asyncio.sleep(3_500)
    assert shared_limiter("host", "digest") is limiter
    await asyncio.sleep(3_700)
    assert shared_limiter("other", "digest") is not limiter
    assert shared_limiter("host", "digest") is not limiter


async def test_sessions_and_oauth_tokens_have_no_limiter_unless_one_is_given() -> None:
    sandbox = Sandbox(1)
    own = RateLimiter()
    for auth in (oauth_of(sandbox), session_of(sandbox)):
        async with AsyncEnvironments("http://127.0.0.1:1", auth=auth) as environments:
            assert environments.limiter is None
        async with AsyncEnvironments("http://127.0.0.1:1", auth=auth, limiter=own) as environments:
            assert environments.limiter is own
