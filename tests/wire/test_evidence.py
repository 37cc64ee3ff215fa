"""What a response proves about a write. The servers here are written without the sandbox, so they share none of its beliefs."""

import asyncio
import contextlib
import json
import re
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import pytest
import trustme

from aioposthog_env import (
    AsyncEnvironments,
    EnvironmentRef,
    InvalidSettingsError,
    NotFoundError,
    NotSentError,
    OutcomeUnknownError,
    PersonalAPIKey,
    PostHogEnvError,
    RetryPolicy,
    Secret,
    SessionCookie,
    StateChangedError,
    TeamSettings,
    TransportError,
)
from tests.wire.intermediary import Request
from tests.wire.raw import http, raw_server

SESSION: Final = SessionCookie("s" * 32, "c" * 32)
KEY: Final = PersonalAPIKey("phx_" + "k" * 40, scopes=["*"])
POLICY: Final = RetryPolicy(first_wait=0.001, longest_wait=0.002, settle=0.4, settle_after_500=0.1)
NOT_FOUND: Final = http(404, b'{"type":"invalid_request","code":"not_found","detail":"Not found.","attr":null}')
NO_ENDPOINT: Final = http(404, b'{"type":"invalid_request","code":"not_found","detail":"Endpoint not found.","attr":null}')
TROUBLE: Final = http(500, b'{"type":"server_error","code":"error","detail":"A server error occurred.","attr":null}')
NO_TEAM_READ: Final = http(
    403,
    b'{"type":"authentication_error","code":"permission_denied",'
    b'"detail":"API key missing required scope \'team:read\'","attr":null}',
)


def client(url: str, **options: Any) -> AsyncEnvironments:
    given: dict[str, Any] = {"auth": SESSION, "routes": "root", "retry": POLICY, "limiter": None}
    return AsyncEnvironments(url, **given | options)


@attrs.define
class Server:
    """Environments with a secret and its backup.

    Attributes:
        secrets: The secrets of each environment, oldest first; the last is in use, the one before is the backup.
        requests: What came.
    """

    secrets: dict[int, list[str]] = attrs.field(factory=lambda: {id: [secret(0)] for id in range(1, 11)})
    requests: list[Request] = attrs.field(factory=list[Request])

    def body(self, id: int, late: int = 0, **settings: Any) -> bytes:
        """An environment, as it was so many rotations ago."""
        shown = self.secrets[id][: len(self.secrets[id]) - late]
        backup = shown[-2] if len(shown) > 1 else None
        payload = {
            "id": id,
            "name": f"env {id}",
            "project_id": 1,
            "secret_api_token": shown[-1],
            "secret_api_token_backup": backup,
        }
        return json.dumps(payload | settings).encode()

    def rotate(self, id: int) -> None:
        """One more secret."""
        self.secrets[id].append(secret(len(self.secrets[id])))


def secret(number: int) -> str:
    return f"phs_{number:040}"


Handler = Callable[[Server, Request], Awaitable[bytes]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncGenerator[tuple[Server, str], None]:
    """A server whose handler decides each response."""
    state = Server()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)content-length: *(\d+)", head)
                raw = head + await reader.readexactly(int(length[1]) if length else 0)
                verb, target, _ = head.decode().split(" ", 2)
                request = Request(verb, target, raw)
                state.requests.append(request)
                writer.write(await handler(state, request))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield state, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def id_of(request: Request) -> int:
    id = request.environment_id
    assert id is not None
    return id


# Who may say yes


@pytest.mark.parametrize("verify", [True, False])
async def test_an_old_secret_in_the_response_is_never_handed_over(verify: bool, tmp_path: Path) -> None:
    async def stale_response(state: Server, request: Request) -> bytes:
        before = state.body(id_of(request))
        if request.verb == "PATCH":
            state.rotate(id_of(request))
        return http(200, before)

    sink = tmp_path / "secrets.jsonl"
    async with serving(stale_response) as (state, url), client(url) as environments:
        report = await environments.each(range(1, 11)).rotate_secret_token(sink=sink, verify=verify)
    handed = [json.loads(line)["secret_api_token"] for line in sink.read_text("utf-8").splitlines()]
    assert report.counts["succeeded"] == 10
    assert handed == [secret(1)] * 10
    assert {len(secrets) for secrets in state.secrets.values()} == {2}


@pytest.mark.parametrize("late", [0, 1, 2])
async def test_a_success_without_an_effect_is_unknown(late: int) -> None:
    async def nothing_happens(state: Server, request: Request) -> bytes:
        return http(200, state.body(id_of(request), late if request.verb == "PATCH" else 0))

    async with serving(nothing_happens) as (state, url), client(url) as environments:
        state.rotate(1)
        state.rotate(1)
        with pytest.raises(OutcomeUnknownError, match="still shows what the call was to replace"):
            await environments.rotate_secret_token(1)


async def test_a_deleted_backup_that_is_still_shown_was_not_deleted() -> None:
    async def cached(state: Server, request: Request) -> bytes:
        return http(200, state.body(id_of(request)))

    async with serving(cached) as (state, url), client(url) as environments:
        state.rotate(1)
        with pytest.raises(TransportError, match="still shows what the call was to replace"):
            await environments.delete_secret_token_backup(1)


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ({"id": 7, "name": "Other"}, "another name"),
        ({"id": 7, "name": "New", "project_id": 3}, "project 3, not 1"),
        ({"id": 7, "name": "New", "project_id": 1, "created_at": "2020-01-01T00:00:00Z"}, "older than the call"),
    ],
)
async def test_a_create_is_not_done_by_a_response_about_another_environment(payload: dict[str, Any], words: str) -> None:
    async def crossed(state: Server, request: Request) -> bytes:
        if request.verb == "GET":
            return http(200, b'{"count": 0, "next": null, "previous": null, "results": []}')
        return http(201, json.dumps(payload).encode(), Date="Tue, 01 Dec 2026 10:00:00 GMT")

    async with serving(crossed) as (state, url), client(url, routes="auto") as environments:
        with pytest.raises(OutcomeUnknownError, match=words):
            await environments.create(TeamSettings(name="New"), project_id=1)
        assert [request.verb for request in state.requests].count("POST") == 1


@pytest.mark.parametrize("status", [200, 202])
async def test_a_delete_is_done_by_a_204_only(status: int) -> None:
    async with raw_server(default=http(status)) as server, client(server.url) as environments:
        with pytest.raises(TransportError, match=f"status {status} came with a response that PostHog does not send here"):
            await environments.delete(42)


async def test_a_cached_create_without_a_date_is_not_believed() -> None:
    async def cached(state: Server, request: Request) -> bytes:
        if request.verb == "GET":
            return http(200, b'{"count": 0, "next": null, "previous": null, "results": []}')
        return http(201, b'{"id": 7, "name": "New", "project_id": 1, "created_at": "2020-01-01T00:00:00Z"}')

    async with serving(cached) as (_, url), client(url, routes="auto") as environments:
        with pytest.raises(OutcomeUnknownError, match="older than the call"):
            await environments.create(TeamSettings(name="New"), project_id=1)


@pytest.mark.parametrize("root", [http(502, b"<html>"), None], ids=["unreadable", "unchanged"])
async def test_a_path_that_hides_the_secret_proves_nothing_by_itself(root: bytes | None) -> None:
    async def hidden(state: Server, request: Request) -> bytes:
        id = id_of(request)
        if "/environments/" in request.target:
            written = any(one.verb == "PATCH" for one in state.requests)
            return root if root is not None and written else http(200, state.body(id))
        return http(200, json.dumps({"id": id, "name": "x"}).encode())

    async with serving(hidden) as (_, url), client(url, routes="project") as environments:
        with pytest.raises(OutcomeUnknownError, match="came without the token"):
            await environments.rotate_secret_token(1)


# Who may say no


@pytest.mark.parametrize(
    "second",
    [
        http(404, b'{"code":"not_found","message":"no route"}'),
        http(400, b"the request is being rejected: method DELETE", Content_Type="text/plain"),
        http(400, b'{"error":"request already seen; DELETE refused"}'),
    ],
)
async def test_a_gateway_does_not_say_that_an_environment_is_gone(second: bytes) -> None:
    async with raw_server(http(502, b"<html>"), default=second) as server, client(server.url, auth=KEY) as environments:
        with pytest.raises(PostHogEnvError):
            await environments.delete(42)


async def test_what_is_in_doubt_stays_unknown_when_the_run_is_stopped_or_refused(tmp_path: Path) -> None:
    """An item that an earlier session may have sent is never among those that a next run may take."""
    refused = False

    async def handler(state: Server, request: Request) -> bytes:
        if refused:
            return http(401, b'{"type":"authentication_error","code":"authentication_failed","detail":"No.","attr":null}')
        if request.verb == "PATCH":
            state.rotate(id_of(request))
            return http(502, b"<html>")
        return http(200, state.body(id_of(request)))

    policy = attrs.evolve(POLICY, read_back=False)
    async with serving(handler) as (state, url):
        async with client(url, retry=policy) as environments:
            report = await environments.each([1, 2], journal=tmp_path / "run.db").rotate_secret_token()
            assert report.counts["unknown"] == 2
        refused = True
        for routes in ("auto", "root"):
            async with client(url, retry=policy, routes=routes) as environments:
                run = environments.each([1, 2], journal=tmp_path / "run.db", concurrency=1).rotate_secret_token()
                if routes == "root":
                    run.stop()
                report = await run
                assert report.counts["unknown"] == 2
                assert list(report.remaining()) == []
        refused = False
        async with client(url) as environments:
            report = await environments.each([1, 2], journal=tmp_path / "run.db").rotate_secret_token()
            assert report.done_earlier == 2
        assert {len(state.secrets[id]) for id in (1, 2)} == {2}


@pytest.mark.parametrize("status", [307, 308, 401, 403, 404, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("credential", [SESSION, KEY], ids=["session", "key"])
async def test_a_page_after_the_effect_never_repeats_an_intent(status: int, credential: Any) -> None:
    page = http(
        status,
        b"<html>database_unavailable</html>",
        Content_Type="text/html",
        Retry_After="0",
        Location="/api/environments/42/",
    )
    async with raw_server(page, default=NOT_FOUND) as server, client(server.url, auth=credential) as environments:
        with pytest.raises(OutcomeUnknownError):
            await environments.add_product_intent(42, "surveys")
        assert [request.partition(" ")[0] for request in server.requests] == ["PATCH"]


async def test_a_429_to_a_session_proves_nothing_whatever_it_says() -> None:
    throttled = b'{"type":"throttled_error","code":"throttled","detail":"Request was throttled.","attr":null}'
    async with raw_server(default=http(429, throttled, Retry_After="0")) as server:
        async with client(server.url) as environments:
            with pytest.raises(OutcomeUnknownError):
                await environments.add_product_intent(42, "surveys")
        assert len(server.requests) == 1


# A response belongs to its request


@pytest.mark.parametrize("early", [http(204), http(200, b"[]"), b"HTTP/1.1 200", b"\r\n", http(200, b"[]") * 2])
async def test_bytes_on_an_idle_connection_answer_nothing(early: bytes) -> None:
    writers: list[asyncio.StreamWriter] = []

    async def remember(writer: asyncio.StreamWriter) -> None:
        writers.append(writer)

    async with raw_server(http(200, b'{"id": 42, "name": "x"}'), default=NOT_FOUND) as server:
        server.after = remember
        async with client(server.url, retry=RetryPolicy.disabled()) as environments:
            await environments.retrieve(42)
            writers[0].write(early)
            await asyncio.sleep(0.05)
            with pytest.raises(NotFoundError):
                await environments.delete(42)
    assert [request.partition(" ")[0] for request in server.requests] == ["GET", "DELETE"]


async def test_bytes_that_the_loop_has_not_read_yet_answer_nothing() -> None:
    """The bytes and the next call come in the same turn of the loop."""
    writers: list[asyncio.StreamWriter] = []

    async def remember(writer: asyncio.StreamWriter) -> None:
        writers.append(writer)

    async with raw_server(http(200, b'{"id": 42, "name": "x"}'), default=NOT_FOUND) as server:
        server.after = remember
        async with client(server.url, retry=RetryPolicy.disabled()) as environments:
            await environments.retrieve(42)
            writers[0].write(http(204))
            with pytest.raises(NotFoundError):
                await environments.delete(42)


async def test_bytes_that_the_loop_has_not_read_yet_answer_nothing_over_tls() -> None:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    writers: list[asyncio.StreamWriter] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                writer.write(http(200, b'{"id": 42, "name": "x"}') if head.startswith(b"GET") else NOT_FOUND)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, client(url, retry=RetryPolicy.disabled(), ssl=trusted) as environments:
        await environments.retrieve(42)
        writers[0].write(http(204))
        with pytest.raises(NotFoundError):
            await environments.delete(42)
    assert len(writers) == 2


async def test_a_server_that_always_speaks_first_is_never_believed() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(http(204))
        await reader.read(-1)
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with (
        server,
        client(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", retry=RetryPolicy.disabled()) as environments,
    ):
        for _ in range(3):
            try:
                await environments.delete(42)
            except NotSentError as error:
                assert "sends bytes that no request asked for" in str(error)
            except PostHogEnvError:
                pass
            else:
                pytest.fail("a response that came before its request was believed")


async def test_after_a_stop_nothing_leaves_that_waited_for_a_connection() -> None:
    async def slow(state: Server, request: Request) -> bytes:
        await asyncio.sleep(0.15)
        return http(200, state.body(id_of(request)))

    async with serving(slow) as (state, url), client(url, auth=KEY, max_connections=1) as environments:
        run = environments.each(range(1, 7), concurrency=6).update(TeamSettings(name="x"))
        asyncio.get_running_loop().call_later(0.05, run.stop)
        report = await run
    assert len(state.requests) == 1
    assert [one.reason for one in report if one.status == "skipped"] == ["stopped"] * 5


# Copies that are older than the client's own write


@pytest.mark.parametrize("settle", [0.05, 2.0])
async def test_a_job_that_comes_twice_rotates_once_behind_a_lagging_replica(settle: float) -> None:
    async def lagging(state: Server, request: Request) -> bytes:
        id = id_of(request)
        if request.verb == "PATCH":
            state.rotate(id)
            return http(200, state.body(id))
        reads = [one for one in state.requests if one.verb == "GET" and one.environment_id == id]
        return http(200, state.body(id, late=1 if len(state.secrets[id]) > 1 and len(reads) < 6 else 0))

    policy = attrs.evolve(POLICY, settle=settle)
    async with serving(lagging) as (state, url), client(url, retry=policy) as environments:
        expected = Secret(secret(0)).digest()
        await environments.rotate_secret_token(1, expected=expected)
    assert len(state.secrets[1]) == 2


async def test_the_second_delivery_waits_until_the_copy_is_fresh_or_refuses() -> None:
    late = True

    async def lagging(state: Server, request: Request) -> bytes:
        id = id_of(request)
        if request.verb == "PATCH":
            state.rotate(id)
            return http(200, state.body(id))
        return http(200, state.body(id, late=1 if late and len(state.secrets[id]) > 1 else 0))

    expected = Secret(secret(0)).digest()
    async with serving(lagging) as (state, url):
        async with client(url) as environments:
            await environments.rotate_secret_token(1, expected=expected)
            with pytest.raises(StateChangedError, match=r"still shows a token that this client has replaced.*Nothing was sent"):
                await environments.rotate_secret_token(1, expected=expected)
            late = False
            again = await environments.rotate_secret_token(1, expected=expected)
        assert isinstance(again.secret_api_token, Secret)
        assert again.secret_api_token.reveal() == secret(1)
        assert len(state.secrets[1]) == 2


async def test_every_read_asks_caches_for_the_server_itself() -> None:
    async with raw_server(default=http(200, b'{"id": 42, "name": "x"}')) as server, client(server.url) as environments:
        await environments.retrieve(42)
        await environments.update(42, TeamSettings(name="x"))
    assert ["cache-control: no-cache" in head.lower() for head in server.heads] == [True, False]


async def test_two_clients_of_one_loop_take_turns() -> None:
    async def slow(state: Server, request: Request) -> bytes:
        await asyncio.sleep(0.02)
        if request.verb == "PATCH":
            state.rotate(id_of(request))
        return http(200, state.body(id_of(request)))

    async with serving(slow) as (state, url):
        other = SessionCookie("o" * 32, "c" * 32)
        async with client(url) as one, client(url) as two, client(url, auth=other) as three:
            expected = Secret(secret(0)).digest()
            calls = [each.rotate_secret_token(id, expected=expected) for id in state.secrets for each in (one, two, three)]
            rotated = await asyncio.gather(*calls)
    assert {len(secrets) for secrets in state.secrets.values()} == {2}
    assert len(rotated) == 30


# URL styles


def early_2025(state: Server, request: Request) -> bytes:
    """PostHog of August 2025: the nested path answers 404, 200 or 500, by the number of event definitions."""
    if nested := re.match(r"/api/projects/\d+/environments/(\d+)/", request.target):
        id = int(nested[1])
        return (NOT_FOUND, http(200, state.body(id)), TROUBLE)[id % 3]
    if request.target.startswith("/api/environments/?"):
        rows = [{"id": id, "name": f"env {id}", "project_id": 1} for id in state.secrets]
        return http(200, json.dumps({"count": len(rows), "next": None, "previous": None, "results": rows}).encode())
    id = id_of(request)
    if id not in state.secrets:
        return NOT_FOUND
    if request.verb == "DELETE":
        del state.secrets[id]
        return http(204)
    sent = json.loads(request.raw.partition(b"\r\n\r\n")[2] or b"{}")
    return http(200, state.body(id, **{name: value for name, value in sent.items() if name != "id"}))


@pytest.mark.parametrize("first", [1, 2, 3])
async def test_the_nested_path_decides_nothing(first: int) -> None:
    async def handler(state: Server, request: Request) -> bytes:
        return early_2025(state, request)

    async with serving(handler) as (state, url), client(url, auth=KEY, routes="auto") as environments:
        listed = [one.ref async for one in environments.list()]
        refs = sorted(listed, key=lambda ref: ref.id != first)
        assert all(ref.project_id == 1 for ref in refs)
        report = await environments.each(refs).retrieve()
        assert report.counts["succeeded"] == 10
        await environments.delete(refs[-1])
        assert refs[-1].id not in state.secrets
        assert len([one async for one in environments.list(project_id=1)]) == 9
        assert [one async for one in environments.list(project_id=2)] == []
        assert not any("/environments/" in request.target.partition("/projects/")[2] for request in state.requests)


async def test_after_a_lost_delete_a_404_of_the_nested_path_is_not_success() -> None:
    lost: list[bytes | None] = [None, NOT_FOUND]
    async with raw_server(*lost) as server, client(server.url, routes="nested") as environments:
        with pytest.raises(NotFoundError, match="It may have taken effect"):
            await environments.delete(EnvironmentRef(42, 1))


@pytest.mark.parametrize("first", [http(307, Location="/api/environments/42/"), http(429, b"<html>", Retry_After="0")])
async def test_a_redirect_or_a_page_before_a_404_is_not_a_deletion(first: bytes) -> None:
    async with raw_server(first, NOT_FOUND) as server, client(server.url, auth=KEY) as environments:
        with pytest.raises(NotFoundError):
            await environments.delete(42)


async def test_waiting_for_a_deletion_never_asks_the_nested_path() -> None:
    async with raw_server(default=NOT_FOUND) as server, client(server.url, routes="nested") as environments:
        await environments.wait_until_deleted(EnvironmentRef(42, 1))
        assert server.requests == ["GET /api/environments/42/"]


@pytest.mark.parametrize(
    "elsewhere", [NO_ENDPOINT, http(404, b'{"detail":"Not Found"}'), http(404, b"<html>", Content_Type="text/html")]
)
async def test_a_host_that_serves_only_the_documented_path_works(elsewhere: bytes) -> None:
    async def documented(state: Server, request: Request) -> bytes:
        found = re.match(r"/api/projects/1/environments/(\d+)/", request.target)
        if found is None:
            return elsewhere
        return http(200, state.body(int(found[1]))) if int(found[1]) in state.secrets else NOT_FOUND

    async with serving(documented) as (_, url), client(url, auth=KEY, routes="auto") as environments:
        assert (await environments.retrieve(EnvironmentRef(3, 1))).id == 3
        assert (await environments.update(EnvironmentRef(4, 1), TeamSettings(name="env 4"))).id == 4
        with pytest.raises(NotFoundError):
            await environments.retrieve(EnvironmentRef(99, 1))


async def test_a_nested_list_holds_its_project_also_without_saying_so() -> None:
    async def documented(state: Server, request: Request) -> bytes:
        if not request.target.startswith("/api/projects/7/environments/"):
            return http(404, b"<html>", Content_Type="text/html")
        return http(200, b'{"count": 1, "next": null, "previous": null, "results": [{"id": 42, "name": "x"}]}')

    async with serving(documented) as (_, url), client(url, auth=KEY, routes="auto") as environments:
        assert [one.id async for one in environments.list(project_id=7)] == [42]


async def test_in_trouble_the_nested_path_is_not_believed() -> None:
    async def in_trouble(state: Server, request: Request) -> bytes:
        return NOT_FOUND if "/environments/" in request.target.partition("/projects/")[2] else TROUBLE

    async with serving(in_trouble) as (_state, url), client(url, auth=KEY, routes="auto") as environments:
        with pytest.raises(PostHogEnvError, match="500"):
            await environments.retrieve(EnvironmentRef(3, 1))


@pytest.mark.parametrize("settings", [TeamSettings(anonymize_ips=True), TeamSettings(anonymize_ips=True, timezone="UTC")])
async def test_a_scope_that_no_key_can_have_is_got_round(settings: TeamSettings) -> None:
    """PostHog 2025-08 asks for ``team:read`` where a body holds config settings alone, and for ``project:write`` otherwise."""

    async def asks_for_team_read(state: Server, request: Request) -> bytes:
        if request.verb == "PATCH" and b'"id"' not in request.raw:
            return NO_TEAM_READ
        return early_2025(state, request)

    async with serving(asks_for_team_read) as (state, url), client(url, auth=KEY, routes="auto") as environments:
        for id in (1, 2):
            updated = await environments.update(id, settings)
            assert updated.settings.anonymize_ips is True
        assert [request.verb for request in state.requests].count("PATCH") == 3  # it learns this once
    async with serving(asks_for_team_read) as (state, url), client(url, auth=KEY, routes="auto") as environments:
        report = await environments.each(range(1, 11), concurrency=10).update(settings)
        assert report.counts["succeeded"] == 10


@pytest.mark.parametrize(
    ("shown", "sent"),
    [
        ({}, 0),  # 2024-10
        ({"capture_dead_clicks": False}, 0),  # 2025-08
        ({"capture_dead_clicks": False, "session_recording_retention_period": "30d"}, 1),  # 2025-11
        ({"is_pending_deletion": False}, 1),
    ],
)
async def test_a_null_dashboard_is_not_sent_to_a_server_that_crashes_at_it(shown: dict[str, Any], sent: int) -> None:
    async def handler(state: Server, request: Request) -> bytes:
        payload = {"id": 1, "name": "x", "primary_dashboard": None, **shown}
        return http(200, json.dumps(payload).encode())

    async with serving(handler) as (state, url), client(url, auth=KEY, routes="auto") as environments:
        try:
            await environments.update(1, TeamSettings(primary_dashboard=None))
        except InvalidSettingsError as error:
            assert "crashes at null" in str(error)
        assert [request.verb for request in state.requests].count("PATCH") == sent


async def test_a_redirected_read_teaches_the_style_and_a_token_call_is_never_redirected() -> None:
    async def redirecting(state: Server, request: Request) -> bytes:
        if request.target.startswith("/api/environments/"):
            return http(307, Location=request.target.replace("environments", "projects"))
        if request.verb == "PATCH":
            state.rotate(id_of(request))
        return http(200, state.body(id_of(request)))

    async with serving(redirecting) as (state, url), client(url, routes="auto") as environments:
        await environments.retrieve(1)
        await environments.rotate_secret_token(1)
        assert [request.target for request in state.requests if request.verb == "PATCH"] == [
            "/api/projects/1/rotate_secret_token/"
        ]
    async with serving(redirecting) as (state, url), client(url, routes="root") as environments:
        with pytest.raises(OutcomeUnknownError):
            await environments.rotate_secret_token(1)
        assert len(state.secrets[1]) == 1
