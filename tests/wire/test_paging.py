"""Lists without holes, and logs without repeats."""

import json
from typing import Any

import pytest

from aioposthog_env import ConfigurationError, Sandbox, SessionCookie, TeamSettings, TransportError, paging
from tests.conftest import connect, logged_in
from tests.wire.raw import http, raw_server
from tests.wire.test_requests import client

SESSION = SessionCookie("s" * 32, "c" * 32)


def page(ids: list[int], count: int, next: str | None = None) -> bytes:
    results = [{"id": id, "name": f"n{id}"} for id in ids]
    return http(200, json.dumps({"count": count, "next": next, "previous": None, "results": results}).encode())


def log(ids: list[str], total: int, next: str | None = None) -> bytes:
    results = [{"id": id, "activity": "updated", "created_at": "2026-01-01T00:00:00Z", "detail": {"name": id}} for id in ids]
    return http(200, json.dumps({"results": results, "next": next, "previous": None, "total_count": total}).encode())


async def test_a_list_with_a_hole_is_read_again() -> None:
    async with raw_server(page([1, 2, 2], 3), page([1, 2, 3], 3)) as server, client(server.url) as environments:
        assert [one.id async for one in environments.list()] == [1, 2, 3]
    assert len(server.requests) == 2


async def test_a_list_that_stays_unsteady_is_an_error_and_not_a_list_with_holes() -> None:
    async with raw_server(default=page([1, 2, 2], 3)) as server, client(server.url) as environments:
        with pytest.raises(TransportError, match="2 distinct environments of 3"):
            _ = [one async for one in environments.list()]
    assert len(server.requests) == 5


async def test_pages_that_lead_nowhere_end_the_reading() -> None:
    endless = page([1, 2], 10**12, next="https://evil.example/api/environments/")
    async with raw_server(default=endless) as server, client(server.url) as environments:
        with pytest.raises(TransportError, match="2 distinct environments of 1000000000000"):
            _ = [one async for one in environments.list()]
    assert len(server.requests) == 2 * 5

    endless = log(["a", "b"], 10**12, next="/next")
    for answer, requests in ((endless, 6), (log([], 10**12, next="/next"), 1)):
        async with raw_server(default=answer) as server, client(server.url, auth=SESSION) as environments:
            with pytest.raises(TransportError, match="no end to the entries"):
                _ = [one async for one in environments.activity(42)]
        assert len(server.requests) == requests


async def test_a_list_and_a_log_without_an_end_are_not_read_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "MOST_LIST_PAGES", 20)
    monkeypatch.setattr(paging, "MOST_ACTIVITY_PAGES", 30)
    pages = [page([number], 10**12, next="/next") for number in range(100)]
    async with raw_server(*pages) as server, client(server.url) as environments:
        with pytest.raises(TransportError, match="no end to the environments"):
            _ = [one async for one in environments.list()]
    assert len(server.requests) == 20

    logs = [log([f"e{number}"], 10**12, next="/next") for number in range(100)]
    async with raw_server(*logs) as server, client(server.url, auth=SESSION) as environments:
        with pytest.raises(TransportError, match="no end to the entries"):
            _ = [one async for one in environments.activity(42)]
    assert len(server.requests) == 30


async def test_a_list_that_the_server_pages_is_read_to_its_end() -> None:
    pages = page([1, 2], 3, next="/api/environments/?offset=2"), page([3], 3)
    async with raw_server(*pages) as server, client(server.url) as environments:
        assert [one.id async for one in environments.list()] == [1, 2, 3]
    assert server.requests == ["GET /api/environments/?limit=10000", "GET /api/environments/?limit=10000&offset=2"]


async def test_a_server_that_ignores_search_is_searched_here() -> None:
    async with Sandbox(12, era="2025-11") as sandbox, connect(sandbox) as environments:
        assert [one.id async for one in environments.list(search="MENT 0003")] == [3]


async def test_one_organization_only() -> None:
    async with Sandbox(3) as sandbox, connect(sandbox) as environments:
        other = sandbox.add_organization()
        sandbox.user.levels[other] = 15
        theirs = sandbox.add_environment("Theirs", organization=other)
        assert [one.id async for one in environments.list(organization_id=other)] == [theirs.id]
        assert len([one async for one in environments.list()]) == 4


@pytest.mark.parametrize("organization", ["../../login", "a b", "", "é"])
async def test_an_organization_that_is_no_id_is_refused(organization: str) -> None:
    async with Sandbox(1) as sandbox, connect(sandbox) as environments:
        with pytest.raises(ConfigurationError, match="UUID"):
            _ = [one async for one in environments.list(organization_id=organization)]
        assert sandbox.calls == []


@pytest.mark.parametrize("era", ["2025-11", "current"])
async def test_a_log_is_read_page_by_page_and_never_past_its_end(era: Any) -> None:
    async with Sandbox(1, era=era) as sandbox, logged_in(sandbox) as environments:
        for number in range(205):
            await environments.update(1, TeamSettings(name=f"n{number}"))
        details = [entry.detail async for entry in environments.activity(1)]
        pages = [call for call in sandbox.calls if call.endpoint == "activity"]
    assert [detail.name for detail in details if detail] == [f"n{number}" for number in reversed(range(205))]
    assert len(pages) == 3
    assert {call.status for call in pages} == {200}


async def test_an_entry_that_moves_to_the_next_page_while_it_is_read_comes_once() -> None:
    first = log([f"e{n}" for n in range(100)], 150, next="/api/environments/42/activity/?page=2&limit=100")
    second = log(["e99", *(f"e{n}" for n in range(100, 150))], 151)
    async with raw_server(first, second) as server, client(server.url, auth=SESSION) as environments:
        ids = [entry.id async for entry in environments.activity(42)]
    assert ids == [f"e{n}" for n in range(150)]
    assert len(server.requests) == 2


async def test_entries_without_ids_as_the_server_of_2024_sends_them() -> None:
    entry = {"activity": "updated", "created_at": "2024-10-01T00:00:00Z", "detail": {"name": "a"}}
    body = {"results": [entry, entry, entry | {"activity": "created"}], "next": None, "previous": None, "total_count": 3}
    async with raw_server(http(200, json.dumps(body).encode())) as server, client(server.url, auth=SESSION) as environments:
        assert [one.activity async for one in environments.activity(42)] == ["updated", "created"]


async def test_a_log_can_be_left_early() -> None:
    first = log([f"e{n}" for n in range(100)], 300, next="/next")
    async with raw_server(first) as server, client(server.url, auth=SESSION) as environments:
        async for entry in environments.activity(42):
            assert entry.id == "e0"
            break
    assert len(server.requests) == 1
