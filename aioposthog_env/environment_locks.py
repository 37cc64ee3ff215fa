"""Whose turn it is to write to an environment, and which tokens a client has replaced.

Up to 2026 a PATCH writes all columns that it has read, so of two concurrent writes one is lost. And two rotations with the same
``expected=`` would both read the secret that only the first may replace. So writes to one environment take turns, across all
clients of the loop, whatever their credential.

A cache or a lagging replica may show a token that this client has already replaced. PostHog draws tokens at random and never
restores one, so a response whose current token was replaced here is older than the client's own write.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final
from weakref import WeakKeyDictionary, WeakValueDictionary

import anyio

_MOST_REPLACED: Final = 50_000
"""How many replaced tokens a client remembers: the digests of the last ones, about 8 MB."""


class EnvironmentLocks:
    """One lock for each environment that a call writes to."""

    def __init__(self) -> None:
        self._locks: dict[int, tuple[anyio.Lock, int]] = {}

    @asynccontextmanager
    async def hold(
        self, environment_id: int, acquire: Callable[[anyio.Lock], Awaitable[None]] | None = None
    ) -> AsyncGenerator[None, None]:
        """Let no other call of this event loop write to the environment.

        Args:
            environment_id: The environment.
            acquire: How to acquire the lock, for example within the deadline of a call; None to wait for it.
        """
        lock, users = self._locks.get(environment_id) or (anyio.Lock(fast_acquire=True), 0)
        self._locks[environment_id] = lock, users + 1
        try:
            await (lock.acquire() if acquire is None else acquire(lock))
            try:
                yield
            finally:
                lock.release()
        finally:
            lock, users = self._locks.pop(environment_id)
            if users > 1:
                self._locks[environment_id] = lock, users - 1


class ReplacedTokens:
    """The digests of the tokens and secrets that a client has replaced, the latest of them."""

    def __init__(self, most: int = _MOST_REPLACED) -> None:
        self._digests: OrderedDict[str, None] = OrderedDict()
        self._most = most

    def add(self, digest: str) -> None:
        """Remember a token that was replaced."""
        self._digests[digest] = None
        self._digests.move_to_end(digest)
        if len(self._digests) > self._most:
            self._digests.popitem(last=False)

    def __contains__(self, digest: object) -> bool:
        return digest in self._digests


_shared: WeakKeyDictionary[asyncio.AbstractEventLoop, WeakValueDictionary[str, EnvironmentLocks]] = WeakKeyDictionary()


def shared_locks(origin: str) -> EnvironmentLocks:
    """Return the locks that all clients of the running event loop share for a host, as long as any of them lives."""
    return _shared.setdefault(asyncio.get_running_loop(), WeakValueDictionary()).setdefault(origin, EnvironmentLocks())
