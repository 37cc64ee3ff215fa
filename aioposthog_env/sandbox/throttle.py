"""PostHog's throttle: two sliding logs per key, each asked for every request. Pure: the clock is an argument."""

import math
from collections import deque

import attrs


@attrs.frozen
class Throttle:
    """The limits: each a number of requests and a window in seconds. Smaller windows make quick tests."""

    minute: tuple[int, float] = (480, 60.0)
    hour: tuple[int, float] = (4_800, 3_600.0)


class ThrottleLogs:
    """The logs of all keys."""

    def __init__(self, throttle: Throttle) -> None:
        self._limits = (throttle.minute, throttle.hour)
        self._logs: dict[tuple[str, int], deque[float]] = {}

    def ask(self, key: str, now: float) -> float | None:
        """Let a request through, or say how long to wait.

        Both logs are asked even if the first refuses: a request that the minute refuses is still charged to the hour. A
        log that refuses does not record.

        Returns:
            None where it is let through, else the seconds until it would be.
        """
        wait: float | None = None
        for number, (count, window) in enumerate(self._limits):
            log = self._logs.setdefault((key, number), deque())
            while log and log[0] <= now - window:
                log.popleft()
            if len(log) >= count:
                wait = max(wait or 0.0, log[0] + window - now)
            else:
                log.append(now)
        return wait


def whole_seconds(wait: float) -> int:
    """What ``Retry-After`` says."""
    return max(0, math.ceil(wait))
