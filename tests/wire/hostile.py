"""The kinds of hostile server, as data: what each writes in answer to a request.

A server may be broken, behind a broken proxy, or not PostHog at all. Every kind gets the body of a good answer, so that a
broken frame is the only thing wrong with it.
"""

import asyncio
import gzip
import json
import zlib
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any, Final, TypeAlias

import attrs

from tests.wire.raw import http

BLOCK: Final = b" " * 65_536
MANY: Final = 100 * 2**20 // len(BLOCK)
"""As many blocks as make 100 MB."""


@attrs.frozen
class Asked:
    """One request, and where it was made.

    Attributes:
        verb: Its verb.
        path: Its path with the query.
        good: The body of a good answer to it.
        number: How many requests came before it.
        elsewhere: Another origin, which must never be asked anything.
    """

    verb: str
    path: str
    good: bytes
    number: int
    elsewhere: str

    @property
    def payload(self) -> dict[str, Any]:
        """The good answer as an object."""
        found: dict[str, Any] = json.loads(self.good)
        return found


Write: TypeAlias = Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]


@attrs.frozen
class Kind:
    """One way to be hostile.

    Attributes:
        name: What it is.
        write: What it does with a request.
        harmless: A good answer can be read from it all the same.
        refuses: It says that nothing was done, so that also a token call may be sent again.
    """

    name: str
    write: Write
    harmless: bool = False
    refuses: bool = False


def says(make: Callable[[Asked], bytes], *, close: bool = False) -> Write:
    """Write this."""

    async def write(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(make(asked))
        await writer.drain()
        if close:
            writer.close()

    return write


def goes_on(opening: bytes, block: bytes, *, count: int | None = None, pause: float = 0.0) -> Write:
    """Write the opening and then the same block again and again, for ever without a count."""

    async def write(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(opening)
        left = count
        while left is None or left > 0:
            writer.write(block)
            await writer.drain()
            if pause:
                await asyncio.sleep(pause)
            left = None if left is None else left - 1

    return write


async def silent(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """Take the request and never answer."""
    await asyncio.sleep(60)


async def half_closed(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """Answer the half, close that direction and go on reading."""
    answer = http(200, asked.good)
    writer.write(answer[: len(answer) // 2])
    writer.write_eof()
    await asyncio.sleep(60)


async def reset(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """Drop the connection at once, without saying goodbye."""
    writer.transport.abort()


def plain(status: int, *lines: str, body: bytes | None = None) -> Callable[[Asked], bytes]:
    """An answer with exactly these headers."""

    def make(asked: Asked) -> bytes:
        head = "".join(f"{line}\r\n" for line in lines)
        return f"HTTP/1.1 {status} Whatever\r\n{head}\r\n".encode("latin-1") + (asked.good if body is None else body)

    return make


def body(make: Callable[[Asked], bytes | object], status: int = 200, **headers: str) -> Write:
    """A whole answer with this body."""

    def answer(asked: Asked) -> bytes:
        made = make(asked)
        return http(status, made if isinstance(made, bytes) else json.dumps(made).encode(), **headers)

    return says(answer)


def chunks(*pieces: bytes, close: bool = False) -> Write:
    """An answer in chunks, written as given; the good body stands for ``GOOD``."""

    def make(asked: Asked) -> bytes:
        good = b"%x\r\n%s\r\n" % (len(asked.good), asked.good)
        return CHUNKED + b"".join(good if piece is GOOD else piece for piece in pieces)

    return says(make, close=close)


CHUNKED: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
GOOD: Final = b"GOOD"
CRAFTED: Final = "\x1b]0;owned\x07\x1b[2J\x00\r\nINFO all is well\u202e\x9b31m"
"""A text that would clear a terminal, forge a line of a log and turn what follows around."""


def wrong_types(asked: Asked) -> object:
    """Every value of another type."""
    return {name: [value] if isinstance(value, str) else {"was": str(value)} for name, value in asked.payload.items()}


def bomb(asked: Asked) -> bytes:
    """100 MB of spaces before the good body, in 100 kB."""
    return _compressed(asked.good)


@lru_cache
def _compressed(good: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=31)
    return b"".join([*(deflate.compress(BLOCK) for _ in range(MANY)), deflate.compress(good), deflate.flush()])


def next_page(asked: Asked, link: str, *, fresh: bool) -> object:
    """A page that names another one."""
    entry = {"id": 1000 + asked.number if fresh else 42, "name": "Mine"}
    return asked.payload | {"count": 10**12, "next": link, "results": [entry]}


def numbers(value: str) -> Callable[[Asked], bytes]:
    """A number that JSON or Python cannot hold, where the id stands."""
    return lambda asked: asked.good.replace(b'"id": 42', b'"id": ' + value.encode())


def length_of(asked: Asked, change: int = 0) -> str:
    """The header for the good body, or one that is wrong."""
    return f"Content-Length: {len(asked.good) + change}"


def elsewhere(status: int) -> Write:
    """Redirect to another host."""
    return says(lambda asked: http(status, Location=f"{asked.elsewhere}{asked.path}"))


KINDS: Final = (
    # What it says
    Kind("wrong types", body(wrong_types)),
    Kind("a number instead of an object", body(lambda asked: b"5")),
    Kind("a list instead of an object", body(lambda asked: b"[" + asked.good + b"]")),
    Kind("an empty body", body(lambda asked: b"")),
    Kind("JSON that breaks off", body(lambda asked: asked.good[:-9])),
    Kind("JSON nested 100,000 deep", body(lambda asked: b'{"id": ' + b"[" * 100_000 + b"]" * 100_000 + b"}")),
    Kind(
        "JSON nested deep in what is not known",
        body(lambda asked: asked.good[:-1] + b', "x": ' + b"[" * 900 + b"]" * 900 + b"}"),
        harmless=True,
    ),
    Kind("300,000 empty lists", body(lambda asked: asked.good[:-1] + b', "x": [' + b"[]," * 300_000 + b"0]}")),
    Kind("bad UTF-8", body(lambda asked: asked.good.replace(b"Mine", b"M\xff\xfe"))),
    Kind("null bytes in the body", body(lambda asked: asked.good.replace(b"Mine", b"M\x00\x00"))),
    Kind("lone surrogates", body(lambda asked: asked.good.replace(b"Mine", b"\\ud800"))),
    Kind("NaN and Infinity", body(numbers("NaN"))),
    Kind("Infinity as a power", body(numbers("1e999"))),
    Kind("an integer of 5,000 digits", body(numbers("9" * 5_000))),
    Kind("duplicate keys", body(lambda asked: b'{"id": "no", "results": 5, ' + asked.good[1:]), harmless=True),
    Kind("HTML with status 200", body(lambda asked: b"<html><body>Welcome</body></html>", Content_Type="text/html")),
    Kind(
        "HTML of a proxy with status 502",
        body(lambda asked: b"<html><h1>Bad Gateway</h1></html>", 502, Content_Type="text/html"),
    ),
    Kind("a wrong content type", body(lambda asked: asked.good, Content_Type="image/png; charset=klingon"), harmless=True),
    Kind(
        "an error of 900 kB",
        body(lambda asked: {"type": "x", "code": "x" * 300_000, "detail": "y" * 600_000}, 400),
        refuses=True,
    ),
    Kind(
        "control characters in an error",
        body(lambda asked: {"type": CRAFTED, "code": CRAFTED, "detail": CRAFTED, "attr": CRAFTED}, 400),
        refuses=True,
    ),
    Kind(
        "control characters in a name",
        body(lambda asked: asked.good.replace(b'"Mine"', json.dumps(CRAFTED).encode())),
        harmless=True,
    ),
    # How much it says
    Kind("a body of 100 MB", goes_on(b"HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n", BLOCK, count=MANY)),
    Kind("100 MB in chunks", goes_on(CHUNKED, b"%x\r\n%s\r\n" % (len(BLOCK), BLOCK), count=MANY)),
    Kind("a body without an end", goes_on(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", BLOCK)),
    Kind("a gzip bomb", body(bomb, Content_Encoding="gzip")),
    Kind("headers without an end", goes_on(b"HTTP/1.1 200 OK\r\n", b"X-More: " + b"x" * 1_000 + b"\r\n")),
    Kind("a header without an end", goes_on(b"HTTP/1.1 200 OK\r\nX-More: ", b"x" * 1_000)),
    Kind("a status line without an end", goes_on(b"HTTP/1.1 200 ", b"x" * 1_000)),
    Kind("1xx without an end", goes_on(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 20)),
    Kind("a chunk extension without an end", goes_on(CHUNKED + b"5;", b"x" * 1_000)),
    Kind("trailers without an end", goes_on(CHUNKED + b"0\r\n", b"X-More: " + b"x" * 1_000 + b"\r\n")),
    Kind("chunks of one byte without an end", goes_on(CHUNKED, b"1\r\n \r\n" * 1_000)),
    # How slowly
    Kind("silence", silent),
    Kind("headers that drip", goes_on(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n", pause=0.02)),
    Kind("a body that drips", goes_on(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b" ", pause=0.02)),
    # Where to
    Kind("307 to another host", elsewhere(307), refuses=True),
    Kind("308 to another host", elsewhere(308), refuses=True),
    Kind("302 to another host", elsewhere(302), refuses=True),
    Kind("303 to another host", elsewhere(303), refuses=True),
    Kind(
        "307 to the same host by another name",
        says(lambda asked: http(307, Location=f"http://localhost{asked.path}")),
        refuses=True,
    ),
    Kind(
        "307 with a name before the host",
        says(lambda asked: http(307, Location=f"http://x@{asked.elsewhere.partition('//')[2]}/")),
        refuses=True,
    ),
    Kind(
        "307 with a space and a second request in it",
        says(lambda asked: http(307, Location="/x HTTP/1.1\tHost: evil")),
        refuses=True,
    ),
    Kind("307 to itself", says(lambda asked: http(307, Location=asked.path)), refuses=True),
    Kind("308 further and further", says(lambda asked: http(308, Location=f"{asked.path}x/")), refuses=True),
    Kind(
        "an alternative service and a refresh",
        body(lambda asked: b"<html>", 200, Alt_Svc='h2="evil.example:443"', Refresh="0; url=http://evil.example/"),
    ),
    Kind(
        "the next page on another host",
        body(lambda asked: next_page(asked, f"{asked.elsewhere}/api/environments/", fresh=False)),
        harmless=True,
    ),
    Kind("a next page that is the same for ever", body(lambda asked: next_page(asked, asked.path, fresh=False)), harmless=True),
    Kind(
        "new pages without an end",
        body(lambda asked: next_page(asked, "/api/environments/?offset=1", fresh=True)),
        harmless=True,
    ),
    # What surrounds it
    Kind("an end before the first byte", says(lambda asked: b"", close=True)),
    Kind("an end within the headers", says(lambda asked: b"HTTP/1.1 200 OK\r\nContent-Le", close=True)),
    Kind("an end within the body", says(lambda asked: http(200, asked.good)[:-9], close=True)),
    Kind("an end within a chunk", chunks(b"ff\r\n{", close=True)),
    Kind("half closed", half_closed),
    Kind("a reset", reset),
    Kind(
        "kept alive and dropped", says(lambda asked: http(200, asked.good, Connection="keep-alive"), close=True), harmless=True
    ),
    Kind("a length that is too short", says(lambda asked: plain(200, length_of(asked, -9))(asked))),
    Kind("a length that is too long", says(lambda asked: plain(200, length_of(asked, 9))(asked))),
    Kind("a negative length", says(plain(200, "Content-Length: -1"))),
    Kind("a length that is no number", says(plain(200, "Content-Length: 0x10"))),
    Kind("two lengths", says(lambda asked: plain(200, length_of(asked), "Content-Length: 1")(asked))),
    Kind("a length and chunks", says(lambda asked: plain(200, length_of(asked), "Transfer-Encoding: chunked")(asked))),
    Kind(
        "an answer more than was asked for",
        says(lambda asked: http(200, asked.good) + http(200, b'{"id": 666, "name": "Stolen"}')),
        harmless=True,
    ),
    Kind("a chunk whose size is none", chunks(b"zz\r\n{}\r\n0\r\n\r\n")),
    Kind("a chunk of negative size", chunks(b"-5\r\n{}\r\n0\r\n\r\n")),
    Kind("a chunk of astronomical size", chunks(b"fffffffffffffffffff\r\n{}")),
    Kind("chunks without the last one", chunks(GOOD)),
    Kind("compressed garbage", body(lambda asked: b"\x1f\x8b\x08\x00garbage" * 9, Content_Encoding="gzip")),
    Kind("a compression nobody knows", body(lambda asked: asked.good, Content_Encoding="klingon"), harmless=True),
    Kind("compressed twice", body(lambda asked: gzip.compress(gzip.compress(asked.good)), Content_Encoding="gzip")),
    Kind(
        "contradicting headers",
        says(
            lambda asked: plain(
                200, "Content-Type: text/html", "Content-Type: application/json", "Date: x", "Date: y", length_of(asked)
            )(asked)
        ),
        harmless=True,
    ),
    Kind("null bytes in a header", says(lambda asked: plain(200, "X-Bad: a\x00b", length_of(asked))(asked))),
    Kind(
        "a bare line feed in a header",
        says(lambda asked: plain(200, "X-Bad: a\nSet-Cookie: b=c", length_of(asked))(asked)),
        harmless=True,
    ),
    Kind(
        "cookies",
        says(lambda asked: plain(200, "Set-Cookie: sessionid=planted; Path=/", length_of(asked))(asked)),
        harmless=True,
    ),
    Kind(
        "a Date that no calendar has",
        body(lambda asked: asked.good, Date="Mon, 01 Jan 99999999999999999999 00:00:00 GMT"),
        harmless=True,
    ),
    Kind(
        "a Deprecation whose Link is crafted",
        body(
            lambda asked: asked.good,
            Deprecation="true",
            Sunset="\x1b[2J",
            Link='<//evil.example/>; rel="successor-version", <<>;;,;rel',
        ),
        harmless=True,
    ),
    # What it asks for
    Kind("Retry-After: -5", body(lambda asked: b"", 429, Retry_After="-5"), refuses=True),
    Kind("Retry-After: a century", body(lambda asked: b"", 429, Retry_After="3153600000"), refuses=True),
    Kind("Retry-After: 1e400", body(lambda asked: b"", 429, Retry_After="1e400"), refuses=True),
    Kind("Retry-After: nan", body(lambda asked: b"", 429, Retry_After="nan"), refuses=True),
    Kind("Retry-After: garbage", body(lambda asked: b"", 429, Retry_After="soon, 9" * 100), refuses=True),
    Kind(
        "Retry-After: a date that no calendar has",
        body(lambda asked: b"", 429, Retry_After="Mon, 01 Jan 99999999999999999999 00:00:00 GMT"),
        refuses=True,
    ),
    # What it is
    Kind("TLS on the port of http", says(lambda asked: b"\x15\x03\x03\x00\x02\x02\x28", close=True)),
    Kind("another protocol", says(lambda asked: b"SSH-2.0-OpenSSH_9.6\r\n" * 3)),
    Kind("HTTP/2", says(lambda asked: b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + b"\x00" * 18)),
    Kind("HTTP/9.9", says(lambda asked: http(200, asked.good).replace(b"HTTP/1.1", b"HTTP/9.9", 1))),
    Kind("HTTP/0.9", says(lambda asked: asked.good, close=True)),
    Kind(
        "other protocols offered",
        says(lambda asked: b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n\x00\x01"),
    ),
    Kind("status 0", says(lambda asked: http(200, asked.good).replace(b" 200 ", b" 0 ", 1))),
    Kind("status 999", says(lambda asked: http(999, asked.good))),
    Kind("status 204 with a body", says(lambda asked: http(204, asked.good))),
    Kind("random bytes", says(lambda asked: bytes(range(256)) * 40)),
)
"""The kinds; ``harmless`` and ``refuses`` say what a call makes of them."""
