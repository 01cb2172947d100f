"""A spool for tests, and what they ask of it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from pointgate.store.spool.spool import Spool, open_spool
from pointgate.store.spool.statistics import SpoolStatistics
from tests.support.patience import PATIENCE
from tests.support.points import counts, points, values

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from pointgate.store.spool.reader import Chunk


@asynccontextmanager
async def spool(
    folder: Path,
    *,
    max_bytes: int = 2**30,
    sinks: dict[str, bool] | None = None,
    statistics: SpoolStatistics | None = None,
) -> AsyncIterator[Spool]:
    lanes = {"main": True} if sinks is None else sinks
    statistics = statistics or SpoolStatistics()
    async with open_spool(
        folder, max_bytes=max_bytes, sinks=lanes, statistics=statistics
    ) as opened:
        yield opened


async def keep(spool: Spool, *numbers: float) -> int:
    """Keep one request with these points; returns its number."""
    async with asyncio.timeout(PATIENCE):
        last = await spool.append(counts(len(numbers)), [points(*numbers)])
    assert last is not None
    return last


async def read(
    spool: Spool, after: int | None = None, *, most: int = 100_000, size: int = 2**30
) -> Chunk:
    start = spool.progress["main"] if after is None else after
    async with asyncio.timeout(PATIENCE):
        return await spool.read(start, points=most, size=size)


async def read_all(spool: Spool) -> list[float]:
    found: list[float] = []
    place = spool.progress["main"]
    while place < spool.last:
        chunk = await read(spool, place)
        found += values(chunk.points)
        place = chunk.last
    return found


async def until(condition: Any) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - a thread changes it
            await asyncio.sleep(0.005)


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("spool-*.db"))
