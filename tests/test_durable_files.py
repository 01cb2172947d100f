"""What is created survives a power cut, and is never readable by everybody."""

from __future__ import annotations

import os
import stat
from array import array
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest

from pointgate.durable_files import PRIVATE, SHARED, make_folder, write_file, write_synced
from pointgate.quarantine.database import QuarantineDatabase
from pointgate.sinks.dead_letters import DeadLetters
from pointgate.sinks.ndjson.sink import NdjsonSink
from pointgate.sinks.parquet.dataset import Dataset
from pointgate.store.spool import folder
from pointgate.store.spool.batch import COUNTS
from pointgate.store.spool.spool import open_spool
from pointgate.store.spool.statistics import SpoolStatistics
from tests.support.parquet_dataset import new_sink, store
from tests.support.point_tables import Point, table

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=[0o000, 0o022, 0o027, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.fixture
def synced() -> Iterator[list[str]]:
    """The files and folders that were synced, in order."""
    paths: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        paths.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real(descriptor)

    with patch("os.fsync", fsync):
        yield paths


def modes(place: Path) -> dict[str, int]:
    """The permissions of a folder and of all in it, by their names."""
    every = [place, *place.rglob("*")]
    return {str(path.relative_to(place)): stat.S_IMODE(path.stat().st_mode) for path in every}


def assert_modes(place: Path, umask: int, *, directory: int, file: int) -> None:
    found = modes(place)
    assert len(found) > 1
    for name, mode in found.items():
        wanted = directory if (place / name).is_dir() else file
        assert mode == wanted & ~umask, name


def test_a_folder_is_synced_into_each_folder_above_it(tmp_path: Path, synced: list[str]) -> None:
    make_folder(tmp_path / "a/b/c", PRIVATE)
    assert synced == [str(tmp_path), str(tmp_path / "a"), str(tmp_path / "a/b")]


def test_a_folder_that_exists_is_synced_too(tmp_path: Path, synced: list[str]) -> None:
    (tmp_path / "a").mkdir()
    make_folder(tmp_path / "a", PRIVATE)
    assert synced == [str(tmp_path)]


def test_a_file_in_the_place_of_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    for path in (tmp_path / "a", tmp_path / "a/b"):
        with pytest.raises((FileExistsError, NotADirectoryError)):
            make_folder(path, PRIVATE)


@pytest.mark.parametrize("content", [b"", b"x", b"x" * 300_000])
def test_a_file_is_whole_or_not_there(tmp_path: Path, content: bytes, synced: list[str]) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    with (
        patch("pathlib.Path.replace", side_effect=OSError("no")),
        pytest.raises(OSError, match="no"),
    ):
        write_file(path, content, PRIVATE)
    assert path.read_bytes() == b"before"
    assert write_file(path, content, PRIVATE) == len(content)
    assert path.read_bytes() == content
    assert synced == [str(tmp_path / ".file.tmp")] * 2


def test_modes_of_files_follow_a_stricter_umask(tmp_path: Path, umask: int) -> None:
    for name, access in (("private", PRIVATE), ("shared", SHARED)):
        make_folder(tmp_path / name, access)
        write_synced(tmp_path / name / "file", b"x", access)
        assert_modes(tmp_path / name, umask, directory=access.folder, file=access.file)


def test_modes_of_what_exists_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "shared"
    path.mkdir()
    path.chmod(0o770)
    make_folder(path, PRIVATE)
    (path / "file").touch()
    (path / "file").chmod(0o604)
    write_synced(path / "file", b"x", PRIVATE)
    assert modes(path) == {".": 0o770, "file": 0o604}


async def test_the_spool_is_private(tmp_path: Path, umask: int) -> None:
    path = tmp_path / "spool"
    async with open_spool(
        path, max_bytes=1 << 24, sinks={"main": True}, statistics=SpoolStatistics()
    ) as spool:
        points: list[Any] = [table([Point(long=1)])]
        await spool.append(array(COUNTS, [1]), points)
        assert {"lock", ".db", ".db-wal", ".db-shm"} <= {
            name[name.find(".db") :] if ".db" in name else name for name in modes(path)
        }
        assert_modes(path, umask, directory=0o700, file=0o600)


def test_the_quarantine_is_private(tmp_path: Path, umask: int) -> None:
    path = tmp_path / "quarantine"
    file = QuarantineDatabase(path)
    with file.transaction():
        file.delete([1])
    assert len(modes(path)) == 4
    assert_modes(path, umask, directory=0o700, file=0o600)
    file.close()


async def test_dead_letters_are_private_and_durable(
    tmp_path: Path, umask: int, synced: list[str]
) -> None:
    path = tmp_path / "refused"
    store = DeadLetters(path, max_bytes=1 << 20)
    await store.add("main", table([Point(long=1)]), "no", sequence=7)
    assert_modes(path, umask, directory=0o700, file=0o600)
    assert [str(tmp_path), str(path)] == synced[:2]
    assert synced[-1] == str(path / "main")


async def test_a_dataset_may_be_read_by_a_group(tmp_path: Path, umask: int) -> None:
    path = tmp_path / "points"
    sink = new_sink(path, on_conflict="ignore")
    await sink.open()
    await store(sink, table([Point(long=1)]), sequence=1)
    await sink.close()
    assert_modes(path, umask, directory=0o750, file=0o640)


async def test_lines_may_be_read_by_a_group(tmp_path: Path, umask: int) -> None:
    path = tmp_path / "points.ndjson"
    sink = NdjsonSink(name="main", path=path)
    await sink.open()
    await sink.write(table([Point(long=1)]), sequence=1)
    await sink.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640 & ~umask


def test_a_dataset_is_durable_in_the_folder_above_it(tmp_path: Path, synced: list[str]) -> None:
    path = tmp_path / "points"
    Dataset(path).create()
    assert synced == [str(tmp_path), str(path)]
    synced.clear()
    dataset = Dataset(path)  # of a process that may have died before it came so far
    dataset.create()
    assert synced == [str(tmp_path), str(path)]
    synced.clear()
    dataset.folder("date=2026-11-23")
    assert synced == [str(path)]
    dataset.folder("date=2026-11-23")
    assert synced == [str(path)]


@pytest.mark.parametrize("left", [("-wal",), ("-shm",), ("-journal",), ("-wal", "-shm"), ()])
def test_a_file_of_the_spool_goes_for_good_before_its_log(
    tmp_path: Path, left: tuple[str, ...], synced: list[str]
) -> None:
    path = tmp_path / "spool-000001-0000000000000001.db"
    logs = [path.with_name(path.name + suffix) for suffix in left]
    for one in (path, *logs):
        one.touch()
    real = os.fsync

    def fsync(descriptor: int) -> None:
        assert not path.exists()
        assert all(log.exists() for log in logs)
        real(descriptor)

    with patch("os.fsync", fsync):
        folder._delete(path)
    assert synced == [str(tmp_path)]
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_could_not_be_made_is_empty_for_good_before_its_log_goes(
    tmp_path: Path, synced: list[str]
) -> None:
    path = tmp_path / "spool-000001-0000000000000001.db"
    beside = [path.with_name(path.name + suffix) for suffix in ("-journal", "-shm", "-wal")]
    path.write_bytes(bytes(4096))
    for one in beside:
        one.touch()
    real = os.fsync

    def fsync(descriptor: int) -> None:
        assert not path.stat().st_size
        assert all(one.exists() for one in beside)
        real(descriptor)

    with patch("os.fsync", fsync):
        folder._delete(path, keep_name=True)
    assert synced == [str(path)]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("cut", [False, True])
def test_a_damaged_file_is_renamed_for_good_before_its_log(tmp_path: Path, *, cut: bool) -> None:
    path = tmp_path / "spool-000001-1700000000000000.db"
    path.write_bytes(b"garbage" * 1000)
    log = path.with_name(f"{path.name}-wal")
    log.write_bytes(b"log")
    kept = path.with_name(f"{path.name}.damaged")
    with patch.object(folder, "sync_folder", side_effect=OSError) if cut else nullcontext():
        opened = folder.Folder(tmp_path)
        with pytest.raises(OSError) if cut else nullcontext():  # noqa: PT011 - that very one
            opened.open()
    if cut:
        assert (kept.exists(), path.exists(), log.exists()) == (True, False, True)
        opened = folder.Folder(tmp_path)  # after the power cut
        opened.open()
    assert not opened.files
    assert kept.read_bytes() == b"garbage" * 1000
    assert kept.with_name(f"{kept.name}-wal").read_bytes() == b"log"
    assert not path.exists()
    assert not log.exists()
    opened.close()
