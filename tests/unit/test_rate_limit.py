"""The mirror of the server's sliding logs, held against an exact model of the server."""

import heapq
import math
import random
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioposthog_env.errors import ConfigurationError
from aioposthog_env.policy.rate_limit import HELD, SERVER_LIMITS, RateLimit, RateLimitState, SlidingLog, Slot

SMALL = (RateLimit(5, 10.0), RateLimit(12, 60.0))


class Server:
    """PostHog's throttle: both logs are asked for each request, each records what it lets through."""

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

    # 12 in the first minute, 12 in the second, the 25th when the third begins; slots are held 0.02 % longer.
    assert took == pytest.approx(120.0, rel=0.0003)


def test_a_slot_is_held_until_one_window_after_the_answer() -> None:
    state = RateLimitState([RateLimit(1, 10.0)])

    assert state.reserve(0.0) == 0.0
    assert state.reserve(1.0) == math.inf
    state.answered(3.0)
    assert state.reserve(4.0) == pytest.approx(9.0, abs=0.003)
    assert state.reserve(13.0) > 0.0
    assert state.reserve(13.003) == 0.0


@pytest.mark.parametrize("drift", [-1e-4, 1e-4])
def test_two_clocks_that_run_apart_by_a_crystals_error_cause_no_refusal(drift: float) -> None:
    state, server = RateLimitState(SERVER_LIMITS), Server(SERVER_LIMITS)
    now = 0.0
    for _ in range(10_000):  # into the third hour
        while (wait := state.reserve(now)) > 0:
            now += wait
        assert server.ask(1_000.0 + now * (1 + drift)), f"refused at {now}"
        state.answered(now)


def test_a_stamp_leaves_its_window_when_the_window_is_over() -> None:
    log = SlidingLog(RateLimit(10, 10.0))
    log.record(0.0, "interactive")

    assert log.bulk_wait(1.0, 8, 10) > log.wait(1.0, 8, 10) == 0.0
    assert (log.used(10.0 * HELD), log.seen(10.0 * HELD)) == (0, (0, 0))
    assert log.bulk_wait(11.0, 9, 10) == 0.0


def test_a_slot_that_nobody_had_to_wait_for() -> None:
    assert Slot(3.0) == Slot(at=3.0, waited=0.0, priority="bulk")


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

    assert state.wait(2.0, ahead=0) == pytest.approx(8.0, abs=0.003)
    assert state.wait(2.0, ahead=1) == pytest.approx(9.0, abs=0.003)


def test_a_queue_longer_than_the_window_takes_at_least_as_many_windows() -> None:
    state = RateLimitState([RateLimit(2, 10.0)])
    for at in (0.0, 1.0):
        state.reserve(at)
        state.answered(at)

    assert state.wait(2.0, ahead=2) == 10.0
    assert state.wait(2.0, ahead=7) == 30.0


def test_the_slowest_window_serves_a_long_queue() -> None:
    state = RateLimitState([RateLimit(2, 10.0), RateLimit(3, 60.0)])
    held(state, 2)

    assert state.wait(2.0, ahead=6) == 120.0  # three windows of the short one would be over in 30 s


def test_nobody_waits_as_somebody_interactive_unless_it_is_said() -> None:
    state = RateLimitState([RateLimit(4, 60.0)], kept_free=0.5)
    held(state, 2)

    assert state.wait(1.0) == state.wait(1.0, priority="bulk") > 0.0
    assert state.wait(1.0, priority="interactive") == 0.0


def test_behind_requests_in_flight_nothing_can_be_told() -> None:
    state = RateLimitState([RateLimit(2, 10.0)])
    state.reserve(0.0)
    state.reserve(0.0)

    assert state.wait(2.0) == math.inf
    assert state.wait(2.0, ahead=1) == math.inf


def held(state: RateLimitState, count: int, now: float = 0.0) -> None:
    """So many requests are let through at once."""
    for _ in range(count):
        assert state.reserve(now) == 0.0
        state.answered(now)


def refused(state: RateLimitState, now: float, wait: float) -> None:
    """One request is refused at once."""
    assert state.reserve(now) == 0.0
    state.refused(Slot(now), now, wait)


def room(state: RateLimitState, now: float) -> int:
    """How many may leave together; none of them does."""
    count = 0
    while state.reserve(now) == 0.0:
        count += 1
    for _ in range(count):
        state.not_sent()
    return count


def test_after_a_refusal_the_gate_closes_and_then_the_share_holds() -> None:
    state = RateLimitState([RateLimit(60, 60.0)])
    held(state, 20)
    refused(state, 1.0, 70.0)

    assert state.reserve(2.0) == pytest.approx(69.0)
    assert state.reserve(70.9) == pytest.approx(0.1)
    assert room(state, 71.0) == 18  # the twenty slots are free again, and nine tenths of them are the share
    assert state.refusals == 1
    assert state.rate() == pytest.approx(18 / 60)


def test_slots_of_the_others_are_not_taken_when_they_return() -> None:
    state = RateLimitState([RateLimit(60, 60.0)])
    held(state, 10)
    held(state, 10, now=40.0)
    refused(state, 50.0, 1.0)

    # The share is 18, of which 20 are in use until the first ten leave.
    assert state.reserve(51.0) == pytest.approx(3.0)  # the probe
    assert room(state, 54.0) == 1
    assert room(state, 60.1) == 8


def test_the_probe_begins_when_the_others_have_had_time_and_goes_one_at_a_time() -> None:
    state = RateLimitState([RateLimit(60, 60.0)])
    held(state, 20)
    refused(state, 0.0, 60.0)
    held(state, 18, now=61.0)

    assert state.reserve(62.9) == pytest.approx(0.1)
    assert state.reserve(63.0) == 0.0
    assert state.reserve(63.0) > 50.0  # own slots return then; an answer may come sooner
    state.answered(63.1)
    assert state.reserve(63.1) == 0.0
    state.answered(63.2)
    assert state.rate() == pytest.approx(20 / 60)  # what is won is kept


def test_the_probe_does_not_wait_for_own_slots_that_return_soon() -> None:
    state = RateLimitState([RateLimit(60, 60.0)])
    held(state, 20)
    refused(state, 0.0, 1.0)

    assert state.reserve(59.5) == 0.0  # the first own slot is back at 60


def test_what_is_won_widens_the_probe() -> None:
    state = RateLimitState([RateLimit(100, 60.0)])
    refused(state, 0.0, 1.0)
    held(state, 1, now=1.0)

    held(state, 31, now=4.0)
    assert room(state, 4.0) == 1
    held(state, 1, now=4.0)
    assert room(state, 4.0) == 2
    held(state, 32, now=4.0)
    assert room(state, 4.0) == 3


def test_a_share_that_grew_to_the_limit_is_forgotten() -> None:
    state = RateLimitState([RateLimit(50, 60.0)])
    refused(state, 0.0, 1.0)
    assert state.rate() == pytest.approx(1 / 60)
    held(state, 50, now=4.0)

    assert state.rate() == math.inf
    assert room(state, 64.1) == 50


def test_the_share_is_cut_by_news_only() -> None:
    state = RateLimitState([RateLimit(60, 60.0)])
    held(state, 20)
    for _ in range(3):
        assert state.reserve(1.0) == 0.0
    state.refused(Slot(1.0), 2.0, 58.0)
    rate = state.rate()
    state.refused(Slot(1.0), 2.1, 59.0)  # left before the cut: only its wait counts
    assert state.rate() == rate
    assert state.wait(3.0) == pytest.approx(58.1)
    state.answered(2.2)  # was let through, is in the window, and is no reason to take more
    assert state.rate() == rate

    held(state, 17, now=62.0)
    refused(state, 64.1, 1.0)  # the probe
    assert state.rate() < rate
    assert state.refusals == 3


def test_who_held_nothing_may_still_ask_for_one() -> None:
    state = RateLimitState([RateLimit(60, 60.0)])
    refused(state, 0.0, 10.0)

    assert room(state, 10.0) == 1


def test_a_wait_within_the_minute_is_taken_for_the_minute_and_charged_to_the_hour() -> None:
    state = RateLimitState(SMALL)
    held(state, 3)
    refused(state, 0.0, 10.0)

    minute, hour = state.logs
    assert (minute.used(0.0), minute.share) == (3, 2)
    assert (hour.used(0.0), hour.share) == (4, 12)


def test_a_long_wait_can_only_come_from_the_long_window() -> None:
    state = RateLimitState(SMALL)
    held(state, 4)
    refused(state, 0.0, 30.0)

    minute, hour = state.logs
    assert (minute.used(0.0), minute.share) == (5, 5)
    assert (hour.used(0.0), hour.share) == (4, 3)


def test_an_absurd_wait_is_taken_for_the_longest_window() -> None:
    state = RateLimitState(SMALL)
    refused(state, 0.0, 10_000.0)

    assert state.wait(0.0) == pytest.approx(10_000.0)
    assert state.logs[1].share == 1


@pytest.mark.parametrize(("count", "window"), [(0, 60), (10, 0), (-1, 60), (10, math.inf), (True, 60)])
def test_limits_that_make_no_sense_are_refused(count: int, window: float) -> None:
    with pytest.raises(ConfigurationError):
        RateLimit(count, window)


def test_no_limit_at_all_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="limiter=None"):
        RateLimitState([])


@pytest.mark.parametrize(
    ("answered", "in_flight", "calls", "seconds"),
    [
        ([], 0, 0, 0),
        ([], 0, 5, 0),
        ([], 0, 6, 10),
        ([], 0, 10, 10),
        ([], 0, 11, 20),
        ([], 0, 13, 60),
        ([1, 2, 3], 0, 2, 0),
        ([1, 2, 3], 0, 3, 1),
        ([1, 2, 3], 0, 4, 2),
        ([1, 2, 3], 0, 6, 10),
        ([1, 2, 3], 1, 1, 0),
        ([1, 2, 3], 1, 2, 1),
        ([1, 2, 3], 1, 4, 3),
        ([1, 2, 3], 1, 5, 10),
        ([1, 2, 3, 4, 5], 0, 1, 1),
        ([1, 2, 3, 4, 5], 0, 7, 12),
    ],
)
def test_the_least_time_follows_the_slots_that_come_back(
    answered: list[float], in_flight: int, calls: int, seconds: float
) -> None:
    state = RateLimitState(SMALL)
    for at in answered:
        state.reserve(at)
        state.answered(at)
    for _ in range(in_flight):
        state.reserve(10.0)
    assert state.least_time(10.0, calls) == pytest.approx(seconds, rel=0.005)


def test_the_least_time_knows_the_gate_and_the_share() -> None:
    state = RateLimitState(SMALL)
    for at in range(5):
        state.reserve(at)
        state.answered(at)
    slot = Slot(4.0)
    state.in_flight += 1
    state.refused(slot, 5.0, 7.0)  # leaves a share of 4, and the log holds 5
    assert state.least_time(5.0, 1) == pytest.approx(7.0)
    assert state.least_time(5.0, 4) == pytest.approx(9.0, rel=0.001)
    assert state.least_time(5.0, 5) == pytest.approx(16.0, rel=0.001)


@given(
    st.lists(st.floats(0.0, 30.0), max_size=30),
    st.integers(1, 40),
    st.sampled_from([(RateLimit(5, 10.0),), (RateLimit(12, 60.0),), SMALL]),
)
def test_no_run_is_faster_than_the_least_time(at: list[float], calls: int, limits: tuple[RateLimit, ...]) -> None:
    state = RateLimitState(limits)
    for time in sorted(at):
        if state.reserve(time) == 0:
            state.answered(time)
    now, told = 30.0, state.least_time(30.0, calls)
    for _ in range(calls):
        while (wait := state.reserve(now)) > 0:
            now += wait
        state.answered(now)
    if len(limits) == 1:
        assert now - 30.0 == pytest.approx(told, abs=1e-6)
    else:
        assert told <= now - 30.0 + 1e-6
