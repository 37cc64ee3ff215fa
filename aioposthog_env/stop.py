"""Stopping a run: its calls that only wait to be sent end, and those that may have taken effect are finished.

One ``Stop`` belongs to one bulk run. A call consults it before each request, and its waits race against it, as long as the call
certainly has no effect: before the first request of a write leaves, and after one that the server refused or that never
arrived. From then on the stop no longer concerns the call, so it reads back and finishes what it began.
"""

from collections.abc import Awaitable
from typing import TypeVar

import anyio

from aioposthog_env.errors import NotSentError

T = TypeVar("T")


class StoppedError(NotSentError):
    """The run was stopped while the call waited to be sent. Nothing was changed."""


class Stop:
    """Whether a run is stopped, and what waits until then. It is set once and stays set."""

    def __init__(self) -> None:
        self._is_set = False
        self._waits: set[anyio.CancelScope] = set()

    def set(self) -> None:
        """End all waits now, and every later one at once."""
        self._is_set = True
        for wait in self._waits:
            wait.cancel()

    @property
    def is_set(self) -> bool:
        """Whether the run is stopped."""
        return self._is_set

    def check(self) -> None:
        """Raise if the run is stopped.

        Raises:
            StoppedError: It is.
        """
        if self._is_set:
            raise _stopped()

    async def unless_set(self, waiting: Awaitable[T]) -> T:
        """Wait, at most until the run is stopped.

        A wait that is over in the same moment gives its result, so that nothing it took is lost: ``check`` then.

        Raises:
            StoppedError: The run is stopped; the wait was cancelled.
        """
        wait = anyio.CancelScope()
        self._waits.add(wait)
        try:
            with wait:
                if self._is_set:
                    wait.cancel()
                return await waiting
        finally:
            self._waits.discard(wait)
        raise _stopped()


def _stopped() -> StoppedError:
    return StoppedError("The run was stopped while this call waited to be sent. Nothing was changed.")
