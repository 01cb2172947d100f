"""Who merges, and when: the sink in the background, and `pointgate compact`."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from pointgate.sinks.parquet import compaction, maintenance
from pointgate.sinks.parquet.compaction import FAN_IN
from pointgate.sinks.parquet.dataset import Dataset
from pointgate.sinks.parquet.sink import ParquetSink
from tests.support.parquet_dataset import compacted, files, pointgate, read, three_writes, write
from tests.support.paths import ROOT
from tests.support.point_tables import Point, table

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
async def merged(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set when a merge in the background has ended."""
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    merge = compaction.merge

    def told(*arguments: Any, **options: Any) -> None:
        try:
            merge(*arguments, **options)
        finally:
            loop.call_soon_threadsafe(event.set)

    monkeypatch.setattr(maintenance, "merge", told)
    # At the lowest priority it may wait for ever on a machine that is busy: that is meant there.
    monkeypatch.setattr(maintenance, "_lower_priority", lambda: None)
    return event


async def test_files_are_merged_in_the_background(tmp_path: Path, merged: asyncio.Event) -> None:
    sink = ParquetSink(name="parquet", path=tmp_path, on_conflict="update")
    await sink.open()
    for sequence in range(1, FAN_IN + 1):
        await sink.write(table([Point(time=sequence), Point(device="same")]), sequence=sequence)
    await merged.wait()
    await sink.close()
    assert len(files(tmp_path)) == 1
    assert len(read(tmp_path)) == FAN_IN + 1


async def test_what_an_earlier_process_left_is_merged_after_the_start(
    tmp_path: Path, merged: asyncio.Event
) -> None:
    await asyncio.to_thread(write, tmp_path, *(table([Point(time=n)]) for n in range(FAN_IN)))
    sink = ParquetSink(name="parquet", path=tmp_path, on_conflict="update")
    await sink.open()
    await merged.wait()
    await sink.close()
    assert len(files(tmp_path)) == 1


async def test_a_damaged_file_is_logged_and_the_sink_goes_on(
    tmp_path: Path, merged: asyncio.Event, caplog: pytest.LogCaptureFixture
) -> None:
    await asyncio.to_thread(write, tmp_path, *(table([Point(time=n)]) for n in range(FAN_IN)))
    damaged = files(tmp_path)[3]
    (folder,) = Dataset(tmp_path).partitions()
    (folder / damaged).write_bytes(b"PAR1")
    sink = ParquetSink(name="parquet", path=tmp_path, on_conflict="update")
    await sink.open()
    await merged.wait()
    await sink.write(table([Point(time=99)]), sequence=99)
    await sink.close()
    assert f"cannot read {damaged}" in caplog.text
    assert len(files(tmp_path)) == FAN_IN + 1


async def test_what_ends_the_sink_gives_up_a_merge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.to_thread(write, tmp_path, *(table([Point(time=n)]) for n in range(FAN_IN)))
    loop = asyncio.get_running_loop()
    begun, merge = asyncio.Event(), compaction.merge

    def held(*arguments: Any, stopping: Callable[[], bool], **options: Any) -> None:
        loop.call_soon_threadsafe(begun.set)
        while not stopping():
            pass
        merge(*arguments, stopping=stopping, **options)

    monkeypatch.setattr(maintenance, "merge", held)
    sink = ParquetSink(name="parquet", path=tmp_path, on_conflict="update")
    await sink.open()
    await begun.wait()
    await sink.write(table([Point(time=99)]), sequence=99)
    await sink.close()
    assert len(files(tmp_path)) == FAN_IN + 1


def test_a_damaged_file_is_named_and_stops_no_other_folder(tmp_path: Path) -> None:
    write(
        tmp_path, table([Point(), Point(product="wind")]), table([Point(), Point(product="wind")])
    )
    *_, damaged = sorted(tmp_path.glob("product=solar/*/*.parquet"))
    damaged.write_bytes(damaged.read_bytes()[:100])
    done = pointgate("compact", tmp_path, "--json")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert (report["folders"], report["merged"], report["duplicates"]) == (2, 1, 1)
    (problem,) = report["problems"]
    assert f"product=solar/date=1970-01-01: cannot read {damaged.name}: " in problem
    assert len(files(tmp_path)) == 3
    done = pointgate("compact", tmp_path)
    assert (done.returncode, done.stdout.count("\n")) == (1, 2)


def test_the_command_merges_while_a_service_writes(tmp_path: Path) -> None:
    async def run() -> subprocess.CompletedProcess[str]:
        sink = ParquetSink(name="parquet", path=tmp_path, on_conflict="update")
        await sink.open()
        await sink.write(table([Point(double=1.0)]), sequence=1)
        await sink.write(table([Point(double=2.0)]), sequence=2)
        compacting = asyncio.create_task(asyncio.to_thread(pointgate, "compact", tmp_path))
        sequence = 2
        while not compacting.done():
            sequence += 1
            await sink.write(
                table([Point(double=float(sequence)), Point(time=1)]), sequence=sequence
            )
        await sink.close()
        return await compacting

    done = asyncio.run(run())
    assert done.returncode == 0
    assert "1 of 1 days of products merged" in done.stdout
    compacted(tmp_path)
    assert len(read(tmp_path)) == 2


def test_the_command_says_what_it_did(tmp_path: Path) -> None:
    three_writes(tmp_path)
    done = pointgate("compact", tmp_path)
    assert done.returncode == 0
    assert "3 files into 1" in done.stdout
    assert "40 of 90 points removed" in done.stdout
    assert done.stderr == ""


def test_the_command_keeps_to_what_the_sink_was_told(tmp_path: Path) -> None:
    writes = [table([Point(double=float(value))]) for value in range(3)]
    write(tmp_path, *writes, on_conflict="ignore")
    assert pointgate("compact", tmp_path).returncode == 0
    assert [row["value_double"] for row in read(tmp_path)] == [0.0]


def test_the_command_refuses_what_is_no_folder(tmp_path: Path) -> None:
    done = pointgate("compact", tmp_path / "nothing")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith(
        "expected the folder of a parquet sink, got nothing: no such folder\n"
    )


@pytest.mark.parametrize("name", ["empty", "files", "product=solar", "date=2026-01-01"])
def test_the_command_refuses_a_folder_that_is_no_dataset(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "product=1.parquet.txt").touch()
    (tmp_path / "files" / "a.parquet").touch()
    (tmp_path / "product=solar" / "date=2026-01-01").mkdir(parents=True)
    (tmp_path / "date=2026-01-01").mkdir()
    before = sorted(tmp_path.rglob("*"))
    done = pointgate("compact", tmp_path / name)
    assert (done.returncode, done.stdout) == (2, "")
    assert "expected the folder of a parquet sink, got a folder without any product=" in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_a_dataset_without_points_is_compact(tmp_path: Path) -> None:
    Dataset(tmp_path).create()
    assert pointgate("compact", tmp_path).returncode == 0


def test_the_command_waits_for_another_one(tmp_path: Path) -> None:
    three_writes(tmp_path)
    with Dataset(tmp_path).locked("compaction", wait=False):
        waiting = subprocess.Popen(
            [sys.executable, "-m", "pointgate", "compact", tmp_path],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert waiting.stderr is not None
        assert "waiting for another process that is merging" in waiting.stderr.readline()
        assert len(files(tmp_path)) == 3
    output, _ = waiting.communicate(timeout=30)
    assert waiting.returncode == 0
    assert "3 files into 1" in output
