"""A service's storage that stores requests without end, until it is killed.

    python -m tests.readers.writer FOLDER [URL]

Spool, drain and Parquet sink are those of the service; only the broker is missing. Request number n
has `POINTS` points of the day n % DAYS, with n in `value_long`. A process goes on where the one
before has ended, by what is in spool and dataset, so each request is stored once, whatever was
killed.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import polars as pl
import pyarrow.compute as pc
import pyarrow.dataset as pads

from pointgate.config import Settings, SpoolSettings, StoreSettings
from pointgate.service.metrics import Metrics
from pointgate.service.pipeline import open_store
from pointgate.sinks import drain
from pointgate.sinks.object_stores import ObjectUrl
from pointgate.sinks.parquet.settings import ParquetSettings
from pointgate.sinks.registry import build
from tests.support.point_tables import DAY, Point, table
from tests.support.points import counts

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from pointgate.store.spool.spool import Spool

POINTS: Final = 4
DAYS: Final = 3

_PAUSE: Final = 0.02


def request(number: int) -> pa.Table:
    """The points of a request."""
    received = int(time.time() * 1000)
    return table(
        Point(
            device=f"d{number % 7}",
            identifier=f"i{point}",
            time=number % DAYS * DAY + number // DAYS,
            long=number,
            received=received,
        )
        for point in range(POINTS)
    )


async def stored(spool: Spool, before: Sequence[pa.Table]) -> int:
    """How many requests are in the spool or, from before, in the dataset."""
    tables = [*before]
    after = -1
    while await spool.oldest(after) is not None:
        chunk = await spool.read(after, points=1_000_000, size=2**26)
        tables.append(chunk.points)
        after = chunk.last
    numbers = [pc.max(table["value_long"]).as_py() for table in tables if table.num_rows]
    return int(max(numbers, default=-1)) + 1


def dataset(place: Path | ObjectUrl) -> list[pa.Table]:
    """What is in the dataset; keys of a store are in the environment."""
    if isinstance(place, Path):
        return [pads.dataset(place, partitioning="hive").to_table()] if place.exists() else []
    try:
        return [pl.scan_parquet(f"{place}/**/*.parquet").collect().to_arrow()]
    except pl.exceptions.ComputeError:  # there are no objects yet
        return []


async def main(folder: Path, url: str = "") -> None:
    """Store until killed; or, with a file `end`, until the sink has everything."""
    place = ObjectUrl(url) if url else folder / "points"
    drain.LINGER = 0.03  # type: ignore[misc]
    settings = Settings(
        store=StoreSettings(ack="spool"),
        spool=SpoolSettings(path=folder / "spool"),
        sinks=(ParquetSettings(path=place, rotate_age=0),),
    )
    before = dataset(place)
    async with open_store(settings, Metrics(ack="spool"), build(settings.sinks)) as pipeline:
        spool = pipeline.store._spool  # type: ignore[attr-defined]
        number = await stored(spool, before)
        draining = asyncio.create_task(pipeline.run())
        while not (folder / "end").exists():
            await spool.append(counts(POINTS), [request(number)])
            number += 1
            await asyncio.sleep(_PAUSE)
        await pipeline.finish(30.0)
        print(number * POINTS, flush=True)  # noqa: T201 - for who has started it
        draining.cancel()
        await asyncio.wait([draining])


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), *sys.argv[2:]))
