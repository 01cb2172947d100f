"""Rows of many days in one commit, more than the buffer in memory holds: they wait on disk."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointgate.sinks.base import SinkUnavailableError
from pointgate.sinks.parquet import row_buffer, sink, spill
from pointgate.sinks.parquet.dataset import Dataset
from pointgate.sinks.tables import one_batch
from tests.support.parquet_dataset import files, leftovers, new_sink, read, write
from tests.support.point_tables import DAY, EVERY_TYPE, Point, columns_of, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pointgate.sinks.settings import OnConflict


@pytest.fixture(autouse=True)
def small_buffer() -> Iterator[None]:
    """A buffer that each of these writes fills."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_buffer, "BUFFER_BYTES", 2000)
        yield


def commit(path: Path, writes: Sequence[Sequence[Point]], **options: Any) -> None:
    """Write several tables as one commit."""

    async def run() -> None:
        writer = new_sink(path, **options)
        await writer.open()
        for points in writes:
            await writer.write(table(points), sequence=1)
        await writer.commit()
        await writer.close()

    asyncio.run(run())


def hourly(number: int, *, days: int = 5) -> list[Point]:
    """A write of some points of each day."""
    return [
        Point(device=f"d{hour % 3}", time=day * DAY + hour, double=number, received=number)
        for day in range(days)
        for hour in range(number, number + 8)
    ]


def row_groups(path: Path) -> list[int]:
    return [pq.read_metadata(file).num_row_groups for file in path.rglob("*.parquet")]


@pytest.mark.parametrize("on_conflict", ["update", "ignore"])
def test_a_day_has_one_row_group_a_commit(tmp_path: Path, on_conflict: OnConflict) -> None:
    writes = [hourly(number) for number in range(10)]
    commit(tmp_path, writes, on_conflict=on_conflict)
    assert row_groups(tmp_path) == [1] * 5
    found = {(point.device, point.time): point for points in writes for point in points}
    if on_conflict == "ignore":
        found = {(p.device, p.time): p for points in reversed(writes) for p in points}
    assert read(tmp_path) == columns_of(table(found.values()))
    assert leftovers(tmp_path) == []


def test_a_day_with_many_points_does_not_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink, "FEW_ROWS", 12)
    today = [Point(time=7 * DAY + index) for index in range(40)]
    commit(tmp_path, [[*hourly(0), *today], hourly(10)])
    assert sorted(row_groups(tmp_path)) == [1] * 6
    commit(tmp_path, [[*hourly(20), *today], hourly(30), [*hourly(40), *today], hourly(50)])
    assert sorted(row_groups(tmp_path)) == [1] * 11 + [2]


def test_rows_with_long_texts_do_not_wait(tmp_path: Path) -> None:
    long = [Point(time=number * DAY, text=f"{number}" * 9_000_000) for number in range(2)]
    commit(tmp_path, [long, hourly(0), hourly(10)])
    assert len(files(tmp_path)) == 5
    assert sorted(row_groups(tmp_path)) == [1, 1, 1, 2, 2]


def test_values_of_every_type_wait(tmp_path: Path) -> None:
    commit(tmp_path, [hourly(5), EVERY_TYPE, hourly(20), hourly(30)])
    whole = tmp_path / "whole"
    write(whole, table([*hourly(5), *EVERY_TYPE, *hourly(20), *hourly(30)]))
    assert columns_of_folder(tmp_path / "date=1970-01-01") == columns_of_folder(
        whole / "date=1970-01-01"
    )


def columns_of_folder(path: Path) -> object:
    (file,) = path.glob("*.parquet")
    return pq.read_table(file, partitioning=None).to_pylist()


def test_they_do_not_wait_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "MOST_BYTES", 40_000)
    writes = [hourly(number * 10) for number in range(12)]
    commit(tmp_path, writes)
    assert set(row_groups(tmp_path)) == {3}
    assert len(read(tmp_path)) == 12 * 40


def test_a_partition_comes_back_without_the_names_of_others(tmp_path: Path) -> None:
    """With those of a fleet for each day, 100,000 devices took three times as long."""
    dataset = Dataset(tmp_path)
    dataset.create()
    waiting = spill.Spill(dataset)
    days = range(4)
    fleet = one_batch(table(Point(device=f"d{n}", time=n // 50 * DAY) for n in range(200)))
    for _ in range(2):
        waiting.add([(f"day {day}", fleet.slice(day * 50, 50)) for day in days])
    found = dict(waiting.taken())
    assert list(found) == [f"day {day}" for day in days]
    for rows in found.values():
        assert (len(rows), len(rows["device"].dictionary)) == (100, 50)
    assert not waiting
    assert leftovers(tmp_path) == []


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    async def run() -> None:
        writer = new_sink(tmp_path)
        await writer.open()
        await writer.write(table(hourly(0)), sequence=1)
        await writer.write(table(hourly(10)), sequence=1)
        with monkeypatch.context() as patch:
            patch.setattr(spill.Spill, "add", full)
            with pytest.raises(SinkUnavailableError, match="no space left on device"):
                await writer.write(table(hourly(20)), sequence=1)
        assert leftovers(tmp_path) == []
        for number in (0, 10, 20):
            await writer.write(table(hourly(number)), sequence=1)
        await writer.commit()
        for number in (30, 40):
            await writer.write(table(hourly(number)), sequence=1)
        assert all(name.startswith("write-spill-") for name in leftovers(tmp_path))
        assert leftovers(tmp_path)
        await writer.close()

    asyncio.run(run())
    assert len(read(tmp_path)) == 3 * 40
    assert leftovers(tmp_path) == []


def test_what_a_crash_left_is_removed(tmp_path: Path) -> None:
    commit(tmp_path, [hourly(0)])
    (tmp_path / ".pointgate/write-spill-0-00001.tmp").write_bytes(b"ARROW1")
    commit(tmp_path, [])
    assert leftovers(tmp_path) == []


@settings(max_examples=30)
@given(
    st.lists(
        st.lists(
            st.builds(
                lambda device, half_days, text: Point(
                    device=device, time=half_days * DAY // 2, text=text
                ),
                st.sampled_from(["a", "b", "é"]),
                st.integers(0, 5),
                st.text(max_size=20),
            ),
            min_size=1,
            max_size=30,
        ),
        max_size=12,
    ),
)
def test_the_last_point_of_a_key_stays(
    tmp_path_factory: pytest.TempPathFactory, writes: list[list[Point]]
) -> None:
    path = tmp_path_factory.mktemp("points")
    commit(path, writes)
    latest = {(p.device, p.time): p for points in writes for p in points}
    assert read(path) == columns_of(table(latest.values())) if latest else not files(path)
