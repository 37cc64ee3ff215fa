"""What Ctrl-C and SIGTERM do: the first lets what is in flight finish, so that nothing is in doubt; the second ends it."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Generator

from aioposthog_env.cli.output import Output

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def receiving(receive: Callable[[int], object]) -> Generator[None, None, None]:
    """Inside, this is called at Ctrl-C and at SIGTERM.

    Also where a shell has started the command in the background, and lets it ignore Ctrl-C.
    """
    loop, handled = asyncio.get_running_loop(), list[signal.Signals]()
    for number in _SIGNALS:
        # Not on this system, or not in the main thread.
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, receive, number)
            handled.append(number)
    try:
        yield
    finally:
        for number in handled:
            loop.remove_signal_handler(number)


@contextlib.contextmanager
def stopping(
    output: Output, stop: Callable[[], object], stop_at_once: Callable[[], object]
) -> Generator[list[int], None, None]:
    """Inside, the first signal stops the work, and every other stops it at once. Gives a list that holds the signals."""
    received = list[int]()

    def receive(number: int) -> None:
        received.append(number)
        if len(received) > 1:
            stop_at_once()
            return
        output.say("Finishing what is in flight; another Ctrl-C stops at once.")
        stop()

    with receiving(receive):
        yield received


def code_of(received: list[int]) -> int:
    """The exit code of what was stopped by signals, as a shell gives it: 130 for Ctrl-C, 143 for SIGTERM; 0 for none."""
    return 128 + received[-1] if received else 0
