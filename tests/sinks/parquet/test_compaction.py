"""Compaction: fewer files, the same points, one for each key, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import shutil
import signal
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointgate.sinks.base import SinkUnavailableError
from pointgate.sinks.parquet import compaction, merging, recovery, runs
from pointgate.sinks.parquet.dataset import Dataset, stored_files
from tests.support.parquet_dataset import (
    compacted,
    files,
    keys_of,
    new_sink,
    pointgate,
    read,
    store,
    three_writes,
    write,
)
from tests.support.paths import ROOT
from tests.support.point_tables import DAY, Point, columns_of, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pointgate.sinks.settings import OnConflict

FORMER = ROOT / "tests/data/former/points"


def test_compaction_leaves_one_file_with_the_last_value_of_each_point(tmp_path: Path) -> None:
    write(
        tmp_path,
        table(Point(time=time, double=1.0, received=1) for time in range(10)),
        table(Point(time=time, double=2.0, received=2) for time in range(5, 15)),
    )
    summary = compacted(tmp_path)
    assert (summary.folders, summary.merged, summary.problems) == (1, 1, [])
    assert (summary.files_before, summary.files_after) == (2, 1)
    assert (summary.points_before, summary.duplicates) == (20, 5)
    assert [row["value_double"] for row in read(tmp_path)] == [1.0] * 5 + [2.0] * 10
    assert len(files(tmp_path)) == 1
    assert not list(tmp_path.rglob("*.tmp"))


def test_what_is_compact_is_left_alone(tmp_path: Path) -> None:
    write(tmp_path, table([Point()]), table([Point(time=1), Point(time=DAY)]))
    compacted(tmp_path)
    before = files(tmp_path)
    assert len(before) == 2
    assert compacted(tmp_path).merged == 0
    assert files(tmp_path) == before


def test_the_first_value_stays_where_later_ones_are_ignored(tmp_path: Path) -> None:
    writes = [table([Point(double=float(value), received=value)]) for value in range(3)]
    write(tmp_path, *writes, on_conflict="ignore")
    compacted(tmp_path)
    write(tmp_path, writes[2], first=4, on_conflict="ignore")
    compacted(tmp_path)
    assert [row["value_double"] for row in read(tmp_path)] == [0.0]


def test_the_last_accepted_value_wins_in_whatever_file_it_is(tmp_path: Path) -> None:
    values = [table([Point(double=float(value), received=value)]) for value in (3, 1, 2)]
    write(tmp_path, *values)
    write(tmp_path, table([Point(double=9.0, received=9)]), writer="import")
    write(tmp_path, table([Point(double=4.0, received=4)]), first=10)
    compacted(tmp_path)
    assert [row["value_double"] for row in read(tmp_path)] == [9.0]
    write(tmp_path, table([Point(double=5.0, received=5)]), first=11)
    compacted(tmp_path)
    assert [row["value_double"] for row in read(tmp_path)] == [9.0]


def test_a_file_that_has_grown_is_merged(tmp_path: Path) -> None:
    tables = [table([Point(time=1, double=float(value), received=value)]) for value in range(3)]
    write(tmp_path, *tables, grow=True)
    assert len(files(tmp_path)) == 1
    assert compacted(tmp_path).duplicates == 2
    assert [row["value_double"] for row in read(tmp_path)] == [2.0]


def test_a_file_that_is_being_merged_does_not_grow(tmp_path: Path) -> None:
    """Neither while it is merged nor while it waits to be deleted."""

    def point(number: int) -> pa.Table:
        return table([Point(time=number, received=number)])

    merge = merging.merge

    async def run() -> None:
        sink = new_sink(tmp_path)
        await sink.open()
        await store(sink, point(1), sequence=1)
        await store(sink, point(2), sequence=2)

        def meanwhile(*arguments: Any, **options: Any) -> list[Path]:
            made = merge(*arguments, **options)
            asyncio.run_coroutine_threadsafe(store(sink, point(3), sequence=3), loop).result()
            return made

        loop = asyncio.get_running_loop()
        with patch.object(compaction, "merge", meanwhile):
            await asyncio.to_thread(compacted, tmp_path, grace=3600)
        await store(sink, point(4), sequence=4)
        assert len(files(tmp_path)) == 3
        assert set(keys_of(tmp_path).values()) == {1, 2}
        later = time.time() + 3600
        with patch("time.time", lambda: later):
            await store(sink, point(5), sequence=5)
        await sink.close()

    asyncio.run(run())
    assert len(files(tmp_path)) == 2
    assert sorted(key[-1] for key in keys_of(tmp_path).elements()) == [1, 2, 3, 4, 5]


def test_values_of_every_type_survive(tmp_path: Path) -> None:
    points = [
        Point(time=1, double=21.5, quality=3, received=5),
        Point(time=2, long=-(2**62)),
        Point(time=3, boolean=False),
        Point(device="ünit", time=4, text='"é\n'),
        Point(device="𝄞", identifier="\uffff", time=5, json='{"a": [1,\n2]}'),
        Point(device="\uffff", identifier="𝄞", time=5, double=-0.0),
    ]
    write(tmp_path, *(table([point]) for point in points))
    compacted(tmp_path)
    assert read(tmp_path) == columns_of(table(points))
    (file,) = tmp_path.rglob("*.parquet")
    assert [
        column.column_index for column in pq.read_metadata(file).row_group(0).sorting_columns
    ] == [0, 1, 2, 3]


@pytest.fixture
def tiny() -> Iterator[None]:
    """Bounds so low that a few points meet them all."""
    with (
        patch.multiple(merging, _IN_MEMORY=1, ROW_GROUP=4, FILE_BYTES=3000),
        patch.multiple(runs, _ROWS_READ=2, _OPEN_FILES=3),
    ):
        yield


@pytest.mark.usefixtures("tiny")
def test_many_files_become_several_large_ones_with_disjoint_keys(tmp_path: Path) -> None:
    chance = random.Random(5)  # noqa: S311 - no secret
    written: dict[tuple[str, int], float] = {}
    tables = []
    for value in range(20):
        points = [
            Point(
                device=f"d{chance.randrange(4)}",
                time=chance.randrange(20),
                double=float(value),
                received=value,
            )
            for _ in range(12)
        ]
        written |= {(point.device, point.time): float(value) for point in points}
        tables.append(table(points))
    write(tmp_path, *tables)
    compacted(tmp_path)
    (folder,) = Dataset(tmp_path).partitions()
    assert len(stored_files(folder)) > 2
    assert compacted(tmp_path).merged == 0
    assert {(row["device"], row["time"]): row["value_double"] for row in read(tmp_path)} == written
    assert max(keys_of(tmp_path).values()) == 1
    # Large parts of one merge are one source when something is merged with them.
    write(tmp_path, table([Point(device="d1", time=3, double=99.0, received=99)]), first=21)
    compacted(tmp_path)
    written["d1", 3] = 99.0
    assert {(row["device"], row["time"]): row["value_double"] for row in read(tmp_path)} == written


Batch = list[tuple[str, int]]

BATCHES = st.lists(
    st.lists(
        st.tuples(st.sampled_from(["a", "b", "é"]), st.sampled_from([0, 1, 2, DAY])), max_size=6
    ),
    min_size=1,
    max_size=12,
)
"""What stands in the spool: devices and times. The value of a point is the number of its batch."""


class Drain:
    """What the drain does to a sink in the course of crashes, and what must be true meanwhile."""

    def __init__(self, path: Path, batches: Sequence[Batch], on_conflict: OnConflict) -> None:
        self.path = path
        self.batches = batches
        self.on_conflict: OnConflict = on_conflict
        self.position = 0

    def write(self, end: int, *, renames: int | None) -> None:
        """Write up to a batch; after so many renames the process dies."""
        rows = [
            Point(device=device, time=time, double=float(number), received=number)
            for number, batch in enumerate(self.batches[self.position : end], self.position)
            for device, time in batch
        ]
        done = 0

        def counted(rename: Any) -> Any:
            def count(*names: Any) -> None:
                nonlocal done
                if done == renames:
                    raise OSError(5, "the process dies here")
                done += 1
                rename(*names)

            return count

        with (
            patch("pathlib.Path.replace", counted(Path.replace)),
            patch("os.replace", counted(os.replace)),
        ):
            try:
                write(self.path, table(rows), first=end, on_conflict=self.on_conflict)
            except SinkUnavailableError:
                self.position = Dataset(self.path).newest()
                return
        self.position = end

    def merge(self, draw: random.Random) -> None:
        """Merge all files, or die on the way."""
        left = draw.randrange(12)

        def die(_name: str) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise KeyboardInterrupt

        Dataset(self.path).create()
        with suppress(KeyboardInterrupt), patch("pointgate.failpoint.hit", die):
            compacted(self.path, grace=draw.choice([0.0, 3600.0]))

    def expected(self) -> dict[tuple[str, int], int]:
        """What a dictionary makes of what was stored."""
        points: dict[tuple[str, int], int] = {}
        for number, batch in enumerate(self.batches[: self.position]):
            for key in batch:
                if self.on_conflict == "update":
                    points[key] = number
                else:
                    points.setdefault(key, number)
        return points

    def check(self) -> None:
        """The last accepted value of each point is there, or the first one."""
        self.mend()
        found: dict[tuple[Any, Any], Any] = {}
        rows: list[dict[str, Any]] = read(self.path) if files(self.path) else []
        for row in sorted(rows, key=lambda row: row["received"]):
            key, value = (row["device"], row["time"]), row["value_double"]
            if self.on_conflict == "update":
                found[key] = value
            else:
                found.setdefault(key, value)
        assert found == self.expected()

    def mend(self) -> None:
        """What the next process does."""
        write(self.path, table([]), on_conflict=self.on_conflict)


@pytest.mark.usefixtures("tiny")
@pytest.mark.timeout(900)
@settings(max_examples=25)
@given(batches=BATCHES, on_conflict=st.sampled_from(["update", "ignore"]), seed=st.integers(0, 999))
def test_in_the_end_there_is_what_a_dictionary_would_hold(
    batches: list[Batch], on_conflict: OnConflict, seed: int
) -> None:
    """Whatever crashes, comes again cut otherwise, or is merged meanwhile."""
    draw = random.Random(seed)  # noqa: S311 - no secret
    with tempfile.TemporaryDirectory() as folder, patch("os.fsync"):
        drain = Drain(Path(folder), batches, on_conflict)
        while drain.position < len(batches):
            end = draw.randint(drain.position + 1, len(batches))
            match draw.randrange(4):
                case 0:
                    drain.merge(draw)
                case 1:
                    drain.write(end, renames=draw.randrange(3))
                case _:
                    drain.write(end, renames=None)
            drain.check()
        later = time.time() + 3600
        with patch("time.time", lambda: later):
            compacted(drain.path)
        got = {
            (row["device"], row["time"]): row["value_double"]
            for row in (read(drain.path) if files(drain.path) else [])
        }
        assert got == drain.expected()
        assert sum(keys_of(drain.path).values() if files(drain.path) else []) == len(got)


@pytest.mark.slow
@pytest.mark.parametrize(
    "place",
    [
        *("merge-before-record", "merge-before-rename", "merge-after-rename"),
        *("merge-before-delete", "merge-after-delete"),
    ],
)
@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("mended_by", ["service", "compact"])
def test_a_crash_of_a_merge_loses_no_point_and_the_next_process_mends_it(
    tmp_path: Path, place: str, times: int, mended_by: str
) -> None:
    """A kill doubled points that were posted once, until the next merge and for good."""
    expected = three_writes(tmp_path)
    before = set(keys_of(tmp_path))
    done = pointgate("compact", "--now", tmp_path, POINTGATE_FAILPOINT=f"{place}:{times}")
    assert done.returncode in {0, -signal.SIGKILL}
    assert times > 1 or done.returncode == -signal.SIGKILL
    assert set(keys_of(tmp_path)) == before
    if mended_by == "service":
        write(tmp_path, table([]), first=10)
        assert not list((tmp_path / ".pointgate").glob("merge*"))
    compacted(tmp_path)
    assert read(tmp_path) == expected
    assert not list((tmp_path / ".pointgate").glob("merge*"))


def test_what_was_merged_stays_until_no_reader_can_hold_it(tmp_path: Path) -> None:
    expected = three_writes(tmp_path)
    before = set(files(tmp_path))
    compacted(tmp_path, grace=600)
    assert before < set(files(tmp_path))
    write(tmp_path, table([]), first=10)
    assert compacted(tmp_path).merged == 0
    assert before < set(files(tmp_path))
    later = time.time() + 601
    with patch("time.time", lambda: later):
        write(tmp_path, table([]), first=10)
    assert before.isdisjoint(files(tmp_path))
    assert read(tmp_path) == expected


def test_a_clock_that_was_set_back_does_not_keep_files_for_ever(tmp_path: Path) -> None:
    three_writes(tmp_path)
    compacted(tmp_path, grace=600)
    (merge,) = recovery.records(Dataset(tmp_path)).values()
    earlier = time.time() - 10**9
    with patch("time.time", lambda: earlier):
        assert merge.left == 600


def test_a_dataset_of_the_former_layout_becomes_one_of_today_s(tmp_path: Path) -> None:
    path = tmp_path / "points"
    shutil.copytree(FORMER, path)
    other = path / "product=0%2F7" / "date=2023-11-14"
    shutil.copytree(next(FORMER.glob("*/*")), other)
    former = pq.read_table(next(FORMER.rglob("*.parquet")), partitioning=None)
    summary = compacted(path)
    assert (summary.folders, summary.merged, summary.problems) == (1, 1, [])
    assert {row["product"] for row in read(path)} == {"pk", "0/7"}
    assert len(read(path)) == 2 * len(former)
    assert [one.name for one in path.iterdir() if one.name != ".pointgate"] == ["date=2023-11-14"]
    write(path, table([Point()]))


def test_a_merge_that_fails_leaves_everything_as_it_was(tmp_path: Path) -> None:
    three_writes(tmp_path)
    before = files(tmp_path)
    full = OSError(errno.ENOSPC, "No space left on device")
    with patch("os.fsync", side_effect=full), pytest.raises(OSError, match="No space left"):
        compacted(tmp_path)
    assert files(tmp_path) == before
    assert not list(tmp_path.rglob("*.tmp"))


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    three_writes(tmp_path)
    (folder,) = Dataset(tmp_path).partitions()
    other = folder / "other.parquet"
    pq.write_table(pa.table({"x": [1]}), other)
    compacted(tmp_path)
    assert other.exists()
    assert len(files(tmp_path)) == 2
