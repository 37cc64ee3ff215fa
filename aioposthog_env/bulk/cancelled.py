"""Whether a CancelledError means that this task was cancelled.

It also comes out of a caller's code that awaits what somebody else has cancelled. Such an error is one like any other.
Let through it would end the task in silence, since whoever waits for the task takes it for cancelled.
"""

import asyncio
import math

import anyio


def is_cancelled() -> bool:
    """Whether somebody has cancelled the running task, or a scope that it is in."""
    task = asyncio.current_task()
    return (task is not None and task.cancelling() > 0) or anyio.current_effective_deadline() == -math.inf
