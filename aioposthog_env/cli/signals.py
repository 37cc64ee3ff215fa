"""How a command that serves others learns that it is to end."""

import asyncio
import contextlib
import signal
from collections.abc import Callable


def when_stopped(react: Callable[[], object]) -> None:
    """Call this at Ctrl-C and at SIGTERM, as long as the event loop runs.

    Also where a shell has started the command in the background, and lets it ignore Ctrl-C.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # not here, or not in the main thread
            asyncio.get_running_loop().add_signal_handler(number, react)
