"""Replaying recorded requests against the sandbox, and saying where its answers differ from those of the real server.

The scene has the ids, people and keys of the recordings. Before each case it is set back, so that the cases do not depend on
each other.
"""

import json
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import attrs

from aioposthog_env.sandbox import Sandbox, Throttle
from tests.contract.recorded import Recorded

LEFT_OUT: Final = (
    (re.compile(r"^/api/organizations/"), "organizations are no environments; the client never asks for them"),
    (re.compile(r"^/api/personal_api_keys/$"), "listing and making keys is no business of this client"),
)
"""Paths that the sandbox does not serve, with the reason."""

_PEOPLE = {"session": "owner", "session_member": "member", "session_nocsrf": "owner"}


def left_out(case: Recorded) -> str | None:
    """Why a case is not replayed; None where it is."""
    path = case.path.partition("?")[0]
    return next((why for pattern, why in LEFT_OUT if pattern.match(path)), None)


@attrs.frozen
class Scene:
    """A running sandbox with the recorded scene."""

    sandbox: Sandbox
    keys: dict[str, str]
    snapshot: dict[str, Any]
    http: aiohttp.ClientSession

    async def replay(self, case: Recorded) -> list[str]:
        """Send what was recorded. Gives the differences, in words."""
        self.sandbox.restore(self.snapshot)
        headers, path, sent = self._request(case)
        body = sent if isinstance(sent, bytes) else None if sent is None else json.dumps(sent).encode()
        if body is not None and "Content-Type" not in headers:
            headers["Content-Type"] = "application/json"
        repeats = 2 if case.status == 429 else 1
        for _ in range(repeats):
            async with self.http.request(
                case.method, self.sandbox.url + path, headers=headers, data=body, allow_redirects=False
            ) as answer:
                raw = await answer.read()
        return list(differences(case, answer.status, dict(answer.headers), raw))

    def _request(self, case: Recorded) -> tuple[dict[str, str], str, Any]:
        fill = re.compile(r"<key:(\w+)>")
        recorded = json.dumps([case.headers_sent, case.path, case.sent])
        headers, path, sent = json.loads(fill.sub(lambda match: self.keys.get(match[1], "phx_unknown"), recorded))
        sent = case.content.encode() if case.content is not None else sent
        if case.credential in _PEOPLE:
            user = self.sandbox.user if _PEOPLE[case.credential] == "owner" else self.sandbox.member
            session = self.sandbox.session(user)
            headers["Cookie"] = f"sessionid={session.session_id}; posthog_csrftoken={session.csrf_token}"
            if case.credential != "session_nocsrf":
                headers |= {"X-CSRFToken": session.csrf_token, "Referer": self.sandbox.url}
            else:
                headers.pop("X-CSRFToken", None)
        elif case.credential in self.keys:
            headers["Authorization"] = f"Bearer {self.keys[case.credential]}"
        elif case.credential == "malformed":
            headers["Authorization"] = "Bearer phx_malformed"
        if isinstance(sent, dict) and sent.get("password") == "***":
            sent["password"] = self.sandbox.user.password
        return headers, path, sent


def differences(case: Recorded, status: int, headers: dict[str, str], raw: bytes) -> Any:
    """Where an answer differs from the recorded one."""
    if status != case.status:
        yield f"status {status} instead of {case.status}: {raw[:200]!r}"
        return
    theirs: Any = json.loads(raw) if raw else None
    for name in ("Allow", "WWW-Authenticate"):
        if headers.get(name) != case.headers.get(name.lower()):
            yield f"{name} is {headers.get(name)!r} instead of {case.headers.get(name.lower())!r}"
    if ("Retry-After" in headers) != ("retry-after" in case.headers):
        yield "Retry-After"
    if case.status >= 400:
        if isinstance(case.json, dict) and _plain(theirs) != _plain(case.json):
            yield f"{theirs} instead of {case.json}"
        return
    yield from _shape(theirs, case.json, "$")


def _plain(envelope: Any) -> Any:
    """An error without the ids and seconds in it."""
    return json.loads(re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d+ second", "…", json.dumps(envelope)))


def _shape(ours: Any, theirs: Any, path: str) -> Any:
    """Other keys, or other types; null fits everything."""
    if ours is None or theirs is None:
        return
    if type(ours) is not type(theirs):
        yield f"{path} is a {type(ours).__name__} instead of a {type(theirs).__name__}"
    elif isinstance(ours, dict):
        free = path.rpartition(".")[2] in {"default_modifiers", "test_account_filters", "before", "after"}
        if not free and set(ours) != set(theirs):
            yield f"{path}: {sorted(set(ours) ^ set(theirs))}"
        for key in set(ours) & set(theirs):
            yield from _shape(ours[key], theirs[key], f"{path}.{key}")
    elif isinstance(ours, list) and ours and theirs:
        yield from _shape(ours[0], theirs[0], f"{path}[0]")


@asynccontextmanager
async def recorded_scene(*, throttled: bool = False) -> AsyncGenerator[Scene, None]:
    """The scene of the recordings. With ``throttled`` the second request of a key is refused."""
    limit = Throttle(minute=(1, 60.0)) if throttled else False
    async with Sandbox(80, era="2024-10", throttle=limit) as sandbox, aiohttp.ClientSession() as http:
        side, outside = sandbox.add_organization(), sandbox.add_organization()
        sandbox.user.levels[side] = 15
        outsider = sandbox.add_user("Outsider", organization=outside)
        outsider.levels[outside] = 15
        keys = {
            "star": sandbox.key("*"),
            "read": sandbox.key("project:read"),
            "write": sandbox.key("project:write"),
            "readwrite": sandbox.key("project:read", "project:write"),
            "wrong_scope": sandbox.key("insight:read"),
            "user_read": sandbox.key("user:read", "organization:read"),
            "scoped_team": sandbox.key("*", projects=[1]),
            "scoped_team_staging": sandbox.key("*", projects=[26]),
            "scoped_org": sandbox.key("*", organizations=[sandbox.organization_id]),
            "scoped_org3": sandbox.key("*", organizations=[side]),
            "legacy_noscopes": sandbox.key(legacy=True),
            "member_star": sandbox.key("*", user=sandbox.member),
            "other_star": sandbox.key("*", user=outsider),
        }
        for changes in ({"name": "Renamed"}, {"session_replay_config": {"record_canvas": True}}, {"name": "Project 03"}):
            session = sandbox.session()
            headers = {
                "Cookie": f"sessionid={session.session_id}; posthog_csrftoken={session.csrf_token}",
                "X-CSRFToken": session.csrf_token,
            }
            async with http.patch(f"{sandbox.url}/api/environments/3/", headers=headers, json=changes) as answer:
                assert answer.status == 200
        snapshot = sandbox.snapshot()
        for environment in snapshot["environments"]:
            if environment["id"] > 25:
                environment["project_id"] = 1
            if environment["id"] == 28:
                environment |= {"organization": outside, "project_id": 28}
            if environment["id"] == 29:
                environment |= {"organization": side, "project_id": 29}
        snapshot["users"][2]["current"] = 28
        yield Scene(sandbox, keys, snapshot, http)
