"""Crash reporters and ``pytest -l`` show the local variables of every frame in a traceback, and of frames of libraries too."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from aioposthog_env import (
    AsyncEnvironments,
    Credential,
    OAuthToken,
    PersonalAPIKey,
    PostHogEnvError,
    RetryPolicy,
    SessionCookie,
    TeamSettings,
    Timeout,
    log_in,
)
from tests.sweep import with_locals
from tests.wire.raw import Answer, RawServer, http, raw_server

KEY, CSRF, SESSION, PASSWORD = "phx_Zq9" + "k" * 40, "csrf" * 8, "sess" * 8, "correct-horse-battery"
HOOK, TOKEN, SECRET = "https://hooks.slack.com/services/T0/B0/abcdef", "conversations-token", "phs_" + "s" * 40
PLANTED = {KEY, KEY[4:], CSRF, SESSION, PASSWORD, HOOK, TOKEN, SECRET}
SETTINGS = TeamSettings(slack_incoming_webhook=HOOK, conversations_settings={"api_token": TOKEN})

PAYLOAD: dict[str, Any] = {"id": 42, "name": "Mine", "secret_api_token": SECRET, "slack_incoming_webhook": HOOK, "new": SECRET}
ECHO = json.dumps({"type": "validation_error", "code": "invalid", "detail": "no: SENT", "attr": "x"}).encode()
"""An error that repeats the secrets that it was sent."""
ANSWERS: dict[str, Answer] = {
    "dropped": None,
    "refused": http(400, ECHO),
    "refused by a proxy": http(403, b"<p>SENT</p>"),
    "failed": http(500, ECHO),
    "wrong type": http(200, json.dumps(PAYLOAD | {"timezone": 5}).encode()),
    "wrong type below": http(200, json.dumps(PAYLOAD | {"session_recording_linked_flag": {"id": [SECRET]}}).encode()),
    "wrong list": http(200, json.dumps(PAYLOAD | {"app_urls": [HOOK, 5]}).encode()),
    "no object": http(200, json.dumps([SECRET]).encode()),
    "no JSON": http(200, f'{{"secret_api_token": "{SECRET}"'.encode()),
    "another environment": http(200, json.dumps(PAYLOAD | {"id": 7}).encode()),
    "another value": http(200, json.dumps(PAYLOAD | {"slack_incoming_webhook": SECRET}).encode()),
    "cut off": http(200, json.dumps(PAYLOAD).encode())[:-9],
    "not HTTP": f"{SECRET}\r\n\r\n".encode(),
}
SENT = {PersonalAPIKey: KEY, OAuthToken: KEY.replace("phx", "pha"), SessionCookie: f"{SESSION} {CSRF}"}
CREDENTIALS: list[Credential] = [PersonalAPIKey(KEY), OAuthToken(KEY.replace("phx", "pha")), SessionCookie(SESSION, CSRF)]
CALLS: dict[str, Callable[[AsyncEnvironments], Awaitable[object]]] = {
    "retrieve": lambda client: client.retrieve(42),
    "update": lambda client: client.update(42, SETTINGS),
    "rotate": lambda client: client.rotate_secret_token(42, settings=SETTINGS),
    "intent": lambda client: client.add_product_intent(42, "surveys", settings=SETTINGS),
    "logs": lambda client: client.logs_config(42),
}


def shown(error: BaseException) -> list[str]:
    """The planted values that a crash reporter would upload with an error."""
    text = with_locals(error)
    return sorted(secret for secret in PLANTED if secret in text)


def client(server: RawServer, credential: Credential, **options: Any) -> AsyncEnvironments:
    once = RetryPolicy(max_attempts=1, read_back=False)
    return AsyncEnvironments(
        server.url, auth=credential, routes="root", limiter=None, retry=once, enforce_scopes=False, **options
    )


@pytest.mark.parametrize("credential", CREDENTIALS, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("answer", ANSWERS)
async def test_an_error_shows_no_secret_in_any_frame(answer: str, call: str, credential: Credential) -> None:
    sent = SENT[type(credential)] + (f" {HOOK} {TOKEN}" if call in {"update", "rotate", "intent"} else "")
    said = ANSWERS[answer]
    if said is not None and b"SENT" in said:
        said = http(int(said.split()[1]), said.partition(b"\r\n\r\n")[2].replace(b"SENT", sent.encode()))
    patience = {"timeout": Timeout(read=0.01)} if answer == "cut off" else {}
    async with raw_server(default=said) as server, client(server, credential, **patience) as environments:
        try:
            await CALLS[call](environments)
        except PostHogEnvError as error:
            assert shown(error) == []


@pytest.mark.parametrize("credential", CREDENTIALS, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("call", ["retrieve", "update"])
@pytest.mark.parametrize("while_it", ["connects", "waits for the head", "waits for the body"])
async def test_a_cancelled_call_shows_no_secret_in_frames_of_aiohttp(while_it: str, call: str, credential: Credential) -> None:
    arrived, never = asyncio.Event(), asyncio.Event()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if while_it == "waits for the body":
            writer.write(http(200, json.dumps(PAYLOAD).encode())[:-9])
        arrived.set()
        await never.wait()
        writer.close()

    async with await asyncio.start_server(hold, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        raw = RawServer(f"http://127.0.0.1:{port}")
        # What connects through a proxy waits for the answer to its CONNECT.
        proxied = {"proxy": f"http://me:{PASSWORD}@127.0.0.1:{port}"} if while_it == "connects" else {}
        if proxied:
            raw.url = "https://posthog.example"
        async with client(raw, credential, **proxied) as environments:
            task = asyncio.ensure_future(CALLS[call](environments))
            await arrived.wait()
            for _ in range(20):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await task
        never.set()
    frames = with_locals(caught.value)
    assert "aiohttp" in frames
    assert shown(caught.value) == []


@pytest.mark.parametrize("answer", [None, http(400, ECHO), http(200, b"{}"), http(200, b"", Set_Cookie=f"sessionid={SESSION}")])
async def test_a_failed_login_shows_no_password(answer: Answer) -> None:
    async with raw_server(default=answer) as server:
        for host, password in ((server.url, PASSWORD), (PASSWORD, PASSWORD), (server.url, f"{PASSWORD}\ud800")):
            with pytest.raises(PostHogEnvError) as caught:
                await log_in(host, "me@example.com", password)
            assert shown(caught.value) == []


@pytest.mark.parametrize("rate", ["much", object()])
def test_refused_settings_show_no_secret(rate: Any) -> None:
    with pytest.raises(PostHogEnvError) as caught:
        TeamSettings(slack_incoming_webhook=HOOK, session_recording_sample_rate=rate)
    assert shown(caught.value) == []


async def test_refused_metadata_shows_no_setting() -> None:
    async with client(RawServer("http://127.0.0.1:9"), CREDENTIALS[0]) as environments:
        with pytest.raises(PostHogEnvError, match="not a finite number") as caught:
            await environments.add_product_intent(42, "surveys", metadata={"a": float("nan")}, settings=SETTINGS)
    assert shown(caught.value) == []
