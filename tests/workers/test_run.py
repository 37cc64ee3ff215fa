"""Bulk runs on workers: the same outcomes, the same journal, nothing in Redis afterwards."""

import json
from pathlib import Path

from aioposthog_env import Sandbox, Workers
from tests.workers.conftest import at_work


async def test_a_rotation(redis: str, tmp_path: Path) -> None:
    async with Sandbox(6) as sandbox, at_work(sandbox, redis) as environments:
        before = {id: sandbox.environment(id).secret_api_token for id in sandbox.environment_ids}
        each = environments.each(sandbox.environment_ids, journal=tmp_path / "run.db", on=Workers(redis))
        report = await each.rotate_secret_token(sink=tmp_path / "secrets.jsonl")
        report.raise_for_failures()
        assert report.counts["succeeded"] == 6
        taken = {
            line["environment"]: line["secret_api_token"]
            for line in map(json.loads, (tmp_path / "secrets.jsonl").read_text().splitlines())
        }
        for id in sandbox.environment_ids:
            assert sandbox.effects["rotate_secret_token", id] == 1
            assert sandbox.environment(id).secret_api_token_backup == before[id]
            assert taken[id] == sandbox.environment(id).secret_api_token
