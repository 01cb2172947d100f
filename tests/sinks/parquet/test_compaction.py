"""Compaction: fewer files, the same points, one for each key, whatever happens meanwhile."""

from __future__ import annotations

import errno
import random
import signal
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointgate.sinks.base import SinkUnavailableError
from pointgate.sinks.parquet import compaction, merge_sources
from pointgate.sinks.parquet.compaction import FAN_IN, FILE_BYTES, due_for_merge, is_compact, merge
from pointgate.sinks.parquet.dataset import Dataset, Stored, stored_files
from tests.support.parquet_dataset import (
    compacted,
    files,
    keys_of,
    pointgate,
    read,
    three_writes,
    write,
)
from tests.support.point_tables import DAY, Point, columns_of, milliseconds, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pointgate.sinks.settings import OnConflict


def test_compaction_leaves_one_file_with_the_last_value_of_each_point(tmp_path: Path) -> None:
    write(
        tmp_path,
        table(Point(time=time, double=1.0) for time in range(10)),
        table(Point(time=time, double=2.0) for time in range(5, 15)),
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
    writes = [table([Point(double=float(value))]) for value in range(3)]
    write(tmp_path, *writes, on_conflict="ignore")
    compacted(tmp_path)
    write(tmp_path, writes[2], first=4, on_conflict="ignore")
    compacted(tmp_path)
    assert [row["value_double"] for row in read(tmp_path)] == [0.0]


def test_a_write_that_comes_again_after_it_was_merged_does_not_bring_back_old_values(
    tmp_path: Path,
) -> None:
    old = table([Point(double=1.0), Point(time=1, double=1.0)])
    write(tmp_path, old, table([Point(double=2.0)]), table([Point(double=3.0)]))
    compacted(tmp_path)
    write(tmp_path, old, first=1)
    assert len(files(tmp_path)) == 2
    # In the order of names, which is that of the query for readers, the merged file is the last.
    assert files(tmp_path)[-1].count("-") > 1
    summary = compacted(tmp_path)
    assert summary.duplicates == 2
    assert [row["value_double"] for row in read(tmp_path)] == [3.0, 1.0]


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
    ] == [
        0,
        1,
        2,
    ]


def stored(*sizes: int) -> list[Stored]:
    return [Stored(Path(str(at)), at, at, "", size) for at, size in enumerate(sizes)]


@pytest.mark.parametrize(
    ("sizes", "due"),
    [
        ([], range(0)),
        ([1] * (FAN_IN - 1), range(0)),
        ([1] * FAN_IN, range(FAN_IN)),
        ([FILE_BYTES] * FAN_IN * 2, range(0)),
        ([FILE_BYTES, *[1] * FAN_IN], range(1, FAN_IN + 1)),
        # Larger files wait until there are enough of their own kind, and then take the small ones.
        ([FILE_BYTES // FAN_IN, *[1] * (FAN_IN - 1)], range(0)),
        ([*[FILE_BYTES // FAN_IN] * FAN_IN, 1], range(FAN_IN + 1)),
        ([1, *[FILE_BYTES - 1] * (FAN_IN - 1), 1], range(0)),
        # A gap is never left out.
        ([*[1] * (FAN_IN - 1), FILE_BYTES, *[1] * (FAN_IN - 1)], range(0)),
        ([*[1] * (FAN_IN + 1), FILE_BYTES, *[1] * FAN_IN], range(FAN_IN + 1)),
    ],
)
def test_files_of_like_size_are_merged_when_there_are_many(sizes: list[int], due: range) -> None:
    assert [file.first for file in due_for_merge(stored(*sizes))] == list(due)


def test_each_point_is_written_again_a_few_times_only() -> None:
    """A day of small writes, merged as they come, by sizes alone."""
    written, present = 0, stored()
    total = 20_000
    for at in range(total):
        present.append(Stored(Path(str(at)), at, at, "", 50_000))
        while run := due_for_merge(present):
            start = present.index(run[0])
            size = sum(file.size for file in run)
            written += size
            present[start : start + len(run)] = [
                Stored(Path(f"{at}m"), run[0].first, run[-1].last, "m", size)
            ]
        assert len(present) < 100
    assert written / (total * 50_000) < 4


@pytest.fixture
def tiny() -> Iterator[None]:
    """Bounds so low that a few points meet them all."""
    with (
        patch.multiple(merge_sources, _ROWS_READ=2, _IN_MEMORY=1, _OPEN_FILES=3),
        patch.multiple(compaction, ROW_GROUP=4, FILE_BYTES=3000),
    ):
        yield


@pytest.mark.usefixtures("tiny")
def test_many_files_become_several_large_ones_with_disjoint_keys(tmp_path: Path) -> None:
    chance = random.Random(5)  # noqa: S311 - no secret
    written: dict[tuple[str, int], float] = {}
    tables = []
    for value in range(20):
        points = [
            Point(device=f"d{chance.randrange(4)}", time=chance.randrange(20), double=float(value))
            for _ in range(12)
        ]
        written |= {(point.device, point.time): float(value) for point in points}
        tables.append(table(points))
    write(tmp_path, *tables)
    compacted(tmp_path)
    (folder,) = Dataset(tmp_path).partitions()
    made = stored_files(folder, "update")
    assert len(made) > 2
    assert is_compact(made)
    assert {(row["device"], row["time"]): row["value_double"] for row in read(tmp_path)} == written
    assert max(keys_of(tmp_path).values()) == 1
    # Large parts of one merge are one source when something is merged with them.
    write(tmp_path, table([Point(device="d1", time=3, double=99.0)]), first=21)
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
        self.positions = [0]

    def write(self, end: int, *, renames: int | None) -> None:
        """Write up to a batch; after so many renames the process dies."""
        rows = [
            Point(device=device, time=time, double=float(number))
            for number, batch in enumerate(self.batches[self.position : end], self.position)
            for device, time in batch
        ]
        done = 0
        rename = Path.replace

        def count(source: Path, target: Path) -> None:
            nonlocal done
            if done == renames:
                raise OSError(5, "the process dies here")
            done += 1
            rename(source, target)

        with patch("pathlib.Path.replace", count):
            try:
                write(self.path, table(rows), first=end, on_conflict=self.on_conflict)
            except SinkUnavailableError:
                return
        self.position = end
        self.positions.append(end)

    def merge(self, draw: random.Random) -> None:
        """Merge any stretch of files of each folder."""
        dataset = Dataset(self.path)
        for folder in dataset.partitions():
            present = stored_files(folder, self.on_conflict)
            if present:
                start = draw.randrange(len(present))
                end = draw.randint(start + 1, len(present))
                merge(dataset, present[start:end], on_conflict=self.on_conflict)

    def expected(self) -> dict[tuple[str, int], int]:
        """What a dictionary makes of what was stored."""
        points: dict[tuple[str, int], int] = {}
        for number, batch in enumerate(self.batches[: max(self.positions)]):
            for key in batch:
                if self.on_conflict == "update":
                    points[key] = number
                else:
                    points.setdefault(key, number)
        return points

    def check(self) -> None:
        """Files in the order of their names never give back what was overwritten."""
        found: dict[tuple[str, int], int] = {}
        for folder in Dataset(self.path).partitions():
            for file in stored_files(folder, self.on_conflict):
                rows = pq.ParquetFile(file.path).read(["device", "time", "value_double"])
                times = milliseconds(rows["time"]).to_pylist()
                values = rows["value_double"].to_pylist()
                for key, value in zip(
                    zip(rows["device"].to_pylist(), times, strict=True), values, strict=True
                ):
                    if self.on_conflict == "update":
                        found[key] = int(value)
                    else:
                        found.setdefault(key, int(value))
        for key, number in self.expected().items():
            if self.on_conflict == "update":
                assert found[key] >= number
            else:
                assert found[key] == number


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
            match draw.randrange(5):
                case 0:
                    drain.merge(draw)
                case 1:
                    drain.write(end, renames=draw.randrange(3))
                case 2:  # progress that had not reached the disk
                    drain.position = draw.choice(drain.positions)
                case _:
                    drain.write(end, renames=None)
            drain.check()
        compacted(drain.path)
        got = {
            (row["device"], row["time"]): row["value_double"]
            for row in (read(drain.path) if files(drain.path) else [])
        }
        assert got == drain.expected()
        assert sum(keys_of(drain.path).values() if files(drain.path) else []) == len(got)


@pytest.mark.parametrize(
    "place",
    ["merge-before-rename", "merge-after-rename", "merge-before-delete", "merge-after-delete"],
)
@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_crash_of_a_merge_loses_no_point_and_the_next_one_mends_it(
    tmp_path: Path, place: str, times: int
) -> None:
    expected = three_writes(tmp_path)
    before = set(keys_of(tmp_path))
    done = pointgate("compact", tmp_path, POINTGATE_FAILPOINT=f"{place}:{times}")
    assert done.returncode in {0, -signal.SIGKILL}
    assert times > 1 or done.returncode == -signal.SIGKILL
    assert set(keys_of(tmp_path)) == before
    compacted(tmp_path)
    assert read(tmp_path) == expected
    assert not list(tmp_path.rglob("*.tmp"))


def test_readers_miss_no_point_while_files_are_merged(tmp_path: Path) -> None:
    every = {("solar", f"d{n}", "temp", n * DAY // 50) for n in range(100)}
    tables = [
        table(Point(device=device, identifier=name, time=time) for _, device, name, time in every)
        for _ in range(3)
    ]
    stop = threading.Event()
    seen: list[bool] = []

    def look() -> None:
        while not stop.is_set():
            rows = keys_of(tmp_path)
            seen.append(set(rows) == every)

    write(tmp_path, *tables)
    reader = threading.Thread(target=look)
    reader.start()
    try:
        for first in range(4, 40, 3):
            write(tmp_path, *tables, first=first)
            compacted(tmp_path)
    finally:
        stop.set()
        reader.join()
    assert len(seen) > 5
    assert all(seen)


def test_a_merge_that_fails_leaves_everything_as_it_was(tmp_path: Path) -> None:
    three_writes(tmp_path)
    before = files(tmp_path)
    full = OSError(errno.ENOSPC, "No space left on device")
    with patch("os.fsync", side_effect=full), pytest.raises(OSError, match="No space left"):
        compacted(tmp_path)
    assert files(tmp_path) == before
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_merge_can_be_stopped_between_steps(tmp_path: Path) -> None:
    three_writes(tmp_path)
    before = files(tmp_path)
    (folder,) = Dataset(tmp_path).partitions()
    with pytest.raises(compaction.MergeCancelled):
        merge(
            Dataset(tmp_path),
            stored_files(folder, "update"),
            on_conflict="update",
            stopping=lambda: True,
        )
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
