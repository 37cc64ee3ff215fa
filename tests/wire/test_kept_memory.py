"""The memory of a report does not depend on the size of the responses behind it."""

import gc
import json
import tracemalloc
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from aioposthog_env import AsyncEnvironments, BulkReport, PersonalAPIKey, RetryPolicy, TeamSettings
from tests.wire.raw import Answer, RawServer, http, raw_server

Run: TypeAlias = Callable[[AsyncEnvironments, RawServer, Path], Awaitable[BulkReport[Any]]]
IDS = range(1, 9)
SIZE = 500_000
BIG = b"x" * SIZE


def environment(id: int, timezone: str) -> Answer:
    # The padding is in the body only: an environment may be kept, and what it holds with it.
    return http(200, json.dumps({"id": id, "name": "Shop", "timezone": timezone}).encode() + b" " * SIZE)


async def read(client: AsyncEnvironments, raw: RawServer, folder: Path) -> BulkReport[Any]:
    return await client.each(IDS, concurrency=2).retrieve()


async def rotate(client: AsyncEnvironments, raw: RawServer, folder: Path) -> BulkReport[Any]:
    return await client.each(IDS, concurrency=2, journal=folder / "journal").rotate_secret_token()


async def apply_late(client: AsyncEnvironments, raw: RawServer, folder: Path) -> BulkReport[Any]:
    raw.answers += [environment(id, "UTC") for id in IDS]
    plan = await client.plan(TeamSettings(timezone="Asia/Tokyo"), IDS, concurrency=1)
    raw.answers += [environment(id, "Europe/Berlin") for id in IDS]
    return await client.apply(plan, concurrency=1, max_age=0)


@pytest.mark.parametrize(
    ("run", "answer", "status"),
    [
        (read, http(500, b'{"type": "server_error", "code": "error", "attr": null, "detail": "' + BIG + b'"}'), "failed"),
        (read, http(200, b"\xff" + BIG), "failed"),
        (read, http(200, b'{"id": "' + BIG + b'"}'), "failed"),
        (read, http(404, BIG), "failed"),
        (rotate, http(502, BIG), "failed"),
        (apply_late, None, "skipped"),
    ],
    ids=["error", "not UTF-8", "wrong type", "page", "write", "stale"],
)
async def test_a_report_keeps_no_body_of_a_response(run: Run, answer: Answer, status: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"routes": "root", "limiter": None, "enforce_scopes": False, "retry": RetryPolicy.disabled()}
    async with (
        raw_server(default=answer) as raw,
        AsyncEnvironments(raw.url, auth=PersonalAPIKey("phx_" + "k" * 43), **options) as client,
    ):
        # With the generation known, no error is made and dropped on the way, which the search for secrets would keep.
        raw.answers.append(http(200, b'{"id": 1, "name": "Shop", "is_pending_deletion": false}'))
        await client.retrieve(1)
        if run is not apply_late:
            (tmp_path / "first").mkdir()
            await run(client, raw, tmp_path / "first")  # what is made once is there
        gc.collect()
        tracemalloc.start()
        try:
            report = await run(client, raw, tmp_path)
            gc.collect()
            kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        bad = [outcome for outcome in report if outcome.status == status]
        assert len(bad) == len(IDS)
        assert kept < 2 * SIZE
        assert all(outcome.error is not None and outcome.error.__traceback__ is None for outcome in bad)


async def test_an_error_that_is_raised_has_its_traceback() -> None:
    async with (
        raw_server(default=http(404, b"{}")) as raw,
        AsyncEnvironments(raw.url, auth=PersonalAPIKey("phx_" + "k" * 43), routes="root", enforce_scopes=False) as client,
    ):
        report = await client.each([1]).retrieve()
        with pytest.raises(Exception, match="1 of 1 environments") as caught:
            report.raise_for_failures()
        assert caught.traceback[-1].name == "raise_for_failures"
        with pytest.raises(Exception, match="404") as single:
            await client.retrieve(1)
        assert len(single.traceback) > 3
