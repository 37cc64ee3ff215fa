"""The shared limiter's script as plain Python, on top of the pure rules that the limiter of one process uses."""

import math
from collections.abc import Sequence
from typing import Final

from aioposthog_env.policy.priority import Priority
from aioposthog_env.policy.rate_limit import HELD, RateLimit, RateLimitState, Slot
from aioposthog_env.shared_limit.script import MICROSECONDS, Timing

SMALL: Final = (RateLimit(5, 10.0), RateLimit(12, 60.0))


def in_microseconds(limits: Sequence[RateLimit]) -> list[RateLimit]:
    return [RateLimit(limit.count, limit.window * MICROSECONDS) for limit in limits]


def priority_of(member: str) -> Priority:
    return "interactive" if member.startswith("i") else "bulk"


class Model:
    """One state, as Redis should hold it. Times are in microseconds."""

    def __init__(self, limits: Sequence[RateLimit], timing: Timing, kept_free: float) -> None:
        self.state = RateLimitState(in_microseconds(limits), kept_free)
        self.timing = timing
        self.lease = timing.lease * MICROSECONDS
        self.flying: dict[str, float] = {}
        self.recorded: dict[str, float] = {}
        self.queue: list[tuple[float, str]] = []
        self.back: dict[str, float] = {}
        self.ticket = 0
        self.refusals = 0

    def begin(self, now: float) -> None:
        """Leases that ended, and processes that have not come back."""
        for ends, member in sorted((ends, member) for member, ends in self.flying.items() if ends <= now):
            del self.flying[member]
            self.state.answered(ends, priority_of(member))
        for client in [client for client, back in self.back.items() if back < now]:
            del self.back[client]
            self.queue = [one for one in self.queue if one[1].split(":")[1] != client]

    def renew(self, member: str, now: float) -> None:
        if member in self.flying:
            self.flying[member] = now + self.lease

    def give_up(self, member: str) -> None:
        self.queue = [one for one in self.queue if one[1] != member]
        if self.flying.pop(member, None) is not None:
            self.state.not_sent()

    def answer(self, member: str, now: float) -> None:
        flew = self.flying.pop(member, None) is not None
        longest = self.state.logs[-1].limit.window * HELD
        if not flew and self.recorded.get(member, -math.inf) > now - longest:
            return
        if not flew:
            self.state.in_flight += 1  # the lease had ended: it counts once more
        self.state.answered(now, priority_of(member))
        self.recorded[member] = now

    def refuse(self, member: str, at: float, wait: float, now: float) -> None:
        if self.flying.pop(member, None) is None:
            self.state.not_before = max(self.state.not_before, now + wait)
            return
        self.state.refused(Slot(at, priority=priority_of(member)), now, wait)
        self.recorded[member] = now if wait <= self.state.logs[-2].limit.window else -math.inf

    def ask(self, client: str, members: Sequence[str], now: float) -> list[float]:
        """Per member when it was granted, or minus its wait."""
        told, first = [], None
        for member in members:
            if member in self.flying:
                told.append(self.flying[member] - self.lease)
                continue
            if member not in [one for _, one in self.queue]:
                self.ticket += 1
                self.queue.append(((0 if member.startswith("i") else 1e15) + self.ticket, member))
                self.queue.sort()
            ahead = [one for _, one in self.queue].index(member)
            wait = self.state.wait(now, ahead, priority_of(member))
            if wait == 0:
                self.state.in_flight += 1
                self.queue.pop(ahead)
                self.flying[member] = now + self.lease
                told.append(now)
            else:
                first = wait if first is None else first
                told.append(-wait)
        if first is None:
            self.back.pop(client, None)
        else:
            timing = self.timing
            back = timing.unknown if first == math.inf else min(max(first / MICROSECONDS, timing.soonest), timing.latest)
            self.back[client] = now + (back + timing.grace) * MICROSECONDS
        return told
