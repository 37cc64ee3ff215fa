"""PostHog's throttle: two sliding logs per key, each asked for every request. Pure: the clock is an argument."""

import math
from collections import deque

import attrs

from aioposthog_env.redacted import printable_half_built


@printable_half_built
@attrs.frozen
class Throttle:
    """The limits: each a number of requests and a window in seconds. Smaller windows make quick tests.

    With ``race`` requests at the same time may slip through a few over the limit, as they do at the real server, which
    reads and writes its logs without a lock.
    """

    minute: tuple[int, float] = (480, 60.0)
    hour: tuple[int, float] = (4_800, 3_600.0)
    race: bool = False


class ThrottleLogs:
    """The logs of all keys.

    Both logs are asked even if the first refuses, and a log that refuses does not record: a request that the minute refuses is
    still charged to the hour.
    """

    def __init__(self, throttle: Throttle) -> None:
        self._limits = (throttle.minute, throttle.hour)
        self._logs: dict[tuple[str, int], deque[float]] = {}

    def look(self, key: str, now: float) -> list[float | None]:
        """What each log says: None for yes, else the seconds to wait."""
        waits: list[float | None] = []
        for number, (count, window) in enumerate(self._limits):
            log = self._logs.setdefault((key, number), deque())
            while log and log[0] <= now - window:
                log.popleft()
            waits.append(log[0] + window - now if len(log) >= count else None)
        return waits

    def record(self, key: str, now: float, waits: list[float | None]) -> None:
        """Write the request into the logs that said yes."""
        for number, wait in enumerate(waits):
            if wait is None:
                self._logs[key, number].append(now)


def whole_seconds(wait: float) -> int:
    """What ``Retry-After`` says."""
    return max(0, math.ceil(wait))
