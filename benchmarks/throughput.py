"""Bulk `retrieve` with typed results, against raw aiohttp and orjson giving a dict, and against what a user would write.

The headline is measured long: 6 KB, no latency, concurrency 16 and 64. The other cells of the cube of payload, latency and
concurrency are measured shorter, and the slow rivals only in a few of them.
"""

import asyncio
import itertools
from typing import Final

import attrs

from benchmarks.measure import Clock, Row, Run, Spent, interleaved, rows_of
from benchmarks.payload import SIZES, payload
from benchmarks.rivals import FLOOR, OTHERS, OURS, Client, aiohttp_orjson
from benchmarks.server import Answers, Server, serving

LATENCIES: Final = (0.0, 0.02, 0.05)
CONCURRENCIES: Final = (1, 16, 64, 256)
_SHARE_OF_OTHERS: Final = 5
"""The slow rivals make a fifth of the calls; the figure is per call."""


@attrs.frozen
class Cell:
    """One place in the cube."""

    size: int
    latency: float
    concurrency: int

    @property
    def title(self) -> str:
        return f"{self.size} KB, {self.latency * 1000:.0f} ms, concurrency {self.concurrency}"

    @property
    def is_headline(self) -> bool:
        return self in HEADLINE

    @property
    def has_others(self) -> bool:
        """Whether the slow rivals are measured too."""
        return self.size == 6 and (self.concurrency == 16 or (self.latency == 0 and self.concurrency < 256))

    def calls(self) -> int:
        """As many as take a third of a second or so."""
        if self.is_headline:
            return 1_500
        fit = 300 if not self.latency else int(0.3 * self.concurrency / self.latency)
        return max(2 * self.concurrency, min(300, fit))


HEADLINE: Final = (Cell(6, 0.0, 16), Cell(6, 0.0, 64))


def timed(client: Client, url: str, concurrency: int, calls: int) -> Run:
    """Connect, read a few to open every connection, and measure the rest."""

    async def spend() -> Spent:
        async with client(url, concurrency) as read:
            await read(2 * concurrency)
            clock = Clock()
            await read(calls)
            return clock.spent(calls)

    return lambda: asyncio.run(spend())


def measure(cell: Cell, url: str, calls: int, rounds: int) -> list[Row]:
    runs = {name: timed(client, url, cell.concurrency, calls) for name, client in ({FLOOR: aiohttp_orjson} | OURS).items()}
    if cell.has_others:
        fewer = max(2 * cell.concurrency, calls // _SHARE_OF_OTHERS)
        runs |= {name: timed(client, url, cell.concurrency, fewer) for name, client in OTHERS.items()}
    return rows_of(interleaved(runs, rounds, warm=False), floor=FLOOR, case=cell.title)


def _server_row(server: Server, url: str, calls: int) -> Row:
    """How little of the work is the server's."""
    before = server.cpu()
    timed(aiohttp_orjson, url, 16, calls)()
    return {
        "case": Cell(6, 0.0, 16).title,
        "name": "the server itself",
        "cpu_us": round((server.cpu() - before) / calls * 1e6, 2),
    }


def rows(quick: bool) -> list[Row]:
    ports = dict(enumerate(itertools.product(SIZES, LATENCIES)))
    with serving([Answers(payload(size), latency) for size, latency in ports.values()]) as server:
        urls = dict(zip(ports.values(), server.urls, strict=True))
        if quick:
            cell = Cell(6, 0.0, 16)
            return [*measure(cell, urls[6, 0.0], 40, 2), _server_row(server, urls[6, 0.0], 40)]
        cube = [Cell(*place, concurrency) for place in urls for concurrency in CONCURRENCIES]
        found: list[Row] = []
        for cell in sorted(cube, key=lambda cell: not cell.is_headline):
            found += measure(cell, urls[cell.size, cell.latency], cell.calls(), 7 if cell.is_headline else 5)
        return [*found, _server_row(server, urls[6, 0.0], 2_000)]
