"""The script in a real server, held against the pure rules on the same sequence of operations with injected time."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from aioposthog_env.policy.rate_limit import HELD, RateLimit
from aioposthog_env.shared_limit.script import LUA, MICROSECONDS, Reports, Timing, Told, keys, question, told
from tests.redis.model import SMALL, Model
from tests.redis.server import ValkeyProcess

TIMING = Timing(lease=7.0, latest=2.0, grace=1.0)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator["redis.Redis"]:
    with ValkeyProcess(tmp_path_factory.mktemp("valkey")) as process, process.ask() as client:
        yield client


class State:
    """The state in the server."""

    def __init__(self, server: "redis.Redis", limits: tuple[RateLimit, ...] = SMALL, kept_free: float = 0.0) -> None:
        server.flushall()
        self._run = server.register_script(LUA)
        self._limits = limits
        self._kept_free = kept_free
        self.epoch = ""

    def command(self, now: float, client: str = "a", **what: Any) -> Told:
        reports = {name: what.pop(name) for name in ("answered", "given_up", "refused") if name in what}
        argument = question(
            client=client,
            epoch=what.pop("epoch", self.epoch),
            new_epoch="one",
            limits=self._limits,
            kept_free=self._kept_free,
            timing=TIMING,
            known=what.pop("known", [0, 0]),
            reports=Reports(**reports),
            now=int(now),
            **what,
        )
        reply = told(self._run(keys=keys("{test}", len(self._limits)), args=[argument]))
        self.epoch = reply.epoch
        return reply


STEPS = st.lists(
    st.tuples(
        st.floats(0.0, 9.0),
        st.sampled_from("abc"),
        st.sampled_from(["ask", "ask", "ask", "answer", "answer", "answer", "again", "give up", "refuse", "renew", "late"]),
        st.integers(0, 30),
        st.sampled_from([1.0, 4.0, 10.0, 45.0]),
    ),
    max_size=60,
)


def ordered(members: list[str]) -> list[str]:
    return sorted(members, key=lambda member: member[0] != "i")


@settings(
    max_examples=120,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),  # shrinking would ask the server for minutes
)
@given(steps=STEPS, kept_free=st.sampled_from([0.0, 0.2]))
def test_the_script_decides_as_the_pure_rules_do(server: "redis.Redis", steps: list[Any], kept_free: float) -> None:
    play(server, steps, kept_free)


def play(server: "redis.Redis", steps: list[Any], kept_free: float) -> None:
    """Do the same to both, and compare all that is answered."""
    state, model, now = State(server, kept_free=kept_free), Model(SMALL, TIMING, kept_free), 1e9
    waiting: dict[str, list[str]] = {"a": [], "b": [], "c": []}
    granted: dict[str, float] = {}
    done: list[str] = []
    for number, (pause, client, step, which, wait) in enumerate(steps):
        now += round(pause * MICROSECONDS)
        model.begin(now)
        given_up, answered, refused, renewed, asked = [], [], [], [], []
        held = [member for member in granted if f":{client}:" in member]
        chosen = held[which % len(held)] if held else None
        if step == "give up" and waiting[client]:
            given_up = [waiting[client].pop(which % len(waiting[client]))]
        elif step in {"answer", "again", "late"} and chosen:
            answered = [chosen] if step != "again" else [chosen, chosen]
        elif step == "late" and done:
            answered = [done[which % len(done)]]  # told twice
        elif step == "refuse" and chosen:
            refused = [(chosen, granted[chosen], wait)]
        elif step == "renew":
            renewed = held
        elif step == "ask":
            waiting[client] += [f"{'i' if which % 3 == 0 else 'b'}:{client}:{number}.{one}" for one in range(which % 4)]
            asked = ordered(waiting[client])

        for member in renewed:
            model.renew(member, now)
        for member in given_up:
            model.give_up(member)
        for member in answered:
            model.answer(member, now)
        for member, at, seconds in refused:
            model.refuse(member, at, seconds * MICROSECONDS, now)
        expected = model.ask(client, asked, now)
        for member in [*answered, *(one for one, _, _ in refused)]:
            if granted.pop(member, None) is not None:
                done.append(member)

        reply = state.command(now, client, given_up=given_up, answered=answered, refused=refused, renewed=renewed, asked=asked)

        got = [one if one > 0 else one * MICROSECONDS for one in reply.granted]
        assert got == [one if one > 0 or one == -math.inf else pytest.approx(-math.ceil(-one)) for one in expected]
        for member, at in zip(asked, got, strict=True):
            if at > 0:
                granted[member] = at
                waiting[client].remove(member)
        pure = model.state
        assert reply.used == tuple(log.used(now) for log in pure.logs)
        assert reply.in_flight == pure.in_flight
        assert reply.shares == tuple(log.share for log in pure.logs)
        assert reply.refusals == pure.refusals
        assert reply.gate == pytest.approx(max(0.0, pure.not_before - now) / MICROSECONDS, abs=2e-6)


def test_asking_again_for_what_was_granted_takes_nothing_more(server: "redis.Redis") -> None:
    state = State(server)
    first = state.command(1e9, asked=["b:a:1", "b:a:2"])
    again = state.command(1e9 + 5, asked=["b:a:1", "b:a:2"])
    assert first.granted == again.granted == (1e9, 1e9)
    assert again.in_flight == 2


def test_a_slot_whose_process_died_is_free_a_window_after_its_lease(server: "redis.Redis") -> None:
    state = State(server, (RateLimit(1, 10.0), RateLimit(9, 60.0)))
    state.command(1e9, asked=["b:a:1"])
    free = 1e9 + (TIMING.lease + 10 * HELD) * MICROSECONDS
    assert state.command(free - 1e4, "b", asked=["b:b:1"]).granted[0] == pytest.approx(-0.01)
    assert state.command(free + 1, "b", asked=["b:b:1"]).granted[0] > 0


def test_who_does_not_come_back_loses_its_place_and_who_does_keeps_it(server: "redis.Redis") -> None:
    state = State(server, (RateLimit(1, 10.0), RateLimit(9, 60.0)))
    state.command(1e9, "x", asked=["b:x:1"])
    state.command(1e9, "x", answered=["b:x:1"])
    for client in "ab":
        state.command(1e9, client, asked=[f"b:{client}:1"])
    at = 1e9 + 10 * HELD * MICROSECONDS
    assert state.command(at - 2e6, "a", asked=["b:a:1"]).back == pytest.approx(2.0, abs=1e-5)
    assert state.command(at - 2e6, "b", asked=["b:b:1"]).granted == (-10.0,)
    assert state.command(at + 2e5, "b", asked=["b:b:1"]).granted[0] < 0  # the slot is free, and it is that of a
    late = at + 2e6
    assert state.command(late, "b", asked=["b:b:1"]).granted == (late,)


def test_who_finds_another_epoch_waits_one_shortest_window_and_says_what_it_saw(server: "redis.Redis") -> None:
    state = State(server)
    state.command(1e9, epoch="")
    noticed = state.command(1e9 + 2e6, "b", epoch="before", known=[4, 9], asked=["b:b:1"])
    assert noticed.gate == pytest.approx(10 * HELD - 2.0)
    assert noticed.used == (4, 9)
    assert noticed.granted[0] == pytest.approx(-noticed.gate)
    later = state.command(1e9 + 30e6, "c", epoch="before", known=[1, 11], asked=["b:c:1"])
    assert (later.gate, later.used, later.granted) == (0, (1, 11), (1e9 + 30e6,))  # says only what is news


def test_nothing_is_left_when_every_window_has_passed(server: "redis.Redis", tmp_path: Path) -> None:
    state = State(server)
    state.command(1e9, asked=[f"b:a:{one}" for one in range(9)])
    state.command(1e9, answered=["b:a:1"])
    longest = (60 * HELD + TIMING.lease) * 1.1
    for key in server.keys("{test}*"):
        assert 0 < server.pttl(key) / 1000 <= longest + 0.001
