"""A dataset of the former layout, whose files have milliseconds, until it is compacted."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest

from pointgate.sinks.base import SinkUnavailableError
from pointgate.sinks.parquet.dataset import Dataset, stored_files
from tests.support.parquet_dataset import compacted, files, new_sink, write
from tests.support.paths import FORMER
from tests.support.points import points

if TYPE_CHECKING:
    from pathlib import Path

START = 1_700_000_000_000_000
SECOND = 1_000_000
OLD = [(START + n * SECOND, float(n + 1)) for n in range(3)]

Rows = list[tuple[int, float]]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    shutil.copytree(FORMER / "points", tmp_path / "points")
    Dataset(tmp_path / "points").create()
    return tmp_path / "points"


def rows_of(table: Any) -> Rows:
    times = table["time"].cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_pylist()
    return sorted(zip(times, table["value_double"].to_pylist(), strict=True))


def units(path: Path) -> set[str]:
    return {pq.read_schema(file).field("time").type.unit for file in path.rglob("*.parquet")}


async def test_a_dataset_of_the_former_layout_is_not_written_to(dataset: Path) -> None:
    sink = new_sink(dataset)
    with pytest.raises(SinkUnavailableError, match="run pointgate compact"):
        await sink.open()
    await sink.close()


def test_a_merge_upgrades_a_file_that_is_alone(dataset: Path) -> None:
    assert units(dataset) == {"ms"}
    assert compacted(dataset).merged == 1
    assert units(dataset) == {"us"}
    assert rows_of(pads.dataset(dataset, partitioning="hive").to_table()) == OLD
    before = files(dataset)
    assert compacted(dataset).merged == 0
    assert files(dataset) == before


def test_what_was_upgraded_is_written_to(dataset: Path) -> None:
    compacted(dataset)
    write(dataset, points(8.0, 9.0))
    query = f"SELECT count(*), count(DISTINCT product) FROM '{dataset}/**/*.parquet'"  # noqa: S608
    assert duckdb.execute(query).fetchall() == [(5, 1)]


def test_a_file_that_cannot_be_read_is_named_and_stays(dataset: Path) -> None:
    (folder,) = Dataset(dataset).former()
    (file,) = stored_files(folder)
    file.write_bytes(b"nonsense")
    summary = compacted(dataset)
    assert summary.merged == 0
    assert len(summary.problems) == 1
    assert file.name in summary.problems[0]
    assert file.read_bytes() == b"nonsense"
