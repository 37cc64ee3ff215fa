"""When requests were sent: collected from what a client tells its hooks, in bounded memory."""

import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from aioposthog_env.reports.model import RequestMark
from aioposthog_env.telemetry import AttemptFinished, Event, Hook

_MOST: Final = 200_000
_WIDEST: Final = 86_400.0


class RequestLog:
    """Collects a mark for each request. Where there are too many, those of the same second become one that counts them.

    The second becomes two, then four seconds, and so on while a run goes on, so that its length does not matter.

    Args:
        clock: Gives seconds; the log begins when it is made.
        most: How many marks are kept.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, most: int = _MOST) -> None:
        self._clock = clock
        self._began = clock()
        self._most = most
        self._width = 1.0
        self._marks: list[RequestMark] = []

    @property
    def marks(self) -> tuple[RequestMark, ...]:
        """The requests so far, in the order of time."""
        return tuple(sorted(self._marks, key=lambda mark: mark.at))

    def hook(self, host: str) -> Hook:
        """A hook for the client of a host: ``AsyncEnvironments(host, hooks=[log.hook(host)])``."""

        def note(event: Event) -> None:
            if isinstance(event, AttemptFinished):
                self._marks.append(RequestMark(at=self._clock() - self._began, host=host, outcome=event.outcome))
                if len(self._marks) > self._most:
                    self._thin_out()

        return note

    def _thin_out(self) -> None:
        """Until half of the room is free, so that it is not done often."""
        self._merge()
        while len(self._marks) > self._most // 2 and self._width < _WIDEST:
            self._width *= 2
            self._merge()

    def _merge(self) -> None:
        counted = Counter[tuple[float, str, str]]()
        for mark in self._marks:
            counted[mark.at // self._width * self._width, mark.host, mark.outcome] += mark.count
        self._marks = [
            RequestMark(at=at, host=host, outcome=outcome, count=count) for (at, host, outcome), count in counted.items()
        ]
