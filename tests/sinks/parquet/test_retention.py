"""Retention: what is older than `keep` goes, and nothing else."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow.dataset as pads
import pytest
from pydantic import ValidationError

from pointgate.sinks.parquet.dataset import Dataset
from pointgate.sinks.parquet.settings import ParquetSettings
from pointgate.sinks.parquet.sink import ParquetSink
from tests.support.parquet_dataset import compacted, store, write
from tests.support.patience import PATIENCE
from tests.support.point_tables import DAY, Point, table

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 86_400
NOVEMBER_10 = int(datetime(2026, 11, 10, tzinfo=UTC).timestamp())


class Clock:
    """A clock that is set by hand."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def day(number: int) -> int:
    """Noon of a day of November 2026, or of the months before."""
    return (NOVEMBER_10 + (number - 10) * SECONDS + SECONDS // 2) * 1000


def points(*days: int) -> Any:
    return table(Point(time=day(number), double=1.0) for number in days)


def folders(path: Path) -> list[str]:
    return sorted(found.name for found in path.glob("*=*"))


def reopen(path: Path, clock: Clock, *, writer: str = "live", **options: Any) -> None:
    async def run() -> None:
        settings = ParquetSettings(path=path, **options)
        sink = ParquetSink(settings, clock=clock, writer=writer)
        await sink.open()
        await sink.close()

    asyncio.run(run())


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Ten days."""
    path = tmp_path / "points"
    write(path, points(*range(1, 11)), points(1, 2))
    return path


def test_days_that_are_wholly_older_go_when_the_service_starts(
    dataset: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    reopen(dataset, Clock(NOVEMBER_10 - 1), keep=7 * SECONDS)
    assert folders(dataset)[0] == "date=2026-11-02"
    reopen(dataset, Clock(NOVEMBER_10), keep=7 * SECONDS)
    assert folders(dataset) == [f"date=2026-11-{number:02}" for number in range(3, 11)]
    assert pads.dataset(dataset, partitioning="hive").count_rows() == 8
    lines = [record.message for record in caplog.records]
    assert [line.split(" MB")[0].rpartition(",")[0] for line in lines] == [
        "retention: 1 partition (date=2026-11-01 to date=2026-11-01) of 2 files",
        "retention: 1 partition (date=2026-11-02 to date=2026-11-02) of 2 files",
    ]


def test_without_keep_everything_stays(dataset: Path) -> None:
    before = folders(dataset)
    reopen(dataset, Clock(NOVEMBER_10 * 2))
    assert folders(dataset) == before


def test_an_import_deletes_nothing(dataset: Path) -> None:
    before = folders(dataset)
    reopen(dataset, Clock(NOVEMBER_10), writer="import-x", keep=SECONDS)
    assert folders(dataset) == before


def test_months_go_when_they_are_over_for_so_long(tmp_path: Path) -> None:
    path = tmp_path / "points"
    write(path, points(-60, -20, 1), partition="month")  # August, October, November
    keep = 20 * SECONDS
    reopen(path, Clock(NOVEMBER_10), keep=keep, partition="month")
    assert folders(path) == ["month=2026-10", "month=2026-11"]
    reopen(path, Clock(NOVEMBER_10 + 11 * SECONDS), keep=keep, partition="month")
    assert folders(path) == ["month=2026-11"]


def test_files_of_others_and_folders_without_a_date_stay(dataset: Path) -> None:
    for name in ("date=2026-11-01", "date=2000-99-99", "date=", "other=2000-01-01"):
        (dataset / name).mkdir(exist_ok=True)
        (dataset / name / "mine.parquet").touch()
    reopen(dataset, Clock(NOVEMBER_10), keep=SECONDS)
    assert [path.name for path in (dataset / "date=2026-11-01").iterdir()] == ["mine.parquet"]
    assert (dataset / "date=2000-99-99/mine.parquet").exists()
    assert "date=2026-11-02" not in folders(dataset)


def test_nothing_goes_if_nothing_was_stored_for_so_long(dataset: Path) -> None:
    before = folders(dataset)
    keep = 7 * SECONDS
    for name in before:
        os.utime(dataset / name, (NOVEMBER_10, NOVEMBER_10))
    reopen(dataset, Clock(NOVEMBER_10 + keep), keep=keep)
    assert folders(dataset) == before
    os.utime(dataset / before[0], (NOVEMBER_10 + 1, NOVEMBER_10 + 1))
    reopen(dataset, Clock(NOVEMBER_10 + keep), keep=keep)
    assert folders(dataset) == before[9:]


async def test_it_waits_for_a_commit_and_for_compaction_and_then_writes_go_on(
    tmp_path: Path,
) -> None:
    clock, path = Clock(NOVEMBER_10), tmp_path / "points"
    sink = ParquetSink(ParquetSettings(path=path, keep=5 * SECONDS), clock=clock)
    await sink.open()
    await store(sink, points(6, 9), sequence=1)
    await sink.write(points(6), sequence=2)
    sink._flush()
    assert not await sink.expire()
    await sink.commit()
    clock.now += 2 * SECONDS
    with Dataset(path).locked("compaction", wait=True):
        assert not await sink.expire()
    assert await sink.expire()
    assert folders(path) == ["date=2026-11-09"]
    await store(sink, points(6, 9), sequence=3)
    await sink.close()
    assert folders(path) == ["date=2026-11-06", "date=2026-11-09"]
    assert pads.dataset(path, partitioning="hive").count_rows() == 3


_SERVICE = f"""
import asyncio, pathlib, sys
from pointgate.sinks.parquet.settings import ParquetSettings
from pointgate.sinks.parquet.sink import ParquetSink
settings = ParquetSettings(path=pathlib.Path(sys.argv[1]), keep={7 * SECONDS})
asyncio.run(ParquetSink(settings, clock=lambda: {NOVEMBER_10}).open())
"""


@pytest.mark.parametrize("times", [1, 2, 3, 4])
def test_what_a_crash_leaves_goes_the_next_time(dataset: Path, times: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SERVICE, str(dataset)],
        env=os.environ | {"POINTGATE_FAILPOINT": f"retention-before-delete:{times}"},
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == -signal.SIGKILL
    assert pads.dataset(dataset, partitioning="hive").count_rows() == 13 - times
    reopen(dataset, Clock(NOVEMBER_10), keep=7 * SECONDS)
    assert folders(dataset) == [f"date=2026-11-{number:02}" for number in range(3, 11)]
    assert pads.dataset(dataset, partitioning="hive").count_rows() == 8


def test_days_that_were_just_merged_wait(dataset: Path) -> None:
    compacted(dataset, grace=600.0)
    reopen(dataset, Clock(NOVEMBER_10), keep=SECONDS)
    assert folders(dataset)[0] == "date=2026-11-01"


@pytest.mark.parametrize("keep", ["1h", 86_399, "0d", -1, "40000d", "forever", True])
def test_a_keep_that_makes_no_sense_is_refused(tmp_path: Path, keep: object) -> None:
    with pytest.raises(ValidationError, match="keep"):
        ParquetSettings.model_validate({"path": tmp_path, "keep": keep})


def test_a_day_is_the_partition_of_its_utc_time() -> None:
    assert day(10) // DAY == NOVEMBER_10 // SECONDS
