"""The mirror of the server's sliding logs, held against an exact model of the server."""

import heapq
import math
import random
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioposthog_env.errors import ConfigurationError
from aioposthog_env.policy.rate_limit import RateLimit, RateLimitState, Slot

SMALL = (RateLimit(5, 10.0), RateLimit(12, 60.0))


class Server:
    """PostHog's throttle (contract 4.3): both logs are asked for each request, each records what it lets through."""

    def __init__(self, limits: tuple[RateLimit, ...]) -> None:
        self.logs: list[tuple[RateLimit, deque[float]]] = [(limit, deque()) for limit in limits]
        self.refused = 0

    def ask(self, now: float) -> bool:
        let_through = True
        for limit, stamps in self.logs:
            while stamps and stamps[0] <= now - limit.window:
                stamps.popleft()
            if len(stamps) >= limit.count:
                let_through = False
            else:
                stamps.append(now)
        self.refused += not let_through
        return let_through


def run(state: RateLimitState, server: Server, *, requests: int, rng: random.Random, longest: float) -> float:
    """Send as fast as the mirror allows, with latencies that the server's stamp falls somewhere into."""
    now = 0.0
    events: list[tuple[float, int, str]] = []  # stamps and answers to come
    left, number = requests, 0
    while left or events:
        if left:
            wait = state.reserve(now)
            if wait == 0:
                latency = rng.uniform(0.0, longest)
                stamped = now + rng.uniform(0.0, latency)
                number += 1
                heapq.heappush(events, (stamped, number, "stamp"))
                fate = "not sent" if rng.random() < 0.1 else "answer"
                if fate == "not sent":
                    events.remove((stamped, number, "stamp"))
                    heapq.heapify(events)
                heapq.heappush(events, (now + latency, number, fate))
                left -= 1
                continue
        else:
            wait = math.inf
        until = now + wait
        if events and events[0][0] <= until:
            now, _, what = heapq.heappop(events)
            if what == "stamp":
                assert server.ask(now), f"refused at {now}"
            elif what == "answer":
                state.answered(now)
            else:
                state.not_sent()
        else:
            assert until < math.inf, "starved: nothing in flight and no time to wait for"
            now = until
    return now


@settings(max_examples=60)
@given(seed=st.integers(), requests=st.integers(1, 120), longest=st.sampled_from([0.0, 0.2, 5.0, 15.0]))
def test_a_sole_user_is_never_refused_and_never_starves(seed: int, requests: int, longest: float) -> None:
    server = Server(SMALL)

    run(RateLimitState(SMALL), server, requests=requests, rng=random.Random(seed), longest=longest)

    assert server.refused == 0


def test_the_mirror_wastes_no_time() -> None:
    state, server = RateLimitState(SMALL), Server(SMALL)

    class NoLuck(random.Random):
        def random(self) -> float:
            return 1.0

    took = run(state, server, requests=25, rng=NoLuck(1), longest=0.0)

    # 12 in the first minute, 12 in the second, the 25th when the third begins.
    assert took == pytest.approx(120.0)


def test_a_slot_is_held_until_one_window_after_the_answer() -> None:
    state = RateLimitState([RateLimit(1, 10.0)])

    assert state.reserve(0.0) == 0.0
    assert state.reserve(1.0) == math.inf
    state.answered(3.0)
    assert state.reserve(4.0) == pytest.approx(9.0)
    assert state.reserve(13.0) == 0.0


def test_a_request_that_never_left_costs_nothing() -> None:
    state = RateLimitState([RateLimit(1, 10.0)])

    assert state.reserve(0.0) == 0.0
    state.not_sent()
    assert state.reserve(0.0) == 0.0


def test_the_queue_ahead_is_part_of_the_estimate() -> None:
    state = RateLimitState([RateLimit(2, 10.0)])
    for at in (0.0, 1.0):
        state.reserve(at)
        state.answered(at)

    assert state.wait(2.0, ahead=0) == pytest.approx(8.0)
    assert state.wait(2.0, ahead=1) == pytest.approx(9.0)
    assert state.wait(2.0, ahead=2) == math.inf


def test_after_a_refusal_the_gate_closes_and_then_the_pace_holds() -> None:
    state = RateLimitState([RateLimit(60, 60.0)])
    for _ in range(12):
        assert state.reserve(0.0) == 0.0
        state.answered(0.0)
    assert state.reserve(1.0) == 0.0
    state.refused(Slot(1.0), 1.0, 30.0)

    assert state.reserve(2.0) == pytest.approx(29.0)
    assert state.reserve(31.0) == 0.0
    # It had 12 in the window, a fifth of the limit: from now on one in about five seconds.
    assert state.reserve(31.0) == pytest.approx(5.0)
    assert state.refusals == 1


def test_the_pace_grows_back_to_none_and_is_cut_by_news_only() -> None:
    state = RateLimitState([RateLimit(60, 60.0)])
    for _ in range(10):
        state.reserve(0.0)
    for _ in range(8):
        state.answered(0.0)
    state.refused(Slot(0.0), 0.0, 10.0)
    rate = state.rate(10.0)
    state.refused(Slot(-1.0), 1.0, 10.0)  # left before the cut
    assert state.rate(10.0) == pytest.approx(rate)

    state.reserve(20.0)
    state.refused(Slot(20.0), 20.0, 1.0)
    assert state.rate(21.0) < rate
    assert state.rate(100.0) > state.rate(21.0)
    assert state.rate(3_600.0) == math.inf
    assert state.rate(3_601.0) == math.inf


def test_a_long_wait_can_only_come_from_the_long_window() -> None:
    state = RateLimitState(SMALL)
    for _ in range(4):
        state.reserve(0.0)
        state.answered(0.0)
    state.reserve(0.0)
    state.refused(Slot(0.0), 0.0, 30.0)

    assert state.rate(30.0) == pytest.approx(4 / 60)


def test_an_absurd_wait_is_taken_for_the_longest_window() -> None:
    state = RateLimitState(SMALL)
    state.reserve(0.0)
    state.refused(Slot(0.0), 0.0, 10_000.0)

    assert state.wait(0.0) == pytest.approx(10_000.0)
    assert state.rate(10_000.0) == pytest.approx(1 / 60)


@pytest.mark.parametrize(("count", "window"), [(0, 60), (10, 0), (-1, 60), (10, math.inf), (True, 60)])
def test_limits_that_make_no_sense_are_refused(count: int, window: float) -> None:
    with pytest.raises(ConfigurationError):
        RateLimit(count, window)


def test_no_limit_at_all_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="limiter=None"):
        RateLimitState([])
