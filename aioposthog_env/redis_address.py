"""Which addresses of Redis or Valkey are taken, and how they are shown."""

from typing import Final
from urllib.parse import parse_qsl, urlsplit

from aioposthog_env.auth import is_loopback
from aioposthog_env.errors import ConfigurationError

_SCHEMES: Final = {"redis", "rediss", "unix"}


def checked_address(url: str, *, danger: str, variable: str, allow: str, allow_insecure: bool = False) -> str:
    """The address, where it may be used.

    Args:
        url: ``redis://``, ``rediss://`` (TLS) or ``unix://``.
        danger: What somebody can do who can write there, as a part of a sentence.
        variable: Where the command line takes an address with a password from, or its password.
        allow: How to say ``allow_insecure``, from Python and on the command line, as a part of a sentence.
        allow_insecure: Take one beyond this machine that asks for no password, or whose certificate is not checked.

    Raises:
        ConfigurationError: It is no such address, asks for no password beyond this machine, or switches the check of the
            certificate off.
    """
    try:
        parts = urlsplit(url)
        host, options = parts.hostname or "", dict(parse_qsl(parts.query))
        parts.port  # noqa: B018  raises where it is none
    except ValueError:
        raise ConfigurationError("The address of Redis is no URL; give redis://HOST:PORT/0.") from None
    if parts.scheme not in _SCHEMES or (parts.scheme != "unix" and not host):
        raise ConfigurationError(f"{shown(url)!r} is no address of Redis; give redis://, rediss:// or unix://.")
    if allow_insecure:
        return url
    if parts.scheme != "unix" and not is_loopback(host) and not (parts.password or options.get("password")):
        raise ConfigurationError(
            f"{shown(url)} asks for no password, and {danger}. Give rediss://:PASSWORD@HOST (on the command line {variable}), "
            f"or {allow}, where the network keeps everybody else out."
        )
    if options.get("ssl_cert_reqs", "required").lower() != "required":
        raise ConfigurationError(f"ssl_cert_reqs switches the check of the certificate off: leave it out, or {allow}.")
    return url


def shown(url: str) -> str:
    """An address without user, password and options."""
    if "://" not in url:
        return url.rpartition("@")[2].partition("?")[0]
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
