"""How long the event loop waits while a response of 16 MiB is decoded, and how much more memory that takes.

Each kind of body makes the decoder work in another way: values without number, as many as are allowed, one giant text.
"""

import tracemalloc
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

from aioposthog_env.api import replies
from aioposthog_env.api.endpoints import LIST, RETRIEVE, Endpoint
from aioposthog_env.errors import DecodeError
from aioposthog_env.models.converter import MOST_VALUES
from benchmarks.measure import Row, Run, interleaved, repeated, spread

_ALLOWED: Final = MOST_VALUES - 100
_OPENING: Final = b'{"id": 1, "name": "Shop", '
_INTENTS: Final = b'"product_intents": ['
_LISTED: Final = b'{"id":1,"name":"x"}'


def bodies(size: int) -> Mapping[str, tuple[Endpoint, bytes]]:
    """The bodies by what is in them, each of about the size.

    Args:
        size: In bytes.
    """
    keys = b"".join(b'"key %07d":1,' % number for number in range(min(_ALLOWED, size // 16)))
    return {
        "numbers in an unknown key": (RETRIEVE, _list(b'"x": [', b"1", size // 2, size)),
        "empty lists in an unknown key": (RETRIEVE, _list(b'"x": [', b"[]", size // 3, size)),
        "objects in an unknown key": (RETRIEVE, _list(b'"x": [', b'{"a":1}', size // 8, size)),
        "objects of a class of ours": (RETRIEVE, _list(_INTENTS, b'{"product_type":"a"}', size // 21, size)),
        "a page": (LIST, b'{"count": 1, "results": [' + b",".join([_LISTED] * (size // 20)) + b"]}"),
        "one text": (RETRIEVE, _OPENING + b'"x": "' + b"a" * size + b'"}'),
        "one text of wide characters": (RETRIEVE, _OPENING + b'"x": "' + b"a" * size + "\U0001f600".encode() + b'"}'),
        "HTML": (RETRIEVE, b"<html>" + b"<p>" * (size // 3)),
        "as many numbers as are allowed": (RETRIEVE, _list(b'"x": [', b"1", _ALLOWED, size)),
        "as many keys as are allowed": (RETRIEVE, _OPENING + keys + b'"y": "' + b"a" * (size - len(keys)) + b'"}'),
        "as many objects of ours as are allowed": (
            RETRIEVE,
            _list(_INTENTS, b'{"product_type":"a"}', _ALLOWED // 6, size),
        ),
    }


def _list(opening: bytes, item: bytes, count: int, size: int) -> bytes:
    """An environment with a list of equal items, filled up to the size with one text."""
    count = min(count, size // (len(item) + 1))
    items = b",".join([item] * count)
    return _OPENING + opening + items + b'], "y": "' + b"a" * (size - len(items)) + b'"}'


def decoding(endpoint: Endpoint, body: bytes) -> Callable[[], None]:
    """Decode a body as a client does."""

    def decode() -> None:
        with suppress(DecodeError):
            replies.decode_success(endpoint, body)

    return decode


def rows(quick: bool) -> list[Row]:
    size, rounds = (2**20, 2) if quick else (16 * 2**20, 7)
    works = {name: decoding(endpoint, body) for name, (endpoint, body) in bodies(size).items()}
    runs: dict[str, Run] = {name: repeated(work, 1) for name, work in works.items()}
    title = f"decoding {size >> 20} MiB"
    found: list[Row] = []
    for name, rounds_of_it in interleaved(runs, rounds).items():
        stall = spread("stall_ms", [spent.wall for spent in rounds_of_it], "ms")
        found.append({"case": title, "name": name, **stall, "extra_mib": _memory(works[name])})
    return found


def _memory(work: Callable[[], object]) -> float:
    """The most memory that something takes at a time, in MiB."""
    tracemalloc.start()
    try:
        work()
        return round(tracemalloc.get_traced_memory()[1] / 2**20, 1)
    finally:
        tracemalloc.stop()
