"""Where new secrets go: a callable of yours, or a file that only its owner can read.

A rotation counts as done only when the sink has taken the new secret. A run that is killed in between hands it over again when
it is resumed, without rotating: the sink may see the same secret twice, and never misses one.
"""

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
from aioposthog_env.bulk.threads import in_thread
from aioposthog_env.errors import ConfigurationError, PostHogEnvError, SinkError
from aioposthog_env.models.environment import Environment

Taker: TypeAlias = Callable[[Environment], Awaitable[object] | object]
"""Takes an environment with its new secret: ``environment.secret_api_token``. A plain function runs in a thread."""
AnySink: TypeAlias = Taker | str | os.PathLike[str]
"""A callable, or the path of a file of JSON lines."""


class Sink:
    """Hands secrets over, one at a time. Open while the run goes on."""

    def __init__(self, given: AnySink) -> None:
        if not callable(given) and not isinstance(given, str | os.PathLike):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError("sink takes a callable, or the path of a file.")
        self._take = given if callable(given) else None
        self._path = None if callable(given) else Path(given)
        self._file: IO[bytes] | None = None
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
        try:
            async with self._turn:
                if self._file is not None:
                    await in_thread(_append, self._file, environment)
                else:
                    await _call(cast("Taker", self._take), environment)
        except Exception as error:
            # The words of a foreign error may hold the secret.
            what = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
            message = error.message if isinstance(error, PostHogEnvError) else what
            raise SinkError(
                f"The secret was rotated, once, and the sink did not take the new one ({message}). Do not rotate again: "
                "retrieve the environment, which shows it, or resume the run with its journal, which hands it over."
            ) from None


async def _call(take: Taker, environment: Environment) -> None:
    if inspect.iscoroutinefunction(take) or inspect.iscoroutinefunction(getattr(take, "__call__", None)):  # noqa: B004
        await cast("Awaitable[object]", take(environment))
        return
    result: Any = await in_thread(take, environment)
    if inspect.isawaitable(result):
        await result


def _open(path: Path) -> IO[bytes]:
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    try:
        file = os.fdopen(os.open(path, flags, 0o600), "a+b", buffering=0)
    except OSError as error:
        raise ConfigurationError(f"The sink {path} cannot be opened: {error.strerror}. Nothing was sent.") from None
    mode = os.fstat(file.fileno())
    if not stat.S_ISREG(mode.st_mode) or stat.S_IMODE(mode.st_mode) & 0o077:
        file.close()
        raise ConfigurationError(f"The sink {path} is no file that only its owner can read (mode 0600). Nothing was sent.")
    if mode.st_size:
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")  # a crash has torn the last line; its secret is handed over again
    _sync_folder(path)
    return file


def _append(file: IO[bytes], environment: Environment) -> None:
    secret = environment.secret_api_token
    if not isinstance(secret, Secret):
        raise ConfigurationError("the answer does not show the secret")
    line = {
        "environment": environment.id,
        "name": environment.name,
        "secret_api_token": secret.reveal(),
        "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    text = msgspec.json.encode(line) + b"\n"
    if file.write(text) < len(text):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    """A new file is on the disk only when its folder is."""
    folder = os.open(path.absolute().parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
