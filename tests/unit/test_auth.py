"""Credentials and hosts: what is taken, what is refused, and that nothing shows."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from aioposthog_env import AsyncEnvironments
from aioposthog_env.auth import (
    OAuthToken,
    PersonalAPIKey,
    Secret,
    SessionCookie,
    credential_from_environment,
    resolve_host,
)
from aioposthog_env.errors import ConfigurationError
from tests.sweep import with_locals

VALUE = "phx_abcdefghijklmnopqrstuvwxyz0123456789"
BAD = f"{VALUE} x"


def test_a_secret_shows_a_hint_only() -> None:
    secret = Secret(VALUE)

    assert repr(secret) == str(secret) == "Secret('phx_…89')"
    assert repr(Secret("a-session-id-of-some-length")) == "Secret('…th')"
    assert repr(Secret("short")) == "Secret('…')"
    assert secret.reveal() == VALUE


def test_secrets_compare_by_value() -> None:
    assert Secret(VALUE) == Secret(VALUE)
    assert Secret(VALUE) != Secret(VALUE + "x")
    assert Secret(VALUE) != VALUE
    assert len({Secret(VALUE), Secret(VALUE)}) == 1
    assert Secret(VALUE).digest() == Secret(VALUE).digest() != Secret("x").digest()


def test_pickling_drops_the_value() -> None:
    data = pickle.dumps(Secret(VALUE))

    assert VALUE[8:20].encode() not in data
    copy = pickle.loads(data)
    assert repr(copy) == repr(Secret(VALUE))
    with pytest.raises(ConfigurationError, match="pickled"):
        copy.reveal()


def test_what_is_sent() -> None:
    assert PersonalAPIKey(VALUE).headers(unsafe=True, origin="https://x") == {"Authorization": f"Bearer {VALUE}"}
    assert OAuthToken("pha_1").headers(unsafe=False, origin="https://x") == {"Authorization": "Bearer pha_1"}
    cookie = SessionCookie("sid", "tok")
    assert cookie.headers(unsafe=False, origin="https://x") == {"Cookie": "sessionid=sid; posthog_csrftoken=tok"}
    assert cookie.headers(unsafe=True, origin="https://x") == {
        "Cookie": "sessionid=sid; posthog_csrftoken=tok",
        "X-CSRFToken": "tok",
        "Referer": "https://x/",
    }


def test_no_credential_shows_its_value() -> None:
    for credential in (PersonalAPIKey(VALUE), OAuthToken(VALUE.replace("phx", "pha")), SessionCookie(VALUE, VALUE)):
        assert VALUE[4:30] not in repr(credential)


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        ("phc_project", "project token"),
        ("phs_secret", "project secret"),
        ("pha_oauth", "OAuthToken"),
        ("", "empty"),
        ("   ", "empty"),
        ("phx_with\nline", "white space"),
        ("phx_with space", "white space"),
        ("phx_ümlaut", "non-ASCII"),
        ("'phx_in_single_quotes'", "inside quotes"),
        ('"phx_in_double_quotes"', "inside quotes"),
        ("\u201cphx_in_typographic_quotes\u201d", "inside quotes"),
        ('phx_with_one_quote"', "inside quotes"),
    ],
)
def test_a_value_that_is_no_personal_key_is_refused_with_the_remedy(value: str, remedy: str) -> None:
    with pytest.raises(ConfigurationError, match=remedy) as caught:
        PersonalAPIKey(value)

    assert len(value) < 9 or value not in str(caught.value)


def test_an_oauth_token_is_told_from_a_key() -> None:
    with pytest.raises(ConfigurationError, match="PersonalAPIKey"):
        OAuthToken("phx_key")


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_keeps_the_value(copied: Callable[[Any], Any]) -> None:
    assert copied(Secret(VALUE)).reveal() == VALUE
    assert copied([Secret(VALUE)])[0].reveal() == VALUE
    for credential in (PersonalAPIKey(VALUE, projects=[1]), OAuthToken("pha_" + VALUE), SessionCookie(VALUE, VALUE)):
        assert copied(credential) == credential
        assert copied(credential).headers(unsafe=True, origin="https://x") == credential.headers(
            unsafe=True, origin="https://x"
        )


@pytest.mark.parametrize(
    "make",
    [
        lambda: PersonalAPIKey(BAD),
        lambda: PersonalAPIKey("phc_" + BAD),
        lambda: OAuthToken(BAD),
        lambda: SessionCookie(BAD, "c" * 32),
        lambda: SessionCookie("s" * 32, BAD),
        lambda: PersonalAPIKey(BAD.encode()),  # type: ignore[arg-type]
        lambda: credential_from_environment({"POSTHOG_PERSONAL_API_KEY": BAD}),
        lambda: resolve_host(BAD),
        lambda: resolve_host(VALUE),
        lambda: resolve_host(f"https://{VALUE}"),
        lambda: resolve_host(f"https://me:{VALUE}@posthog.example.com"),
        lambda: resolve_host(f"https://posthog.example.com/{VALUE}"),
        lambda: resolve_host(f"https://posthog.example.com/?personal_api_key={VALUE}"),
        lambda: resolve_host(f"https://posthog.example.com/#{VALUE}"),
        lambda: resolve_host(f"https://posthog.example.com:{VALUE}"),
        lambda: AsyncEnvironments(VALUE, auth=PersonalAPIKey(VALUE)),
        lambda: AsyncEnvironments("us", auth=VALUE),  # type: ignore[arg-type]
        lambda: AsyncEnvironments("us", auth=PersonalAPIKey(VALUE), limiter=f"redis://:{VALUE}@host"),  # type: ignore[arg-type]
        lambda: AsyncEnvironments("us", auth=PersonalAPIKey(VALUE), proxy=f"socks5://me:{VALUE}@proxy"),
        lambda: AsyncEnvironments("us", auth=PersonalAPIKey(VALUE), proxy=VALUE),
    ],
)
def test_what_is_refused_shows_no_secret_in_message_or_local_variables(make: Callable[[], object]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert VALUE[5:17] not in with_locals(caught.value).lower()


def test_a_cookie_cannot_smuggle_another() -> None:
    with pytest.raises(ConfigurationError, match="session_id"):
        SessionCookie("a; b=c", "tok")
    with pytest.raises(ConfigurationError, match="csrf_token"):
        SessionCookie("a", "tok\r\nX: y")


def test_scopes_are_a_collection() -> None:
    assert PersonalAPIKey(VALUE, scopes=["project:read"]).scopes == frozenset({"project:read"})
    assert PersonalAPIKey(VALUE, projects=[1]).projects == frozenset({1})
    with pytest.raises(ConfigurationError, match="collection"):
        PersonalAPIKey(VALUE, scopes="project:read")


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({"POSTHOG_PERSONAL_API_KEY": "phx_1"}, "phx_1"),
        ({"POSTHOG_PERSONAL_API_KEY": " oldkeywithoutprefix "}, "oldkeywithoutprefix"),
        ({"POSTHOG_API_KEY": "phx_2"}, "phx_2"),
        ({"POSTHOG_API_KEY": "phc_2", "POSTHOG_CLI_API_KEY": "phx_3"}, "phx_3"),
        ({"POSTHOG_PERSONAL_API_KEY": "phx_1", "POSTHOG_API_KEY": "phx_2"}, "phx_1"),
    ],
)
def test_the_key_comes_from_the_environment(variables: dict[str, str], found: str) -> None:
    assert credential_from_environment(variables).value.reveal() == found


@pytest.mark.parametrize("variables", [{}, {"POSTHOG_API_KEY": "phc_2"}, {"POSTHOG_PERSONAL_API_KEY": ""}])
def test_no_key_in_the_environment(variables: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="POSTHOG_PERSONAL_API_KEY"):
        credential_from_environment(variables)


def test_a_project_token_in_the_key_variable_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="project token"):
        credential_from_environment({"POSTHOG_PERSONAL_API_KEY": "phc_x"})


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("us", "https://us.posthog.com"),
        ("EU", "https://eu.posthog.com"),
        ("https://posthog.example.com/", "https://posthog.example.com"),
        ("https://PostHog.example.com:8443", "https://posthog.example.com:8443"),
        ("http://localhost:8000", "http://localhost:8000"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_hosts(host: str, origin: str) -> None:
    assert resolve_host(host) == origin


def test_the_default_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POSTHOG_HOST", raising=False)
    assert resolve_host(None) == "https://us.posthog.com"
    monkeypatch.setenv("POSTHOG_HOST", "eu")
    assert resolve_host(None) == "https://eu.posthog.com"


@pytest.mark.parametrize(
    ("host", "remedy"),
    [
        ("https://us.i.posthog.com", "'https://us.posthog.com'"),
        ("https://eu.i.posthog.com", "'https://eu.posthog.com'"),
        ("https://eu-assets.i.posthog.com", "'https://eu.posthog.com'"),
        ("us.i.posthog.com", "'https://us.posthog.com'"),
        ("eu.i.posthog.com", "'https://eu.posthog.com'"),
        ("EU.i.posthog.com/i/v0/e/", "'https://eu.posthog.com'"),
        ("eu-assets.i.posthog.com", "'https://eu.posthog.com'"),
        ("eu.posthog.com", "'https://eu.posthog.com'"),
        ("http://posthog.example.com", "allow_insecure_http"),
        ("http://sub.localhost", "allow_insecure_http"),
        ("http://localhost.example.com", "allow_insecure_http"),
        ("http://127.0.0.1.example.com", "allow_insecure_http"),
        ("posthog.example.com", "URL such as"),
        ("ftp://posthog.example.com", "URL such as"),
        ("https://", "URL such as"),
        ("https://posthog.example.com:0", "URL such as"),
        ("https://posthog.example.com:99999", "URL such as"),
        ("https://posthog.example.com/api", "origin only"),
        ("https://posthog.example.com?x=1", "origin only"),
        ("https://user:hunter2@posthog.example.com", "user name"),
        ("https://a\nb", "URL such as"),
    ],
)
def test_a_host_that_cannot_be_used_is_refused_with_the_remedy(host: str, remedy: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        resolve_host(host)

    assert remedy in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_insecure_http_can_be_allowed() -> None:
    assert resolve_host("http://posthog.example.com", allow_insecure_http=True) == "http://posthog.example.com"


def test_a_host_that_is_no_text_is_told() -> None:
    with pytest.raises(ConfigurationError, match=r"not a dict; that of a sandbox is sandbox\.url"):
        resolve_host({})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "host", ["https://ph.example.com", "https://PH.example.com:443", "https://ph.example.com.", "https://ph.example.com:443/"]
)
def test_two_names_of_one_origin_are_one(host: str) -> None:
    """Locks and limits are shared by origin."""
    assert resolve_host(host) == "https://ph.example.com"
    assert resolve_host("http://127.0.0.1:80") == "http://127.0.0.1"
    assert resolve_host("http://[::1]:8000") == "http://[::1]:8000"
