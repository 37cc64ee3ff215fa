"""The connection to the queue's Redis or Valkey."""

from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from aioposthog_env.errors import ConfigurationError
from aioposthog_env.redacted import RedactedText
from aioposthog_env.redis_address import checked_address, is_open_to_local_users, shown
from aioposthog_env.telemetry import log

KEEP: Final = 7 * 24 * 3600
"""Seconds after which what nobody has fetched is gone from Redis."""

_PATIENCE: Final = 5.0
"""Seconds for connecting, and for one answer."""


def queue_url(url: str, *, allow_insecure: bool, allow_open_queue: bool) -> str:
    """The address of a queue whose engine pickles: who can write there can run code on the workers.

    Raises:
        ConfigurationError: See ``checked_address``; or any user of this machine can write there, and that is not allowed.
    """
    url = checked_url(url, allow_insecure=allow_insecure)
    if not is_open_to_local_users(url):
        return url
    if not allow_open_queue:
        raise ConfigurationError(
            f"{shown(url)} asks for no password, so every user of this machine can run code as the worker. Set a password "
            "(requirepass) and give it in the address, on the command line in AIOPOSTHOG_ENV_REDIS_PASSWORD; or, where no "
            "other user can log in, say allow_open_queue=True (--allow-open-queue)."
        )
    log.warning("%s asks for no password: every user of this machine can run code as the worker", shown(url))
    return url


def checked_url(url: str, *, allow_insecure: bool = False) -> str:
    """The address of the server, where it may be used.

    Raises:
        ConfigurationError: See ``checked_address``.
    """
    return checked_address(
        url,
        danger="whoever can write there can run code on the workers",
        variable="the password in AIOPOSTHOG_ENV_REDIS_PASSWORD",
        allow="say allow_insecure=True (--allow-insecure)",
        allow_insecure=allow_insecure,
    )


def for_engine(url: str) -> str:
    """The address as docket takes it, with room for the connections that it opens."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    query.setdefault("max_connections", "1000")
    return RedactedText(urlunsplit(parts._replace(query=urlencode(query))))


def connect(url: str) -> Any:
    """A client. Its calls fail soon rather than wait; who makes them says how long to try."""
    from redis.asyncio import Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    return Redis.from_url(  # pyright: ignore[reportUnknownMemberType]
        for_engine(url),
        decode_responses=True,
        protocol=2,  # answers have the same shape then in all versions of the client
        socket_timeout=_PATIENCE,
        socket_connect_timeout=_PATIENCE,
        retry=Retry(NoBackoff(), 1),
    )


async def must_take_us(url: str) -> None:
    """See that the server takes the login. One that is away may come back, and is not judged.

    Raises:
        ConfigurationError: It refuses the login, or asks for one.
    """
    from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

    client = connect(url)
    try:
        await client.ping()
    except (AuthenticationError, NoPermissionError):
        raise ConfigurationError(f"{shown(url)} refuses the user or the password of its address, or asks for them.") from None
    except (RedisError, OSError):
        return
    finally:
        await client.aclose()
