"""How fast the sandbox is, so that it is not what bulk tests wait for. Run as ``python -m benchmarks.sandbox``.

The server runs in this process and the client in another, so that the server's CPU time is its own.
"""

import asyncio
import multiprocessing
import sys
import time

import aiohttp

from aioposthog_env.sandbox import Sandbox

ROUNDS = 5
CALLS = 3_000
CONCURRENCY = 16


async def _ask(url: str, key: str) -> None:
    calls = iter(range(CALLS))
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as http:

        async def worker() -> None:
            for number in calls:
                async with http.get(f"{url}/api/projects/{number % 100 + 1}/") as answer:
                    await answer.read()

        await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))


def _client(url: str, key: str) -> None:
    asyncio.run(_ask(url, key))


async def _round() -> float:
    async with Sandbox(100, throttle=False) as sandbox:
        began = time.process_time()
        process = multiprocessing.get_context("spawn").Process(target=_client, args=(sandbox.url, sandbox.key()))
        process.start()
        await asyncio.to_thread(process.join)
        return CALLS / (time.process_time() - began)


def main() -> None:
    """Print requests per second of CPU, and the time to start with 10,000 environments."""
    rates = sorted(asyncio.run(_round()) for _ in range(ROUNDS))
    sys.stdout.write(f"retrieve: {rates[ROUNDS // 2]:.0f} a second on one core ({rates[0]:.0f} to {rates[-1]:.0f})\n")
    began = time.perf_counter()
    Sandbox(10_000)
    sys.stdout.write(f"10,000 environments: {time.perf_counter() - began:.2f} s to start\n")


if __name__ == "__main__":
    main()
