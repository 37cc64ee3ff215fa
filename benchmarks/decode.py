"""Decoding one environment: this library against `orjson.loads`, which only makes a dict, and against other libraries.

The rivals decode into classes with the same fields and types, made from this library's, as far as each can: pydantic
with the unknown keys kept; default cattrs and msgspec without them.
"""

from collections.abc import Callable

import msgspec
import orjson

from aioposthog_env.models.converter import decode
from aioposthog_env.models.environment import Environment
from benchmarks.lookalikes import by_cattrs, by_msgspec, by_pydantic
from benchmarks.measure import Row, Run, interleaved, repeated, rows_of
from benchmarks.payload import SIZES, payload

FLOOR = "orjson.loads"


def decoders() -> dict[str, Callable[[bytes], object]]:
    return {
        FLOOR: orjson.loads,
        "msgspec.json.decode to a dict": msgspec.json.decode,
        "aioposthog_env": lambda body: decode(body, Environment),
        "msgspec into attrs": by_msgspec(),
        "pydantic": by_pydantic(),
        "cattrs by default": by_cattrs(),
    }


def timed(decoder: Callable[[bytes], object], body: bytes, times: int) -> Run:
    return repeated(lambda: decoder(body), times)


def rows(quick: bool) -> list[Row]:
    times, rounds = (20, 2) if quick else (1_500, 21)
    found: list[Row] = []
    rivals = decoders()
    for size in SIZES:
        body = payload(size)
        fewer = max(1, times // size * 2)
        runs = {name: timed(decoder, body, fewer) for name, decoder in rivals.items()}
        title = f"{size} KB ({len(body):,} bytes, {len(orjson.loads(body))} fields)"
        found += rows_of(interleaved(runs, rounds), floor=FLOOR, case=title)
    return found
