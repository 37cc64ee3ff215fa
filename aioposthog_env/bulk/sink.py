"""Where new secrets go: a callable of yours, or a file that only its owner can read.

A rotation counts as done only when the sink has taken the new secret. A run that is killed in between hands it over again when
it is resumed with its journal, without rotating: the sink may see the same secret twice, and what counts as done was taken.

A line of the file is whole or not there. What was written of one that failed is taken back; where that fails too, nothing more
is written, so that no other secret ends up in a line that cannot be read.
"""

import asyncio
import errno
import inspect
import os
import stat
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypeAlias, cast

import anyio
import msgspec

from aioposthog_env.auth import Secret
from aioposthog_env.bulk.cancelled import is_cancelled
from aioposthog_env.bulk.file_owner import is_foreign
from aioposthog_env.bulk.journal_file import files_of
from aioposthog_env.bulk.threads import in_thread
from aioposthog_env.errors import ConfigurationError, SinkError
from aioposthog_env.models.environment import Environment

Taker: TypeAlias = Callable[[Environment], Awaitable[object] | object]
"""Takes an environment with its new secret: ``environment.secret_api_token``. A plain function runs in a thread."""
AnySink: TypeAlias = Taker | str | os.PathLike[str]
"""A callable, or the path of a file of JSON lines."""


class Sink:
    """Hands secrets over, one at a time. Open while the run goes on.

    Args:
        given: A callable, or the path of a file.
        host: The origin of the environments, which a line of the file names.
        journal: The journal of the run, which is no place for secrets.
    """

    def __init__(self, given: AnySink, host: str, journal: Path | None = None) -> None:
        if not callable(given) and not isinstance(given, str | os.PathLike):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError("sink takes a callable, or the path of a file.")
        self._take = given if callable(given) else None
        self._path = None if callable(given) else Path(given)
        self._host = host
        self._journal = journal
        self._file: IO[bytes] | None = None
        self._torn = False
        self._turn = anyio.Lock()

    async def __aenter__(self) -> Self:
        if self._path is not None:
            try:
                await in_thread(self._open, self._path)
            except BaseException:
                self._close()
                raise
        return self

    def _open(self, path: Path) -> None:
        # Looked at and not opened: closing it would free the lock that the journal holds.
        if self._journal is not None and any(_is_same(path, file) for file in files_of(self._journal)):
            raise ConfigurationError(
                f"The sink {path} belongs to the journal {self._journal}, which must hold no secret. Nothing was sent. Name "
                "another file."
            )
        self._file = _open(path)

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close()

    async def hand_over(self, environment: Environment) -> None:
        """Hand the new secret of an environment over.

        Raises:
            SinkError: The sink did not take it.
        """
        if not isinstance(environment.secret_api_token, Secret):
            raise _not_taken("the answer does not show the secret")
        async with self._turn:
            failure = await self._try(environment)
        # Not raised while the foreign error is handled, which would stay attached to this one.
        if failure is not None:
            raise _not_taken(failure)

    async def _try(self, environment: Environment) -> str | None:
        """What went wrong, in words that hold no secret; None where the sink has taken it."""
        if self._torn:
            return "its file ends in a torn line, which could not be taken back"
        try:
            if self._file is None:
                await _call(cast("Taker", self._take), environment)
            else:
                await in_thread(self._append, self._file, _line(environment, self._host))
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and is_cancelled():
                raise
            # A callable's words may hold the secret, and so may its error's arguments.
            number = error.errno if isinstance(error, OSError) else None
            return os.strerror(number) if isinstance(number, int) else type(error).__name__
        return None

    def _append(self, file: IO[bytes], line: bytes) -> None:
        size, written = os.fstat(file.fileno()).st_size, 0
        try:
            written = file.write(line)
            if written < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())
        except OSError:
            self._torn = True
            if os.fstat(file.fileno()).st_size == size + written:  # else somebody else writes to it, too
                file.truncate(size)
                self._torn = False
            raise


def _not_taken(why: str) -> SinkError:
    return SinkError(
        f"The secret was rotated, once, and the sink did not take the new one ({why}). Do not rotate again: retrieve the "
        "environment, which shows it, or resume the run with its journal, which hands it over."
    )


async def _call(take: Taker, environment: Environment) -> None:
    if inspect.iscoroutinefunction(take) or inspect.iscoroutinefunction(getattr(take, "__call__", None)):  # noqa: B004
        await cast("Awaitable[object]", take(environment))
        return
    result: Any = await in_thread(take, environment)
    if inspect.isawaitable(result):
        await result


def _is_same(path: Path, other: Path) -> bool:
    if path.exists() and other.exists():
        return path.samefile(other)
    return os.path.realpath(path) == os.path.realpath(other)


def _open(path: Path) -> IO[bytes]:
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    try:
        file = os.fdopen(os.open(path, flags, 0o600), "a+b", buffering=0)
    except OSError as error:
        raise ConfigurationError(f"The sink {path} cannot be opened: {error.strerror}. Nothing was sent.") from None
    mode = os.fstat(file.fileno())
    if is_foreign(mode):
        file.close()
        raise ConfigurationError(
            f"The sink {path} belongs to another user (id {mode.st_uid}), who could read the secrets. Nothing was sent. Name "
            "another file, or remove this one."
        )
    if not stat.S_ISREG(mode.st_mode) or stat.S_IMODE(mode.st_mode) & 0o077:
        file.close()
        raise ConfigurationError(f"The sink {path} is no file that only its owner can read (mode 0600). Nothing was sent.")
    if mode.st_size:
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")  # a crash has torn the last line; its secret is handed over again
    _sync_folder(path)
    return file


def _line(environment: Environment, host: str) -> bytes:
    line = {
        "host": host,
        "environment": environment.id,
        "name": environment.name,
        "secret_api_token": cast("Secret", environment.secret_api_token).reveal(),
        "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return msgspec.json.encode(line) + b"\n"


def _sync_folder(path: Path) -> None:
    """A new file is on the disk only when its folder is."""
    folder = os.open(path.absolute().parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
