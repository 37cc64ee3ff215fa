"""Which addresses of Redis or Valkey are taken, and how they are shown."""

import os
import stat
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from aioposthog_env.auth import is_loopback
from aioposthog_env.errors import ConfigurationError
from aioposthog_env.redacted import RedactedText, redacted

_SCHEMES: Final = {"redis", "rediss", "unix"}
_OFF: Final = {"0", "f", "false", "n", "no", "off", "none"}


def checked_address(url: str, *, danger: str, variable: str, allow: str, allow_insecure: bool = False) -> str:
    """The address, where it may be used. It does not show in a traceback.

    Args:
        url: ``redis://``, ``rediss://`` (TLS) or ``unix://``.
        danger: What somebody can do who can write there, as a part of a sentence.
        variable: Where the command line takes an address with a password from, or its password.
        allow: How to say ``allow_insecure``, from Python and on the command line, as a part of a sentence.
        allow_insecure: Take one beyond this machine that asks for no password or is not encrypted, or whose certificate or
            host name is not checked.

    Raises:
        ConfigurationError: Not such an address; beyond this machine without a password or without TLS; or it switches the
            check of the certificate or of its host name off.
    """
    address = redacted(url)
    del url
    problem = _problem_of(address, danger, variable, allow, allow_insecure=allow_insecure)
    if problem is not None:
        raise ConfigurationError(problem)
    return address


def _problem_of(url: str, danger: str, variable: str, allow: str, *, allow_insecure: bool) -> str | None:
    # It returns the problem rather than raise, so that no frame of a traceback holds the password. Nor is what is not an
    # address repeated: it may be a password.
    try:
        parts = urlsplit(url)
        host, options = parts.hostname or "", dict(parse_qsl(parts.query))
        parts.port  # noqa: B018  raises where it is none
    except ValueError:
        return (
            "The Redis URL cannot be parsed; give redis://HOST:PORT/0. In a password, write characters such as / # ? @ as "
            "%2F %23 %3F %40."
        )
    if (
        parts.scheme not in _SCHEMES
        or (parts.scheme != "unix" and not host)
        or "@" in f"{parts.path}{parts.query}{parts.fragment}"
    ):
        return (
            "This is not a Redis URL; give redis://, rediss:// or unix://. In a password, write characters such as "
            "/ # ? @ as %2F %23 %3F %40."
        )
    if allow_insecure:
        return None
    away = parts.scheme != "unix" and not is_loopback(host)
    if away and not _password(url):
        return (
            f"{shown(url)} asks for no password, and {danger}. Give rediss://:PASSWORD@HOST (on the command line {variable}), "
            f"or {allow}, where the network keeps everybody else out."
        )
    if away and parts.scheme == "redis":
        return (
            f"{shown(url)} would send the password unencrypted, and {danger}. Give rediss://, or {allow}, where the network "
            "keeps everybody else out."
        )
    if options.get("ssl_cert_reqs", "required").lower() != "required":
        return f"ssl_cert_reqs switches the check of the certificate off: leave it out, or {allow}."
    if options.get("ssl_check_hostname", "true").lower() in _OFF:
        return f"ssl_check_hostname switches the check of the certificate's host name off: leave it out, or {allow}."
    return None


def is_open_to_local_users(url: str) -> bool:
    """Whether any user of this machine can write to a server.

    It asks for no password, and listens on loopback or at a socket that all may write to.

    Args:
        url: An address that was checked.
    """
    parts = urlsplit(url)
    if _password(url):
        return False
    if parts.scheme != "unix":
        return is_loopback(parts.hostname or "")
    try:
        return bool(os.stat(unquote(parts.path)).st_mode & stat.S_IWOTH)
    except OSError:
        return False  # nothing can be written there


def _password(url: str) -> str | None:
    parts = urlsplit(url)
    password = parts.password or dict(parse_qsl(parts.query)).get("password")
    return RedactedText(password) if password else None


def shown(url: str) -> str:
    """An address that was checked, without user, password and options."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
