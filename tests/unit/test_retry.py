"""The retry decision, row by row and as properties."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from aioposthog_env.api.endpoints import Repeat
from aioposthog_env.errors import ConfigurationError
from aioposthog_env.policy.delivery import (
    Answered,
    Delivery,
    Failed,
    Lost,
    NotSent,
    Redirected,
    Refused,
    Reply,
    Throttled,
    classify,
)
from aioposthog_env.policy.retry import Again, Attempts, GiveUp, Jitter, ReadBack, RetryBudget, RetryPolicy, Return, decide


def reply(status: int, body: bytes = b"{}", **headers: str) -> Reply:
    return Reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


def longest(bound: float) -> float:
    """Jitter at its upper end."""
    return bound


def shortest(bound: float) -> float:
    """Jitter at its lower end."""
    return 0.0


DATABASE_UNAVAILABLE = b'{"type":"server_error","code":"database_unavailable","detail":"","attr":null}'


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (reply(200), Answered),
        (reply(101), Failed),
        (reply(201), Answered),
        (reply(204), Answered),
        (reply(299), Answered),
        (reply(300), Refused),
        (reply(301), Refused),
        (reply(307), Redirected),
        (reply(308), Redirected),
        (reply(400), Refused),
        (reply(401), Refused),
        (reply(404), Refused),
        (reply(408), Failed),
        (reply(409), Refused),
        (reply(429), Throttled),
        (reply(500), Failed),
        (reply(502), Failed),
        (reply(503), Failed),
        (reply(503, DATABASE_UNAVAILABLE), Throttled),
        (reply(504), Failed),
    ],
)
def test_answers_are_sorted_by_status(answer: Reply, kind: type[Delivery]) -> None:
    assert isinstance(classify(answer), kind)


def test_retry_after_is_read_into_the_delivery() -> None:
    delivery = classify(reply(429, Retry_After="27"))

    assert isinstance(delivery, Throttled)
    assert delivery.retry_after == 27.0


def test_a_date_to_wait_for_is_read_against_the_date_of_the_same_answer() -> None:
    delivery = classify(reply(429, Retry_After="Tue, 24 Nov 2026 10:00:27 GMT", Date="Tue, 24 Nov 2026 10:00:00 GMT"))

    assert delivery == Throttled(delivery.reply, 27.0, genuine=False)  # type: ignore[union-attr]


THROTTLED = b'{"type":"throttled_error","code":"throttled","detail":"Request was throttled.","attr":null}'
DENIED = b'{"type":"authentication_error","code":"permission_denied","detail":"No.","attr":null}'


@pytest.mark.parametrize(
    ("answer", "limited", "genuine"),
    [
        (reply(429, THROTTLED), True, True),
        (reply(429, THROTTLED), False, False),  # PostHog never throttles a session
        (reply(429, b"<html>Too Many Requests</html>"), True, False),
        (reply(429, DENIED), True, False),
        (reply(503, DATABASE_UNAVAILABLE), False, True),
        (reply(503, b'the text "database_unavailable" on a page'), True, False),
        (reply(500, DATABASE_UNAVAILABLE), True, True),
        (reply(502, b""), True, False),
        (reply(403, DENIED), True, True),
        (reply(403, b"<html>Forbidden</html>"), True, False),
        (reply(302, b""), True, False),
    ],
)
def test_only_posthogs_own_error_is_genuine(answer: Reply, limited: bool, genuine: bool) -> None:
    delivery = classify(answer, limited=limited)

    assert isinstance(delivery, Throttled | Failed | Refused)
    assert delivery.genuine is genuine


@pytest.mark.parametrize(
    ("delivery", "repeatable"),
    [
        (Throttled(reply(429), 3.0, genuine=False), Again),
        (Refused(reply(403), genuine=False), GiveUp),
        (Redirected(reply(307)), GiveUp),
    ],
)
def test_a_no_of_a_proxy_is_read_back_for_a_call_that_must_run_only_once(delivery: Delivery, repeatable: type[object]) -> None:
    assert decide(delivery, repeat=Repeat.NEVER, attempts=Attempts(sent=1), policy=RetryPolicy()) == ReadBack()
    for repeat in (Repeat.SAFE, Repeat.ABSORBING):
        assert isinstance(decide(delivery, repeat=repeat, attempts=Attempts(sent=1), policy=RetryPolicy()), repeatable)


def test_all_values_of_a_header_that_came_more_than_once() -> None:
    several = Reply(200, CIMultiDict([("Set-Cookie", "a=1"), ("set-cookie", "b=2")]), b"")

    assert several.all("Set-Cookie") == ["a=1", "b=2"]
    assert several.all("Link") == []
    assert reply(200, Link="next").all("Link") == ["next"]
    assert reply(200).all("Link") == []


ONCE = Attempts(sent=1)
SAFE, ABSORBING, NEVER = Repeat.SAFE, Repeat.ABSORBING, Repeat.NEVER
POLICY = RetryPolicy()


@pytest.mark.parametrize("repeat", [SAFE, ABSORBING, NEVER])
@pytest.mark.parametrize(
    ("delivery", "kind"),
    [
        (Answered(reply(200)), Return),
        (Refused(reply(400)), GiveUp),
        (NotSent("refused"), Again),
        (NotSent("not trusted", certificate=True), GiveUp),
        (Throttled(reply(429), 3.0), Again),
        (Throttled(reply(429), None), Again),
    ],
)
def test_what_follows_is_the_same_for_all_endpoints_where_no_handler_ran(
    delivery: Delivery, kind: type[object], repeat: Repeat
) -> None:
    assert isinstance(decide(delivery, repeat=repeat, attempts=ONCE, policy=POLICY), kind)


@pytest.mark.parametrize("delivery", [Lost("dropped"), Failed(reply(408)), Failed(reply(500)), Failed(reply(504))])
def test_a_lost_answer_is_repeated_only_where_repeating_is_safe(delivery: Delivery) -> None:
    assert isinstance(decide(delivery, repeat=SAFE, attempts=ONCE, policy=POLICY), Again)
    assert isinstance(decide(delivery, repeat=ABSORBING, attempts=ONCE, policy=POLICY), Again)
    assert isinstance(decide(delivery, repeat=NEVER, attempts=ONCE, policy=POLICY), ReadBack)


def test_a_body_that_is_too_large_is_not_asked_for_again() -> None:
    assert decide(Lost("too large", final=True), repeat=SAFE, attempts=ONCE, policy=POLICY) == GiveUp()


@pytest.mark.parametrize(
    ("delivery", "attempts", "goes_on"),
    [
        (NotSent("refused"), Attempts(sent=4), True),
        (NotSent("refused"), Attempts(sent=5), False),
        (Lost("dropped"), Attempts(sent=4), True),
        (Lost("dropped"), Attempts(sent=5), False),
        (Failed(reply(500)), Attempts(sent=2, server_errors=2), True),
        (Failed(reply(500)), Attempts(sent=3, server_errors=3), False),
        (Failed(reply(500)), Attempts(sent=5, server_errors=1), False),
        (Throttled(reply(429), 1.0), Attempts(refusals=19), True),
        (Throttled(reply(429), 1.0), Attempts(refusals=20), False),
    ],
)
def test_every_kind_of_repeat_is_bounded(delivery: Delivery, attempts: Attempts, *, goes_on: bool) -> None:
    decision = decide(delivery, repeat=SAFE, attempts=attempts, policy=POLICY)
    assert isinstance(decision, Again if goes_on else GiveUp)


@pytest.mark.parametrize(
    ("delivery", "reason", "asked"),
    [
        (Throttled(reply(429), 3.0), "throttled", True),
        (NotSent("refused"), "not sent", False),
        (Lost("dropped"), "lost", False),
        (Failed(reply(503)), "status 503", False),
    ],
)
def test_what_is_paid_from_the_budget_is_what_the_server_did_not_ask_for(
    delivery: Delivery, reason: str, *, asked: bool
) -> None:
    decision = decide(delivery, repeat=SAFE, attempts=Attempts(sent=1, refusals=1), policy=POLICY)

    assert isinstance(decision, Again)
    assert (decision.reason, decision.asked, decision.costs) == (reason, asked, not asked)


def test_waits_double_up_to_the_longest_and_jitter_is_full() -> None:
    policy = RetryPolicy(max_attempts=10, first_wait=1.0, longest_wait=5.0)

    def wait(sent: int, jitter: object) -> float:
        decision = decide(
            Lost("dropped"),
            repeat=SAFE,
            attempts=Attempts(sent=sent),
            policy=policy,
            jitter=jitter,  # type: ignore[arg-type]
        )
        assert isinstance(decision, Again)
        return decision.wait

    assert [wait(sent, longest) for sent in (1, 2, 3, 4, 5)] == [1.0, 2.0, 4.0, 5.0, 5.0]
    assert wait(3, shortest) == 0.0


@given(retry_after=st.floats(0, 10_000), refusals=st.integers(1, 19), share=st.floats(0, 1))
def test_retry_after_is_a_minimum_that_jitter_only_adds_to(retry_after: float, refusals: int, share: float) -> None:
    decision = decide(
        Throttled(reply(429), retry_after),
        repeat=NEVER,
        attempts=Attempts(refusals=refusals),
        policy=POLICY,
        jitter=lambda bound: bound * share,
    )

    assert isinstance(decision, Again)
    assert retry_after <= decision.wait <= retry_after + max(1.0, retry_after * 0.1)
    assert decision.asked
    assert not decision.costs


@pytest.mark.parametrize(
    ("retry_after", "refusals", "longest_wait"),
    [
        (0.0, 1, 0.5),  # the jitter of the first wait
        (2.0, 5, 3.0),  # a second at most after a short wait
        (60.0, 10, 66.0),  # a tenth after a long one
        (None, 5, 8.0),  # what was not said is waited as after any loss
    ],
)
def test_many_that_were_refused_at_once_do_not_come_back_at_once(
    retry_after: float | None, refusals: int, longest_wait: float
) -> None:
    def wait(jitter: Jitter) -> float:
        attempts = Attempts(refusals=refusals)
        decision = decide(Throttled(reply(429), retry_after), repeat=SAFE, attempts=attempts, policy=POLICY, jitter=jitter)
        assert isinstance(decision, Again)
        return decision.wait

    assert wait(shortest) == (retry_after or 0.0)
    assert wait(longest) == pytest.approx(longest_wait)


def test_disabled_sends_once_whatever_comes_back() -> None:
    off = RetryPolicy.disabled()

    for delivery in (NotSent("x"), Lost("x"), Failed(reply(500)), Throttled(reply(429), 1.0)):
        attempts = Attempts()
        attempts.count(delivery)
        assert decide(delivery, repeat=SAFE, attempts=attempts, policy=off) == GiveUp()


def test_attempts_remember_whether_something_may_have_happened() -> None:
    attempts, other = Attempts(), Attempts()
    for harmless in (NotSent("x"), Throttled(reply(429), 1.0), Refused(reply(400))):
        attempts.count(harmless)
    assert not attempts.uncertain

    other.count(Lost("x"))
    assert other.uncertain
    assert (attempts.sent, attempts.refusals) == (2, 1)


@pytest.mark.parametrize(
    ("delivery", "counted"),
    [
        (Answered(reply(200)), Attempts(sent=1)),
        (Refused(reply(400)), Attempts(sent=1)),
        (NotSent("x"), Attempts(sent=1)),
        (Lost("x"), Attempts(sent=1, uncertain=True, lost=True)),
        (Failed(reply(500)), Attempts(sent=1, server_errors=1, uncertain=True, lost=True)),
        (Throttled(reply(429), 1.0), Attempts(refusals=1)),
        (Throttled(reply(429), 1.0, genuine=False), Attempts(refusals=1, uncertain=True)),
        (Refused(reply(400), genuine=False), Attempts(sent=1, uncertain=True)),
        (Redirected(reply(307)), Attempts(uncertain=True)),
    ],
)
def test_each_delivery_counts_for_the_bounds_that_it_uses_up(delivery: Delivery, counted: Attempts) -> None:
    attempts = Attempts(sent=0, server_errors=0, refusals=0)
    attempts.count(delivery)

    assert attempts == counted
    assert Attempts() == Attempts(sent=0, server_errors=0, refusals=0)


def test_a_hundred_repeats_are_paid_and_then_ten_successes_each() -> None:
    budget = RetryBudget()

    assert sum(budget.spend() for _ in range(200)) == 100
    for _ in range(101):
        budget.give_back()
    assert sum(budget.spend() for _ in range(200)) == 10


def test_the_budget_runs_out_and_successes_refill_it() -> None:
    budget = RetryBudget(capacity=2.0, refund=0.5)

    assert [budget.spend() for _ in range(3)] == [True, True, False]
    for _ in range(2):
        budget.give_back()
    assert [budget.spend() for _ in range(2)] == [True, False]
    for _ in range(100):
        budget.give_back()
    assert budget.left == 2.0


@pytest.mark.parametrize("figure", ["max_attempts", "first_wait", "wait_ceiling", "deadline"])
@pytest.mark.parametrize("value", [0, -1, True])
def test_a_policy_refuses_figures_that_make_no_sense(figure: str, value: float) -> None:
    with pytest.raises(ConfigurationError, match=figure):
        RetryPolicy(**{figure: value})  # type: ignore[arg-type]
