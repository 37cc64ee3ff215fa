"""What else could be done about the rate limit: limiters with the methods of ``RateLimiter`` that the model plays."""

import asyncio
import math

import anyio

from aioposthog_env.limiter import RateLimiter
from aioposthog_env.policy.priority import Priority
from aioposthog_env.policy.rate_limit import RateLimitState, Slot


class NoLimiter:
    """Each call retries on its own, when ``Retry-After`` says."""

    async def acquire(self) -> Slot:
        return Slot(anyio.current_time())

    def answered(self, slot: Slot) -> None: ...

    def refused(self, slot: Slot, wait: float) -> None: ...


class Gate(NoLimiter):
    """After a 429 nobody sends before the time that ``Retry-After`` names."""

    _not_before = -math.inf

    async def acquire(self) -> Slot:
        while (wait := self._not_before - anyio.current_time()) > 0:  # noqa: ASYNC110  the gate may move meanwhile
            await asyncio.sleep(wait)
        return await super().acquire()

    def refused(self, slot: Slot, wait: float) -> None:
        self._not_before = max(self._not_before, anyio.current_time() + wait)


class TokenBucket(Gate):
    """Eight a second, which is 480 a minute, behind the same gate."""

    _next = -math.inf

    async def acquire(self) -> Slot:
        while True:
            now = anyio.current_time()
            mine = max(now, self._next)
            self._next = mine + 1 / 8
            if mine > now:
                await asyncio.sleep(mine - now)
            if self._not_before <= anyio.current_time():
                return Slot(anyio.current_time())
            await asyncio.sleep(self._not_before - anyio.current_time())


class _MirrorState(RateLimitState):
    def refused(self, slot: Slot, now: float, wait: float) -> None:
        self.refusals += 1
        self.answered(now)
        self.not_before = max(self.not_before, now + wait)


class Mirror(RateLimiter):
    """The mirror and the gate, without a share."""

    def __init__(self) -> None:
        super().__init__()
        self._state = _MirrorState()


class _PacedState(_MirrorState):
    """Evenly spaced after a refusal, at the rate of the window before it; +0.3 % a second, -20 % at the next refusal."""

    def __init__(self) -> None:
        super().__init__()
        self._rate = math.inf
        self._since = -math.inf
        self._next = -math.inf

    def reserve(self, now: float, priority: Priority = "bulk") -> float:
        wait = super().reserve(now, priority)
        if wait == 0 and (rate := self._pace(now)) < math.inf:
            self._next = max(now, self._next) + 1 / rate
        return wait

    def wait(self, now: float, ahead: int = 0, priority: Priority = "bulk") -> float:
        rate = self._pace(now)
        return max(super().wait(now, ahead, priority), self._next - now + ahead / rate if rate < math.inf else 0.0)

    def refused(self, slot: Slot, now: float, wait: float) -> None:
        used = [log.used(now) for log in self.logs]
        super().refused(slot, now, wait)
        if slot.at >= self._since:
            which = 0 if wait <= self.logs[0].limit.window else 1
            self._rate = min(max(used[which], 1) / self.logs[which].limit.window, self._pace(now) * 0.8)
            self._since, self._next = now, self.not_before

    def _pace(self, now: float) -> float:
        rate = self._rate * math.exp(0.003 * max(0.0, now - max(self._since, self.not_before)))
        return rate if rate < 8 else math.inf


class Paced(RateLimiter):
    """The mirror, the gate and an even pace: the rule before the share."""

    def __init__(self) -> None:
        super().__init__()
        self._state = _PacedState()
