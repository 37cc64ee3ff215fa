"""``RedisRateLimiter``: the rate limiter of many processes that use one key.

The limit is kept in Redis by a script, and a ``Conversation`` waits there for slots. While Redis is away, the inherited
limiter, which knows this process alone, stands in where ``fallback="local_share"`` allows that.
"""

import asyncio
import math
from collections.abc import Sequence
from types import TracebackType
from typing import Literal, Self

from aioposthog_env.errors import ClientStateError, ConfigurationError
from aioposthog_env.limiter import RateLimiter, RateLimiterStatistics
from aioposthog_env.policy.priority import Priority
from aioposthog_env.policy.rate_limit import SERVER_LIMITS, RateLimit, Slot
from aioposthog_env.redacted import printable_half_built, redacted
from aioposthog_env.shared_limit.conversation import Conversation, SharedSlot
from aioposthog_env.shared_limit.script import Timing
from aioposthog_env.shared_limit.server import Server
from aioposthog_env.telemetry import log


@printable_half_built
class RedisRateLimiter(RateLimiter):
    """Lets the requests of many processes through no faster than PostHog takes them from one key.

    Give it to any number of clients that use the same key at the same host, in any number of processes on any number of
    machines. All must be given the same limits. It works between the entering of the first client and the leaving of the last;
    without a client, enter it with ``async with``.

    Needs the extra ``redis``, and a server: Redis 7 or newer, or Valkey. Its data should survive a restart (``appendonly yes``)
    and must not be evicted (``maxmemory-policy noeviction``). Where it was lost nevertheless, that is noticed, and nothing is
    sent for one shortest window.

    Args:
        url: ``redis://``, ``rediss://`` for TLS, or ``unix://``.
        limits: The limits to keep, all of them at once.
        kept_free: The part of each limit that this process's bulk calls leave free in any case, from 0 to 0.5.
        unavailable_after: How many seconds a call waits for a Redis that cannot be reached.
        fallback: ``local_share``: go on then with a part of each limit, until Redis is back. None: an error.
        local_share: That part. With so many processes, their parts together should not exceed 1.
        ca_file: Certificate authorities to trust for ``rediss://`` instead of the system's.
        allow_insecure: Take a server beyond this machine without a password or TLS, or without checking its certificate.
        command_timeout: The longest time for one command, in seconds.
        prefix: What the names of its keys begin with. A digest of host and API key follows.
        timing: When processes come back; for tests with short windows.

    Raises:
        ConfigurationError: The address or a figure cannot be used, or the extra is not installed.
    """

    def __init__(
        self,
        url: str,
        *,
        limits: Sequence[RateLimit] = SERVER_LIMITS,
        kept_free: float = 0.0,
        unavailable_after: float = 30.0,
        fallback: Literal["local_share"] | None = None,
        local_share: float = 0.25,
        ca_file: str | None = None,
        allow_insecure: bool = False,
        command_timeout: float = 1.0,
        prefix: str = "aioposthog_env",
        timing: Timing | None = None,
    ) -> None:
        url = redacted(url)
        if fallback not in {None, "local_share"}:
            raise ConfigurationError(f"fallback takes None or 'local_share', not {fallback!r}.")
        if not 0 < local_share <= 1 or not 0 <= unavailable_after < math.inf or not 0 < command_timeout < math.inf:
            raise ConfigurationError("local_share is a part up to 1, and the times are seconds above 0.")
        super().__init__(
            [RateLimit(max(1, math.floor(limit.count * local_share)), limit.window) for limit in limits], kept_free=kept_free
        )
        self._limits = tuple(sorted(limits, key=lambda limit: limit.window))
        self._local_share = local_share
        self._server = Server(url, ca_file=ca_file, allow_insecure=allow_insecure, timeout=command_timeout)
        self._conversation = Conversation(
            self._server,
            limits=self._limits,
            kept_free=kept_free,
            timing=timing or Timing(),
            prefix=prefix,
            unavailable_after=unavailable_after,
            stand_in=None if fallback is None else self._stand_apart,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._left: asyncio.Event | None = None

    def __repr__(self) -> str:
        return f"RedisRateLimiter({str(self._server)!r})"

    async def __aenter__(self) -> Self:
        await self.join("")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.leave()

    async def join(self, identity: str) -> None:
        """A client begins to use this limiter.

        Args:
            identity: A digest of its host and credential.

        Raises:
            ConfigurationError: Another client uses it with another key, or at another host.
            ClientStateError: Another client uses it in another event loop.
        """
        loop = asyncio.get_running_loop()
        while self._left is not None and loop is self._loop:
            await self._left.wait()
        if self._users:
            if loop is not self._loop:
                raise ClientStateError("A RedisRateLimiter serves one event loop at a time; make one for each.")
            if identity != self._conversation.identity:
                raise ConfigurationError("A RedisRateLimiter serves one key at one host; make one for each.")
        else:
            self._loop = loop
            self._conversation.begin(identity)
        self._users += 1

    async def leave(self) -> None:
        """A client has closed. With the last, what is to be told is told, and the connection is closed."""
        self._users -= 1
        if self._users:
            return
        self._left = asyncio.Event()
        try:
            await self._conversation.end()
        finally:
            self._left.set()
            self._left = None

    async def acquire(self, *, ceiling: float | None = None, priority: Priority = "bulk") -> Slot:
        """Wait for the right to send one request. Every slot must be given back by one of the three methods below.

        Args:
            ceiling: The longest wait in seconds; None for no limit.
            priority: ``interactive`` calls go before ``bulk`` ones, which leave a few slots to them.

        Raises:
            RateLimitWaitTooLong: The wait would be longer, as far as can be told now.
            RateLimiterUnavailableError: Redis could not be reached for the time that was stated.
            ClientStateError: No client has entered.
        """
        if not self._conversation.open:
            raise ClientStateError("Enter a client with this limiter, or the limiter itself, with `async with`.")
        if not self._conversation.apart:
            slot = await self._conversation.slot(ceiling, priority)
            if slot is not None:
                return slot
        return await super().acquire(ceiling=ceiling, priority=priority)

    def answered(self, slot: Slot) -> None:
        """Give a slot back: an answer came, or was lost."""
        if isinstance(slot, SharedSlot):
            self._conversation.report(answered=slot.member)
        else:
            super().answered(slot)
            self._conversation.report(answered=self._conversation.member(slot.priority))

    def not_sent(self, slot: Slot) -> None:
        """Give a slot back unused: the request never left."""
        if isinstance(slot, SharedSlot):
            self._conversation.report(given_up=slot.member)
        else:
            super().not_sent(slot)

    def refused(self, slot: Slot, wait: float) -> None:
        """Give a slot back: the server refused the request and asks everyone with this key to wait."""
        if isinstance(slot, SharedSlot):
            self._conversation.report(refused=(slot.member, slot.granted, wait))
        else:
            super().refused(slot, wait)
            self._conversation.report(refused=(self._conversation.member(slot.priority), 0.0, wait))

    def statistics(self) -> RateLimiterStatistics:
        """What Redis told last, of all processes; waiting are those of this process."""
        shared = self._conversation
        known = shared.told
        if shared.apart or known is None:
            return super().statistics()
        paces = [share / limit.window for limit, share in zip(self._limits, known.shares, strict=True) if share < limit.count]
        return RateLimiterStatistics(
            used=tuple((limit, used + known.in_flight) for limit, used in zip(self._limits, known.used, strict=True)),
            in_flight=known.in_flight,
            waiting=shared.waiting,
            gate=max(0.0, shared.told_at + known.gate - asyncio.get_running_loop().time()),
            pace=min(paces, default=None),
            acquired=self._acquired + shared.acquired,
            refusals=known.refusals,
        )

    def least_time(self, calls: int) -> float:
        """The least time in seconds until so many more requests can have left, if nobody else used the key from now on.

        When the slots come back that others hold is not known here, so that a full window counts whole.

        Args:
            calls: How many.
        """
        waits = [0.0]
        for limit, held in self.statistics().used:
            beyond = calls - max(0, limit.count - held)
            waits.append(limit.window * -(-beyond // limit.count) if beyond > 0 else 0.0)
        return max(waits)

    def _stand_apart(self, now: float) -> None:
        """Go on with a part of the limits, of which the same part is used that was used of the whole."""
        log.warning("%r is away; going on with %.0f %% of the limits", self, 100 * self._local_share)
        known, told_at = self._conversation.told, self._conversation.told_at
        if known is None:
            return
        for part, used in zip(self._state.logs, known.used, strict=True):
            if now - told_at < part.limit.window:
                for _ in range(math.ceil((used + known.in_flight) * self._local_share) - part.used(now)):
                    part.record(now)
