"""Asking a person before something is changed."""

import sys

from aioposthog_env.cli.output import Output
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
    if not sys.stdin.isatty():
        raise ConfigurationError("This asks for confirmation, and there is no terminal. Name the ids and add --yes.")
    output.ask(f"Type {phrase!r} to go on: ")
    if sys.stdin.readline().strip() != phrase:
        raise ConfigurationError("Not confirmed; nothing was changed.")
