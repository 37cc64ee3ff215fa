"""Logging in as a person, for the session that actions without a published scope need."""

from collections.abc import Collection
from http.cookies import CookieError, SimpleCookie

from aioposthog_env.api import replies
from aioposthog_env.auth import Secret, SessionCookie, resolve_host
from aioposthog_env.errors import AuthenticationError, ConfigurationError, NotSentError, TransportError
from aioposthog_env.models.converter import encode
from aioposthog_env.policy.delivery import Lost, NotSent, Reply
from aioposthog_env.redacted import RedactedText, redacted
from aioposthog_env.transport import TLS, USER_AGENT, Timeout, Transport


async def log_in(
    host: str | None,
    email: str,
    password: str | Secret,
    *,
    timeout: Timeout | None = None,
    ssl: TLS = None,
    proxy: str | None = None,
    trust_env: bool = False,
    allow_insecure_http: bool = False,
) -> SessionCookie:
    """Log in as a person and get the session that actions without a published scope need.

    Args:
        host: ``us``, ``eu``, a URL, or None for ``POSTHOG_HOST``.
        email: The person's e-mail address.
        password: The person's password.
        timeout: How long the request may take.
        ssl: How to trust the server, as for ``AsyncEnvironments``.
        proxy: The address of an HTTP proxy.
        trust_env: Take the proxy from the environment variables.
        allow_insecure_http: Allow plain http to a host other than loopback.

    Raises:
        AuthenticationError: Wrong e-mail or password, or the account asks for a second factor, which cannot be given
            here: log in with a browser and pass its two cookies to ``SessionCookie``.
        ConfigurationError: The host cannot be used.
        NotSentError: The host cannot be reached.
        TransportError: No whole answer came.
    """
    # From here on no local variable shows the password in a traceback.
    host, email, proxy = redacted(host), redacted(email), redacted(proxy)
    password = redacted(password.reveal() if isinstance(password, Secret) else password)
    origin = resolve_host(host, allow_insecure_http=allow_insecure_http)
    body = _encoded(email, password)
    if body is None:
        raise ConfigurationError("The e-mail address and the password must be text that can be written in UTF-8.")
    transport = Transport(
        origin,
        max_connections=1,
        max_body=2**20,
        ssl=ssl,
        proxy=proxy,
        trust_env=trust_env,
        allow_insecure_http=allow_insecure_http,
    )
    await transport.open()
    try:
        answer = await transport.send(
            "POST",
            "/api/login",
            headers={
                "Accept": "application/json",
                "Content-Type": "application/json",
                "User-Agent": USER_AGENT,
                "Referer": f"{origin}/",
            },
            body=body,
            timeout=timeout or Timeout(),
        )
    finally:
        await transport.close()
    if isinstance(answer, NotSent):
        raise NotSentError(f"The request never left: {answer.reason}. Is {origin} the right host?", endpoint="log_in")
    if isinstance(answer, Lost):
        raise TransportError(f"No whole answer came from {origin}: {answer.reason}.", endpoint="log_in")
    return _session_of(answer, origin, hidden=(email, password))


def _encoded(email: str, password: str) -> bytes | None:
    """The body; None where it cannot be written. An error raised here would show the password in its traceback."""
    try:
        return encode({"email": str(email), "password": str(password)})
    except ConfigurationError:
        return None


def _session_of(answer: Reply, origin: str, hidden: Collection[str]) -> SessionCookie:
    envelope = replies.envelope_of(answer.body)
    if "2fa" in envelope.code or "two_factor" in envelope.code or "mfa" in envelope.code:
        raise _refused_login(
            answer,
            "The account asks for a second factor, which cannot be given here. Log in with a browser "
            "and pass its cookies: SessionCookie(sessionid, posthog_csrftoken).",
            hidden,
        )
    if envelope.code == "invalid_credentials":
        message = f"{origin} does not accept this e-mail and password; accounts differ between regions."
        raise _refused_login(answer, message, hidden)
    if answer.status != 200:
        error = replies.error_of(answer.status, answer.headers, answer.body, host=origin, hidden=hidden)
        raise error.about("log_in", None)
    cookies = _cookies(answer)
    if not {"sessionid", "posthog_csrftoken"} <= set(cookies):
        raise _refused_login(answer, f"{origin} accepted the login and set no session cookies; is it PostHog?", hidden)
    return SessionCookie(cookies["sessionid"], cookies["posthog_csrftoken"])


def _refused_login(answer: Reply, message: str, hidden: Collection[str]) -> AuthenticationError:
    envelope = replies.envelope_of(answer.body, hidden)
    error = AuthenticationError(
        message,
        status=answer.status,
        type=envelope.type,
        code=envelope.code,
        detail=envelope.detail,
        attr=envelope.attr,
    )
    return error.about("log_in", None)


def _cookies(answer: Reply) -> dict[str, str]:
    jar: SimpleCookie = SimpleCookie()
    for line in answer.all("Set-Cookie"):
        try:
            jar.load(line)
        except CookieError:
            continue
    return {name: RedactedText(morsel.value) for name, morsel in jar.items()}
