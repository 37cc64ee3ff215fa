"""Decoding one environment: this library against `orjson.loads`, which only makes a dict, and against its own parts."""

import sys
from collections.abc import Callable
from time import process_time

import cattrs
import msgspec
import orjson

from aioposthog_env.models.converter import decode
from aioposthog_env.models.environment import Environment
from benchmarks.measure import interleaved, table, versions
from benchmarks.payload import six_kilobytes

TIMES = 2_000


def timed(work: Callable[[], object]) -> Callable[[], float]:
    def run() -> float:
        began = process_time()
        for _ in range(TIMES):
            work()
        return process_time() - began

    return run


def main() -> None:
    body = six_kilobytes()
    decode(body, Environment)
    versions("orjson", "msgspec", "cattrs", "attrs")
    sys.stdout.write(f"{len(body)} bytes, {len(orjson.loads(body))} fields, {cattrs.__name__} hooks\n")
    seconds = interleaved(
        {
            "orjson.loads": timed(lambda: orjson.loads(body)),
            "msgspec.json.decode to a dict": timed(lambda: msgspec.json.decode(body)),
            "aioposthog_env to an Environment": timed(lambda: decode(body, Environment)),
        }
    )
    table("CPU per environment", seconds, per=TIMES, unit="µs", floor="orjson.loads")


if __name__ == "__main__":
    main()
