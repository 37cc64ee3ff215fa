"""The limiter against an exact model of the server, with the real retry decision, on a virtual clock."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioposthog_env.limiter import RateLimiter
from benchmarks.rate_limit_model import Scenario, least, play, steadily


@settings(max_examples=12, deadline=None)
@given(
    calls=st.integers(1, 700),
    seed=st.integers(0, 2**32),
    shortest=st.sampled_from([0.0, 0.01, 0.05]),
    longest=st.sampled_from([0.05, 0.2, 3.0]),
    spikes=st.sampled_from([0.0, 0.02]),
    cancelled=st.sampled_from([0.0, 0.1, 0.5]),
    drift=st.sampled_from([-1e-4, 0.0, 1e-4]),
    concurrency=st.integers(1, 64),
)
def test_a_sole_user_is_never_refused(
    calls: int, seed: int, shortest: float, longest: float, spikes: float, cancelled: float, drift: float, concurrency: int
) -> None:
    scenario = Scenario(
        name="sole", latency=(shortest, longest), spikes=spikes, cancelled=cancelled, drift=drift, concurrency=concurrency
    )

    assert play(RateLimiter, scenario, calls, seed).refusals == 0


def test_a_sole_user_loses_next_to_no_time() -> None:
    for run in (play(RateLimiter, Scenario(name="sole"), 1_000, seed) for seed in range(2)):
        assert run.refusals == 0
        assert run.least == pytest.approx(120.0)
        assert run.efficiency >= 0.995


@pytest.mark.parametrize(
    ("scenario", "refusals", "efficiency"),
    [
        (Scenario(name="two at once", clients=2), 80, 0.96),
        (Scenario(name="four at once", clients=4), 140, 0.96),
        (Scenario(name="four, one after the other", clients=4, stagger=30.0), 140, 0.9),
        (Scenario(name="another program", other=steadily(1.0)), 20, 0.96),
    ],
    ids=lambda value: value.name if isinstance(value, Scenario) else None,
)
def test_clients_that_do_not_know_of_each_other_share_the_key(scenario: Scenario, refusals: int, efficiency: float) -> None:
    for seed in range(2):
        run = play(RateLimiter, scenario, 1_000, seed)

        # The first refusals cannot be avoided: each client has up to 32 requests under way when the window is full.
        assert 0 < run.refusals <= refusals
        assert run.efficiency >= efficiency


def test_a_fresh_process_that_meets_a_full_window_loses_seconds() -> None:
    run = play(
        RateLimiter, Scenario(name="plan, then apply in another process", other=lambda: iter([0.0] * 480)), 1_000, seed=1
    )

    # Its first requests are refused; what is possible from there is 60, 120 and 180 s.
    assert run.refusals <= 32
    assert 180 <= run.seconds <= 195


def test_in_the_long_run_a_full_log_costs_about_one_refusal_per_client_and_minute() -> None:
    run = play(RateLimiter, Scenario(name="four", clients=4), 4_000, seed=1)

    # Nine windows, four clients, and what was under way when the first was full.
    assert run.refusals <= 32 * 4 + 2 * 9 * 4


def test_the_least_possible_time_is_that_of_the_two_logs() -> None:
    assert [least(calls) for calls in (480, 481, 4_800, 4_801, 20_000)] == pytest.approx([0, 60, 540, 3_600, 14_460])

    def sixty_at_once() -> Iterator[float]:
        return iter([30.0] * 60)

    assert least(960, sixty_at_once) == pytest.approx(60.0)  # the other comes too late for the first window, and is refused
