"""What really leaves and what really comes: raw sockets."""

import asyncio
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from aioposthog_env import (
    ApiError,
    AsyncEnvironments,
    ClientStateError,
    ConfigurationError,
    DecodeError,
    NotFoundError,
    NotSentError,
    OutcomeUnknownError,
    PersonalAPIKey,
    PostHogEnvError,
    RateLimit,
    RateLimiter,
    RateLimitWaitTooLong,
    RetryPolicy,
    ServerError,
    SessionCookie,
    TeamSettings,
    ThrottledError,
    Timeout,
    TransportError,
    log_in,
)
from aioposthog_env.api import endpoints
from aioposthog_env.api.routes import Routes
from aioposthog_env.policy.delivery import Lost, Reply
from aioposthog_env.telemetry import AttemptFinished, Event, RetryScheduled
from aioposthog_env.transport import Transport
from tests.conftest import QUICK
from tests.figures import Count
from tests.sweep import with_locals
from tests.wire.raw import http, raw_server

KEY = PersonalAPIKey("phx_" + "k" * 40, scopes=["*"])
SESSION = SessionCookie("s" * 32, "c" * 32)
ENVIRONMENT = b'{"id": 42, "name": "Mine", "anonymize_ips": true}'
GOOD = http(200, ENVIRONMENT)
NOT_FOUND = b'{"type":"invalid_request","code":"not_found","detail":"Not found.","attr":null}'


def client(url: str, **options: Any) -> AsyncEnvironments:
    given: dict[str, Any] = {"auth": KEY, "routes": "root", "retry": QUICK, "limiter": None}
    return AsyncEnvironments(url, **given | options)


@pytest.mark.parametrize("verb", ["GET", "PATCH", "PUT", "DELETE", "POST"])
async def test_one_attempt_is_one_request_even_over_a_connection_that_has_died(verb: str, count: Count) -> None:
    async with raw_server(GOOD) as server:
        transport = Transport(server.url, max_connections=1, max_body=1000)
        await transport.open()
        first = await transport.send("GET", "/first", headers={}, body=None, timeout=Timeout())
        second = await transport.send(verb, "/second", headers={}, body=b"{}" if verb != "GET" else None, timeout=Timeout())
        await transport.close()

    assert isinstance(first, Reply)
    assert isinstance(second, Lost)
    assert server.requests == ["GET /first", f"{verb} /second"]
    count("requests", attempts=2, requests=len(server.requests), verbs=verb)


async def test_what_is_sent() -> None:
    async with raw_server(default=GOOD) as server, client(server.url) as environments:
        await environments.update(42, TeamSettings(anonymize_ips=True))

    assert server.requests == ["PATCH /api/environments/42/"]
    assert server.bodies == [b'{"anonymize_ips":true}']
    head = server.heads[0]
    assert f"Authorization: Bearer {KEY.value.reveal()}\r\n" in head
    assert "User-Agent: aioposthog-env/" in head
    assert "Content-Type: application/json\r\n" in head


async def test_a_session_sends_its_cookies_and_on_unsafe_verbs_the_csrf_token_and_a_referer() -> None:
    async with raw_server(default=GOOD) as server, client(server.url, auth=SESSION) as environments:
        await environments.retrieve(42)
        await environments.rotate_secret_token(42)

    read, write = server.heads
    cookies = f"Cookie: sessionid={'s' * 32}; posthog_csrftoken={'c' * 32}\r\n"
    assert cookies in read
    assert "X-CSRFToken" not in read
    assert cookies in write
    assert f"X-CSRFToken: {'c' * 32}\r\n" in write
    assert f"Referer: {server.url}/\r\n" in write


async def test_a_lost_read_is_sent_again() -> None:
    events: list[Event] = []
    async with raw_server(None, http(502), GOOD) as server, client(server.url, hooks=[events.append]) as environments:
        assert (await environments.retrieve(42)).name == "Mine"

    assert len(server.requests) == 3
    assert [event.reason for event in events if isinstance(event, RetryScheduled)] == ["lost", "status 502"]
    assert [event.outcome for event in events if isinstance(event, AttemptFinished)] == ["lost", "failed", "answered"]


@pytest.mark.parametrize(
    "answer", [None, http(500), http(502), http(504), http(200, b"{}")[:-1], http(200, b"<html>"), http(408)]
)
@pytest.mark.parametrize(
    "method", ["rotate_secret_token", "reset_token", "add_product_intent", "complete_product_onboarding", "create"]
)
async def test_a_call_that_must_not_happen_twice_is_sent_once(method: str, answer: bytes | None) -> None:
    arguments: dict[str, tuple[Any, ...]] = {
        "create": (TeamSettings(name="x"),),
        "add_product_intent": (42, "surveys"),
        "complete_product_onboarding": (42, "surveys"),
    }
    async with (
        raw_server(answer, default=GOOD) as server,
        client(server.url, auth=SESSION, routes="project", timeout=Timeout(read=0.2)) as environments,
    ):
        with pytest.raises(OutcomeUnknownError, match="not sent again") as caught:
            await getattr(environments, method)(*arguments.get(method, (42,)))

    assert len(server.requests) == 1
    assert caught.value.endpoint == method
    assert caught.value.attempts == 1
    assert caught.value.observations


async def test_a_429_of_posthog_proves_that_nothing_happened_so_it_is_sent_again() -> None:
    throttled = b'{"type":"throttled_error","code":"throttled","detail":"Request was throttled.","attr":null}'
    no_database = b'{"type":"server_error","code":"database_unavailable","detail":"No database.","attr":null}'
    busy = http(429, throttled, Retry_After="0"), http(503, no_database)
    done = http(201, GOOD.partition(b"\r\n\r\n")[2])
    async with raw_server(*busy, done) as server, client(server.url) as environments:
        await environments.add_product_intent(42, "session_replay")

    assert len(server.requests) == 3


@pytest.mark.parametrize("lost", [None, http(502)])
@pytest.mark.parametrize(
    "second",
    [
        http(404, NOT_FOUND),
        http(
            400,
            b'{"type":"validation_error","code":"invalid_input","detail":"This project is already being deleted.","attr":null}',
        ),
    ],
)
async def test_after_a_lost_delete_its_traces_are_success(lost: bytes | None, second: bytes) -> None:
    async with raw_server(lost, second) as server, client(server.url) as environments:
        await environments.delete(42)

    assert len(server.requests) == 2


async def test_without_a_lost_delete_a_404_is_a_404() -> None:
    async with raw_server(default=http(404, NOT_FOUND)) as server, client(server.url) as environments:
        with pytest.raises(NotFoundError):
            await environments.delete(42)


async def test_attempts_end() -> None:
    async with raw_server() as server, client(server.url) as environments:
        with pytest.raises(TransportError, match="closed the connection") as caught:
            await environments.retrieve(42)
    assert caught.value.attempts == len(server.requests) == 5

    async with raw_server(default=http(500)) as server, client(server.url) as environments:
        with pytest.raises(ServerError) as failed:
            await environments.retrieve(42)
    assert failed.value.attempts == len(server.requests) == 3


async def test_retries_can_be_switched_off_for_single_calls() -> None:
    async with raw_server() as server, client(server.url) as environments:
        quiet = environments.with_options(retry=RetryPolicy.disabled())
        with pytest.raises(TransportError):
            await quiet.retrieve(42)
        assert len(server.requests) == 1
        with pytest.raises(ClientStateError, match="before"):
            await quiet.__aenter__()


async def test_the_retry_budget_is_shared_by_all_calls() -> None:
    async with raw_server() as server, client(server.url, max_connections=200) as environments:
        results = await asyncio.gather(*(environments.retrieve(42) for _ in range(60)), return_exceptions=True)

    assert all(isinstance(result, TransportError) for result in results)
    assert len(server.requests) == 60 + 100


async def test_a_dead_port() -> None:
    async with client("http://127.0.0.1:9") as environments:
        with pytest.raises(NotSentError, match="right host") as caught:
            await environments.retrieve(42)
    assert caught.value.attempts == 5


async def test_a_slow_answer_is_lost_and_a_deadline_bounds_the_whole_call() -> None:
    async def hang(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(5)

    async with raw_server(default=b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{") as server:
        server.after = hang
        options = {"timeout": Timeout(read=0.05), "retry": RetryPolicy(max_attempts=2, first_wait=0.001)}
        async with client(server.url, **options) as environments:
            with pytest.raises(TransportError, match="took too long"):
                await environments.retrieve(42)
        async with client(server.url, retry=RetryPolicy(deadline=0.1)) as environments:
            with pytest.raises(TransportError):
                await environments.retrieve(42)


async def test_a_body_beyond_the_cap_is_not_read_and_not_asked_for_again() -> None:
    big = b'{"id": 42, "name": "' + b"x" * 5_000 + b'"}'
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"%x\r\n%s\r\n0\r\n\r\n" % (len(big), big)
    for answer in (http(200, big), chunked):
        async with raw_server(default=answer) as server, client(server.url, max_body=1_000) as environments:
            with pytest.raises(TransportError, match="max_body=1000"):
                await environments.retrieve(42)
            assert len(server.requests) == 1


async def test_a_body_in_chunks() -> None:
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(ENVIRONMENT), ENVIRONMENT)
    async with raw_server(answer) as server, client(server.url) as environments:
        assert (await environments.retrieve(42)).name == "Mine"


@pytest.mark.parametrize("status", [307, 308])
async def test_a_redirect_within_the_server_keeps_verb_body_and_credential(status: int) -> None:
    async with raw_server(http(status, Location="/api/projects/42/?a=1"), GOOD) as server, client(server.url) as environments:
        await environments.update(42, TeamSettings(anonymize_ips=True))

    assert server.requests == ["PATCH /api/environments/42/", "PATCH /api/projects/42/?a=1"]
    assert server.bodies[0] == server.bodies[1] != b""
    assert "Authorization" in server.heads[1]


@pytest.mark.parametrize(
    "answer",
    [
        http(307, Location="http://127.0.0.1:9/api/projects/42/"),
        http(307, Location="https://evil.example/"),
        http(307, Location="//evil.example/"),
        http(307, Location="http://[bad/"),
        http(301, Location="/api/projects/42/"),
        http(302, Location="/login"),
        http(307),
    ],
)
async def test_any_other_redirect_is_an_error_and_the_credential_goes_nowhere(answer: bytes) -> None:
    async with raw_server(answer, default=http(307, Location="/again")) as server, client(server.url) as environments:
        with pytest.raises(ApiError, match="redirects to"):
            await environments.update(42, TeamSettings(anonymize_ips=True))

    assert len(server.requests) <= 4
    assert not any("evil" in head for head in server.heads)


async def test_a_delete_is_not_redirected_to_the_whole_project() -> None:
    async with raw_server(http(307, Location="/api/projects/42/"), http(204)) as server, client(server.url) as environments:
        with pytest.raises(ApiError):
            await environments.delete(42)

    assert server.requests == ["DELETE /api/environments/42/"]


async def test_a_long_wait_is_an_error_with_the_time_and_never_an_early_retry() -> None:
    async with raw_server(default=http(429, Retry_After="500")) as server, client(server.url) as environments:
        with pytest.raises(RateLimitWaitTooLong) as caught:
            await environments.retrieve(42)
        assert caught.value.retry_after >= 500
        assert len(server.requests) == 1

    async with raw_server(default=http(429)) as server, client(server.url) as environments:
        with pytest.raises(ThrottledError):
            await environments.with_options(retry=RetryPolicy.disabled()).retrieve(42)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b"<html>", "$"),
        (b"\xff\xfe", "$"),
        (b"[]", "$"),
        (b'{"id": 42}', "$"),
        (b'{"id": "42", "name": "x"}', "$.id"),
        (b'{"id": 42, "name": "x", "app_urls": ["a", 5]}', "$.app_urls[1]"),
    ],
)
async def test_a_success_that_is_none_is_a_decode_error_with_its_path(body: bytes, path: str) -> None:
    async with raw_server(default=http(200, body)) as server, client(server.url) as environments:
        with pytest.raises(DecodeError) as caught:
            await environments.retrieve(42)
    assert caught.value.path == path
    assert caught.value.environment_id == 42


async def test_a_host_that_is_not_posthog() -> None:
    page = http(404, b"<html>nginx</html>", Content_Type="text/html")
    async with raw_server(default=page) as server, client(server.url, routes="auto") as environments:
        with pytest.raises(NotFoundError, match=f"HTML page, .*; is {server.url} the right host"):
            await environments.retrieve(42)


async def test_a_text_that_is_not_posthogs() -> None:
    page = http(404, b"no such page", Content_Type="text/plain")
    async with raw_server(default=page) as server, client(server.url, routes="auto") as environments:
        with pytest.raises(NotFoundError, match="does not look like PostHog"):
            await environments.retrieve(42)


@pytest.mark.parametrize("routes", ["auto", "root"])
async def test_a_login_page_with_status_200(routes: Routes) -> None:
    page = http(200, b"<!DOCTYPE html><title>Sign in</title>", Content_Type="text/html")
    async with raw_server(default=page) as server, client(server.url, routes=routes) as environments:
        for call in (environments.retrieve(42), environments.update(42, TeamSettings(name="x"))):
            with pytest.raises(PostHogEnvError, match=f"HTML page, probably of a login .*is {server.url} the right host"):
                await call


async def test_a_server_in_trouble_is_asked_again_while_the_style_is_found_out() -> None:
    async with raw_server(*[http(502)] * 2, GOOD) as server, client(server.url, routes="auto") as environments:
        assert (await environments.retrieve(42)).id == 42
    assert [request.split("/api/")[1] for request in server.requests] == [
        "environments/42/",
        "projects/42/",
        "environments/42/",
    ]

    async with raw_server(default=http(502)) as server, client(server.url, routes="auto") as environments:
        with pytest.raises(ServerError):
            await environments.retrieve(42)


async def test_a_style_that_always_fails_gives_way_to_one_that_answers() -> None:
    async with raw_server(http(500), GOOD) as server, client(server.url, routes="auto") as environments:
        assert (await environments.retrieve(42)).id == 42
    assert server.requests == ["GET /api/environments/42/", "GET /api/projects/42/"]


async def test_use_before_entering_after_closing_and_from_another_loop() -> None:
    environments = client("http://127.0.0.1:9")
    with pytest.raises(ClientStateError, match="not entered"):
        await environments.retrieve(42)
    async with environments:
        with pytest.raises(ClientStateError, match="another event loop"):
            await asyncio.to_thread(asyncio.run, environments.retrieve(42))
    with pytest.raises(ClientStateError, match="closed"):
        await environments.retrieve(42)


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({"auth": "phx_bare"}, "PersonalAPIKey"),
        ({"routes": "flat"}, "auto, nested"),
        ({"limiter": 5}, "RateLimiter"),
        ({"max_connections": 0}, "max_connections"),
        ({"max_body": True}, "max_body"),
        ({"ssl": 5}, "certificate authorities"),
        ({"ssl": "/no/such/file"}, "cannot be read"),
        ({"proxy": "socks5://x"}, "proxy"),
        ({"proxy": "http://[bad"}, "proxy"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused_with_the_remedy(options: dict[str, Any], remedy: str) -> None:
    with pytest.raises(ConfigurationError, match=remedy):
        client("us", **options)


def test_timeouts_are_positive() -> None:
    with pytest.raises(ConfigurationError, match="read"):
        Timeout(read=0)


async def test_a_certificate_that_is_not_trusted_is_raised_at_once() -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(http(200, ENVIRONMENT, Connection="close"))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with client(url) as environments:
        with pytest.raises(NotSentError, match="certificate is not trusted") as caught:
            await environments.retrieve(42)
        assert caught.value.attempts == 1
    with authority.cert_pem.tempfile() as authorities:
        async with client(url, ssl=authorities) as environments:
            assert (await environments.retrieve(42)).id == 42
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with client(url, ssl=trusting) as environments:
        assert (await environments.retrieve(42)).id == 42
    server.close()


async def test_a_proxy_also_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_server(default=GOOD) as proxy:
        async with client("http://posthog.example", proxy=proxy.url, allow_insecure_http=True) as environments:
            await environments.retrieve(42)
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "")
        async with client("http://posthog.example", trust_env=True, allow_insecure_http=True) as environments:
            await environments.retrieve(42)
    assert proxy.requests == ["GET http://posthog.example/api/environments/42/"] * 2


async def test_the_login_of_a_proxy_is_sent_to_it_and_shown_nowhere() -> None:
    sent = "Proxy-Authorization: Basic bWU6c2VzYW1l"  # me:sesame
    async with raw_server(default=GOOD) as proxy:
        address = proxy.url.replace("://", "://me:sesame@")
        async with client("http://127.0.0.1:1", proxy=address) as environments:
            await environments.retrieve(42)
    assert proxy.requests == ["GET http://127.0.0.1:1/api/environments/42/"]
    assert sent in proxy.heads[0]
    async with raw_server(default=http(407)) as proxy:
        address = proxy.url.replace("://", "://me:sesame@")
        async with client("https://posthog.example", proxy=address) as environments:
            with pytest.raises(NotSentError) as caught:
                await environments.retrieve(42)
    assert set(proxy.requests) == {"CONNECT posthog.example:443"}
    assert sent in proxy.heads[0]
    assert "Authorization: Bearer" not in proxy.heads[0]
    assert "sesame" not in with_locals(caught.value)


@pytest.mark.parametrize("host", ["http://localhost:9", "http://127.0.0.1:9", "http://[::1]:9"])
def test_plain_http_goes_to_no_proxy_on_another_machine(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="unencrypted to a proxy on another machine"):
        client(host, proxy="http://192.0.2.1:3128")
    monkeypatch.setenv("http_proxy", "http://me:sesame@proxy.example.com:3128")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(ConfigurationError, match="unencrypted to a proxy on another machine") as caught:
        client(host, trust_env=True)
    assert "sesame" not in with_locals(caught.value)
    monkeypatch.setenv("no_proxy", "localhost,127.0.0.1,::1")
    client(host, trust_env=True)
    client(host, proxy="http://192.0.2.1:3128", allow_insecure_http=True)
    client(host, proxy="http://127.0.0.1:3128")
    client("https://posthog.example.com", proxy="http://192.0.2.1:3128")


async def test_localhost_is_this_machine_whatever_the_system_says(monkeypatch: pytest.MonkeyPatch) -> None:
    def elsewhere(host: str, *_: object, **__: object) -> object:
        raise AssertionError(f"{host} was looked up")

    async with raw_server(default=GOOD) as server:
        monkeypatch.setattr(socket, "getaddrinfo", elsewhere)
        async with client(server.url.replace("127.0.0.1", "localhost")) as environments:
            await environments.retrieve(42)
    assert len(server.requests) == 1


async def test_the_login() -> None:
    from aioposthog_env import AuthenticationError, Sandbox

    async with Sandbox(1) as sandbox:
        cookie = await log_in(sandbox.url, sandbox.user.email, sandbox.user.password)
        async with client(sandbox.url, auth=cookie, routes="project") as environments:
            await environments.rotate_secret_token(1)
        assert sandbox.effects["rotate_secret_token", 1] == 1
        with pytest.raises(AuthenticationError, match="e-mail and password"):
            await log_in(sandbox.url, sandbox.user.email, "wrong")
        careful = sandbox.add_user("Carol", two_factor=True)
        with pytest.raises(AuthenticationError, match="second factor"):
            await log_in(sandbox.url, careful.email, careful.password)
    for answer, error in ((http(500), ServerError), (http(200, b"{}"), AuthenticationError), (None, TransportError)):
        async with raw_server(answer) as server:
            with pytest.raises(error):
                await log_in(server.url, "a@example.com", "secret-password")
    with pytest.raises(NotSentError):
        await log_in("http://127.0.0.1:9", "a@example.com", "secret-password")


def test_the_endpoints_that_must_not_repeat() -> None:
    from aioposthog_env.api.endpoints import Repeat

    never = {row.name for row in endpoints.ENDPOINTS if row.repeat is Repeat.NEVER}
    assert never == {
        "create",
        "reset_token",
        "rotate_secret_token",
        "add_product_intent",
        "complete_product_onboarding",
        "generate_conversations_public_token",
    }


async def test_a_login_whose_cookies_cannot_be_read() -> None:
    async with raw_server(http(200, b"{}", Set_Cookie="session/id=1; \x02=3")) as server:
        with pytest.raises(ApiError, match="set no session cookies"):
            await log_in(server.url, "a@example.com", "password")


async def test_a_login_that_cannot_be_sent() -> None:
    with pytest.raises(NotSentError, match="right host"):
        await log_in("http://127.0.0.1:1", "a@example.com", "password", timeout=Timeout(connect=1))


async def test_a_limit_that_is_used_up_says_nothing_about_the_key() -> None:
    limiter = RateLimiter((RateLimit(1, 60.0),))
    slot = await limiter.acquire()
    limiter.answered(slot)
    key = PersonalAPIKey("phx_" + "k" * 40)
    policy = RetryPolicy(wait_ceiling=1)
    async with raw_server(default=GOOD) as server, client(server.url, auth=key, limiter=limiter, retry=policy) as environments:
        for _ in range(2):
            with pytest.raises(RateLimitWaitTooLong):
                await environments.retrieve(42)
    assert server.requests == []


@pytest.mark.parametrize("body", [b"[]", b"{broken"])
async def test_an_environment_that_is_none_proves_no_era(body: bytes) -> None:
    async with raw_server(default=http(200, body)) as server, client(server.url, routes="auto") as environments:
        with pytest.raises(DecodeError):
            await environments.retrieve(42)
        assert environments.era.value == ""


async def test_a_deadline_that_is_too_near_for_another_attempt_ends_with_what_came() -> None:
    policy = RetryPolicy(first_wait=1e9, longest_wait=1e9, deadline=20)
    async with raw_server(default=http(502)) as server, client(server.url, retry=policy) as environments:
        with pytest.raises(ServerError, match="502"):
            await environments.retrieve(42)
    assert len(server.requests) == 1


async def test_authorities_in_a_folder(tmp_path: Path) -> None:
    async with AsyncEnvironments("us", auth=KEY, ssl=tmp_path) as environments:
        assert environments.host == "https://us.posthog.com"
    with pytest.raises(ConfigurationError, match="cannot be read"):
        AsyncEnvironments("us", auth=KEY, ssl=tmp_path / "missing.pem")


@pytest.mark.parametrize(
    ("fields", "admin"),
    [
        (b'"user_access_level": "admin"', True),
        (b'"user_access_level": "member"', False),
        (b'"effective_membership_level": 8', True),
        (b'"effective_membership_level": 1', False),
        (b'"anonymize_ips": true', None),
    ],
)
async def test_whether_the_owner_of_a_key_is_an_admin_somewhere(fields: bytes, admin: bool | None) -> None:
    body = b'{"id": 42, "name": "Mine", ' + fields + b"}"
    async with raw_server(default=http(200, body)) as server, client(server.url) as environments:
        report = await environments.check_access(of=[42])
    assert [one.admin for one in report.environments] == [admin]
