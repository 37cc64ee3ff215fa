"""What the test of full disks runs: rotate secrets while no file may pass a size, then resume with room; for each size.

Prints one line of JSON: how many journals were refused, and how many secrets were lost or rotated twice.
"""

import asyncio
import contextlib
import json
import sys
from collections import Counter
from pathlib import Path

from aioposthog_env import AsyncEnvironments, Journal, PostHogEnvError, RetryPolicy, Sandbox, SessionCookie
from aioposthog_env.bulk.outcome import BulkReport
from aioposthog_env.models.environment import Environment
from tests.safety.journals import largest_file

ENVIRONMENTS = 12
POLICY = RetryPolicy(first_wait=0.001, settle=0.01, settle_after_500=0.01, resend_after_settle=True)


async def rotate(sandbox: Sandbox, journal: Journal | Path) -> BulkReport[Environment]:
    session = sandbox.session()
    auth = SessionCookie(session.session_id, session.csrf_token)
    async with AsyncEnvironments(sandbox.url, auth=auth, retry=POLICY, routes="root") as environments:
        each = environments.each(sandbox.environment_ids, journal=journal, adopt=True, concurrency=3)
        return await each.rotate_secret_token(
            sink=(journal.path if isinstance(journal, Journal) else journal).with_name("sink")
        )


async def full_during_run(sandbox: Sandbox, path: Path, size: int) -> None:
    with largest_file(size), contextlib.suppress(PostHogEnvError):
        await rotate(sandbox, path)


async def full_at_the_end(sandbox: Sandbox, path: Path, size: int) -> None:
    """The disk is full when the journal is closed, so that its checkpoint is cut off."""
    journal = Journal(path)
    await journal.__aenter__()
    (await rotate(sandbox, journal)).raise_for_failures()
    with largest_file(size):
        await journal.__aexit__(None, None, None)


async def main(folder: Path, sizes: list[int], closing: list[int]) -> None:
    found = Counter(sizes=0, refused=0, lost=0, doubled=0)
    cases = [(full_during_run, size) for size in sizes] + [(full_at_the_end, size) for size in closing]
    for number, (fill, size) in enumerate(cases):
        path = folder / str(number) / "run.db"
        path.parent.mkdir()
        async with Sandbox(ENVIRONMENTS, seed=number) as sandbox:
            await fill(sandbox, path, size)
            found["sizes"] += 1
            try:
                (await rotate(sandbox, path)).raise_for_failures()
            except PostHogEnvError as error:
                print(fill.__name__, size, error, file=sys.stderr)
                found["refused"] += 1
            lines = [json.loads(line) for line in path.with_name("sink").read_text().splitlines() if line.endswith("}")]
            taken = {line["environment"]: line["secret_api_token"] for line in lines}
            for id in sandbox.environment_ids:
                effects = sandbox.effects["rotate_secret_token", id]
                found["doubled"] += effects > 1
                found["lost"] += effects == 0 or taken.get(id) != sandbox.environment(id).secret_api_token
    print(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3])))
