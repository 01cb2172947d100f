"""The Parquet sink in an object store: each point once, whatever happens to writer and store."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pointgate.sinks.base import SinkUnavailableError
from pointgate.sinks.parquet.object_store import ObjectStore, StoreError
from tests.support.object_dataset import (
    PLACE,
    URL,
    file_system,
    keys,
    new_sink,
    read,
    store,
)
from tests.support.paths import ROOT
from tests.support.point_tables import DAY, Point, columns_of, table

if TYPE_CHECKING:
    from tests.support.s3_server import S3Server

EVERY_TYPE = [
    Point(time=1, double=21.5, quality=3, received=5),
    Point(time=2, long=-(2**62), received=5),
    Point(time=DAY, boolean=False, received=5),
    Point(time=DAY - 1, text='"é\n', received=5),
    Point(device="ünit", identifier="a b", time=7, json='{"a": [1,\n2]}', received=6),
    Point(product="007", time=253402300799999, double=1e300, received=6),
]

PLACES = [
    "objects-before-record",
    "objects-after-record",
    "objects-between-copies",
    "objects-after-copies",
]

WRITER = """
import asyncio, json, sys
from tests.sinks.parquet.test_objects import cut
from tests.support.object_dataset import new_sink

async def main() -> None:
    sink = new_sink(json.loads(sys.argv[1]))
    await sink.open()
    for points, sequence in cut(sink.newest(), int(sys.argv[2])):
        await sink.write(points, sequence=sequence)
        await sink.commit()
    await sink.close()

asyncio.run(main())
"""
REQUESTS = 12


def request(sequence: int) -> pa.Table:
    """Points of one request, which no other one has, on three days."""
    return table(
        Point(device=f"d{sequence}", time=index * DAY // 10, double=float(index))
        for index in range(30)
    )


def cut(after: int, size: int) -> list[tuple[pa.Table, int]]:
    """The rest of the requests, in writes of so many."""
    writes = []
    for first in range(after + 1, REQUESTS + 1, size):
        numbers = range(first, min(first + size, REQUESTS + 1))
        writes.append((pa.concat_tables(map(request, numbers)), numbers[-1]))
    return writes


def all_requests() -> list[dict[str, object]]:
    return columns_of(pa.concat_tables(map(request, range(1, REQUESTS + 1))))


async def test_every_reader_gets_what_was_written(s3: S3Server) -> None:
    points = table(EVERY_TYPE)
    sink = new_sink(s3.options)
    await sink.open()
    await store(sink, points, sequence=1)
    await sink.close()
    assert read(s3) == columns_of(points)
    names = [name for name in keys(s3) if name.endswith(".parquet")]
    assert [name.partition("/")[0] for name in names] == [
        "date=1970-01-01",
        "date=1970-01-02",
        "date=9999-12-31",
    ]
    assert {name.partition("/")[2][:25] for name in names} == {"live-0000000000000000001-"}
    assert [name for name in keys(s3) if name not in names] == [".pointgate/live.json"]
    frame = pl.scan_parquet(
        f"s3://{PLACE}/**/*.parquet", storage_options=s3.options, hive_partitioning=True
    ).collect()
    assert columns_of(frame.to_arrow()) == columns_of(points)
    assert "007" in frame["product"].to_list()
    footer = pq.read_metadata(f"{PLACE}/{names[0]}", filesystem=file_system(s3))
    assert footer.metadata[b"pointgate.format"] == b"2"
    assert len(duckdb.from_arrow(frame.to_arrow()).to_arrow_table()) == len(EVERY_TYPE)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("count", [1, 2])
def test_a_writer_that_is_killed_leaves_each_point_once_however_the_rest_is_cut(
    s3: S3Server, place: str, count: int
) -> None:
    def run(size: int, **environ: str) -> int:
        command = [sys.executable, "-c", WRITER, json.dumps(s3.options), str(size)]
        return subprocess.run(
            command, cwd=ROOT, env=os.environ | environ, check=False, timeout=60
        ).returncode

    assert run(5, POINTGATE_FAILPOINT=f"{place}:{count}") == -signal.SIGKILL
    commits = count - (place == "objects-before-record")
    commits = 1 if place == "objects-between-copies" else commits
    assert new_sink(s3.options).newest() == 5 * commits
    if names := [name for name in keys(s3) if name.endswith(".parquet")]:
        seen = read(s3)
        assert len(names) <= 3 * commits
        assert len(seen) == len({(row["device"], row["time"]) for row in seen})
    assert run(4) == 0
    assert read(s3) == all_requests()
    assert not [name for name in keys(s3) if "staged" in name]


async def test_points_are_there_once_after_an_outage(s3: S3Server) -> None:
    sink = new_sink(s3.options)
    assert sink.newest() == 0
    await sink.open()
    await store(sink, table([Point(time=1, double=1.0)]), sequence=1)
    s3.kill()
    await sink.write(table([Point(time=2, double=2.0)]), sequence=2)
    with pytest.raises(SinkUnavailableError, match=f"cannot write to {URL}: "):
        await sink.commit()
    assert sink.pending
    with pytest.raises(OSError, match="cannot read"):
        sink.newest()
    s3.start()
    await sink.commit()
    assert not sink.pending
    await sink.close()
    assert new_sink(s3.options).newest() == 2
    assert [row["value_double"] for row in read(s3)] == [1.0, 2.0]


@pytest.mark.parametrize("method", ["put", "replace", "copy", "delete"])
async def test_an_answer_that_is_lost_is_not_taken_for_a_failure(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    sink = new_sink(s3.options)
    await sink.open()
    await store(sink, request(1), sequence=1)
    call = getattr(ObjectStore, method)

    def lost(*arguments: Any) -> None:
        call(*arguments)
        raise StoreError(OSError("connection reset"))

    monkeypatch.setattr(ObjectStore, method, lost)
    await sink.write(request(2), sequence=2)
    if method == "delete":
        await sink.commit()
    else:
        with pytest.raises(SinkUnavailableError, match="connection reset"):
            await sink.commit()
        assert sink.pending
    monkeypatch.setattr(ObjectStore, method, call)
    await sink.commit()
    await store(sink, request(3), sequence=3)
    await sink.close()
    assert sink.newest() == 3
    assert read(s3) == columns_of(pa.concat_tables(map(request, (1, 2, 3))))
