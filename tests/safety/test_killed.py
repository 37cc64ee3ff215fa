"""A process that applies and rotates is killed at random instants, again and again, until it is done.

The short form runs always; ``nox -s torture`` runs the whole, with ``TORTURE=1`` in the environment. ``pytest -s`` shows the
numbers.
"""

import json
import os
import random
import shutil
import signal
import sys
from pathlib import Path

import anyio
import anyio.abc
import pytest

from aioposthog_env import Journal, JournalError, Sandbox, TeamSettings
from tests.conftest import logged_in
from tests.figures import Count

WHOLE = bool(os.environ.get("TORTURE"))
ENVIRONMENTS = 300 if WHOLE else 60
KILLS = 200 if WHOLE else 12
ZONES = ["Europe/Berlin", "Asia/Tokyo"]


async def truthful(sandbox: Sandbox, path: Path) -> None:
    """What the journal says of each environment agrees with what the sandbox counted."""
    copy = path.with_name("copy.db")
    for suffix in ("", "-wal"):
        if Path(f"{path}{suffix}").exists():  # it may have been killed before the first was made
            shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
    journal = Journal(copy)
    for run, effect in (("apply", "setting timezone"), ("rotate", "rotate_secret_token")):
        try:
            items = {item.environment: item for item in await journal.items(run)}
        except JournalError as error:
            assert "holds no run" in str(error) or "There is no journal" in str(error)
            items = {}
        for id in sandbox.environment_ids:
            item, counted = items.get(id), sandbox.effects[effect, id]
            assert counted <= 1, "it happened twice"
            if item is None:
                assert counted == 0, "it was sent without an intent"
            elif item.done:
                assert counted == 1, "it is said to be done"
            else:
                assert item.in_doubt, item
    for suffix in ("", "-wal", "-shm"):
        Path(f"{copy}{suffix}").unlink(missing_ok=True)


async def until_done(seed: int, folder: Path, kills: int) -> tuple[int, int]:
    """Kill the process until it ends by itself, or so often.

    Returns:
        How often it was killed, and how often it was interrupted.
    """
    rng = random.Random(seed)
    killed = interrupted = 0
    async with Sandbox(ENVIRONMENTS, seed=seed, latency=0.01) as sandbox, logged_in(sandbox) as environments:
        wanted = {id: TeamSettings(timezone=rng.choice(ZONES)) for id in sandbox.environment_ids}
        (await environments.plan(wanted)).save(folder / "plan.json")
        before = {id: sandbox.environment(id).secret_api_token for id in wanted}
        session = sandbox.session()
        env = {**os.environ, "SESSION_ID": session.session_id, "CSRF_TOKEN": session.csrf_token}
        command = [sys.executable, "-m", "tests.safety.killed", sandbox.url, str(folder)]
        while True:
            seen = len(sandbox.calls)
            async with await anyio.open_process(command, env=env, cwd=Path(__file__).parents[2]) as process:
                if killed + interrupted < kills:
                    with anyio.move_on_after(20):
                        # Now and then before its first request, mostly at work.
                        while len(sandbox.calls) == seen and process.returncode is None and rng.random() > 0.0005:
                            await anyio.sleep(0.001)
                        await anyio.sleep(rng.uniform(0, 0.2))
                    if process.returncode is None:
                        interrupt = rng.random() < 0.25
                        process.send_signal(signal.SIGINT if interrupt else signal.SIGKILL)
                        interrupted += interrupt
                        killed += not interrupt
                stderr = await drained(process)
                code = await process.wait()
            await anyio.sleep(0.03)  # the last handlers end
            await truthful(sandbox, folder / "run.db")
            if code == 0:
                break
            assert code in {-signal.SIGKILL, -signal.SIGINT, 1, 130}, stderr
            assert code != 1 or "KeyboardInterrupt" in stderr, stderr
        lines = [json.loads(line) for line in whole_lines(folder / "secrets.jsonl")]
        handed_over = {line["environment"]: line["secret_api_token"] for line in lines}
        for id, settings in wanted.items():
            stored = sandbox.environment(id)
            assert stored.settings["timezone"] == settings.timezone
            assert sandbox.effects["setting timezone", id] == 1
            assert sandbox.effects["rotate_secret_token", id] == 1
            assert stored.secret_api_token_backup == before[id]
            assert handed_over[id] == stored.secret_api_token
    return killed, interrupted


async def drained(process: anyio.abc.Process) -> str:
    assert process.stderr is not None
    return b"".join([chunk async for chunk in process.stderr]).decode()


def whole_lines(path: Path) -> list[str]:
    """Lines that a crash has torn are followed by a whole one for the same environment."""
    found = []
    for line in path.read_text().splitlines():
        try:
            json.loads(line)
        except ValueError:
            continue
        found.append(line)
    return found


@pytest.mark.timeout(1500 if WHOLE else 120)
async def test_killed_at_random_instants(tmp_path: Path, count: Count) -> None:
    base = random.SystemRandom().randrange(10**6)
    killed = interrupted = rounds = 0
    while killed < KILLS:
        folder = tmp_path / str(rounds)
        folder.mkdir()
        print(f"seed {base + rounds}")
        more, gently = await until_done(base + rounds, folder, KILLS)
        killed, interrupted, rounds = killed + more, interrupted + gently, rounds + 1
    environments = ENVIRONMENTS * rounds
    seeds = f"{base} to {base + rounds - 1}"
    count("killed", kills=killed, interrupts=interrupted, environments=environments, doubled=0, lost=0, seeds=seeds)
