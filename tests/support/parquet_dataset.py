"""A Parquet dataset for tests: writing it, reading it, running `pointgate` on it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import pyarrow.dataset as pads

from pointgate.sinks.base import LIVE
from pointgate.sinks.parquet.compaction import compact_all
from pointgate.sinks.parquet.dataset import Dataset
from pointgate.sinks.parquet.settings import ParquetSettings
from pointgate.sinks.parquet.sink import ParquetSink
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE
from tests.support.point_tables import Point, columns_of, milliseconds, table

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from pointgate.sinks.parquet import compaction


Key = tuple[str, str, str, int]


def keys_of(path: Path) -> Counter[Key]:
    """How often each point is there for a reader who lists the files now, as often as it takes."""
    while True:
        try:
            dataset = pads.dataset(path, partitioning="hive")
            rows = dataset.to_table(["product", "device", "identifier", "time"])
        except FileNotFoundError:  # merged away between listing and opening
            continue
        rows = rows.set_column(3, "time", milliseconds(rows["time"]))
        return Counter(zip(*(column.to_pylist() for column in rows.columns), strict=True))


def read(path: Path) -> list[dict[str, object]]:
    return columns_of(pads.dataset(path, partitioning="hive").to_table())


def files(path: Path) -> list[str]:
    return sorted(file.name for file in path.rglob("*.parquet"))


def leftovers(path: Path) -> list[str]:
    """The temporary files."""
    return [file.name for file in path.rglob("*.tmp")]


def new_sink(path: Path, *, writer: str = LIVE, **options: Any) -> ParquetSink:
    return ParquetSink(ParquetSettings(path=path, **options), writer=writer)


async def store(sink: ParquetSink, points: pa.Table, *, sequence: int) -> None:
    """Write and commit, as the drain does when somebody waits."""
    await sink.write(points, sequence=sequence)
    await sink.commit()


def write(
    path: Path, *writes: pa.Table, first: int = 1, writer: str = LIVE, **options: Any
) -> None:
    """Write some tables, as a service would in one run, each into a file of its own."""

    async def run() -> None:
        sink = new_sink(path, writer=writer, **{"grow": False, **options})
        try:
            await sink.open()
            for sequence, points in enumerate(writes, first):
                await store(sink, points, sequence=sequence)
        finally:
            await sink.close()

    asyncio.run(run())


def compacted(path: Path, *, grace: float = 0.0) -> compaction.Summary:
    dataset = Dataset(path)
    dataset.create()
    with dataset.locked("compaction", wait=True):
        return compact_all(dataset, grace=grace, progress=lambda *_: None)


def pointgate(*arguments: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "pointgate", *map(str, arguments)],
        env=os.environ | environ,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert "Traceback" not in done.stderr
    return done


def three_writes(path: Path) -> list[dict[str, object]]:
    """A dataset to merge, and what it must be in the end."""
    values = {1: range(30), 2: range(10, 40), 3: range(20, 50)}
    tables = [
        table(Point(device=f"d{n % 3}", time=n, double=float(value), received=value) for n in times)
        for value, times in values.items()
    ]
    write(path, *tables)
    latest = {n: value for value, times in values.items() for n in times}
    return columns_of(
        table(
            Point(device=f"d{n % 3}", time=n, double=float(v), received=v)
            for n, v in latest.items()
        )
    )
