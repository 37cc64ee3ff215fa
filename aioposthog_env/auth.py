"""Credentials: what proves who is calling, and where it may be sent.

Three kinds are accepted: a personal API key, an OAuth access token, and a browser session. Each knows the
headers it sends and refuses values that are something else, such as a project token. ``Host`` says where they go.
"""

import hashlib
import ipaddress
import os
from collections.abc import Collection, Mapping
from typing import ClassVar, Final, TypeAlias
from urllib.parse import urlsplit

import attrs

from aioposthog_env.errors import ConfigurationError

REGIONS: Final[Mapping[str, str]] = {"us": "https://us.posthog.com", "eu": "https://eu.posthog.com"}
"""PostHog Cloud. A key is valid only in the region that issued it."""

_KEY_VARIABLES: Final = ("POSTHOG_PERSONAL_API_KEY", "POSTHOG_API_KEY", "POSTHOG_CLI_API_KEY")


class Secret:
    """A value that is not shown by accident.

    ``repr`` and ``str`` show the prefix and the last two characters, and pickling drops the value. Only ``reveal()`` gives it.
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
        raise ConfigurationError(f"scopes takes a collection of scopes, such as [{scopes!r}], not one text.")
    return None if scopes is None else frozenset(scopes)


def _as_projects(projects: Collection[int] | None) -> frozenset[int] | None:
    return None if projects is None else frozenset(projects)


@attrs.frozen
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

    def __attrs_post_init__(self) -> None:
        _check_token(self.value.reveal(), self.kind, refused={"pha_": "an OAuth token: pass OAuthToken(…)"})

    def headers(self, *, unsafe: bool, origin: str) -> dict[str, str]:
        """The headers that carry the key."""
        return {"Authorization": f"Bearer {self.value.reveal()}"}

    def hidden_texts(self) -> tuple[str, ...]:
        """What no error may repeat."""
        return (self.value.reveal(),)


@attrs.frozen
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

    def __attrs_post_init__(self) -> None:
        _check_token(self.value.reveal(), self.kind, refused={"phx_": "a personal API key: pass PersonalAPIKey(…)"})

    def headers(self, *, unsafe: bool, origin: str) -> dict[str, str]:
        """The headers that carry the token."""
        return {"Authorization": f"Bearer {self.value.reveal()}"}

    def hidden_texts(self) -> tuple[str, ...]:
        """What no error may repeat."""
        return (self.value.reveal(),)


@attrs.frozen
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

    def __attrs_post_init__(self) -> None:
        _check_header_value(self.session_id.reveal(), "session_id", also_bad=";, ")
        _check_header_value(self.csrf_token.reveal(), "csrf_token", also_bad=";, ")

    def headers(self, *, unsafe: bool, origin: str) -> dict[str, str]:
        """The cookies, and on unsafe verbs the CSRF header with the Referer that Django asks for over https."""
        token = self.csrf_token.reveal()
        headers = {"Cookie": f"sessionid={self.session_id.reveal()}; posthog_csrftoken={token}"}
        if unsafe:
            headers |= {"X-CSRFToken": token, "Referer": f"{origin}/"}
        return headers

    def hidden_texts(self) -> tuple[str, ...]:
        """What no error may repeat."""
        return self.session_id.reveal(), self.csrf_token.reveal()


Credential: TypeAlias = PersonalAPIKey | OAuthToken | SessionCookie


def credential_digest(credential: Credential) -> str:
    """A digest that tells whether two credentials are the same, safe to store."""
    secret = credential.session_id if isinstance(credential, SessionCookie) else credential.value
    return secret.digest()


def _check_header_value(value: str, name: str, *, also_bad: str = "") -> None:
    if not value.strip():
        raise ConfigurationError(f"The {name} is empty.")
    if not value.isascii() or not value.isprintable() or any(bad in value for bad in also_bad + " "):
        raise ConfigurationError(
            f"The {name} holds white space, control or non-ASCII characters; copy it again, without line ends."
        )


def _check_token(value: str, kind: str, *, refused: Mapping[str, str]) -> None:
    what = {
        "phc_": "a project token, which is public and only good for sending events: create a personal API key (phx_…)",
        "phs_": "a project secret token, which this API does not accept: create a personal API key (phx_…)",
        **refused,
    }
    if value[:4] in what:
        raise ConfigurationError(f"The value given as {kind} is {what[value[:4]]}.")
    _check_header_value(value, kind)


def credential_from_environment(variables: Mapping[str, str] | None = None) -> PersonalAPIKey:
    """The personal API key of the environment variables.

    ``POSTHOG_PERSONAL_API_KEY`` first; ``POSTHOG_API_KEY`` and ``POSTHOG_CLI_API_KEY`` only where the value starts with
    ``phx_``, because other tools keep project tokens there.

    Raises:
        ConfigurationError: None of them holds a key.
    """
    found = os.environ if variables is None else variables
    for name in _KEY_VARIABLES:
        value = found.get(name, "").strip()
        if value and (name == _KEY_VARIABLES[0] or value.startswith("phx_")):
            return PersonalAPIKey(value)
    raise ConfigurationError(
        "No credential: pass auth=PersonalAPIKey('phx_…'), or set POSTHOG_PERSONAL_API_KEY in the environment."
    )


def resolve_host(host: str | None, *, allow_insecure_http: bool = False) -> str:
    """The origin that calls go to, checked before a credential can be sent there.

    Args:
        host: ``us``, ``eu``, a URL, or None for ``POSTHOG_HOST`` and else ``us``.
        allow_insecure_http: Allow plain http to a host other than loopback.

    Raises:
        ConfigurationError: Not a URL, an ingestion host, or plain http to a host that is not this machine.
    """
    if host is not None and not isinstance(host, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigurationError(
            f"The host is 'us', 'eu' or a URL, not a {type(host).__name__}; that of a sandbox is sandbox.url."
        )
    given = (host if host is not None else os.environ.get("POSTHOG_HOST", "").strip() or "us").strip()
    try:
        url = urlsplit(REGIONS.get(given.lower(), given))
        name, port = url.hostname or "", url.port
    except ValueError:
        url, name, port = urlsplit(""), "", 0
    # The value is not repeated in full: what stands before an @ may be a password.
    if url.scheme not in {"http", "https"} or not name or port == 0 or not given.isprintable() or " " in given:
        raise ConfigurationError(
            f"{_without_password(given)!r} is not a host: give 'us', 'eu', or a URL such as 'https://posthog.example.com'."
        )
    if url.username is not None or url.password is not None:
        raise ConfigurationError(
            f"The host {_without_password(given)!r} carries a user name or password; give the origin only."
        )
    if url.path.strip("/") or url.query or url.fragment:
        raise ConfigurationError(f"{given!r} has a path or query; give the origin only: '{url.scheme}://{url.netloc}'.")
    if name.endswith(".i.posthog.com"):
        region = name.removesuffix(".i.posthog.com").rpartition(".")[2].removesuffix("-assets")
        right = REGIONS.get(region, REGIONS["us"])
        raise ConfigurationError(f"{name} is the ingestion host, which has no management API; use {right!r}.")
    if url.scheme == "http" and not allow_insecure_http and not is_loopback(name):
        raise ConfigurationError(
            f"http://{name} would send the credential unencrypted; use https, or pass allow_insecure_http=True "
            "(on the command line: in a profile)."
        )
    return f"{url.scheme}://{url.netloc.lower()}"


def _without_password(given: str) -> str:
    scheme, separator, rest = given.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}" if separator else given.rpartition("@")[2]


def is_loopback(name: str) -> bool:
    """Whether a host name means this machine."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
