"""Every class of fault: how it is told from the others, and what is done about it (operations)."""

from __future__ import annotations

import asyncio
import errno
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pytest

from pointgate.error_classes import DamageError, ErrorClass, classify
from pointgate.errors import ConfigError
from pointgate.store.spool import batch as batches
from pointgate.store.spool import reader, writer
from pointgate.store.spool.batch import BrokenBatchError, decode, encode
from pointgate.store.spool.folder import Folder
from pointgate.store.spool.reader import DamagedFileError
from pointgate.store.spool.spool import open_spool
from pointgate.store.spool.statistics import SpoolStatistics
from tests.support.patience import PATIENCE
from tests.support.points import counts, points, values
from tests.support.small_disk import fill, small_disk
from tests.support.spools import files, keep, read, read_all, spool, until

if TYPE_CHECKING:
    from collections.abc import Callable


def _sqlite(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("x")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), ErrorClass.MEMORY),
        (pa.lib.ArrowMemoryError("malloc of size 64 failed"), ErrorClass.MEMORY),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), ErrorClass.MEMORY),
        (RuntimeError("can't start new thread"), ErrorClass.MEMORY),
        (RuntimeError("a mistake of ours"), ErrorClass.TRANSIENT),
        (OSError(errno.ENOSPC, "No space left on device"), ErrorClass.TRANSIENT),
        (OSError(errno.EMFILE, "Too many open files"), ErrorClass.TRANSIENT),
        (OSError(errno.EIO, "Input/output error"), ErrorClass.TRANSIENT),
        (OSError(errno.EROFS, "Read-only file system"), ErrorClass.TRANSIENT),
        (TimeoutError(), ErrorClass.TRANSIENT),
        (KeyError("a mistake of ours"), ErrorClass.TRANSIENT),
        (_sqlite(sqlite3.SQLITE_FULL), ErrorClass.TRANSIENT),
        (_sqlite(sqlite3.SQLITE_BUSY), ErrorClass.TRANSIENT),
        (_sqlite(sqlite3.SQLITE_CANTOPEN), ErrorClass.TRANSIENT),
        (_sqlite(sqlite3.SQLITE_IOERR_FSYNC), ErrorClass.TRANSIENT),
        (_sqlite(sqlite3.SQLITE_CORRUPT), ErrorClass.DAMAGE),
        (_sqlite(sqlite3.SQLITE_CORRUPT_INDEX), ErrorClass.DAMAGE),
        (_sqlite(sqlite3.SQLITE_NOTADB), ErrorClass.DAMAGE),
        (_sqlite(sqlite3.SQLITE_IOERR_SHORT_READ), ErrorClass.DAMAGE),
        (BrokenBatchError("checksum"), ErrorClass.DAMAGE),
        (DamagedFileError(SimpleNamespace(path=Path("x")), "x"), ErrorClass.DAMAGE),  # type: ignore[arg-type]
        (PermissionError(errno.EACCES, "Permission denied"), ErrorClass.OPERATOR),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory"), ErrorClass.OPERATOR),
        (FileExistsError(errno.EEXIST, "File exists"), ErrorClass.OPERATOR),
    ],
    ids=repr,
)
def test_each_error_has_a_class(error: Exception, expected: ErrorClass) -> None:
    assert classify(error) is expected


def test_damage_is_one_kind_of_exception() -> None:
    assert issubclass(BrokenBatchError, DamageError)
    assert issubclass(DamagedFileError, DamageError)


def _fail(times: int, call: Callable[..., Any], error: Exception) -> Callable[..., Any]:
    left = [times]

    def failing(*arguments: Any, **options: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise error
        return call(*arguments, **options)

    return failing


NO_MEMORY = pa.lib.ArrowMemoryError("malloc of size 64 failed")


def test_a_batch_that_has_no_memory_is_not_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = encode(counts(2), [points(1.0, 2.0)])
    monkeypatch.setattr(pa, "decompress", _fail(1, pa.decompress, NO_MEMORY))
    with pytest.raises(MemoryError):
        decode(batch)
    assert values(decode(batch)[1]) == [1.0, 2.0]


def test_a_batch_never_asks_for_more_memory_than_its_bytes_can_hold() -> None:
    batch = encode(counts(2), [points(1.0, 2.0)])
    flipped = batches.Batch(
        batch.counts, batch.points, batch.body, batch.raw_bytes | 1 << 60, batch.checksum
    )
    with pytest.raises(BrokenBatchError, match="cannot decompress to"):
        decode(flipped)


async def test_a_spool_without_memory_is_read_later_and_less_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    statistics = SpoolStatistics()
    sizes: list[int] = []
    rows = reader.Reader._rows

    def note(self: Any, file: Any, after: int, points: int, size: int) -> Any:
        sizes.append(size)
        return rows(self, file, after, points, size)

    async with spool(tmp_path, statistics=statistics) as opened:
        for number in range(3):
            await keep(opened, float(number))
        monkeypatch.setattr(reader.Reader, "_rows", note)
        monkeypatch.setattr(reader, "decode", _fail(2, decode, NO_MEMORY))
        chunk = await read(opened, size=2**20)
        assert values(chunk.points) == [0.0, 1.0, 2.0]
        assert sizes == [2**20, 2**19, 2**18]
    assert statistics.unreadable == 0
    assert len(files(tmp_path)) == 1
    assert "the spool cannot be read: out of memory" in caplog.text


async def test_a_spool_without_memory_is_written_later_and_less_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    statistics = SpoolStatistics()
    sizes: list[int] = []

    def scarce(numbers: Any, parts: Any) -> Any:
        sizes.append(len(numbers))
        if len(numbers) > 2:
            raise NO_MEMORY
        return encode(numbers, parts)

    async with spool(tmp_path, statistics=statistics) as opened:
        await keep(opened, 0.0)
        monkeypatch.setattr(writer, "encode", scarce)
        with opened._writer._change:  # so that they come together
            kept = [opened.append(counts(1), [points(float(n))]) for n in range(1, 9)]
        async with asyncio.timeout(PATIENCE):
            numbers = await asyncio.gather(*kept)
        assert None not in numbers
        assert await read_all(opened) == [float(n) for n in range(9)]
        assert max(sizes) == 8
        assert len(files(tmp_path)) == 1  # no file has failed
        assert opened.trouble == ""
    assert statistics.failures


async def test_a_batch_with_a_flipped_bit_is_kept_for_a_person(tmp_path: Path) -> None:
    async with spool(tmp_path) as opened:
        for number in range(3):
            await keep(opened, float(number))
    (path,) = files(tmp_path)
    with closing(sqlite3.connect(path)) as connection:
        ((middle, body),) = connection.execute(
            "SELECT sequence, body FROM batch ORDER BY sequence LIMIT 1 OFFSET 1"
        )
        spoiled = body[:20] + bytes([body[20] ^ 1]) + body[21:]
        connection.execute("UPDATE batch SET body = ? WHERE sequence = ?", (spoiled, middle))
        connection.commit()
    statistics = SpoolStatistics()
    async with spool(tmp_path, statistics=statistics) as opened:
        last = await keep(opened, 3.0)
        assert await read_all(opened) == [0.0, 2.0, 3.0]
        assert statistics.unreadable == 1
        opened.commit_offset("main", last)
        await until(lambda: not path.exists())
    kept = path.with_name(path.name + ".damaged")
    with closing(sqlite3.connect(kept)) as connection:
        assert connection.execute("SELECT count(*) FROM batch").fetchone() == (3,)


async def test_a_flipped_bit_in_the_file_that_is_written_is_kept_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with spool(tmp_path) as opened:
        await keep(opened, 0.0)
        (path,) = files(tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr(reader, "decode", _fail(1, decode, BrokenBatchError("checksum")))
            chunk = await read(opened)
        assert chunk.unreadable == 1
        opened.commit_offset("main", chunk.last)
        last = await keep(opened, 1.0)  # in another file
        assert values((await read(opened, chunk.last)).points) == [1.0]
        opened.commit_offset("main", last)
        await until(lambda: not path.exists())
    with closing(sqlite3.connect(path.with_name(path.name + ".damaged"))) as connection:
        assert connection.execute("SELECT count(*) FROM batch").fetchone() == (1,)


async def _opens_when(
    folder: Path, trouble: str, mend: Callable[[], object], expected: list[float]
) -> None:
    """A spool that cannot be opened yet says why, and is opened when that has passed."""
    told: list[str] = []

    async def use() -> list[float]:
        async with open_spool(
            folder,
            max_bytes=2**30,
            sinks={"main": True},
            statistics=SpoolStatistics(),
            on_retry=told.append,
        ) as opened:
            await keep(opened, 9.0)
            return await read_all(opened)

    using = asyncio.create_task(use())
    await until(lambda: told or using.done())
    assert not using.done(), using.exception()
    assert trouble in told[0]
    mend()
    async with asyncio.timeout(PATIENCE):
        assert await using == expected


def _copy(paths: list[Path], folder: Path) -> None:
    folder.mkdir()
    for path in paths:
        shutil.copy(path, folder)


async def _crashed(tmp_path: Path, folder: Path) -> Path:
    """A spool as a killed process leaves it, but for the index of its log; returns its file."""
    async with spool(tmp_path / "source") as opened:
        await keep(opened, 1.0)
        (path,) = files(tmp_path / "source")
        _copy([path, path.with_name(path.name + "-wal")], folder)
    return folder / path.name


async def test_a_locked_file_delays_the_start(tmp_path: Path) -> None:
    path = await _crashed(tmp_path, tmp_path / "spool")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    other.execute("DELETE FROM progress")
    await _opens_when(path.parent, "database is locked", other.close, [1.0, 9.0])


async def test_a_crashed_spool_on_a_full_disk_delays_the_start(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1024 * 1024) as disk:
        path = await _crashed(tmp_path, disk / "spool")
        ballast = fill(disk, leave=0)
        await _opens_when(path.parent, "the spool cannot be opened", ballast.unlink, [1.0, 9.0])


async def test_a_file_whose_process_died_before_it_had_a_log_is_empty(tmp_path: Path) -> None:
    async with spool(tmp_path) as opened:
        await keep(opened, 1.0)
    (path,) = files(tmp_path)
    number = int(path.name.split("-")[2].removesuffix(".db")) + 1
    unborn = tmp_path / f"spool-000002-{number:016}.db"
    with closing(sqlite3.connect(unborn, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE started (column)")
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(
            "INSERT INTO started WITH RECURSIVE n(i) AS "
            "(SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) SELECT hex(i) FROM n"
        )
        journal = unborn.with_name(unborn.name + "-journal").read_bytes()
        hot = unborn.read_bytes()
    unborn.write_bytes(hot)
    unborn.with_name(unborn.name + "-journal").write_bytes(journal)
    async with spool(tmp_path) as opened:
        await keep(opened, 2.0)
        assert await read_all(opened) == [1.0, 2.0]


_ROLLBACK_JOURNAL: Final = (
    bytes.fromhex("d9d505f920a163d7")
    + b"".join(number.to_bytes(4) for number in (0, 1, 0, 512, 4096))
).ljust(512, b"\0")
"""SQLite's journal of the first page of a new database: no pages to restore, and none before it."""


async def _unborn(folder: Path, content: bytes) -> Path:
    """A spool whose newest file has this content, beside a rollback journal; returns that file."""
    async with spool(folder) as opened:
        await keep(opened, 1.0)
    (path,) = files(folder)
    number = int(path.name.split("-")[2].removesuffix(".db")) + 1
    newest = folder / f"spool-000002-{number:016}.db"
    newest.write_bytes(content)
    newest.with_name(newest.name + "-journal").write_bytes(_ROLLBACK_JOURNAL)
    return newest


def _beside(path: Path) -> list[str]:
    """A file and what was made of it or is beside it, by their names."""
    return [one.name for one in path.parent.glob(f"{path.name}*")]


@pytest.mark.parametrize(
    "content", [bytes(4096), b"SQLite format 3\0".ljust(512, b"\0"), b"", b"\xa5" * 4096]
)
async def test_a_first_page_that_a_power_cut_has_torn_raises_no_alarm(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    unborn = await _unborn(tmp_path, content)
    async with spool(tmp_path) as opened:
        last = await keep(opened, 2.0)
        assert await read_all(opened) == [1.0, 2.0]
        opened.commit_offset("main", last)
        await until(lambda: len(files(tmp_path)) == 1)
    assert not _beside(unborn)
    assert not [one for one in caplog.records if one.levelname == "ERROR"]


async def test_damage_beyond_the_first_page_is_kept_in_spite_of_a_rollback_journal(
    tmp_path: Path,
) -> None:
    damaged = await _unborn(tmp_path, b"\xa5" * 20480)
    async with spool(tmp_path) as opened:
        await keep(opened, 2.0)
        assert await read_all(opened) == [1.0, 2.0]
    kept = damaged.with_name(damaged.name + ".damaged")
    assert kept.read_bytes() == b"\xa5" * 20480


async def test_a_rollback_journal_whose_database_is_gone_is_deleted(tmp_path: Path) -> None:
    journal = tmp_path / "spool-000007-1700000000000000.db-journal"
    journal.write_bytes(_ROLLBACK_JOURNAL)
    async with spool(tmp_path):
        assert not journal.exists()


def test_a_folder_that_is_a_file_is_the_operators_mistake(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("")
    with pytest.raises(ConfigError, match=r"cannot use .*spool: file exists"):
        Folder(tmp_path / "spool").open()


@pytest.mark.parametrize("now", [-5_000_000_000, 0, 10**18])
def test_a_new_spool_begins_beyond_what_sinks_have_whatever_the_clock_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, now: int
) -> None:
    monkeypatch.setattr("time.time_ns", lambda: now)
    folder = Folder(tmp_path)
    folder.open(lambda: 3 * 10**15)
    assert folder.last == 3 * 10**15
    folder.close()
    empty = Folder(tmp_path / "other")
    empty.open(lambda: 0)
    assert empty.last == 10**15
    empty.close()


async def test_points_are_stored_with_a_clock_before_1970(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time_ns", lambda: -(10**18))
    async with spool(tmp_path) as opened:
        await keep(opened, 1.0)
    async with spool(tmp_path) as opened:
        await keep(opened, 2.0)
        assert await read_all(opened) == [1.0, 2.0]
