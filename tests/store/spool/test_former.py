"""A dataset whose files have milliseconds, as the former version wrote them, beside newer ones."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl
import polars.exceptions
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest

from pointgate.sinks.parquet.dataset import Dataset, stored_files
from pointgate.sinks.parquet.rows import ROWS
from pointgate.store.points import SCHEMA
from tests.support.parquet_dataset import compacted, files, write
from tests.support.paths import FORMER
from tests.support.points import points

if TYPE_CHECKING:
    from pathlib import Path

START = 1_700_000_000_000_000
SECOND = 1_000_000
OLD = [(START + n * SECOND, float(n + 1)) for n in range(3)]
NEW = [(START + 1, 8.0), (START + SECOND, 9.0)]
"""One instant that no file of the former version could hold, and one that takes a point's place."""

Rows = list[tuple[int, float]]


def newer() -> pa.Table:
    instants, values = zip(*NEW, strict=True)
    times = pa.array(instants, SCHEMA.field("time").type)
    return points(*values).set_column(3, SCHEMA.field("time"), times)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    shutil.copytree(FORMER / "points", tmp_path / "points")
    Dataset(tmp_path / "points").create()
    return tmp_path / "points"


@pytest.fixture(params=["newer last", "newer first"])
def mixed(request: pytest.FixtureRequest, dataset: Path) -> Path:
    """Readers may take the columns of the first file for those of all."""
    first = 1_800_000_000_000_000 if request.param == "newer last" else 1
    write(dataset, newer(), first=first)
    return dataset


def rows_of(table: Any) -> Rows:
    times = table["time"].cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_pylist()
    return sorted(zip(times, table["value_double"].to_pylist(), strict=True))


def units(path: Path) -> set[str]:
    return {pq.read_schema(file).field("time").type.unit for file in path.rglob("*.parquet")}


def test_duckdb_reads_files_of_both_versions(mixed: Path) -> None:
    assert units(mixed) == {"ms", "us"}
    query = f"SELECT epoch_us(time), value_double FROM read_parquet('{mixed}/**/*.parquet')"  # noqa: S608
    assert sorted(duckdb.execute(query).fetchall()) == sorted(OLD + NEW)


def test_pyarrow_reads_files_of_both_versions_as_microseconds_where_it_is_told_to(
    mixed: Path,
) -> None:
    found = pads.dataset(mixed, partitioning="hive", schema=ROWS.remove(0).remove(0)).to_table()
    assert rows_of(found) == sorted(OLD + NEW)


def test_polars_refuses_files_of_both_versions_until_they_are_merged(mixed: Path) -> None:
    def scan() -> Rows:
        frame = pl.scan_parquet(f"{mixed}/**/*.parquet", hive_partitioning=True).collect()
        return rows_of(frame.to_arrow())

    with pytest.raises(polars.exceptions.SchemaError, match="data type mismatch for column time"):
        scan()
    in_order = (OLD, NEW) if files(mixed)[0].startswith("00017") else (NEW, OLD)
    compacted(mixed)
    assert scan() == sorted(
        dict(in_order[0] + in_order[1]).items()
    )  # the later file's value counts
    assert units(mixed) == {"us"}


def test_a_merge_upgrades_a_file_that_is_alone(dataset: Path) -> None:
    assert units(dataset) == {"ms"}
    assert compacted(dataset).merged == 1
    assert units(dataset) == {"us"}
    assert rows_of(pads.dataset(dataset, partitioning="hive").to_table()) == OLD
    before = files(dataset)
    assert compacted(dataset).merged == 0
    assert files(dataset) == before


def test_a_file_that_cannot_be_read_is_not_taken_for_a_former_one(dataset: Path) -> None:
    (folder,) = Dataset(dataset).partitions()
    (file,) = stored_files(folder, "update")
    file.path.write_bytes(b"nonsense")
    assert compacted(dataset).merged == 0
    assert file.path.read_bytes() == b"nonsense"
