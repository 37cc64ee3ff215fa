"""Credentials: what proves who is calling, and where it may be sent.

Three kinds are accepted: a personal API key, an OAuth access token, and a browser session. Each knows the
headers it sends and refuses values that are something else, such as a project token. ``Host`` says where they go.
"""

import hashlib
import ipaddress
import os
import re
from collections.abc import Collection, Mapping
from typing import ClassVar, Final, TypeAlias
from urllib.parse import urlsplit

import attrs

from aioposthog_env.errors import ConfigurationError
from aioposthog_env.redacted import RedactedText, printable_half_built, redacted

REGIONS: Final[Mapping[str, str]] = {"us": "https://us.posthog.com", "eu": "https://eu.posthog.com"}
"""PostHog Cloud. A key is valid only in the region that issued it."""

_KEY_VARIABLES: Final = ("POSTHOG_PERSONAL_API_KEY", "POSTHOG_API_KEY", "POSTHOG_CLI_API_KEY")


@printable_half_built
class Secret:
    """A value that is not shown by accident.

    ``repr`` and ``str`` show the prefix and the last two characters. Pickling drops the value; a copy keeps it. Only
    ``reveal()`` returns it.
    """

    __slots__ = ("_hint", "_value")

    def __init__(self, value: str) -> None:
        self._value: str | None = value
        self._hint: str | None = None  # made when it is shown, which is rare

    def reveal(self) -> str:
        """Give the value itself.

        Raises:
            ConfigurationError: The secret was pickled, which drops its value.
        """
        if self._value is None:
            raise ConfigurationError("This secret was pickled; pickling drops the value and keeps a hint only.")
        return self._value

    def digest(self) -> str:
        """A SHA-256 digest, safe to store, which tells whether two secrets are the same."""
        return hashlib.sha256(self.reveal().encode()).hexdigest()

    def _shown(self) -> str:
        if self._hint is None:
            self._hint = _hint(self.reveal())
        return self._hint

    def __repr__(self) -> str:
        return f"Secret({self._shown()!r})"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value and self._shown() == other._shown()

    def __hash__(self) -> int:
        return hash((Secret, self._value, self._shown()))

    def __copy__(self) -> "Secret":
        return self

    def __deepcopy__(self, memo: object) -> "Secret":
        return self

    def __getstate__(self) -> str:
        return self._shown()

    def __setstate__(self, hint: str) -> None:
        self._value = None
        self._hint = hint


def _hint(value: str) -> str:
    # Short secrets show nothing: two characters of eight would already be a quarter of them.
    prefix = value[:4] if value[:4] in {"phx_", "pha_", "phs_", "phc_"} else ""
    return f"{prefix}…{value[-2:]}" if len(value) >= 16 else "…"


def _as_secret(value: "str | Secret") -> Secret:
    return value if isinstance(value, Secret) else Secret(value)


def _as_scopes(scopes: Collection[str] | None) -> frozenset[str] | None:
    if isinstance(scopes, str):
        raise ConfigurationError("scopes takes a collection of scopes, such as ['project:read'], not one text.")
    return None if scopes is None else frozenset(scopes)


def _as_projects(projects: Collection[int] | None) -> frozenset[int] | None:
    return None if projects is None else frozenset(projects)


@printable_half_built
@attrs.frozen(init=False)
class PersonalAPIKey:
    """A personal API key (``phx_…``; very old ones have no prefix). PostHog limits the rate per key.

    Attributes:
        value: The key.
        scopes: The key's scopes, where they are known. None: read once from the key's own record when a check needs
            them; where the server does not show them, the server decides.
        projects: The projects (and so environments) the key is limited to, where that is known; empty for no limit.

    Raises:
        ConfigurationError: The value is a project token, a project secret, or no header value at all.
    """

    value: Secret = attrs.field(converter=_as_secret)
    scopes: frozenset[str] | None = attrs.field(default=None, converter=_as_scopes, kw_only=True)
    projects: frozenset[int] | None = attrs.field(default=None, converter=_as_projects, kw_only=True)

    kind: ClassVar[str] = "personal API key"
    limited_by_server: ClassVar[bool] = True
    """Whether PostHog limits its rate."""

    def __init__(
        self, value: str | Secret, *, scopes: Collection[str] | None = None, projects: Collection[int] | None = None
    ) -> None:
        value = _as_secret(value)  # an error below shows no plain text among the local variables
        _check_token(value, self.kind, refused={"pha_": "an OAuth token: pass OAuthToken(…)"})
        self.__attrs_init__(value, scopes=scopes, projects=projects)  # pyright: ignore

    def headers(self, *, unsafe: bool, origin: str) -> dict[str, str]:
        """The headers that carry the key."""
        return {"Authorization": RedactedText(f"Bearer {self.value.reveal()}")}

    def hidden_texts(self) -> tuple[str, ...]:
        """What no error may repeat."""
        return (RedactedText(self.value.reveal()),)


@printable_half_built
@attrs.frozen(init=False)
class OAuthToken:
    """An OAuth access token (``pha_…``). PostHog does not limit its rate.

    Attributes:
        value: The token.
        scopes: The token's scopes, where they are known; a token cannot be asked for them.

    Raises:
        ConfigurationError: The value is some other kind of token.
    """

    value: Secret = attrs.field(converter=_as_secret)
    scopes: frozenset[str] | None = attrs.field(default=None, converter=_as_scopes, kw_only=True)
    projects: frozenset[int] | None = attrs.field(default=None, converter=_as_projects, kw_only=True)

    kind: ClassVar[str] = "OAuth token"
    limited_by_server: ClassVar[bool] = False

    def __init__(
        self, value: str | Secret, *, scopes: Collection[str] | None = None, projects: Collection[int] | None = None
    ) -> None:
        value = _as_secret(value)
        _check_token(value, self.kind, refused={"phx_": "a personal API key: pass PersonalAPIKey(…)"})
        self.__attrs_init__(value, scopes=scopes, projects=projects)  # pyright: ignore

    def headers(self, *, unsafe: bool, origin: str) -> dict[str, str]:
        """The headers that carry the token."""
        return {"Authorization": RedactedText(f"Bearer {self.value.reveal()}")}

    def hidden_texts(self) -> tuple[str, ...]:
        """What no error may repeat."""
        return (RedactedText(self.value.reveal()),)


@printable_half_built
@attrs.frozen(init=False)
class SessionCookie:
    """A browser session, the only credential for actions that publish no scope. PostHog does not limit its rate.

    Attributes:
        session_id: The value of the cookie ``sessionid``.
        csrf_token: The value of the cookie ``posthog_csrftoken``, echoed in ``X-CSRFToken`` on verbs that change things.
    """

    session_id: Secret = attrs.field(converter=_as_secret)
    csrf_token: Secret = attrs.field(converter=_as_secret)

    kind: ClassVar[str] = "session"
    limited_by_server: ClassVar[bool] = False
    scopes: ClassVar[frozenset[str] | None] = None
    projects: ClassVar[frozenset[int] | None] = None

    def __init__(self, session_id: str | Secret, csrf_token: str | Secret) -> None:
        session_id, csrf_token = _as_secret(session_id), _as_secret(csrf_token)
        _check_header_value(session_id, "session_id", also_bad=";, ")
        _check_header_value(csrf_token, "csrf_token", also_bad=";, ")
        self.__attrs_init__(session_id, csrf_token)  # pyright: ignore

    def headers(self, *, unsafe: bool, origin: str) -> dict[str, str]:
        """The cookies, and on unsafe verbs the CSRF header with the Referer that Django asks for over https."""
        token = RedactedText(self.csrf_token.reveal())
        headers: dict[str, str] = {"Cookie": RedactedText(f"sessionid={self.session_id.reveal()}; posthog_csrftoken={token}")}
        if unsafe:
            headers |= {"X-CSRFToken": token, "Referer": f"{origin}/"}
        return headers

    def hidden_texts(self) -> tuple[str, ...]:
        """What no error may repeat."""
        return RedactedText(self.session_id.reveal()), RedactedText(self.csrf_token.reveal())


Credential: TypeAlias = PersonalAPIKey | OAuthToken | SessionCookie


def credential_digest(credential: Credential) -> str:
    """A digest that tells whether two credentials are the same, safe to store."""
    secret = credential.session_id if isinstance(credential, SessionCookie) else credential.value
    return secret.digest()


def _check_header_value(secret: Secret, name: str, *, also_bad: str = "") -> None:
    if problem := _problem_of_header_value(secret.reveal(), also_bad):
        raise ConfigurationError(f"The {name} {problem}.")


def _problem_of_header_value(value: object, also_bad: str) -> str | None:
    # It returns the problem rather than raise, so that no frame of a traceback holds the value.
    if not isinstance(value, str):
        return f"must be text, not {type(value).__name__}"
    if not value.strip():
        return "is empty"
    if value[0] in _QUOTES or value[-1] in _QUOTES:
        return "is inside quotes; give it without them"
    if not value.isascii() or not value.isprintable() or any(bad in value for bad in also_bad + " "):
        return "holds white space, control or non-ASCII characters; copy it again, without line ends"
    return None


_QUOTES: Final = frozenset("\"'`\u2018\u2019\u201c\u201d")


def _check_token(secret: Secret, kind: str, *, refused: Mapping[str, str]) -> None:
    what = {
        "phc_": "a project token, which is public and only good for sending events: create a personal API key (phx_…)",
        "phs_": "a project secret token, which this API does not accept: create a personal API key (phx_…)",
        **refused,
    }
    _check_header_value(secret, kind)
    if reason := what.get(secret.reveal()[:4]):
        raise ConfigurationError(f"The value given as {kind} is {reason}.")


def credential_from_environment(variables: Mapping[str, str] | None = None) -> PersonalAPIKey:
    """The personal API key of the environment variables.

    ``POSTHOG_PERSONAL_API_KEY`` first; ``POSTHOG_API_KEY`` and ``POSTHOG_CLI_API_KEY`` only where the value starts with
    ``phx_``, because other tools keep project tokens there.

    Raises:
        ConfigurationError: None of them holds a key.
    """
    key = _key_among(os.environ if variables is None else variables)
    del variables  # a traceback would show them
    if key is not None:
        return PersonalAPIKey(key)
    raise ConfigurationError(
        "No credential: pass auth=PersonalAPIKey('phx_…'), or set POSTHOG_PERSONAL_API_KEY in the environment."
    )


def _key_among(variables: Mapping[str, str]) -> RedactedText | None:
    for name in _KEY_VARIABLES:
        value = variables.get(name, "").strip()
        if value and (name == _KEY_VARIABLES[0] or value.startswith("phx_")):
            return RedactedText(value)
    return None


def resolve_host(host: str | None, *, allow_insecure_http: bool = False) -> str:
    """The origin that calls go to, checked before a credential can be sent there.

    Args:
        host: ``us``, ``eu``, a URL, or None for ``POSTHOG_HOST`` and else ``us``.
        allow_insecure_http: Allow plain http to a host other than loopback.

    Raises:
        ConfigurationError: Not a URL, an ingestion host, or plain http to a host that is not this machine.
    """
    host = redacted(host)
    if host is not None and not isinstance(host, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigurationError(
            f"The host is 'us', 'eu' or a URL, not a {type(host).__name__}; that of a sandbox is sandbox.url."
        )
    origin, problem = _origin_of(host if host is not None else os.environ.get("POSTHOG_HOST", "").strip() or "us")
    if problem is None and origin.startswith("http://") and not allow_insecure_http and not is_loopback(hostname(origin)):
        problem = (
            f"{origin} would send the credential unencrypted; use https, or pass allow_insecure_http=True "
            "(on the command line: in a profile)"
        )
    if problem is not None:
        raise ConfigurationError(f"{problem}.")
    return origin


def _origin_of(given: str) -> tuple[str, str | None]:
    """The origin that a host names, and what is wrong with it.

    It raises nothing, so that no traceback has its frame: ``given`` may be a key, or hold a password. For the same reason a
    message repeats no more of it than a host name that is certainly one.
    """
    given = given.strip()
    try:
        url = urlsplit(REGIONS.get(given.lower(), given))
        name, port = url.hostname or "", url.port
    except ValueError:
        url, name, port = urlsplit(""), "", 0
    if ingestion := _INGESTION.fullmatch(name or given.lower()):
        right = REGIONS.get(ingestion["region"], REGIONS["us"])
        return "", f"{ingestion['name']} is the ingestion host, which has no management API; use {right!r}"
    if found := _CLOUD.fullmatch(given.lower()):
        return "", f"The host has no scheme; give 'https://{found['name']}'"
    if url.scheme not in {"http", "https"} or not name or port == 0 or not given.isprintable() or " " in given:
        return "", "The host is not one: give 'us', 'eu', or a URL such as 'https://posthog.example.com'"
    if _TOKEN.match(name):
        return "", "The host is a token of PostHog: give 'us', 'eu' or a URL as the host, and the key as auth=PersonalAPIKey(…)"
    if url.username is not None or url.password is not None:
        return "", f"The host carries a user name or password; give the origin only: '{url.scheme}://{_place(name, port)}'"
    if url.path.strip("/") or url.query or url.fragment:
        return "", f"The host has a path or query; give the origin only: '{url.scheme}://{_place(name, port)}'"
    default = {"http": 80, "https": 443}[url.scheme]
    return f"{url.scheme}://{_place(name.rstrip('.'), None if port == default else port)}", None


_CLOUD: Final = re.compile(r"(?P<name>(app|us|eu)\.posthog\.com)/?")
_INGESTION: Final = re.compile(r"(?P<name>([a-z0-9-]+\.)*?(?P<region>[a-z0-9]+)(-assets)?\.i\.posthog\.com)(/.*)?")
_TOKEN: Final = re.compile(r"ph[a-z]_")


def _place(name: str, port: int | None) -> str:
    bracketed = f"[{name}]" if ":" in name else name
    return bracketed if port is None else f"{bracketed}:{port}"


def hostname(origin: str) -> str:
    """The host name of an origin that ``resolve_host`` returned, without brackets and port."""
    return urlsplit(origin).hostname or ""


def is_loopback(name: str) -> bool:
    """Whether a host name certainly means this machine: ``localhost`` or a literal address of loopback.

    ``x.localhost`` does not count, since resolvers may ask DNS for it.
    """
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
