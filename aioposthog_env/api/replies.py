"""From status and body to a model, or to an error that a person can act on."""

import re
from collections.abc import Collection, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import attrs
import msgspec

from aioposthog_env.api.endpoints import DELETE, Endpoint, ReplyKind
from aioposthog_env.api.routes import ENDPOINT_NOT_FOUND, NESTED_REFUSAL, TEAM_SCOPE, Style
from aioposthog_env.api.secrets_in_text import without_secrets
from aioposthog_env.errors import (
    ApiError,
    AuthenticationError,
    ConflictError,
    CredentialNotAcceptedError,
    DecodeError,
    NotFoundError,
    PermissionDeniedError,
    ServerError,
    ThrottledError,
    ValidationError,
)
from aioposthog_env.models.activity import ActivityPage
from aioposthog_env.models.converter import decode, decode_list, decode_object, is_html, structure
from aioposthog_env.models.environment import Environment, EnvironmentPage
from aioposthog_env.models.keys import KeyInfo
from aioposthog_env.models.restrictions import IngestionRestriction
from aioposthog_env.models.settings import TeamSettings

_MODELS: Final[Mapping[ReplyKind, type[Any]]] = {
    ReplyKind.ENVIRONMENT: Environment,
    ReplyKind.ENVIRONMENT_PAGE: EnvironmentPage,
    ReplyKind.ACTIVITY_PAGE: ActivityPage,
    ReplyKind.KEY: KeyInfo,
}


@attrs.frozen
class _DemoData:
    is_generating_demo_data: bool
    extra: dict[str, Any] = attrs.field(factory=dict[str, Any])


def decode_success(endpoint: Endpoint, body: bytes, environment_id: int | None = None) -> Any:
    """What the endpoint returns.

    Args:
        endpoint: The endpoint.
        body: What came.
        environment_id: The environment that was asked for.

    Raises:
        DecodeError: The body is not what the endpoint promises, or is about another environment.
    """
    value = _decoded(endpoint, body)
    if environment_id is not None and isinstance(value, Environment) and value.id != environment_id:
        raise DecodeError(f"it is about environment {value.id}", path="$.id")
    return value


def _decoded(endpoint: Endpoint, body: bytes) -> Any:
    match endpoint.reply:
        case ReplyKind.NOTHING:
            if body.strip():
                raise DecodeError("nothing was to come, and something did")
            return None
        case ReplyKind.DEMO_DATA:
            return decode(body, _DemoData).is_generating_demo_data
        case ReplyKind.RESTRICTIONS:
            return decode_list(body, IngestionRestriction)
        case ReplyKind.CONFIG:
            return decode_object(body)
        case ReplyKind.SETTINGS:
            return structure(decode_object(body), TeamSettings)
        case kind:
            return decode(body, _MODELS[kind])


@attrs.frozen
class Envelope:
    """PostHog's error body; empty where something else answered."""

    type: str = ""
    code: str = ""
    detail: str = ""
    attr: str | None = None


def envelope_of(body: bytes, hidden: Collection[str] = ()) -> Envelope:
    """Read an error body: PostHog's envelope, its ``{"error": …}`` form, or the opening of a text.

    Args:
        body: The body.
        hidden: Sensitive texts that were sent, and are not repeated.
    """
    opening = body[:65_536]
    try:
        raw = msgspec.json.decode(opening, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Envelope(detail=printable(opening.decode("utf-8", "replace"), hidden)[:200])
    if isinstance(raw.get("error"), str):
        return Envelope(detail=printable(raw["error"], hidden))
    texts = {
        name: printable(value, hidden) for name in ("type", "code", "detail", "attr") if isinstance(value := raw.get(name), str)
    }
    return Envelope(**texts)


def printable(text: str, hidden: Collection[str] = ()) -> str:
    """The opening of a text from outside, harmless in a terminal, a log or a journal.

    No control characters, white space folded, no token, and nothing of what is hidden.
    """
    told = without_secrets(text[:_LOOKED_AT], hidden)
    return "".join(char if char.isprintable() else " " for char in " ".join(told.split()))[:1_000]


_LOOKED_AT: Final = 4_096
"""Characters of a text that are looked at: some more than are shown, since what is hidden becomes shorter."""


_REMEDIES: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    (
        re.compile("does not support personal api key access", re.I),
        "The action publishes no scope, so no token can make this call. Use a session: await log_in(host, email, password).",
    ),
    (
        re.compile(TEAM_SCOPE.decode(), re.I),
        "PostHog of mid-2025 asks for a scope here that no key can be given. Use a key with all scopes (*), or a session.",
    ),
    (re.compile("missing required scope", re.I), "Add the scope to the key in PostHog's settings, or use another key."),
    (
        re.compile("scoped projects are only supported", re.I),
        "A key that is limited to projects cannot list or create; name the environments instead.",
    ),
    (
        re.compile("does not have access to the requested organization", re.I),
        "For keys limited to an organization PostHog looks at the organization that the key's owner last opened in a browser.",
    ),
    (
        re.compile("^CSRF Failed", re.I),
        "The session's CSRF token is missing or stale; log in again, and give both cookies to SessionCookie.",
    ),
    (
        re.compile(NESTED_REFUSAL.decode(), re.I),
        "This PostHog has closed the nested path; use routes='auto'.",
    ),
)

_STATUS_REMEDIES: Final[Mapping[int, str]] = {
    404: "No such environment, or this credential cannot see it: another organization, another region, or deleted.",
    409: "Choose another name; names are unique within an organization, ignoring case.",
}

_CLASSES: Final[Mapping[int, type[ApiError]]] = {
    400: ValidationError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    408: ServerError,
    409: ConflictError,
}


def error_of(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    host: str,
    retry_after: float | None = None,
    hidden: Collection[str] = (),
) -> ApiError:
    """The error for an answer that is no success.

    Args:
        status: The HTTP status.
        headers: The headers.
        body: The body.
        host: The origin that answered, named where the wrong region may be the cause.
        retry_after: Seconds that the server asked to wait.
        hidden: Sensitive texts that were sent, those of the credential included, and are not repeated.
    """
    envelope = envelope_of(body, hidden)
    what = envelope.detail or "no explanation"
    if envelope.attr:
        what = f"{envelope.attr}: {what}"
    code = f" {envelope.code}" if envelope.code else ""
    message = f"PostHog answered {status}{code}: {what}".rstrip(".") + "."
    if 300 <= status < 400:
        target = _origin(printable(headers.get("Location", ""), hidden), host)
        message = f"{host} redirects to {target}, which was not followed: {_REDIRECT}"
    elif remedy := _remedy(status, envelope, body, host):
        message = f"{message} {remedy}"
    fields: dict[str, Any] = attrs.asdict(envelope)
    if status == 429 or (status == 503 and retry_after is not None):
        return ThrottledError(message, status=status, retry_after=retry_after, **fields)
    kind = _CLASSES.get(status, ServerError if status >= 500 else ApiError)
    if status == 403 and _REMEDIES[0][0].search(envelope.detail):
        kind = CredentialNotAcceptedError
    return kind(message, status=status, **fields)


_REDIRECT: Final = (
    "a credential is sent to the host it was given for only, and only 307 and 308 keep verb and body. "
    "Give the address that the redirect names as the host, if you trust it."
)


def _remedy(status: int, envelope: Envelope, body: bytes, host: str) -> str:
    for pattern, remedy in _REMEDIES:
        if pattern.search(envelope.detail):
            return remedy
    if status == 401:
        return (
            f"The credential is not valid at {host}. It may be revoked, expired or mistyped, or belong to another region: what "
            "us.posthog.com has issued means nothing to eu.posthog.com."
        )
    if ENDPOINT_NOT_FOUND in body[:4096]:
        return f"The PostHog at {host} does not have this action; its version is older or newer."
    if not envelope.code and status < 500:
        seen = "is an HTML page, probably of a login or of a proxy" if is_html(body) else "does not look like PostHog"
        return f"This {seen}; is {host} the right host?"
    return _STATUS_REMEDIES.get(status, "")


def _origin(location: str, host: str) -> str:
    try:
        url = urlsplit(location)
        return f"{url.scheme}://{url.hostname}" if url.hostname else f"another path of {host}"
    except ValueError:
        return "an unreadable address"


_BEING_DELETED: Final = re.compile(r"\b(?:already (?:being|pending)|being|pending) delet", re.I)


_TYPES: Final = frozenset({"validation_error", "invalid_request", "authentication_error", "server_error", "throttled_error"})
"""The error types of PostHog's envelope, 2024-10 to 2026-09."""
_LARGEST_ERROR: Final = 65_536
"""PostHog's own errors are a few hundred bytes."""


def posthog_error(body: bytes) -> Envelope | None:
    """Return PostHog's own error, or None for any other body.

    Only PostHog's own error proves what became of a write: a page of a proxy may come after the effect. PostHog's envelope has
    a known ``type``, a ``code`` and a ``detail``. The two intent calls also answer ``{"error": "product_type is required"}``
    (PostHog 2024-10 and 2025-08).
    """
    if len(body) > _LARGEST_ERROR or not body.lstrip().startswith(b"{"):
        return None
    try:
        raw = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    kind, code, detail = raw.get("type"), raw.get("code"), raw.get("detail")
    if isinstance(kind, str) and kind in _TYPES and isinstance(code, str) and isinstance(detail, str):
        return Envelope(type=kind, code=code, detail=detail)
    error = raw.get("error")
    return Envelope(detail=error) if isinstance(error, str) and "product_type" in error else None


def absorbed(endpoint: Endpoint, style: Style, status: int, body: bytes) -> bool:
    """Return whether an error means that an earlier attempt of the same call did the work.

    After a lost DELETE, 404 means that the environment is gone, and newer servers answer 400 while they delete it. The nested
    path answers 404 for environments that exist (PostHog 2025-08), so its 404 means nothing.
    """
    if endpoint is not DELETE or style == "nested":
        return False
    own = posthog_error(body)
    if own is None:
        return False
    if status == 404:
        return own.code == "not_found" and ENDPOINT_NOT_FOUND not in body[:4096]
    return status == 400 and own.type == "validation_error" and _BEING_DELETED.search(own.detail) is not None
