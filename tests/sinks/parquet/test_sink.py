"""The Parquet sink: what readers see of it, whatever happens to it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest

from pointgate import __version__, failpoint
from pointgate.sinks.base import SinkUnavailableError
from pointgate.sinks.parquet.files import APPENDS
from pointgate.sinks.parquet.settings import ParquetSettings
from pointgate.store.points import SCHEMA
from tests.support.parquet_dataset import leftovers, new_sink, store
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE
from tests.support.point_tables import DAY, EVERY_TYPE, Point, columns_of, table

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from pointgate.sinks.parquet.sink import ParquetSink
    from pointgate.sinks.settings import OnConflict

WRITER = """
import asyncio, sys
from pathlib import Path
from tests.sinks.parquet.test_sink import series
from tests.support.parquet_dataset import new_sink, store

async def main() -> None:
    sink = new_sink(Path(sys.argv[1]))
    await sink.open()
    for sequence in range(1, int(sys.argv[2]) + 1):
        await store(sink, series(sequence), sequence=sequence)
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


@contextlib.asynccontextmanager
async def opened(path: Path, **options: Any) -> AsyncIterator[ParquetSink]:
    sink = new_sink(path, **options)
    try:
        await sink.open()
        yield sink
    finally:
        await sink.close()


@pytest.mark.parametrize("reader", READERS)
async def test_every_reader_gets_what_was_written(tmp_path: Path, reader: str) -> None:
    points = table(EVERY_TYPE)
    async with opened(tmp_path / "points") as sink:
        await store(sink, points, sequence=1)
        got = READERS[reader](tmp_path / "points")
    assert columns_of(got) == columns_of(points)
    assert {str(day) for day in got["date"].to_pylist()} == {
        "1970-01-01",
        "1970-01-02",
        "9999-12-31",
    }


async def test_files_have_the_columns_of_points_with_plain_strings(tmp_path: Path) -> None:
    async with opened(tmp_path / "points") as sink:
        await store(sink, table(EVERY_TYPE), sequence=1)
    for file in files(tmp_path / "points"):
        schema = pq.read_schema(tmp_path / "points" / file)
        plain = [
            pa.field(field.name, pa.string(), nullable=False)
            if pa.types.is_dictionary(field.type)
            else field
            for field in SCHEMA
        ]
        assert schema == pa.schema([*plain[:4], pa.field("value", pa.float64()), *plain[4:]])


async def test_a_file_says_who_has_written_it(tmp_path: Path) -> None:
    async with opened(tmp_path, on_conflict="ignore") as sink:
        for sequence in (1, 2):
            await store(sink, table([Point(time=sequence)]), sequence=sequence)
    (file,) = files(tmp_path)
    metadata = pq.read_metadata(tmp_path / file)
    assert metadata.metadata == {
        b"pointgate.format": b"2",
        b"pointgate.version": __version__.encode(),
        b"pointgate.on_conflict": b"ignore",
    }
    columns = [one.column_index for one in metadata.row_group(1).sorting_columns]
    assert columns == [0, 1, 2, 3]


async def test_numbers_and_booleans_are_in_one_column(tmp_path: Path) -> None:
    points = [
        Point(time=1, double=1.5),
        Point(time=2, long=3),
        Point(time=3, long=2**62),
        Point(time=4, boolean=True),
        Point(time=5, text="x"),
        Point(time=6, json="[1]"),
    ]
    async with opened(tmp_path) as sink:
        await store(sink, table(points), sequence=1)
    assert last_values(tmp_path) == [1.5, 3.0, 2.0**62, 1.0, None, None]


@pytest.mark.parametrize(
    "product",
    [
        *("a/b", "50%", "..", "é", "a=b", "x" * 200, "null", "\\", "a\nb", "007", "1e3"),
        "__HIVE_DEFAULT_PARTITION__",
    ],
)
async def test_product_keys_are_texts_for_every_reader(tmp_path: Path, product: str) -> None:
    async with opened(tmp_path / "points") as sink:
        await store(sink, table([Point(product=product), Point(product="other")]), sequence=1)
    for reader in READERS.values():
        assert set(reader(tmp_path / "points")["product"].to_pylist()) == {product, "other"}


async def test_many_products_are_one_file(tmp_path: Path) -> None:
    points = table(Point(product=f"p{number}") for number in range(1000))
    async with opened(tmp_path) as sink:
        await store(sink, points, sequence=1)
    assert len(files(tmp_path)) == 1
    assert len(read(tmp_path)) == 1000


@pytest.mark.parametrize(("on_conflict", "kept"), [("update", 2.0), ("ignore", 0.0)])
async def test_of_one_write_the_last_or_the_first_of_a_key_stays(
    tmp_path: Path, on_conflict: OnConflict, kept: float
) -> None:
    async with opened(tmp_path, on_conflict=on_conflict) as sink:
        await store(sink, table(Point(double=float(value)) for value in range(3)), sequence=1)
    assert [row["value_double"] for row in read(tmp_path)] == [kept]


async def test_a_dataset_knows_what_is_committed(tmp_path: Path) -> None:
    assert new_sink(tmp_path / "missing").newest() == 0
    async with opened(tmp_path) as sink:
        await sink.write(table([Point()]), sequence=7)
        assert sink.newest() == 0
        await sink.commit()
        assert sink.newest() == 7
        await store(sink, table([Point(time=1)]), sequence=9)
    assert new_sink(tmp_path).newest() == 9


async def test_what_was_not_committed_is_gone(tmp_path: Path) -> None:
    async with opened(tmp_path) as sink:
        await store(sink, table([Point()]), sequence=1)
        await sink.write(table([Point(time=1)]), sequence=2)
    async with opened(tmp_path) as sink:
        assert sink.newest() == 1
    assert len(read(tmp_path)) == 1
    assert leftovers(tmp_path) == []


async def test_an_import_takes_no_sequence_of_the_service(tmp_path: Path) -> None:
    async with opened(tmp_path) as sink:
        await store(sink, table([Point(double=1.0, received=1)]), sequence=5)
    imported = new_sink(tmp_path, writer="import")
    await imported.open()
    await store(imported, table([Point(double=2.0, received=2)]), sequence=10**6)
    await imported.close()
    async with opened(tmp_path) as sink:
        assert sink.newest() == 5
        await store(sink, table([Point(double=3.0, received=3)]), sequence=6)
    assert last_values(tmp_path) == [3.0]


async def test_the_documented_query_gives_the_last_value_of_several_datasets(
    tmp_path: Path,
) -> None:
    """The name of the folder decides nothing: `imported` is before `points`, and later."""
    for folder, value, received in (("points", 1.0, 1), ("imported", 2.0, 2)):
        async with opened(tmp_path / folder) as sink:
            point = Point(double=value, received=received)
            await store(sink, table([point, Point(time=5, received=received)]), sequence=1)
    assert last_values(tmp_path) == [2.0, None]


def last_values(path: Path) -> list[float | None]:
    """The value of each point, as the documentation says."""
    query = """
        SELECT value FROM read_parquet(?)
        QUALIFY row_number() OVER (
            PARTITION BY product, device, identifier, time ORDER BY received DESC) = 1
        ORDER BY time"""
    return [value for (value,) in duckdb.execute(query, [f"{path}/**/*.parquet"]).fetchall()]


async def test_a_file_grows_and_every_former_version_is_the_beginning_of_it(tmp_path: Path) -> None:
    versions: list[bytes] = []
    async with opened(tmp_path) as sink:
        for sequence in range(1, 6):
            await store(sink, table(series_of(sequence)), sequence=sequence)
            (file,) = files(tmp_path)
            versions.append((tmp_path / file).read_bytes())
    for number, version in enumerate(versions, 1):
        assert versions[-1].startswith(version)
        assert pq.read_table(pa.BufferReader(version)).num_rows == 10 * number
        for reader in READERS.values():
            assert reader(tmp_path).num_rows == 50


def series_of(sequence: int) -> list[Point]:
    return [Point(device=f"d{sequence}", time=time, double=1.5) for time in range(10)]


async def test_a_reader_who_opened_a_file_before_it_grew_goes_on(tmp_path: Path) -> None:
    async with opened(tmp_path) as sink:
        await store(sink, table(series_of(1)), sequence=1)
        (file,) = files(tmp_path)
        old = pq.read_metadata(tmp_path / file)
        with (tmp_path / file).open("rb") as before:
            await store(sink, table(series_of(2)), sequence=2)
            assert pq.read_table(before).num_rows == 10
        with pq.ParquetFile(tmp_path / file, metadata=old) as opened_twice:
            assert opened_twice.read().num_rows == 10


@pytest.mark.parametrize("how", ["grow = false", "restart", "replaced", "appends"])
async def test_a_file_that_may_not_grow_gets_a_neighbour(tmp_path: Path, how: str) -> None:
    options: dict[str, Any] = {"grow": False} if how == "grow = false" else {}
    async with opened(tmp_path, **options) as sink:
        await store(sink, table(series_of(0)), sequence=1)
        (first,) = files(tmp_path)
        if how == "replaced":
            (tmp_path / "copy").write_bytes((tmp_path / first).read_bytes())
            (tmp_path / "copy").replace(tmp_path / first)
        if how == "appends":
            for sequence in range(2, APPENDS + 1):
                await store(sink, table(series_of(sequence)), sequence=sequence)
        if how != "restart":
            await store(sink, table(series_of(100)), sequence=100)
    if how == "restart":
        async with opened(tmp_path) as sink:
            await store(sink, table(series_of(100)), sequence=100)
    assert len(files(tmp_path)) == 2
    assert len(read(tmp_path)) == 10 * (APPENDS + 1 if how == "appends" else 2)


async def test_a_month_can_be_a_folder(tmp_path: Path) -> None:
    times = [0, 31 * DAY - 1, 31 * DAY, 253402300799999]
    async with opened(tmp_path, partition="month") as sink:
        await store(sink, table(Point(time=time) for time in times), sequence=1)
    assert [Path(file).parent.name for file in files(tmp_path)] == [
        "month=1970-01",
        "month=1970-02",
        "month=9999-12",
    ]
    assert len(read(tmp_path)) == 4
    settings = ParquetSettings(path=tmp_path)
    assert settings.mistake == f'{tmp_path} has folders month=…: expected partition = "month"'


def test_the_former_layout_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "product=a" / "date=2026-11-23").mkdir(parents=True)
    assert ParquetSettings(path=tmp_path).mistake == (
        f"{tmp_path} has the layout of a former version: stop whatever writes to it and run "
        f"pointgate compact {tmp_path}"
    )


def test_a_delta_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "_delta_log").mkdir()
    assert ParquetSettings(path=tmp_path).mistake == (
        f'{tmp_path} is a Delta Lake table: expected another folder, or type = "delta"'
    )


async def test_an_empty_write_makes_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as sink:
        await store(sink, table([]), sequence=1)
    assert files(tmp_path) == []


async def test_tables_of_many_batches_with_their_own_names_are_one_write(tmp_path: Path) -> None:
    parts = [table([Point(device=f"d{n}"), Point(product=f"p{n % 2}")]) for n in range(5)]
    async with opened(tmp_path) as sink:
        await store(sink, pa.concat_tables(parts), sequence=1)
    assert len(files(tmp_path)) == 1
    assert len(read(tmp_path)) == 5 + 2


async def test_devices_of_others_are_not_named_in_a_file(tmp_path: Path) -> None:
    points = [Point(device=f"neighbour{n}", time=DAY) for n in range(10)]
    async with opened(tmp_path) as sink:
        await store(sink, table([*points, Point()]), sequence=1)
    mine, _ = files(tmp_path)
    assert mine.startswith("date=1970-01-01")
    assert b"neighbour" not in (tmp_path / mine).read_bytes()


async def test_a_year_of_days_is_one_write(tmp_path: Path) -> None:
    points = table(Point(time=day * DAY, double=float(day)) for day in range(365))
    async with opened(tmp_path) as sink:
        await store(sink, points, sequence=1)
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
        await store(sink, table([Point()]), sequence=1)
        monkeypatch.setattr(failpoint, "hit", look)
        await store(sink, table(EVERY_TYPE), sequence=2)
    assert seen["sink-before-record"] == seen["sink-before-rename"] == [1] * 4
    assert seen["sink-after-rename"] == seen["sink-before-forget"] == [7] * 4
    assert threading.main_thread() not in threads


async def test_a_cancelled_write_ends_before_the_dataset_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    reached, go_on = asyncio.Event(), threading.Event()

    def wait(name: str) -> None:
        if name == "sink-before-record":
            loop.call_soon_threadsafe(reached.set)
            go_on.wait(PATIENCE)

    monkeypatch.setattr(failpoint, "hit", wait)
    async with opened(tmp_path) as sink:
        write = asyncio.create_task(store(sink, table([Point()]), sequence=1))
        await reached.wait()
        write.cancel()
        with pytest.raises(asyncio.CancelledError):
            await write
        go_on.set()
    assert len(read(tmp_path)) == 1
    assert leftovers(tmp_path) == []


async def test_one_process_writes_to_a_dataset_at_a_time(tmp_path: Path) -> None:
    async with opened(tmp_path):
        second = new_sink(tmp_path)
        with pytest.raises(SinkUnavailableError, match="written by another process"):
            await second.open()
        await second.close()
    async with opened(tmp_path) as sink:
        await store(sink, table([Point()]), sequence=1)


async def test_a_path_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "points").touch()
    sink = new_sink(tmp_path / "points")
    with pytest.raises(SinkUnavailableError, match=f"cannot write to {tmp_path}/points: "):
        await sink.open()
    await sink.close()


async def test_a_dataset_that_was_removed_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "points"
    async with opened(path) as sink:
        await store(sink, table([Point()]), sequence=1)
        shutil.rmtree(path)
        with contextlib.suppress(SinkUnavailableError):
            await store(sink, table([Point()]), sequence=2)
        await store(sink, table([Point()]), sequence=2)
        assert len(read(path)) == 1


@pytest.mark.parametrize("error", ["fsync", "rename"])
async def test_a_failing_disk_leaves_nothing_torn_and_is_no_error_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    async with opened(tmp_path) as sink:
        await store(sink, table([Point()]), sequence=1)
        with monkeypatch.context() as patch:
            patch.setattr("os.fsync" if error == "fsync" else "pathlib.Path.replace", fail)
            with pytest.raises(SinkUnavailableError, match="input/output error"):
                await store(sink, table(EVERY_TYPE), sequence=2)
        assert not sink.pending
        assert len(read(tmp_path)) == 1
        assert leftovers(tmp_path) == []
        await store(sink, table(EVERY_TYPE), sequence=2)
    assert len(read(tmp_path)) == 7


@pytest.mark.parametrize("call", ["os.replace", "os.fsync"])
async def test_a_commit_that_is_decided_is_carried_out_whatever_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    def arm(name: str) -> None:
        if name == "sink-before-rename":
            patch.setattr(call, fail)

    async with opened(tmp_path) as sink:
        with monkeypatch.context() as patch:
            patch.setattr(failpoint, "hit", arm)
            await sink.write(table(EVERY_TYPE), sequence=2)
            for _ in range(2):
                with pytest.raises(SinkUnavailableError, match="input/output error"):
                    await sink.commit()
                assert sink.pending
        await sink.commit()
        assert not sink.pending
        assert sink.newest() == 2
        await store(sink, table(EVERY_TYPE), sequence=3)
    assert len(pq.read_table(tmp_path)) == 12


@pytest.mark.parametrize("restart", [False, True])
async def test_a_commit_that_is_decided_makes_a_folder_that_was_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, restart: bool
) -> None:
    def remove(name: str) -> None:
        if name == "sink-before-record":
            for folder in tmp_path.glob("date=*"):
                folder.rmdir()
        elif restart and name == "sink-before-rename":
            raise OSError(5, "Input/output error")

    sink = new_sink(tmp_path)
    await sink.open()
    await sink.write(table(EVERY_TYPE), sequence=2)
    with monkeypatch.context() as patch:
        patch.setattr(failpoint, "hit", remove)
        if restart:
            with pytest.raises(SinkUnavailableError):
                await sink.commit()
        else:
            await sink.commit()
    await sink.close()
    async with opened(tmp_path) as sink:
        assert sink.newest() == 2
    assert len(pq.read_table(tmp_path)) == 6


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
        await store(sink, table([Point(device="before")]), sequence=1)
        ballast.write_bytes(bytes(400 * 1024))
        for _ in range(3):
            with pytest.raises(SinkUnavailableError, match=r"cannot write to .*: no space left"):
                await store(sink, points, sequence=2)
            assert len(read(path)) == 1
            assert leftovers(path) == []
        ballast.unlink()
        await store(sink, points, sequence=2)
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
        assert sink.newest() >= written
        for sequence in range(sink.newest() + 1, writes + 1):
            await store(sink, series(sequence), sequence=sequence)
    expected = pa.concat_tables(series(sequence) for sequence in range(1, writes + 1))
    assert read(path) == columns_of(expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "committed"),
    [
        ("sink-before-record:2", 1),
        ("sink-before-rename:2", 2),
        ("sink-between-renames:4", 2),
        ("sink-between-renames:5", 2),
        ("sink-after-rename:2", 2),
        ("sink-before-forget:2", 2),
    ],
)
async def test_a_crash_in_a_commit_loses_nothing_and_doubles_nothing(
    tmp_path: Path, place: str, committed: int
) -> None:
    with run_writer(tmp_path, 3, POINTGATE_FAILPOINT=place) as writer:
        output, _ = writer.communicate()
    assert writer.returncode == -signal.SIGKILL
    assert output == "1\n"
    assert new_sink(tmp_path).newest() == committed
    await check_after_crash(tmp_path, written=1, writes=3)


@pytest.mark.slow
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
    await check_after_crash(tmp_path, written, writes=40)
