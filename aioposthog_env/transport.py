"""One physical request, and what became of it. The only client module that knows aiohttp.

Three things here are not what aiohttp does by itself:

* **Exactly one request leaves.** When a kept-alive connection turns out to be dead, aiohttp sends a GET, PUT or DELETE a
  second time without telling, and has no switch for it. A client middleware turns the exceptions that start this into
  one that does not.
* **Each response belongs to its request.** A kept-alive connection on which bytes arrived that no request asked for would give
  them out as the next response. The request class refuses such a connection, closes it, and the request takes another one.
* **Was it sent?** The exception class alone cannot tell. A request class can, which takes note right before it writes to its
  connection. (A trace hook would tell the same, at a seventh of the whole cost of a call.)
"""

import asyncio
import os
import select
import socket
import ssl as tls
from base64 import b64encode
from collections.abc import Awaitable, Callable
from functools import lru_cache
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass
from weakref import WeakSet

import aiohttp
import attrs
from aiohttp.abc import ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import Connection
from yarl import URL

from aioposthog_env.auth import is_loopback
from aioposthog_env.errors import ClientStateError, ConfigurationError
from aioposthog_env.policy.delivery import Lost, NotSent, Reply
from aioposthog_env.redacted import RedactedBuffer, RedactedBytes, RedactedText, printable_half_built, redacted
from aioposthog_env.version import __version__

USER_AGENT: Final = f"aioposthog-env/{__version__}"

TLS: TypeAlias = tls.SSLContext | str | os.PathLike[str] | None
"""How to trust the server: None for the system's authorities, a file or folder of authorities, or an ``SSLContext``."""


def _positive(instance: object, attribute: "attrs.Attribute[float]", value: float) -> None:
    if isinstance(value, bool) or not value > 0:
        raise ConfigurationError(f"The {attribute.name} timeout must be a number of seconds above 0, not {value!r}.")


@printable_half_built
@attrs.frozen
class Timeout:
    """How long one request may take, in seconds.

    Attributes:
        connect: To resolve the name, connect and agree on TLS.
        read: From the sending to the first piece of the answer, and between two pieces.
        total: For the whole request.

    Raises:
        ConfigurationError: A figure is not positive.
    """

    connect: float = attrs.field(default=5.0, validator=_positive)
    read: float = attrs.field(default=30.0, validator=_positive)
    total: float = attrs.field(default=120.0, validator=_positive)


class _Patience:
    """When an answer takes too long: as a whole, or between two pieces of it.

    One timer, moved on with each piece. aiohttp's own read timeout starts several for every request, which costs as much as
    decoding the answer.
    """

    __slots__ = ("_last", "_now", "_read", "scope")

    def __init__(self, timeout: Timeout) -> None:
        self._now = asyncio.get_running_loop().time
        self._read = timeout.read
        self._last = self._now() + timeout.total
        # Until the request is sent, aiohttp's own timer for connecting runs.
        self.scope = asyncio.timeout_at(self._last if timeout.total < timeout.connect else None)

    def renew(self) -> None:
        """Wait for the next piece, as long as is allowed."""
        self.scope.reschedule(min(self._last, self._now() + self._read))


class _DroppedError(Exception):
    """The connection went away. Not one of aiohttp's classes, so that aiohttp does not send again."""


class _TooLateError(Exception):
    """The time by which the request had to leave is over."""


class _TooLargeError(Exception):
    """The body is larger than allowed."""


class _UnsolicitedError(Exception):
    """Bytes arrived on the connection before a request was written to it."""


_OURS: Final = (_DroppedError, _TooLargeError, _TooLateError, _UnsolicitedError)


class _Request(ClientRequest):
    """Knows whether it was written to a connection."""

    once: "_Once | None" = None

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        if _has_unsolicited_bytes(conn):
            conn.close()
            raise _UnsolicitedError("the server sends bytes that no request asked for")
        if conn.protocol is not None:
            _used.add(conn.protocol)
        if self.once is not None:
            self.once.leave()
        return await super().send(conn)


class _Once:
    """A client middleware for one request, which keeps aiohttp from sending it twice.

    Attributes:
        sent: Whether the request has left, as far as this machine can tell.
    """

    __slots__ = ("_leave_by", "_stopped", "patience", "sent")

    def __init__(self, patience: _Patience, leave_by: float | None, stopped: Callable[[], bool] | None) -> None:
        self.patience = patience
        self._leave_by = leave_by
        self._stopped = stopped
        self.sent = False

    async def __call__(
        self, request: ClientRequest, handler: Callable[[ClientRequest], Awaitable[aiohttp.ClientResponse]]
    ) -> aiohttp.ClientResponse:
        if isinstance(request, _Request):
            request.once = self
        try:
            return await handler(request)
        except aiohttp.ClientConnectorError:
            raise
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
            raise _DroppedError(_reason(error)) from error

    def leave(self) -> None:
        """The request is about to be written: from now on it may have arrived, and its answer is awaited."""
        # As late as can be: a process may have been stopped for any time since it was allowed to send.
        if self._leave_by is not None and asyncio.get_running_loop().time() > self._leave_by:
            raise _TooLateError("it was too late for it to leave")
        if self._stopped is not None and self._stopped():
            raise _TooLateError("the run was stopped before it could leave")
        self.sent = True
        self.patience.renew()


class Transport:
    """An aiohttp session for one origin, bound to the event loop in which it was opened."""

    def __init__(
        self,
        origin: str,
        *,
        max_connections: int,
        max_body: int,
        ssl: TLS = None,
        proxy: str | None = None,
        trust_env: bool = False,
        allow_insecure_http: bool = False,
    ) -> None:
        for name, value in (("max_connections", max_connections), ("max_body", max_body)):
            if isinstance(value, bool) or value < 1:
                raise ConfigurationError(f"{name} must be a whole number above 0, not {value!r}.")
        self.origin = origin
        self._base = URL(origin)
        self._max_body = max_body
        self._tls = _tls_context(ssl)
        self._proxy, login = _proxy_of(origin, redacted(proxy), trust_env=trust_env)
        plain = origin.startswith("http://")
        if plain and self._proxy is not None and not (allow_insecure_http or is_loopback(self._proxy.host or "")):
            raise ConfigurationError(
                f"{origin} would send the credential unencrypted to a proxy on another machine; use https, or leave the proxy "
                "out: proxy=None, and for trust_env=True the host in the variable no_proxy."
            )
        # To the proxy of an encrypted connection the login goes with CONNECT, else with the request.
        self._own_headers = {} if login is None or not plain else {"Proxy-Authorization": login}
        self._proxy_headers = None if login is None or plain else {"Proxy-Authorization": login}
        # Waiting for a free connection happens here, where it is first come, first served, and costs no connect timeout.
        self._max_connections = max_connections
        self._free = asyncio.Semaphore(max_connections)
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def open(self) -> None:
        """Make the session.

        Raises:
            ClientStateError: It was opened before.
        """
        if self._loop is not None:
            raise ClientStateError("This client was entered before; make a new one for each `async with`.")
        self._loop = asyncio.get_running_loop()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self._tls, resolver=_Resolver()),
            cookie_jar=aiohttp.DummyCookieJar(),
            request_class=_Request,
            auto_decompress=True,
            raise_for_status=False,
        )

    async def close(self) -> None:
        """Close every connection."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def check_state(self) -> None:
        """Make sure that a call can be made here and now.

        Raises:
            ClientStateError: Not entered yet, closed, or entered in another event loop.
        """
        if self._session is None:
            raise self._not_open()
        if asyncio.get_running_loop() is not self._loop:
            raise ClientStateError("This client belongs to another event loop; make one client in each loop.")

    def _not_open(self) -> ClientStateError:
        state = "was not entered" if self._loop is None else "is closed"
        return ClientStateError(f"This client {state}; make calls inside `async with AsyncEnvironments(…) as environments:`.")

    async def send(
        self,
        verb: str,
        path: str,
        *,
        headers: dict[str, str],
        body: bytes | None,
        timeout: Timeout,
        leave_by: float | None = None,
        stopped: Callable[[], bool] | None = None,
    ) -> Reply | NotSent | Lost:
        """Send exactly one request and read the whole answer.

        Args:
            verb: The HTTP verb.
            path: The path with its query, percent-encoded.
            headers: The headers.
            body: The body, or None.
            timeout: How long it may take.
            leave_by: The time of the event loop until which it may be written to a connection; None for any.
            stopped: Tells, right before it is written, whether it must not leave any more; None for never.
        """
        async with self._free:
            # Those that were kept alive, and one that is new.
            for _ in range(self._max_connections + 1):
                answer = await self._send_once(verb, path, headers, body, _Once(_Patience(timeout), leave_by, stopped), timeout)
                if answer is not _UNSOLICITED:
                    return answer
        return _UNSOLICITED

    async def _send_once(
        self, verb: str, path: str, headers: dict[str, str], body: bytes | None, once: "_Once", timeout: Timeout
    ) -> Reply | NotSent | Lost:
        """Send the request on one connection; ``_UNSOLICITED`` if that connection must not be used."""
        session = self._session
        if session is None:
            raise self._not_open()
        status = None
        patience = once.patience
        try:
            async with (
                patience.scope,
                session.request(
                    verb,
                    self._url(path),
                    headers=headers | self._own_headers if self._own_headers else headers,
                    data=body,
                    allow_redirects=False,
                    proxy=self._proxy,
                    proxy_headers=self._proxy_headers,
                    timeout=_client_timeout(timeout.connect),
                    middlewares=(once,),
                ) as response,
            ):
                status = response.status
                return Reply(status, response.headers, await self._read(response, patience))
        except _UnsolicitedError:
            return _UNSOLICITED
        except (*_OURS, aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            return _what_happened(error, sent=once.sent, status=status)

    def _url(self, path: str) -> URL:
        # A path put on the parsed origin costs a quarter of parsing the whole.
        return self._base.with_path(path, encoded=True) if "?" not in path else URL(self.origin + path, encoded=True)

    async def _read(self, response: aiohttp.ClientResponse, patience: _Patience) -> bytes:
        length = response.content_length
        if length is not None and length > self._max_body:
            response.close()
            raise _TooLargeError(f"the body of {length} bytes is larger than max_body={self._max_body}")
        content = response.content
        # A list of pieces would take forty times the memory of what a server sends byte by byte.
        body = RedactedBuffer()
        while not content.at_eof():
            if not content.is_eof():
                patience.renew()
            body += await content.readany()
            # Without a length, or compressed, the size shows only as it comes.
            if len(body) > self._max_body:
                response.close()
                raise _TooLargeError(f"the body is larger than max_body={self._max_body}")
        return RedactedBytes(body)


_used: "WeakSet[ResponseHandler]" = WeakSet()
"""The connections on which a request was sent."""
_UNSOLICITED: Final = NotSent("the server sends bytes that no request asked for, so its responses belong to no request")


def _has_unsolicited_bytes(conn: Connection) -> bool:
    """Return whether bytes arrived on a connection before its request: those the loop has read, and those it has not."""
    protocol, transport = conn.protocol, conn.transport
    if protocol is None or transport is None:
        return False
    if protocol.should_close:
        return True
    pipe = transport.get_extra_info("socket")
    # TLS sends session tickets after its handshake, which a new connection may not have read yet.
    tickets = transport.get_extra_info("sslcontext") is not None and protocol not in _used
    if pipe is None or tickets:
        return False
    return _is_readable(pipe.fileno())


def _is_readable(descriptor: int) -> bool:
    """Return whether a socket holds bytes, or its end, that were not read yet."""
    if descriptor < 0:
        return False
    if not hasattr(select, "poll"):  # Windows
        return bool(select.select([descriptor], [], [], 0)[0])
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


@lru_cache(maxsize=16)
def _client_timeout(connect: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, connect=connect, sock_connect=connect)


def _what_happened(error: Exception, *, sent: bool, status: int | None) -> NotSent | Lost:
    reason = _reason(error)
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return NotSent(f"the server's certificate is not trusted ({reason})", certificate=True)
    never_left = isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientHttpProxyError | aiohttp.ConnectionTimeoutError)
    if never_left or not sent:
        return NotSent(reason)
    return Lost(reason, status=status, final=isinstance(error, _TooLargeError))


def _reason(error: BaseException) -> str:
    """What happened, without the texts of exceptions that may quote an address with a password, or a header."""
    if isinstance(error, _OURS):
        return str(error)
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return str(getattr(error.certificate_error, "verify_message", "")) or type(error.certificate_error).__name__
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error.strerror or type(error.os_error).__name__
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return "connecting took too long"
    if isinstance(error, TimeoutError):
        return "the answer took too long"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the server closed the connection"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the body broke off or cannot be decoded"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"the answer is not valid HTTP ({type(error).__name__})"


def _tls_context(ssl: TLS) -> "tls.SSLContext | bool":
    if ssl is None:
        return True
    if isinstance(ssl, tls.SSLContext):
        return ssl
    if not isinstance(ssl, str | os.PathLike):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigurationError("ssl takes None, a file or folder of certificate authorities, or an ssl.SSLContext.")
    place = Path(ssl)
    try:
        if place.is_dir():
            return tls.create_default_context(capath=place)
        return tls.create_default_context(cafile=place)
    except (OSError, tls.SSLError) as error:
        raise ConfigurationError(f"The certificate authorities at {str(place)!r} cannot be read: {error}.") from None


class _Resolver(aiohttp.ThreadedResolver):
    """The system's names, but ``localhost`` never leaves this machine, whatever DNS or a file of hosts says."""

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        if host != "localhost":
            return await super().resolve(host, port, family)
        addresses = (("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6))
        return [
            ResolveResult(hostname=host, host=address, port=port, family=of, proto=0, flags=socket.AI_NUMERICHOST)
            for address, of in addresses
            if family in {socket.AF_UNSPEC, of}
        ]


def _proxy_of(origin: str, proxy: str | None, *, trust_env: bool) -> tuple[URL | None, str | None]:
    """The proxy for an origin without the login in its address, and the header of that login."""
    # aiohttp's own trust_env also reads .netrc, which then collides with the Authorization header of a credential.
    if proxy is None and trust_env:
        here = urlsplit(origin)
        if not proxy_bypass(here.hostname or ""):
            proxy = redacted(getproxies().get(here.scheme))
    if proxy is None:
        return None, None
    url, login = _split_login(proxy)
    if url.scheme not in {"http", "https"} or not url.host:
        raise ConfigurationError("The proxy is not a URL such as 'http://proxy.example.com:3128'.")
    return url, login


def _split_login(proxy: str) -> tuple[URL, str | None]:
    # It raises nothing, so that no traceback shows the password among its local variables.
    try:
        url = URL(str(proxy))
    except ValueError:
        return URL(), None
    if url.scheme not in {"http", "https"} or not url.host or (url.user is None and url.password is None):
        return url.with_user(None) if url.host else URL(), None
    login = b64encode(f"{url.user or ''}:{url.password or ''}".encode()).decode()
    return url.with_user(None), RedactedText(f"Basic {login}")
