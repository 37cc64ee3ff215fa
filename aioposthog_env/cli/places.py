"""Files that are arguments, seen before anything is asked: no two of them are one, and none that is needed is replaced."""

import os
from collections.abc import Iterable
from pathlib import Path

from aioposthog_env.errors import ConfigurationError


def check_apart(journal: Path | None = None, **others: Path | Iterable[Path] | None) -> None:
    """See that no file is given twice, which would destroy what it holds, or what is written there first.

    Args:
        journal: Given as ``--journal``; the files that SQLite keeps beside it count as well.
        others: The other files, by what they are called.

    Raises:
        ConfigurationError: Two are the same file, by whatever name.
    """
    named = [("the journal", path) for path in _of_journal(journal)]
    for name, given in others.items():
        paths = [given] if isinstance(given, Path) else given or []
        named += [(f"the {name.replace('_', ' ')}", path) for path in paths]
    for number, (name, path) in enumerate(named):
        for other, second in named[:number]:
            if name != other and _is_same(path, second):
                raise ConfigurationError(f"{path} is given as {other} and as {name}; each needs a file of its own.")


def check_replaceable(path: Path | None, *, plan: bool = False) -> None:
    """See that writing a file would not destroy a journal, a plan, or secrets.

    Args:
        path: Where it is to be written.
        plan: A plan is written, which may take the place of another.

    Raises:
        ConfigurationError: It would.
    """
    if path is not None and path.is_file() and (held := _held(path, plan=plan)) is not None:
        raise ConfigurationError(f"{path} holds {held}, and was left as it is. Write to another file, or remove it first.")


def _held(path: Path, *, plan: bool) -> str | None:
    """What a file holds that must not be replaced. It raises nothing: a traceback would show what the file begins with."""
    try:
        with path.open("rb") as file:
            begins = file.read(4096)
    except OSError:
        return None  # what is wrong with it is told where it is written
    if begins.startswith(b"SQLite format 3\0"):
        return "a journal or another database"
    if begins.startswith(b'{"') and b'"secret_api_token":' in begins:
        return "new secrets"
    return "a plan" if not plan and b'"format":' in begins and b'"made_at":' in begins else None


def check_ends(path: Path) -> None:
    """Refuse a device as a file to read, since one such as /dev/zero never ends.

    Raises:
        ConfigurationError: It is a device.
    """
    if path.is_char_device() or path.is_block_device():
        raise ConfigurationError(f"{path} is a device. Give a file.")


def typed(path: Path) -> str:
    """A path as an argument, for a command that is to be typed next: none that looks like an option."""
    return f"./{path}" if str(path).startswith("-") else str(path)


def _of_journal(journal: Path | None) -> list[Path]:
    """A journal and the files that SQLite keeps beside it."""
    if journal is None:
        return []
    return [journal, *(Path(f"{journal}-{ending}") for ending in ("wal", "shm", "journal"))]


def _is_same(one: Path, other: Path) -> bool:
    """Whether two names lead to one file. What is no file, such as a terminal, may be given twice."""
    if one.exists() and other.exists():
        return one.is_file() and one.samefile(other)
    return os.path.realpath(one) == os.path.realpath(other)
