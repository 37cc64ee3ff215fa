"""What became of one request, as a value.

The kinds differ in what they prove about a write. ``NotSent`` proves that no handler ran. ``Lost`` and ``Failed`` prove
nothing: a handler may have run, or may still be running. ``Throttled`` and ``Refused`` prove that the handler did not run only
if they are ``genuine``: PostHog itself wrote the response. A page of a proxy with the same status may come after the effect.
"""

from collections.abc import Mapping
from typing import Final, TypeAlias

import attrs

from aioposthog_env.api.replies import posthog_error
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
    """Refused with a request to wait."""

    reply: Reply
    retry_after: float | None
    genuine: bool = True
    """PostHog itself refused, before any handler ran."""


@attrs.frozen
class Redirected:
    """Sent to another path with the same verb and body. PostHog's redirects carry no JSON, so they prove nothing."""

    reply: Reply


@attrs.frozen
class Refused:
    """A final no: the request is at fault."""

    reply: Reply
    genuine: bool = True
    """PostHog itself refused, so the write was not done."""


@attrs.frozen
class Failed:
    """The server or a proxy before it failed. A handler may have run."""

    reply: Reply
    genuine: bool = False
    """PostHog itself wrote the response. After its own 500 the handler has ended."""


@attrs.frozen
class Answered:
    """Success."""

    reply: Reply


Delivery: TypeAlias = NotSent | Lost | Throttled | Redirected | Refused | Failed | Answered

_SAME_VERB_REDIRECTS: Final = frozenset({307, 308})


def classify(reply: Reply, *, limited: bool = True) -> Delivery:
    """Return what a response proves, by its status and by who wrote it.

    PostHog sends a 503 with the code ``database_unavailable`` before the handler runs, like a 429. Any other 5xx may come from
    a proxy while the handler still runs.

    Args:
        reply: The response.
        limited: Whether PostHog limits the rate of the credential. It never throttles a session or an OAuth token, so their 429
            comes from something else.
    """
    status = reply.status
    if 200 <= status < 300:
        return Answered(reply)  # the caller compares status and body with what the endpoint promises
    own = posthog_error(reply.body)
    code = "" if own is None else own.code
    if status == 429 or (status == 503 and code == "database_unavailable"):
        retry_after = parse_retry_after(reply.headers.get("Retry-After"), date=reply.headers.get("Date"))
        return Throttled(reply, retry_after, genuine=status == 503 or (limited and code == "throttled"))
    if status in _SAME_VERB_REDIRECTS:
        return Redirected(reply)
    if status < 200 or status == 408 or status >= 500:
        return Failed(reply, genuine=own is not None)
    return Refused(reply, genuine=own is not None)
