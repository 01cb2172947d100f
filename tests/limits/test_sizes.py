"""More text than one Arrow column can count: through merges, imports and each sink's write."""

from __future__ import annotations

import asyncio
import gzip
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pointgate.sinks.base import SinkRefusedError
from pointgate.sinks.ndjson.sink import NdjsonSink
from pointgate.sinks.parquet.dataset import Dataset
from pointgate.sinks.parquet.merging import FILE_BYTES
from pointgate.sinks.parquet.rows import ROWS
from pointgate.sinks.postgres.rows import copy_bytes
from tests.limits import largest
from tests.support.cgroup import MIB, MemoryLimit
from tests.support.parquet_dataset import new_sink
from tests.support.point_tables import Point, table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

full = [pytest.mark.limits, pytest.mark.timeout(3600)]

TEXT: Final = "x" * 131_072
"""As long as an ARRAY of 128 strings of 1,024 bytes."""

LIMIT: Final = 1024 * MIB


def pointgate(*arguments: str | Path, memory: int) -> str:
    """Run a command under a memory limit; returns what it printed."""
    with MemoryLimit(memory) as limit:
        command = [*limit.command, sys.executable, "-m", "pointgate", *map(str, arguments)]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        assert limit.kills == 0
    assert done.returncode == 0, done.stdout[-2000:]
    return done.stdout


def stored(folder: Path) -> tuple[int, ...]:
    """How many points a dataset has, and how many of them are different ones."""
    files = f"read_parquet('{folder}/**/*.parquet')"
    keys = f"SELECT DISTINCT device, identifier, time FROM {files}"  # noqa: S608 - our own
    return tuple(
        duckdb.execute(f"SELECT count(*) FROM {rows}").fetchall()[0][0]  # noqa: S608
        for rows in (files, f"({keys})")
    )


def dataset(folder: Path, *, files: int, rows: int) -> None:
    """Write files as a version without bounds did: one row group each, all of the same text."""
    day = Dataset(folder)
    day.create()
    partition = day.folder("date=2022-01-08")
    for number in range(files):
        columns = {
            "product": pa.repeat("p", rows).dictionary_encode(),
            "device": pa.repeat("d", rows).dictionary_encode(),
            "identifier": pa.repeat("i", rows).dictionary_encode(),
            "time": pa.array(range(number, number + rows * files, files), pa.int64()).cast(
                ROWS.field("time").type
            ),
            "value_json": pa.DictionaryArray.from_arrays(
                pa.repeat(pa.scalar(0, pa.int32()), rows), [TEXT]
            ),
            "received": pa.repeat(pa.scalar(0, pa.int64()), rows).cast(ROWS.field("received").type),
        }
        more = {f.name: pa.nulls(rows, f.type) for f in ROWS if f.name not in columns}
        everything = columns | more
        pq.write_table(
            pa.table({name: everything[name] for name in ROWS.names}),
            partition / f"{day.file_name('live', number + 1, 1)}.parquet",
            compression="zstd",
            store_schema=False,
        )


@pytest.mark.parametrize(
    ("files", "rows"),
    [
        pytest.param(9, 2000, id="2.2 GiB"),
        pytest.param(16, 4000, id="7.8 GiB", marks=full),
    ],
)
def test_small_files_of_large_texts_are_merged_in_little_memory(
    tmp_path: Path, files: int, rows: int
) -> None:
    dataset(tmp_path, files=files, rows=rows)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.parquet")) < 64 * 1024 * files
    pointgate("compact", "--now", tmp_path, memory=LIMIT // 2)
    assert stored(tmp_path) == (files * rows, files * rows)
    for path in tmp_path.rglob("*.parquet"):
        assert path.stat().st_size < FILE_BYTES * 1.1
        metadata = pq.read_metadata(path)
        rows_in_groups = [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)]
        assert max(rows_in_groups) * len(TEXT) <= 8 * MIB


def archive(folder: Path, requests: int) -> Path:
    """Requests of text that are small when compressed."""
    path = folder / "archive.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for number in range(requests):
            file.write(largest.texts(number) + b"\n")
    return path


@pytest.mark.parametrize(
    "requests", [pytest.param(24, id="0.2 GiB"), pytest.param(340, id="2.5 GiB", marks=full)]
)
def test_an_archive_is_imported_whole_and_compacted_in_bounded_memory(
    tmp_path: Path, requests: int
) -> None:
    catalog = largest.catalog(tmp_path / "catalog")
    out = tmp_path / "points"
    options = ("--product", largest.PRODUCT, "--catalog", catalog, "--out", out)
    pointgate("validate", archive(tmp_path, requests), *options, memory=LIMIT)
    assert stored(out) == (requests * largest.TEXTS,) * 2
    pointgate("compact", "--now", out, memory=LIMIT)
    assert stored(out) == (requests * largest.TEXTS,) * 2


def beyond() -> pa.Table:
    """More than 2 GiB of text in one table, which itself takes 128 MiB."""
    rows = 1000
    piece = table(Point(json=TEXT, time=time) for time in range(rows))
    pieces = -(-(2**31) // (rows * len(TEXT))) + 1
    return pa.concat_tables([piece] * pieces)


@pytest.mark.limits
@pytest.mark.timeout(3600)
def test_a_table_that_is_too_large_for_a_sink_is_refused_as_a_whole(tmp_path: Path) -> None:
    async def run() -> None:
        sink = new_sink(tmp_path)
        await sink.open()
        try:
            with pytest.raises(SinkRefusedError, match="do not fit in one batch"):
                await sink.write(beyond(), sequence=1)
        finally:
            await sink.close()

    asyncio.run(run())
    assert not list(tmp_path.rglob("*.parquet"))


@pytest.mark.limits
@pytest.mark.timeout(3600)
def test_lines_are_written_of_a_table_of_any_size(tmp_path: Path) -> None:
    points = beyond()

    async def run() -> None:
        sink = NdjsonSink(name="ndjson", path=tmp_path / "points.ndjson")
        await sink.open()
        await sink.write(points, sequence=1)
        await sink.close()

    asyncio.run(run())
    with (tmp_path / "points.ndjson").open("rb") as lines:
        assert sum(1 for _ in lines) == points.num_rows


@pytest.mark.limits
@pytest.mark.timeout(3600)
def test_bytes_for_a_copy_are_made_of_a_table_of_any_size() -> None:
    points = beyond()
    numbered = points.append_column("series_id", pa.array([1] * points.num_rows, pa.int64()))
    assert _rows_of(copy_bytes(numbered)) == points.num_rows


def _rows_of(stream: Iterator[memoryview | bytes]) -> int:
    """How many rows a binary COPY has: each begins with its number of fields and a series."""
    row = re.compile((9).to_bytes(2, "big") + (8).to_bytes(4, "big") + (1).to_bytes(8, "big"))
    return sum(len(row.findall(piece)) for piece in stream)
