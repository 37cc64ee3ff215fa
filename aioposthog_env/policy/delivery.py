"""What became of one request, as a value.

The kinds differ in one thing that matters: what is certain. ``NotSent`` and ``Throttled`` mean that no handler ran.
``Lost`` and ``Failed`` mean that one may have run, or may still be running. ``Answered``, ``Redirected`` and ``Refused``
are answers to trust.
"""

from collections.abc import Mapping
from typing import Final, TypeAlias

import attrs

from aioposthog_env.policy.retry_after import parse_retry_after
from aioposthog_env.redacted import RedactedBytes


@attrs.frozen
class Reply:
    """A whole answer: status, headers whose names ignore case, and the body."""

    status: int
    headers: Mapping[str, str] = attrs.field(repr=lambda headers: str([*headers]))  # a login sets cookies
    body: bytes = attrs.field(repr=RedactedBytes.__repr__)

    @property
    def opening(self) -> bytes:
        """The first part of the body, enough to recognise a sentence in it."""
        return self.body[:4096]

    def all(self, name: str) -> list[str]:
        """All values of a header that may come more than once."""
        several = getattr(self.headers, "getall", None)
        return list(several(name, [])) if several is not None else [self.headers[name]] if name in self.headers else []


@attrs.frozen
class NotSent:
    """The request never left this machine."""

    reason: str
    certificate: bool = False
    """The server's certificate was refused: asking again changes nothing."""


@attrs.frozen
class Lost:
    """The request left, and no whole answer came."""

    reason: str
    status: int | None = None
    """The status, where the head of an answer came and its body broke."""
    final: bool = False
    """Asking again would end the same way, for example with a body that is too large."""


@attrs.frozen
class Throttled:
    """Refused before any handler ran, with a request to wait."""

    reply: Reply
    retry_after: float | None


@attrs.frozen
class Redirected:
    """Sent to another path of the same server with the same verb and body; no handler ran."""

    reply: Reply


@attrs.frozen
class Refused:
    """A final no: the request is at fault."""

    reply: Reply


@attrs.frozen
class Failed:
    """The server or a proxy before it failed. A handler may have run; after a 500 it is over."""

    reply: Reply


@attrs.frozen
class Answered:
    """Success."""

    reply: Reply


Delivery: TypeAlias = NotSent | Lost | Throttled | Redirected | Refused | Failed | Answered

_SAME_VERB_REDIRECTS: Final = frozenset({307, 308})


def classify(reply: Reply) -> Delivery:
    """Sort an answer by its status.

    A 503 that says ``database_unavailable`` is sent before the handler runs, like a 429; any other 5xx may
    come from a proxy while the handler goes on. A 1xx as the whole answer, such as an offer of another protocol, tells no more.
    """
    status = reply.status
    if 200 <= status < 300:
        return Answered(reply)  # also another one than documented: whether the body is what it should be is seen later
    if status == 429 or (status == 503 and b'"database_unavailable"' in reply.opening):
        headers = reply.headers
        return Throttled(reply, parse_retry_after(headers.get("Retry-After"), date=headers.get("Date")))
    if status in _SAME_VERB_REDIRECTS:
        return Redirected(reply)
    if status < 200 or status == 408 or status >= 500:
        return Failed(reply)
    return Refused(reply)
