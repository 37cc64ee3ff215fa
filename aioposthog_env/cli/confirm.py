"""Asking a person before something is changed."""

import contextlib
import signal
import unicodedata

from aioposthog_env.cli.output import Output
from aioposthog_env.cli.streams import is_terminal, stdin, takes_everything
from aioposthog_env.errors import ConfigurationError


def confirm(output: Output, phrase: str, *, yes: bool, explicit: bool) -> None:
    """Go on only if the person means it. Nothing else runs while it waits.

    Args:
        output: Where to ask.
        phrase: What has to be typed.
        yes: Said in advance, by ``--yes``.
        explicit: Whether the environments were named one by one, which ``--yes`` asks for.

    Raises:
        ConfigurationError: Not confirmed, or nobody is there to ask.
    """
    if yes and explicit:
        return
    if yes:
        raise ConfigurationError(
            "--yes goes with explicit ids only, so that a condition cannot reach further than was thought."
        )
    if not is_terminal(stdin()):
        remedy = "Add --yes." if explicit else "Name the ids and add --yes."
        raise ConfigurationError(f"This asks for confirmation, and there is no terminal. {remedy}")
    output.ask(f"Type '{phrase}' to go on: ")
    if unicodedata.normalize("NFC", _line().strip()) != unicodedata.normalize("NFC", phrase):
        raise ConfigurationError("Not confirmed; nothing was changed.")


def named(id: int, name: str) -> str:
    """What is typed to mean an environment: its name, or its id where the name cannot be seen or typed as it is."""
    plain = bool(name) and name.isprintable() and name == " ".join(name.split())
    return name if plain and (name.isascii() or takes_everything(stdin())) else str(id)


def _line() -> str:
    """What is typed. The event loop's own handler of Ctrl-C would wait for the end of the line."""
    try:
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
    except ValueError:  # not in the main thread
        return _read()
    try:
        return _read()
    finally:
        with contextlib.suppress(TypeError):  # it was set by something other than Python
            signal.signal(signal.SIGINT, before)


def _read() -> str:
    stream = stdin()
    try:
        return "" if stream is None else stream.readline()
    except UnicodeDecodeError:
        return "\N{REPLACEMENT CHARACTER}"  # no phrase holds it
