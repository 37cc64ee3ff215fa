"""What bulk calls leave to interactive ones."""

from typing import Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aioposthog_env.errors import ConfigurationError
from aioposthog_env.policy.priority import Priority, kept_free
from aioposthog_env.policy.rate_limit import HELD, SERVER_LIMITS, RateLimit, RateLimitState, SlidingLog, Slot


@pytest.mark.parametrize(
    ("seen", "recent", "most", "always", "kept"),
    [
        (0, 0, 480, 0.0, 0),  # a bulk run alone loses nothing
        (1, 0, 480, 0.0, 1),
        (3, 0, 480, 0.0, 3),
        (5, 0, 480, 0.0, 5),
        (20, 0, 480, 0.0, 5),  # 1 % is the floor of what was seen
        (9, 0, 101, 0.0, 3),
        (2, 0, 101, 0.0, 2),  # rounded up
        (40, 0, 480, 0.0, 10),  # and a quarter of more
        (40, 10, 480, 0.0, 10),  # steady: what comes takes what comes back
        (10, 10, 480, 0.0, 35),  # the first quarter of it: thirty more are to come
        (40, 20, 480, 0.0, 50),  # twice as many as before
        (470, 0, 480, 0.0, 118),
        (0, 0, 480, 0.02, 10),
        (100, 0, 480, 0.02, 25),
        (0, 0, 480, 0.5, 240),
        (100, 100, 480, 0.0, 240),
        (9, 0, 10, 0.0, 3),
        (9, 0, 4, 0.5, 2),
        (1, 1, 1, 0.5, 0),  # bulk calls are never shut out
    ],
)
def test_how_many_slots_are_kept_free(seen: int, recent: int, most: int, always: float, kept: int) -> None:
    assert kept_free(seen, recent, most, always) == kept
    assert always or kept_free(seen, recent, most) == kept


def room(state: RateLimitState, now: float) -> tuple[int, int]:
    """How many bulk requests fit, and how many interactive ones beside them."""
    taken = [0, 0]
    for number, priority in enumerate(("bulk", "interactive")):
        while state.reserve(now, "bulk" if priority == "bulk" else "interactive") == 0.0:
            taken[number] += 1
    for _ in range(sum(taken)):
        state.not_sent()
    return taken[0], taken[1]


def test_bulk_requests_leave_to_interactive_ones_what_these_have_used_of_late() -> None:
    state = RateLimitState([RateLimit(100, 60.0), RateLimit(500, 600.0)])
    assert room(state, 0.0) == (100, 0)
    for _ in range(8):
        state.reserve(0.0, "interactive")
        state.answered(0.0, "interactive")

    assert room(state, 1.0) == (66, 26)  # at this pace 24 more come within the minute, and two to spare
    assert room(state, 16.0) == (90, 2)
    assert room(state, 61.0) == (100, 0)  # forgotten by the minute, kept in mind by the long window
    assert state.logs[1].seen(61.0) == (8, 8)
    assert state.logs[1].seen(151.0) == (8, 0)
    assert state.logs[1].seen(601.0) == (0, 0)


def test_of_what_was_seen_no_more_is_kept_than_a_window_holds() -> None:
    state = RateLimitState([RateLimit(100, 60.0)])
    for second in range(1_000):
        state.reserve(float(second), "interactive")
        state.answered(float(second), "interactive")

    log = state.logs[0]
    assert (len(log._interactive), len(log._recent)) == (61, 16)
    assert log.seen(999.0) == (61, 16)


def test_a_request_that_the_minute_refused_is_interactive_in_the_other_window() -> None:
    state = RateLimitState([RateLimit(100, 60.0), RateLimit(500, 600.0)])
    state.reserve(0.0, "interactive")
    state.refused(Slot(0.0, priority="interactive"), 0.0, 10.0)

    assert [log.seen(1.0) for log in state.logs] == [(0, 0), (1, 1)]


def test_beyond_the_share_bulk_requests_leave_slots_as_well() -> None:
    state = RateLimitState([RateLimit(4, 60.0)], kept_free=0.25)
    state.reserve(0.0)
    state.refused(Slot(0.0), 0.0, 1.0)  # the share is 1 now

    for _ in range(3):
        assert state.reserve(10.0) == 0.0
        state.answered(10.0)
    assert state.reserve(10.0) > 0.0
    assert state.reserve(10.0, "interactive") == 0.0


def test_bulk_requests_wait_no_longer_than_the_interactive_ones_are_recent() -> None:
    state = RateLimitState(SERVER_LIMITS)
    for number in range(248):  # as a script does that changes many and looks at 62 of them one by one
        priority: Priority = "bulk" if number < 186 else "interactive"
        while (wait := state.reserve(number / 100, priority)) > 0:
            assert wait < 15.0
        state.answered(number / 100, priority)

    assert 13.0 < state.wait(3.0, ahead=30) < 15.0  # where 62 in 15 s may become 248 in a minute
    assert state.wait(17.0, ahead=30) == 0.0


ONE: Final = "interactive"
BULK: Final = "bulk"


@settings(max_examples=500)
@example([(10.0, ONE), *[(11.0, ONE)] * 8, *[(11.0, BULK)] * 3], 6, 0.0)  # one leaves the window, and less is kept free
@example([(11.0, BULK), (41.0, BULK), (60.0, ONE), (63.0, ONE), (65.0, ONE)], 5, 0.0)  # a slot comes back first
@example(
    [(12.0, BULK), (19.0, BULK), (30.0, BULK), (56.0, ONE), (58.0, ONE), (60.0, ONE), (63.0, ONE)], 4, 0.2
)  # after one has left
@given(
    stamps=st.lists(st.tuples(st.floats(0.0, 70.0), st.sampled_from(["interactive", "bulk"])), max_size=40),
    taken=st.integers(0, 6),
    always=st.sampled_from([0.0, 0.2]),
)
def test_a_bulk_request_that_asks_earlier_than_it_was_told_waits_on(
    stamps: list[tuple[float, Priority]], taken: int, always: float
) -> None:
    log = SlidingLog(RateLimit(20, 60.0), always)
    for at, priority in sorted(stamps):
        log.record(at, priority)
    wait = log.bulk_wait(70.0, taken, 20)
    assert wait <= max(0.0, log.wait(70.0, taken, 10))
    leaving = sorted({at + part * 60.0 * HELD for at, _ in stamps for part in (0.25, 1.0)})
    for moment in leaving:
        if 70.0 <= moment < 70.0 + wait - 1e-6:
            assert log.bulk_wait(moment, taken, 20) > 0


@pytest.mark.parametrize("part", [-0.1, 0.6])
def test_a_part_that_makes_no_sense_is_refused(part: float) -> None:
    with pytest.raises(ConfigurationError, match="kept_free"):
        RateLimitState(kept_free=part)
