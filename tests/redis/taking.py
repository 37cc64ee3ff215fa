"""A process that takes slots: prints a line for each, and never gives back the last where it is told to hold it."""

import asyncio
import sys

from aioposthog_env import RateLimit, RedisRateLimiter
from aioposthog_env.shared_limit.script import Timing


async def main(url: str, count: int, window: float, calls: int, hold: bool) -> None:
    limiter = RedisRateLimiter(url, limits=[RateLimit(count, window)], timing=Timing(lease=0.6))
    async with limiter:
        for _ in range(calls):
            slot = await limiter.acquire()
            print("took", flush=True)
            if hold:
                await asyncio.sleep(60)
            limiter.answered(slot)


if __name__ == "__main__":
    address, count, window, calls, hold = sys.argv[1:]
    asyncio.run(main(address, int(count), float(window), int(calls), hold == "hold"))
