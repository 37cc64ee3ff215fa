"""The connection to Redis or Valkey: which addresses are taken, and what becomes of the password."""

from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from aioposthog_env.auth import is_loopback
from aioposthog_env.errors import ConfigurationError

KEEP: Final = 7 * 24 * 3600
"""Seconds after which what nobody has fetched is gone from Redis."""

_SCHEMES: Final = {"redis", "rediss", "unix"}
_PATIENCE: Final = 5.0
"""Seconds for connecting, and for one answer."""


def checked_url(url: str, *, allow_insecure: bool = False) -> str:
    """The address, where it may be used.

    Who can write to that Redis can run code on the workers, because docket pickles its arguments.

    Args:
        url: ``redis://``, ``rediss://`` (TLS) or ``unix://``.
        allow_insecure: Take one beyond this machine that asks for no password.

    Raises:
        ConfigurationError: None of these, or without a password beyond this machine.
    """
    try:
        parts = urlsplit(url)
        host, options = parts.hostname or "", dict(parse_qsl(parts.query))
        _ = parts.port
    except ValueError:
        parts, host, options = urlsplit(""), "", {}
    secured = bool(parts.password or options.get("password"))
    if parts.scheme not in _SCHEMES or (parts.scheme != "unix" and not host):
        raise ConfigurationError(
            "The queue's address is a URL such as 'redis://127.0.0.1:6379' or 'rediss://:password@host:6379'."
        )
    if parts.scheme != "unix" and not is_loopback(host) and not secured and not allow_insecure:
        raise ConfigurationError(
            f"{shown(url)} asks for no password, and whoever can write to the queue can run code on the workers. Use a Redis "
            "with a password, and TLS (rediss://), or say allow_insecure=True where the network keeps everybody else out."
        )
    if options.get("ssl_cert_reqs", "required").lower() != "required" and not allow_insecure:
        raise ConfigurationError("ssl_cert_reqs switches the check of the certificate off: say allow_insecure=True as well.")
    return url


def shown(url: str) -> str:
    """The address without its password and without its query, which may hold one."""
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, place, parts.path, "", ""))


def for_engine(url: str) -> str:
    """The address as docket takes it, with room for the connections that it opens."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    query.setdefault("max_connections", "1000")
    return urlunsplit(parts._replace(query=urlencode(query)))


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
