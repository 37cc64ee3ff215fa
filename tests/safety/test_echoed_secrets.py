"""A server, or a gateway before it, that repeats in its words what it was sent: nothing of the credential is shown or kept."""

import asyncio
import pickle
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from aioposthog_env import (
    Credential,
    OAuthToken,
    PersonalAPIKey,
    PostHogEnvError,
    Sandbox,
    SessionCookie,
    TeamSettings,
    log_in,
)
from tests.conftest import QUICK, connect, logged_in

PART = 12


def parts(secret: str) -> set[str]:
    return {secret[at : at + PART] for at in range(len(secret) - PART + 1)}


def shown(error: BaseException) -> str:
    return f"{error} {error!r} {vars(error)} {pickle.dumps(error).decode('latin-1')}"


def credential(kind: str, sandbox: Sandbox) -> tuple[Credential, list[str]]:
    """A credential and the values in it."""
    if kind == "session":
        session = sandbox.session()
        return SessionCookie(session.session_id, session.csrf_token), [session.session_id, session.csrf_token]
    token = {"key": sandbox.key, "old key": sandbox.key, "OAuth": sandbox.oauth_token}[kind]()
    if kind == "old key":
        token = token.removeprefix("phx_")
    return (OAuthToken(token) if kind == "OAuth" else PersonalAPIKey(token, scopes=["*"])), [token]


@pytest.mark.parametrize("kind", ["key", "old key", "OAuth", "session"])
async def test_no_word_of_the_server_repeats_the_credential(kind: str, tmp_path: Path) -> None:
    async with Sandbox(1) as sandbox:
        auth, secrets = credential(kind, sandbox)
        said = "header " + " ".join(f"{secret!r}" for secret in secrets)
        answers: list[tuple[int, Any, dict[str, str]]] = [
            (400, {"type": said, "code": said, "detail": said, "attr": said}, {}),
            (400, {"error": said}, {}),
            (401, {"type": "authentication_error", "code": "authentication_failed", "detail": said, "attr": None}, {}),
            (404, f"<html><b>{said}".encode(), {}),
            (400, ("x" * 180 + said).encode(), {}),
            (400, (" " + said[: -PART // 2]).encode(), {}),
            (302, b"", {"Location": f"http://{secrets[0]}.example/?{said}"}),
        ]
        async with connect(sandbox, auth=auth, retry=QUICK, routes="root") as environments:
            for number, (status, body, headers) in enumerate(answers):
                sandbox.answer_next("retrieve", status, body, headers=headers)
                with pytest.raises(PostHogEnvError) as caught:
                    await environments.retrieve(1)
                sandbox.answer_next("update", status, body, headers=headers)
                each = environments.each([1], journal=tmp_path / f"{number}.db")
                report = await each.update(TeamSettings(timezone="Asia/Tokyo"))
                assert len(report.failed) == 1
                texts = [shown(caught.value), repr(report), str(report), pickle.dumps(report).decode("latin-1")]
                texts += [file.read_bytes().decode("latin-1") for file in tmp_path.iterdir()]
                for secret in secrets:
                    assert not any(part in text for part in parts(secret) for text in texts), (status, body)


async def test_a_token_of_anybody_is_hidden_and_a_public_one_is_not() -> None:
    async with Sandbox(1) as sandbox, connect(sandbox, retry=QUICK, routes="root") as environments:
        environment = sandbox.environment(1)
        foreign = ["phx_" + "a1B2" * 10, "pha_" + "a1B2" * 10, str(environment.secret_api_token), "phz_a1B2a1B2a1"]
        detail = f"{' '.join(foreign)} {environment.api_token}"
        sandbox.answer_next("retrieve", 400, {"type": "x", "code": "y", "detail": detail, "attr": None})
        with pytest.raises(PostHogEnvError) as caught:
            await environments.retrieve(1)
    assert f"[hidden] [hidden] [hidden] [hidden] {environment.api_token}" in str(caught.value)
    assert not any(token in shown(caught.value) for token in foreign)


async def test_a_part_of_a_sensitive_setting_is_hidden() -> None:
    hook = "https://hooks.slack.com/services/T00/B00/SECRETSECRET"
    async with Sandbox(1) as sandbox, logged_in(sandbox, retry=QUICK, routes="root") as environments:
        detail = f"cannot reach {hook[12:-6]}… at {hook[-10:]}"
        sandbox.answer_next("update", 400, {"type": "validation_error", "code": "x", "detail": detail, "attr": None})
        with pytest.raises(PostHogEnvError) as caught:
            await environments.update(1, TeamSettings(slack_incoming_webhook=hook))
    assert f"cannot reach [hidden]… at {hook[-10:]}" in str(caught.value)  # fewer than twelve characters tell too little


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Refuse a request, and repeat its body, the same for an address, and as JSON."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = next(line for line in head.split("\r\n") if line.startswith("content-length:")).partition(":")[2]
    sent = await reader.readexactly(int(length))
    body = b"bad request: " + sent + quote(sent).encode()
    writer.write(b"HTTP/1.1 400 Bad\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    await writer.drain()
    writer.close()


@pytest.mark.parametrize("password", ["hunter2hunter2", 'a "quoted" <word>', "short"])
async def test_a_login_repeats_neither_password_nor_address(password: str) -> None:
    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        host = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(PostHogEnvError, match=r"\[hidden\]") as caught:
            await log_in(host, "person@example.com", password)
    for secret in (password, "person@example.com", quote(password), quote("person@example.com"), password.replace('"', '\\"')):
        assert secret not in shown(caught.value)


@pytest.mark.parametrize("code", ["invalid_credentials", "2fa_required", ""])
async def test_a_refused_login_repeats_no_password(code: str) -> None:
    async with Sandbox(1) as sandbox:
        said = "no: hunter2hunter2"
        answer = {"type": "x", "code": code, "detail": said, "attr": said}

        async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            body = repr(answer).replace("'", '"').encode()
            writer.write(b"HTTP/1.1 400 Bad\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
            host = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            with pytest.raises(PostHogEnvError) as caught:
                await log_in(host, sandbox.user.email, "hunter2hunter2")
    assert "hunter2hunter2" not in shown(caught.value)
    assert getattr(caught.value, "detail", "") == "no: [hidden]"


async def test_a_large_body_of_secrets_is_told_in_short() -> None:
    async with Sandbox(1) as sandbox, connect(sandbox, retry=QUICK, routes="root") as environments:
        for body in (b"phx_" * 500_000, b'{"detail": "' + b"phx_a1B2c3D4e5 " * 4_000 + b'"}'):
            sandbox.answer_next("retrieve", 400, body)
            with pytest.raises(PostHogEnvError) as caught:
                await environments.retrieve(1)
            assert len(str(caught.value)) < 1_300
            assert "a1B2" not in str(caught.value)
