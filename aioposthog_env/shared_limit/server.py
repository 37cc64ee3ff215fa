"""The connection to Redis or Valkey: one command at a time, bounded in time."""

import asyncio
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

from aioposthog_env.errors import ConfigurationError
from aioposthog_env.redacted import printable_half_built, redacted
from aioposthog_env.redis_address import checked_address, shown

_PASSING: Final = ("BUSY", "MISCONF", "NOREPLICAS")
"""How refusals begin that end by themselves, and for which the client has no class: a script runs, the disk is full, a replica
is away."""


class NotReachedError(Exception):
    """The server did not do it, or it is not known whether it did.

    Attributes:
        lasting: Waiting does not help: the password is wrong, or the server is too old.
    """

    def __init__(self, reason: str, *, lasting: bool) -> None:
        super().__init__(reason)
        self.lasting = lasting


@printable_half_built
class Server:
    """One server.

    Args:
        url: ``redis://``, ``rediss://`` for TLS, or ``unix://``.
        ca_file: Certificate authorities to trust instead of the system's.
        allow_insecure: Take a server beyond this machine without a password or TLS, or without checking its certificate.
        timeout: The longest time for one command, in seconds.

    Raises:
        ConfigurationError: The address cannot be used, or the extra ``redis`` is not installed.
    """

    def __init__(self, url: str, *, ca_file: str | None, allow_insecure: bool, timeout: float) -> None:
        url = redacted(url)
        danger = "who can write there can stop all calls or lift the limit"
        self._url = checked_address(
            url,
            danger=danger,
            variable="in the variable POSTHOG_LIMITER",
            allow="say allow_insecure=True from Python",
            allow_insecure=allow_insecure,
        )
        try:
            # Importing takes a while, so it is done here rather than in the loop.
            self._client: Any = import_module("redis.asyncio").Redis
            self._problems: Any = import_module("redis.exceptions")
            # Who waits, and how long, is decided by the limiter.
            self._once: Any = import_module("redis.asyncio.retry").Retry(import_module("redis.backoff").NoBackoff(), 0)
        except ModuleNotFoundError:
            raise ConfigurationError("A shared limit needs the extra: pip install 'aioposthog-env[redis]'.") from None
        self._timeout = timeout
        self._options = _tls(ca_file) if url.startswith("rediss:") else {}
        self._redis: Any = None
        self._run: Any = None

    def __repr__(self) -> str:
        return shown(self._url)

    async def run(self, script: str, keys: Sequence[str], argument: bytes) -> Any:
        """Run a script.

        Raises:
            NotReachedError: No answer came, or a refusal.
        """
        problems = self._problems
        lasting = (problems.AuthenticationError, problems.AuthorizationError, problems.NoPermissionError)
        passing = (problems.ReadOnlyError, problems.OutOfMemoryError, problems.ClusterDownError, problems.TryAgainError)
        try:
            if self._redis is None:
                self._connect(script)
            async with asyncio.timeout(2 * self._timeout):
                return await self._run(keys=keys, args=[argument])
        except (problems.RedisError, OSError, TimeoutError) as error:
            waiting_helps = not isinstance(error, lasting) and (
                isinstance(error, passing) or not isinstance(error, problems.ResponseError) or str(error).startswith(_PASSING)
            )
            raise NotReachedError(_said(error), lasting=not waiting_helps) from None

    def _connect(self, script: str) -> None:
        self._redis = self._client.from_url(
            self._url,
            socket_timeout=self._timeout,
            socket_connect_timeout=self._timeout,
            retry=self._once,
            client_name="aioposthog-env",
            **self._options,
        )
        self._run = self._redis.register_script(script)

    async def close(self) -> None:
        """Close the connection. The next command opens another."""
        server, self._redis, self._run = self._redis, None, None
        if server is not None:
            await server.aclose()


def _tls(ca_file: str | None) -> dict[str, Any]:
    options: dict[str, Any] = {"ssl_check_hostname": True}
    return options if ca_file is None else options | {"ssl_ca_certs": ca_file}


def _said(error: BaseException) -> str:
    # The words are those of the system or the server; neither repeats a password.
    return str(error).rstrip(".") or type(error).__name__
