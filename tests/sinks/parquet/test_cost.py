"""What points of many products cost: the processor time of a commit, beside a plain write."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from tests.support.parquet_dataset import files, new_sink, store
from tests.support.point_tables import Point, table

if TYPE_CHECKING:
    from pathlib import Path

POINTS = 100_000


def points(products: int) -> pa.Table:
    some = table(
        Point(product=f"p{number % products}", device=f"d{number % 100}", time=number, double=1.5)
        for number in range(POINTS // 10)
    )
    return pa.concat_tables([some] * 10).unify_dictionaries().combine_chunks()


def seconds(path: Path, products: int) -> float:
    """The processor time of one commit."""
    rows = points(products)

    async def run() -> float:
        sink = new_sink(path)
        await sink.open()
        begun = time.process_time()
        await store(sink, rows, sequence=1)
        took = time.process_time() - begun
        await sink.close()
        return took

    return asyncio.run(run())


def test_a_thousand_products_cost_what_one_does(tmp_path: Path) -> None:
    """A file for each product took 16 µs a point, and one for all of them 0.4."""
    one = min(seconds(tmp_path / f"one{turn}", 1) for turn in range(3))
    many = min(seconds(tmp_path / f"many{turn}", 1000) for turn in range(3))
    begun = time.process_time()
    pq.write_table(points(1), tmp_path / "plain.parquet", compression="zstd")
    plain = time.process_time() - begun
    assert len(files(tmp_path / "many0")) == len(files(tmp_path / "one0")) == 1
    assert many < 2 * one + plain
