"""The environments that the arguments of a command mean."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from aioposthog_env.bulk.selection import Selected, Selection
from aioposthog_env.bulk.where import Where
from aioposthog_env.cli.arguments import UNCHOSEN, Choice
from aioposthog_env.cli.output import Output
from aioposthog_env.cli.streams import from_stdin, read_text
from aioposthog_env.environments import AsyncEnvironments
from aioposthog_env.errors import ConfigurationError

_SHOWN: Final = 12
LONGEST: Final = 20
"""Digits of a number beyond 63 bits; Python refuses to read thousands of them."""


def names_ids(ids: Sequence[int], choice: Choice) -> bool:
    """Whether environments are named by their ids, which are those of one host."""
    return bool(ids) or choice.ids_from is not None


def only_by_id(choice: Choice) -> bool:
    """Whether ids, as arguments or from a file, are the only criterion."""
    return replace(choice, ids_from=None, allow_empty=False) == UNCHOSEN


def ids_given(ids: Sequence[int], choice: Choice) -> tuple[int, ...]:
    """The ids of the arguments and of the file.

    Raises:
        ConfigurationError: The file cannot be read, or holds something else.
    """
    if choice.ids_from is None:
        return tuple(ids)
    try:
        if str(choice.ids_from) == "-":
            text = from_stdin()
        else:
            with choice.ids_from.open(encoding="utf-8") as file:
                text = read_text(file)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{choice.ids_from} cannot be read: {error}.") from None
    words = text.split()
    if bad := next((word for word in words if not (word.isascii() and word.isdigit() and len(word) < LONGEST)), None):
        raise ConfigurationError(f"{choice.ids_from} holds {bad[:40]!r}, which is not the id of an environment.")
    return (*ids, *map(int, words))


async def chosen(
    environments: AsyncEnvironments,
    output: Output,
    ids: Sequence[int],
    choice: Choice,
    *,
    with_names: bool = False,
    where: str = "",
) -> list[Selected]:
    """The environments that the arguments mean; says which they are before anything is done with them.

    Args:
        environments: The client.
        output: Where to say so.
        ids: Those that are arguments.
        choice: The other arguments.
        with_names: Read environments that were given by id alone, for their names.
        where: What goes before the sentence, where there are several hosts.

    Raises:
        ConfigurationError: No criterion, a bad one, or nothing is selected and that was not allowed.
    """
    selection = Selection(
        ids=ids_given(ids, choice),
        names=choice.name,
        where=None if choice.where is None else Where.parse(choice.where),
        organization_id=choice.organization,
        project_id=choice.project,
        everything=choice.all,
    )
    if choice.ids_from is not None and selection.is_empty:
        if not choice.allow_empty:
            raise ConfigurationError(f"{choice.ids_from} holds no id. If that may be, add --allow-empty.")
        return []
    if selection.is_empty:
        raise ConfigurationError("No environment was named: give ids, --name, --where, --organization, --project, or --all.")
    found = await environments.select(selection, with_names=with_names)
    if not found and not choice.allow_empty:
        raise ConfigurationError(f"Nothing is selected by {selection}. If that may be, add --allow-empty.")
    shown = ", ".join(f"{one.ref.id} {one.name}".strip() for one in found[:_SHOWN])
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    output.say(where + (f"Selected {len(found)}: {shown}{more}" if found else "Nothing is selected."))
    return found
