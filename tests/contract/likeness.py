"""Replay recorded requests against the sandbox, and name each case in which it answers unlike the real server.

Run as ``python -m tests.contract.likeness FILE --era ERA``; the exit status is 1 below 99 % agreement. The scene has the ids,
people and keys of the recordings. Before each case it is restored, and the environment gets the settings that the recording
shows it had, so that what a PATCH stores is compared value by value, and no case depends on another.
"""

import argparse
import asyncio
import json
import re
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, get_args

import aiohttp
import attrs

from aioposthog_env.sandbox import Plan, Sandbox, SandboxSession, Throttle
from aioposthog_env.sandbox.eras import EraName
from tests.contract.recorded import Recorded, load

LEFT_OUT: Final = (
    (re.compile(r"^/api/organizations/"), "the client never requests organizations"),
    (re.compile(r"^/api/personal_api_keys/$"), "the client never lists or makes keys"),
)
"""Paths that the sandbox does not serve, with the reason."""

ENOUGH: Final = 0.99
"""The share of the cases that has to agree."""


_ENVIRONMENT: Final = re.compile(r"/api/(?:projects/\d+/)?(?:environments|projects)/(\d+)/")


@attrs.frozen(kw_only=True)
class Ground:
    """What the recorded server knew.

    Attributes:
        environments: The number of environments. Those after the 25th share the first project.
        foreign: The environment of an organization to which the owner does not belong.
        third: The environment of another organization of the owner.
        current: The environment that the owner last opened.
        definitions: How many event definitions an environment has, if any.
    """

    environments: int
    foreign: int
    third: int
    current: int = 1
    definitions: Mapping[int, int] = attrs.field(factory=dict[int, int])


GROUNDS: Final[Mapping[str, Ground]] = {
    "2024-10": Ground(environments=80, foreign=28, third=29),
    "2025-08": Ground(environments=50, foreign=33, third=34, current=39, definitions={10: 1, 11: 2, 12: 3, 26: 1}),
}
"""By the era that was recorded."""


def left_out(case: Recorded) -> str | None:
    """Why a case is not replayed; None where it is."""
    path = case.path.partition("?")[0]
    return next((why for pattern, why in LEFT_OUT if pattern.match(path)), None)


@attrs.frozen
class Scene:
    """A running sandbox with the recorded scene."""

    sandbox: Sandbox
    keys: Mapping[str, str]
    sessions: Mapping[str, SandboxSession]
    snapshot: dict[str, Any]
    http: aiohttp.ClientSession
    shown: Mapping[int, Sequence[dict[str, Any]]]
    """The recorded payloads of each environment, oldest first."""

    async def replay(self, case: Recorded) -> list[str]:
        """Send what was recorded. Return the differences, in words."""
        self.sandbox.restore(self.snapshot)
        self._set_back(case)
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
        found = list(differences(case, answer.status, dict(answer.headers), raw))
        return found or [f"{name} is {one!r} instead of {case.json[name]!r}" for name, one in self._stored(case, raw)]

    def _set_back(self, case: Recorded) -> None:
        """Give the environment the settings that it had before the case, as far as the recording shows them."""
        number = _environment_of(case)
        if number not in self.sandbox.environment_ids or not _is_payload(case.json):
            return
        settings = self.sandbox.environment(number).settings
        earlier = [one for one in self.shown.get(number, ()) if one["updated_at"] < case.json["updated_at"]]
        before = {**(earlier[-1] if earlier else {})} | {
            name: value for name, value in case.json.items() if not isinstance(case.sent, dict) or name not in case.sent
        }
        settings |= {name: before[name] for name in settings.keys() & before.keys()}

    def _stored(self, case: Recorded, raw: bytes) -> Iterable[tuple[str, Any]]:
        """The settings of a PATCH that the sandbox stored otherwise."""
        changes = case.method == "PATCH" and _ENVIRONMENT.fullmatch(case.path)
        if not changes or not _is_payload(case.json) or not isinstance(case.sent, dict):
            return
        ours = json.loads(raw)
        for name in case.sent.keys() & self.sandbox.environment(_environment_of(case)).settings.keys() & ours.keys():
            if ours[name] != case.json[name]:
                yield name, ours[name]

    def _request(self, case: Recorded) -> tuple[dict[str, str], str, Any]:
        fill = re.compile(r"<key:(\w+)>")
        recorded = json.dumps([case.headers_sent, case.path, case.sent])
        headers, path, sent = json.loads(fill.sub(lambda match: self.keys.get(match[1], "phx_unknown"), recorded))
        sent = case.content.encode() if case.content is not None else sent
        if case.credential in self.sessions:
            session = self.sessions[case.credential]
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


def _environment_of(case: Recorded) -> int:
    match = _ENVIRONMENT.match(case.path)
    return int(match[1]) if match else 0


def _is_payload(body: Any) -> bool:
    """Whether a body is the full payload of an environment."""
    return isinstance(body, dict) and "timezone" in body and "updated_at" in body


def differences(case: Recorded, status: int, headers: dict[str, str], raw: bytes) -> Iterable[str]:
    """Yield what differs between an answer and the recorded one."""
    if status != case.status:
        yield f"status {status} instead of {case.status}: {raw[:200]!r}"
        return
    ours: Any = json.loads(raw) if raw else None
    allow, recorded = headers.get("Allow"), case.headers.get("allow")
    if _verbs(allow) != _verbs(recorded):
        yield f"Allow is {allow!r} instead of {recorded!r}"
    if headers.get("WWW-Authenticate") != case.headers.get("www-authenticate"):
        yield f"WWW-Authenticate is {headers.get('WWW-Authenticate')!r} instead of {case.headers.get('www-authenticate')!r}"
    if ("Retry-After" in headers) != ("retry-after" in case.headers):
        yield "Retry-After"
    if case.status >= 400:
        if isinstance(case.json, dict) and _plain(ours) != _plain(case.json):
            yield f"{ours} instead of {case.json}"
        return
    yield from _shape(ours, case.json, "$")


def _verbs(allow: str | None) -> list[str]:
    """The verbs of ``Allow``, whose order means nothing."""
    return sorted((allow or "").split(", "))


def _plain(envelope: Any) -> Any:
    """An error without the ids and seconds in it."""
    return json.loads(re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d+ second", "…", json.dumps(envelope)))


def _shape(ours: Any, theirs: Any, path: str) -> Iterable[str]:
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
async def recorded_scene(
    era: EraName, recorded: Sequence[Recorded] = (), *, throttled: bool = False
) -> AsyncGenerator[Scene, None]:
    """The scene of the recordings. With ``throttled`` the second request of a key is refused."""
    shown: dict[int, list[dict[str, Any]]] = {}
    for case in recorded:
        if _is_payload(case.json) and "project_id" in case.json:  # the project style shows fewer fields
            shown.setdefault(case.json["id"], []).append(case.json)
    for payloads in shown.values():
        payloads.sort(key=lambda payload: payload["updated_at"])
    ground = GROUNDS[era]
    limit = Throttle(minute=(1, 60.0)) if throttled else False
    async with (
        Sandbox(ground.environments, era=era, throttle=limit, plan=Plan(color_themes=False)) as sandbox,
        aiohttp.ClientSession() as http,
    ):
        third, outside = sandbox.add_organization(), sandbox.add_organization()
        sandbox.user.levels[third] = 15
        outsider = sandbox.add_user("Outsider", organization=outside)
        outsider.levels[outside] = 15
        admin = sandbox.add_user("Admin", admin=True)
        keys = {
            "star": sandbox.key("*"),
            "read": sandbox.key("project:read"),
            "write": sandbox.key("project:write"),
            "readwrite": sandbox.key("project:read", "project:write"),
            "team_read": sandbox.key("team:read"),
            "wrong_scope": sandbox.key("insight:read"),
            "user_read": sandbox.key("user:read", "organization:read"),
            "scoped_team": sandbox.key("*", projects=[1]),
            "scoped_team_staging": sandbox.key("*", projects=[26]),
            "scoped_org": sandbox.key("*", organizations=[sandbox.organization_id]),
            "scoped_org3": sandbox.key("*", organizations=[third]),
            "legacy_noscopes": sandbox.key(legacy=True),
            "member_star": sandbox.key("*", user=sandbox.member),
            "admin_star": sandbox.key("*", user=admin),
            "other_star": sandbox.key("*", user=outsider),
        }
        owner = sandbox.session()
        sessions = {
            "session": owner,
            "session_nocsrf": owner,
            "session_member": sandbox.session(sandbox.member),
            "session_admin": sandbox.session(admin),
        }
        headers = {
            "Cookie": f"sessionid={owner.session_id}; posthog_csrftoken={owner.csrf_token}",
            "X-CSRFToken": owner.csrf_token,
        }
        for changes in ({"name": "Renamed"}, {"session_replay_config": {"record_canvas": True}}, {"name": "Project 03"}):
            async with http.patch(f"{sandbox.url}/api/environments/3/", headers=headers, json=changes) as answer:
                assert answer.status == 200
        snapshot = sandbox.snapshot()
        for environment in snapshot["environments"]:
            number = environment["id"]
            environment["event_definitions"] = ground.definitions.get(number, 0)
            if number == ground.foreign:
                environment |= {"organization": outside, "project_id": number}
            elif number == ground.third:
                environment |= {"organization": third, "project_id": number}
            elif number > 25:
                environment["project_id"] = 1
        snapshot["users"][0]["current"] = ground.current
        snapshot["users"][2]["current"] = ground.foreign
        yield Scene(sandbox, keys, sessions, snapshot, http, shown)


async def replay(cases: Sequence[Recorded], era: EraName) -> dict[str, list[str]]:
    """The cases that differ, with their differences."""
    found: dict[str, list[str]] = {}
    async with recorded_scene(era, cases) as scene, recorded_scene(era, throttled=True) as throttled:
        for case in cases:
            chosen = throttled if case.status == 429 else scene
            if differs := await chosen.replay(case):
                found[case.case] = differs
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Replay a file and print what agrees. Return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m tests.contract.likeness")
    parser.add_argument("file", type=Path, help="recorded answers, one JSON object a line")
    parser.add_argument("--era", choices=[era for era in get_args(EraName) if era in GROUNDS], required=True)
    given = parser.parse_args(argv)
    everything = load(given.file)
    reasons = Counter(why for case in everything if (why := left_out(case)) is not None)
    cases = [case for case in everything if left_out(case) is None]
    if not cases:
        parser.error(f"{given.file} holds no case that the sandbox models")
    found = asyncio.run(replay(cases, given.era))
    agree = sum(case.case not in found for case in cases)
    write = sys.stdout.write
    write(f"{agree} of {len(cases)} agree\n")
    for name, differs in found.items():
        write(f"  {name}: {'; '.join(differs)}\n")
    for why, number in reasons.items():
        write(f"{number} left out: {why}\n")
    return 0 if agree >= ENOUGH * len(cases) else 1


if __name__ == "__main__":
    sys.exit(main())
