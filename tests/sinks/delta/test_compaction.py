"""`pointgate compact` of a Delta table."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from deltalake import DeltaTable

from tests.sinks.delta.test_sink import arrow, new_sink, store
from tests.support.parquet_dataset import pointgate
from tests.support.point_tables import DAY, Point, columns_of, table

if TYPE_CHECKING:
    from pathlib import Path

    from pointgate.sinks.settings import OnConflict


@pytest.mark.parametrize(("on_conflict", "kept"), [("update", 3.0), ("ignore", 1.0)])
async def test_each_point_is_there_once_and_a_day_is_one_file(
    tmp_path: Path, on_conflict: OnConflict, kept: float
) -> None:
    path = tmp_path / "points"
    sink = new_sink(path, on_conflict=on_conflict)
    await sink.open()
    for value in (1, 2, 3):
        points = [
            Point(time=5, double=float(value), received=value),
            Point(time=DAY, double=0.0, received=value, device=f"d{value}"),
        ]
        await store(sink, table(points), sequence=value)
    done = pointgate("compact", path, "--now", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    summary = json.loads(done.stdout)
    assert (summary["days"], summary["files_before"], summary["files_after"]) == (2, 6, 2)
    assert summary["duplicates"] == 2
    assert [row["value_double"] for row in columns_of(arrow(path)) if row["time"] == 5] == [kept]
    assert len(arrow(path)) == 4
    assert len([*path.rglob("*.parquet")]) == 2
    await store(sink, table([Point(time=9)]), sequence=4)  # it has not noticed anything
    await sink.close()
    assert sink.newest() == 4
    assert DeltaTable(path).to_pyarrow_table().num_rows == 5
