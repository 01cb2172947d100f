"""The Parquet sink: what readers see of it, whatever happens to it."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest

from pointgate import failpoint
from pointgate.sinks.base import SinkRefusedError, SinkUnavailableError
from pointgate.sinks.parquet.sink import ParquetSink
from pointgate.store.points import SCHEMA
from tests.support.paths import ROOT
from tests.support.point_tables import DAY, Point, columns_of, table

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from pointgate.sinks.settings import OnConflict

EVERY_TYPE = [
    Point(time=1, double=21.5, quality=3, received=5),
    Point(time=2, long=-(2**62), received=5),
    Point(time=DAY, boolean=False, received=5),
    Point(time=DAY - 1, text='"é\n', received=5),
    Point(device="ünit", identifier="a b", time=7, json='{"a": [1,\n2]}', received=6),
    Point(product="wind", time=253402300799999, double=1e300, received=6),
]

WRITER = """
import asyncio, sys
from pathlib import Path
from pointgate.sinks.parquet.sink import ParquetSink
from tests.sinks.parquet.test_sink import series

async def main() -> None:
    sink = ParquetSink(name="parquet", path=Path(sys.argv[1]), on_conflict="update")
    await sink.open()
    for sequence in range(1, int(sys.argv[2]) + 1):
        await sink.write(series(sequence), sequence=sequence)
        print(sequence, flush=True)
    await sink.close()

asyncio.run(main())
"""
"""A process that writes, and says what it has written."""

READERS: dict[str, Callable[[Path], pa.Table]] = {
    "duckdb": lambda path: duckdb.read_parquet(
        f"{path}/**/*.parquet", hive_partitioning=True
    ).to_arrow_table(),
    "polars": lambda path: (
        pl.scan_parquet(f"{path}/**/*.parquet", hive_partitioning=True).collect().to_arrow()
    ),
    "polars folder": lambda path: pl.scan_parquet(path).collect().to_arrow(),
    "pyarrow dataset": lambda path: pads.dataset(path, partitioning="hive").to_table(),
    "pyarrow table": pq.read_table,
}


def series(sequence: int) -> pa.Table:
    """Points of one write, which no other one has, on three days."""
    return table(
        Point(device=f"d{sequence}", time=index * DAY // 100, double=index + sequence / 100)
        for index in range(300)
    )


def read(path: Path) -> list[dict[str, Any]]:
    return columns_of(READERS["duckdb"](path))


def files(path: Path) -> list[str]:
    return sorted(str(file.relative_to(path)) for file in path.rglob("*.parquet"))


def leftovers(path: Path) -> list[str]:
    return [file.name for file in path.rglob("*.tmp")]


@contextlib.asynccontextmanager
async def opened(path: Path, on_conflict: OnConflict = "update") -> AsyncIterator[ParquetSink]:
    sink = ParquetSink(name="parquet", path=path, on_conflict=on_conflict)
    try:
        await sink.open()
        yield sink
    finally:
        await sink.close()


@pytest.mark.parametrize("reader", READERS)
async def test_every_reader_gets_what_was_written(tmp_path: Path, reader: str) -> None:
    points = table(EVERY_TYPE)
    async with opened(tmp_path / "points") as sink:
        await sink.write(points, sequence=1)
        got = READERS[reader](tmp_path / "points")
    assert columns_of(got) == columns_of(points)
    assert {str(day) for day in got["date"].to_pylist()} == {
        "1970-01-01",
        "1970-01-02",
        "9999-12-31",
    }


async def test_files_have_the_columns_of_points_with_plain_strings(tmp_path: Path) -> None:
    async with opened(tmp_path / "points") as sink:
        await sink.write(table(EVERY_TYPE), sequence=1)
    for file in files(tmp_path / "points"):
        schema = pq.read_schema(tmp_path / "points" / file)
        plain = [
            pa.field(field.name, pa.string(), nullable=False)
            if pa.types.is_dictionary(field.type)
            else field
            for field in SCHEMA
            if field.name != "product"
        ]
        assert schema == pa.schema(plain)


@pytest.mark.parametrize(
    "product",
    [
        "a/b",
        "50%",
        "..",
        ".",
        "é",
        "日本",
        "a b",
        "a=b",
        "x" * 200,
        "null",
        "'",
        "\\",
        "a\nb",
        "007",
    ],
)
async def test_odd_product_keys_are_read_back_exactly(tmp_path: Path, product: str) -> None:
    async with opened(tmp_path / "points") as sink:
        await sink.write(table([Point(product=product), Point(product="other")]), sequence=1)
    for reader in READERS.values():
        assert set(reader(tmp_path / "points")["product"].to_pylist()) == {product, "other"}


async def test_a_product_key_of_digits_stays_text_for_duckdb_and_where_a_schema_says_so(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as sink:
        await sink.write(table([Point(product="007")]), sequence=1)
    assert READERS["duckdb"](tmp_path)["product"].to_pylist() == ["007"]
    types = pa.schema([("product", pa.string()), ("date", pa.date32())])
    dataset = pads.dataset(tmp_path, partitioning=pads.partitioning(types, flavor="hive"))
    assert dataset.to_table()["product"].to_pylist() == ["007"]
    assert dataset.to_table()["date"].to_pylist() == [dt.date(1970, 1, 1)]


async def test_the_name_that_readers_reserve_is_a_product_for_duckdb(tmp_path: Path) -> None:
    async with opened(tmp_path) as sink:
        await sink.write(table([Point(product="__HIVE_DEFAULT_PARTITION__")]), sequence=1)
    assert READERS["duckdb"](tmp_path)["product"].to_pylist() == ["__HIVE_DEFAULT_PARTITION__"]


async def test_a_product_key_that_no_file_system_takes_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path / "points") as sink:
        with pytest.raises(SinkRefusedError, match="too long"):
            await sink.write(table([Point(), Point(product="é" * 100)]), sequence=1)
        assert (files(tmp_path), leftovers(tmp_path)) == ([], [])
        await sink.write(table([Point()]), sequence=1)
    assert len(read(tmp_path / "points")) == 1


@pytest.mark.parametrize(("on_conflict", "kept"), [("update", 2.0), ("ignore", 0.0)])
async def test_of_one_write_the_last_or_the_first_of_a_key_stays(
    tmp_path: Path, on_conflict: OnConflict, kept: float
) -> None:
    async with opened(tmp_path, on_conflict) as sink:
        await sink.write(table(Point(double=float(value)) for value in range(3)), sequence=1)
    assert [row["value_double"] for row in read(tmp_path)] == [kept]


async def test_a_write_that_comes_again_is_the_same_files(tmp_path: Path) -> None:
    async with opened(tmp_path) as sink:
        await sink.write(table(EVERY_TYPE), sequence=1)
        before = files(tmp_path)
        await sink.write(table(EVERY_TYPE), sequence=1)
    async with opened(tmp_path) as sink:
        await sink.write(table(EVERY_TYPE), sequence=1)
    assert files(tmp_path) == before
    assert len(before) == 3


async def test_another_write_of_the_same_sequence_takes_nothing_away(tmp_path: Path) -> None:
    """As it is when the spool was deleted, and sequences start anew."""
    async with opened(tmp_path) as sink:
        await sink.write(table([Point(device="old")]), sequence=1)
        await sink.write(table([Point(device="new")]), sequence=1)
    assert [row["device"] for row in read(tmp_path)] == ["new", "old"]


async def test_the_documented_query_gives_the_newest_of_each_point(tmp_path: Path) -> None:
    async with opened(tmp_path) as sink:
        for sequence in (9, 10, 100):
            await sink.write(
                table([Point(double=float(sequence)), Point(time=5)]), sequence=sequence
            )
    query = """
        SELECT value_double
        FROM read_parquet(?, hive_partitioning = true, filename = true)
        QUALIFY row_number() OVER (
            PARTITION BY product, device, identifier, time ORDER BY filename DESC) = 1
        ORDER BY time"""
    assert duckdb.execute(query, [f"{tmp_path}/**/*.parquet"]).fetchall() == [(100.0,), (None,)]


async def test_an_empty_write_makes_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as sink:
        await sink.write(table([]), sequence=1)
    assert files(tmp_path) == []


async def test_tables_of_many_batches_with_their_own_names_are_one_write(tmp_path: Path) -> None:
    parts = [table([Point(device=f"d{n}"), Point(product=f"p{n % 2}")]) for n in range(5)]
    async with opened(tmp_path) as sink:
        await sink.write(pa.concat_tables(parts), sequence=1)
    assert len(files(tmp_path)) == 3
    assert len(read(tmp_path)) == 5 + 2


async def test_devices_of_others_are_not_named_in_a_file(tmp_path: Path) -> None:
    points = [Point(device=f"neighbour{n}", product="other", time=n) for n in range(10)]
    async with opened(tmp_path) as sink:
        await sink.write(table([*points, Point()]), sequence=1)
    _, mine = files(tmp_path)
    assert mine.startswith("product=solar")
    assert b"neighbour" not in (tmp_path / mine).read_bytes()


async def test_a_year_of_days_is_one_write(tmp_path: Path) -> None:
    points = table(Point(time=day * DAY, double=float(day)) for day in range(365))
    async with opened(tmp_path) as sink:
        await sink.write(points, sequence=1)
    assert len(files(tmp_path)) == 365
    assert columns_of(points) == read(tmp_path)


async def test_nothing_is_seen_before_the_rename_and_nothing_blocks_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, list[int]] = {}
    threads: set[threading.Thread] = set()

    def look(name: str) -> None:
        threads.add(threading.current_thread())
        readers = [reader for key, reader in READERS.items() if key != "polars folder"]
        seen[name] = [reader(tmp_path).num_rows for reader in readers]

    async with opened(tmp_path) as sink:
        await sink.write(table([Point()]), sequence=1)
        monkeypatch.setattr(failpoint, "hit", look)
        await sink.write(table(EVERY_TYPE), sequence=2)
    assert seen == {"sink-before-rename": [1] * 4, "sink-after-rename": [7] * 4}
    assert threading.main_thread() not in threads


async def test_a_cancelled_write_ends_before_the_dataset_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    reached, go_on = asyncio.Event(), threading.Event()

    def wait(name: str) -> None:
        if name == "sink-before-rename":
            loop.call_soon_threadsafe(reached.set)
            go_on.wait(10)

    monkeypatch.setattr(failpoint, "hit", wait)
    async with opened(tmp_path) as sink:
        write = asyncio.create_task(sink.write(table([Point()]), sequence=1))
        await reached.wait()
        write.cancel()
        with pytest.raises(asyncio.CancelledError):
            await write
        go_on.set()
    assert len(read(tmp_path)) == 1
    assert leftovers(tmp_path) == []


async def test_one_process_writes_to_a_dataset_at_a_time(tmp_path: Path) -> None:
    async with opened(tmp_path):
        second = ParquetSink(name="second", path=tmp_path, on_conflict="update")
        with pytest.raises(SinkUnavailableError, match="another process writes to "):
            await second.open()
        await second.close()
    async with opened(tmp_path) as sink:
        await sink.write(table([Point()]), sequence=1)


async def test_a_path_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "points").touch()
    sink = ParquetSink(name="parquet", path=tmp_path / "points", on_conflict="update")
    with pytest.raises(SinkUnavailableError, match=f"cannot write to {tmp_path}/points: "):
        await sink.open()
    await sink.close()


async def test_a_dataset_that_was_removed_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "points"
    async with opened(path) as sink:
        await sink.write(table([Point()]), sequence=1)
        shutil.rmtree(path)
        with contextlib.suppress(SinkUnavailableError):
            await sink.write(table([Point()]), sequence=2)
        await sink.write(table([Point()]), sequence=2)
        assert len(read(path)) == 1


@pytest.mark.parametrize("error", ["fsync", "rename"])
async def test_a_failing_disk_leaves_nothing_torn_and_is_no_error_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    async with opened(tmp_path) as sink:
        await sink.write(table([Point()]), sequence=1)
        with monkeypatch.context() as patch:
            patch.setattr("os.fsync" if error == "fsync" else "pathlib.Path.replace", fail)
            with pytest.raises(SinkUnavailableError, match="input/output error"):
                await sink.write(table(EVERY_TYPE), sequence=2)
        assert len(read(tmp_path)) == 1
        assert leftovers(tmp_path) == []
        await sink.write(table(EVERY_TYPE), sequence=2)
    assert len(read(tmp_path)) == 7


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of half a megabyte."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "none", str(path)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a file system is not permitted")
    yield path
    subprocess.run(["umount", path], check=True)


async def test_a_full_disk_is_waited_for(small_disk: Path) -> None:
    path = small_disk / "points"
    ballast = small_disk / "ballast"
    noise = random.Random(1)  # noqa: S311 - no secret
    points = table(Point(time=n, text=noise.randbytes(32).hex()) for n in range(6000))
    async with opened(path) as sink:
        await sink.write(table([Point(device="before")]), sequence=1)
        ballast.write_bytes(bytes(400 * 1024))
        for _ in range(3):
            with pytest.raises(SinkUnavailableError, match=r"cannot write to .*: no space left"):
                await sink.write(points, sequence=2)
            assert len(read(path)) == 1
            assert leftovers(path) == []
        ballast.unlink()
        await sink.write(points, sequence=2)
    assert len(read(path)) == 6001


def run_writer(path: Path, writes: int, **environ: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, path, str(writes)],
        env=os.environ | environ,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


async def check_after_crash(path: Path, written: int, writes: int) -> None:
    """What was written is there; the rest comes again, and then all is there once."""
    devices = [row["device"] for row in read(path)] if files(path) else []
    for sequence in range(1, written + 1):
        assert devices.count(f"d{sequence}") == 300
    async with opened(path) as sink:
        assert leftovers(path) == []
        for sequence in range(written + 1, writes + 1):
            await sink.write(series(sequence), sequence=sequence)
    expected = pa.concat_tables(series(sequence) for sequence in range(1, writes + 1))
    assert read(path) == columns_of(expected)


@pytest.mark.parametrize("place", ["sink-before-rename", "sink-after-rename"])
async def test_a_crash_at_the_rename_loses_nothing_and_doubles_nothing(
    tmp_path: Path, place: str
) -> None:
    with run_writer(tmp_path, 3, POINTGATE_FAILPOINT=f"{place}:2") as writer:
        output, _ = writer.communicate()
    assert writer.returncode == -signal.SIGKILL
    assert output == "1\n"
    assert bool(leftovers(tmp_path)) == (place == "sink-before-rename")
    await check_after_crash(tmp_path, written=1, writes=3)


@pytest.mark.parametrize("seed", range(4))
async def test_a_crash_at_any_moment_loses_nothing_and_doubles_nothing(
    tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 - no secret
    written = 0
    with run_writer(tmp_path, 40) as writer:
        assert writer.stdout is not None
        for line in writer.stdout:
            written = int(line)
            if written == 5 + seed:
                # Some way into one of the next writes.
                kill = threading.Timer(chance.random() * 0.05, writer.kill)
                kill.start()
    assert writer.returncode in {0, -signal.SIGKILL}
    await check_after_crash(tmp_path, written, writes=min(written + 2, 40))
