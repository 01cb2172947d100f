"""What was kept is there whatever happens: killed processes, full and failing disks, damage."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pointgate.errors import ConfigError, TemporaryFailure
from pointgate.store.spool import segment
from pointgate.store.spool.statistics import SpoolStatistics
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE
from tests.support.points import counts, points
from tests.support.small_disk import fill, small_disk
from tests.support.spools import files, keep, read, read_all, spool, until

if TYPE_CHECKING:
    from pathlib import Path

    from pointgate.store.spool.spool import Spool

_PATH = os.pathsep.join((str(ROOT), str(ROOT / "python")))
"""For other processes: the package of this tree, wherever another one is installed."""


async def _fill(spool: Spool, *numbers: float) -> int:
    """Keep until nothing is kept any more; returns how often. What was given up may come later."""
    kept = 0
    while True:
        waiting = spool.append(counts(len(numbers)), [points(*numbers)])
        await asyncio.wait({waiting}, timeout=0.5)
        if not waiting.done():
            return kept
        kept += 1


async def test_a_full_disk_stops_intake_until_there_is_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pointgate")
    with small_disk(tmp_path / "disk", 1024 * 1024) as disk:
        statistics = SpoolStatistics()
        async with spool(disk / "spool", statistics=statistics) as opened:
            await keep(opened, 1.0)
            ballast = fill(disk, leave=8192)
            kept = 1 + await _fill(opened, 2.0)
            assert opened.trouble == "the spool cannot be written: database or disk is full"
            assert len(await read_all(opened)) == kept  # what was kept can be read meanwhile
            ballast.unlink()
            await keep(opened, 3.0)
            await until(lambda: not opened.trouble)
            assert await read_all(opened) == [1.0] + [2.0] * kept + [3.0]  # the last one came later
    events = [one.message.partition(":")[0] for one in caplog.records if "spool" in one.message]
    assert events == ["the spool cannot be written", "the spool can be written again"]


async def test_a_disk_that_only_the_spool_fills_gets_room_from_the_sinks(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1024 * 1024) as disk:
        async with spool(disk / "spool") as opened:
            big = [float(n) * 1.1 for n in range(2000)]
            assert await _fill(opened, *big) > 5
            place = opened.progress["main"]
            while place < opened.last:
                place = (await read(opened, place)).last
                opened.commit_offset("main", place)
            await keep(opened, *big)
            await until(lambda: not opened.trouble)


_WRITES = """
import asyncio, sys
from pathlib import Path
from pointgate.store.spool.statistics import SpoolStatistics
from pointgate.store.spool.spool import open_spool
from tests.support.points import counts, points
from tests.support.small_disk import fill, small_disk

async def main():
    folder = Path(sys.argv[1])
    async with open_spool(
        folder, max_bytes=2**30, sinks={"main": True}, statistics=SpoolStatistics()
    ) as spool:
        number = 0
        while True:
            numbers = range(number, number + 5)
            kept = [spool.append(counts(2), [points(n, n + 0.5)]) for n in numbers]
            await asyncio.gather(*kept)
            number += 5
            print(number, flush=True)

asyncio.run(main())
"""


def _write_in_another_process(folder: Path, **environ: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _WRITES, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": _PATH} | environ,
    )


@pytest.mark.parametrize(
    "place", ["", "before-write:7", "after-write:7", "after-fsync:7", "after-fsync:200"]
)
async def test_what_was_kept_is_there_after_a_process_was_killed(
    tmp_path: Path, place: str
) -> None:
    with _write_in_another_process(tmp_path, POINTGATE_FAILPOINT=place) as writer:
        assert writer.stdout
        told = 0
        for line in writer.stdout:
            told = int(line)
            if not place and told >= 500:
                writer.kill()
        assert writer.wait(PATIENCE) == -signal.SIGKILL
    async with spool(tmp_path) as opened:
        found = await read_all(opened)
        requests = found[::2]
        assert requests == [float(n) for n in range(len(requests))]
        assert found[1::2] == [n + 0.5 for n in requests]  # whole requests only
        assert len(requests) >= told
        await keep(opened, 1e6)  # it goes on, in another file
        assert await read_all(opened) == [*found, 1e6]


async def test_one_process_has_the_folder(tmp_path: Path) -> None:
    with _write_in_another_process(tmp_path) as writer:
        try:
            assert writer.stdout
            writer.stdout.readline()
            with pytest.raises(TemporaryFailure) as caught:
                async with spool(tmp_path):
                    pass
        finally:
            writer.kill()
            writer.communicate()
    assert str(caught.value) == f"spool.path: {tmp_path} is in use by process {writer.pid}"


async def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"spool.path: cannot use .*/file: file exists"):
        async with spool(tmp_path / "file"):
            pass


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spool whose process was killed: its log has not been copied."""
    folder = tmp_path_factory.mktemp("crashed")
    with _write_in_another_process(folder) as writer:
        assert writer.stdout
        for line in writer.stdout:
            if int(line) >= 50:
                writer.kill()
    return folder


@pytest.mark.parametrize("share", [n / 23 for n in range(24)])
async def test_a_log_that_is_cut_anywhere_gives_what_is_before_the_cut(
    tmp_path: Path, crashed: Path, share: float
) -> None:
    for more in (0, 13):
        folder = tmp_path / str(more)
        log = _copy_with_a_cut_log(crashed, folder, share, more)
        async with spool(folder) as opened:
            found = await read_all(opened)
            assert found[::2] == [float(n) for n in range(len(found) // 2)]
            assert found[1::2] == [n + 0.5 for n in found[::2]]
            assert share < 1 or len(found) >= 100
            await keep(opened, 1e6)
            assert await read_all(opened) == [*found, 1e6]
        assert log.exists() == bool(found)  # nothing was written behind the cut


def _copy_with_a_cut_log(crashed: Path, folder: Path, share: float, more: int) -> Path:
    shutil.copytree(crashed, folder)
    (log,) = folder.glob("*-wal")
    whole = log.stat().st_size
    os.truncate(log, min(int(whole * share) + more, whole))
    return log


async def test_a_file_that_is_no_database_is_set_aside(
    tmp_path: Path, crashed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(crashed, tmp_path, dirs_exist_ok=True)
    (path,) = files(tmp_path)
    path.write_bytes(b"garbage" * 1000)
    segment.wal_path(path).unlink()
    async with spool(tmp_path) as opened:
        await keep(opened, 1.0)
        assert await read_all(opened) == [1.0]
    assert path.with_name(path.name + ".damaged").exists()
    assert "for inspection" in caplog.text


@pytest.mark.parametrize("share", [n / 20 for n in range(1, 20)])
async def test_a_file_with_a_spoiled_page_gives_what_can_be_read_and_is_kept(
    tmp_path: Path, share: float
) -> None:
    async with spool(tmp_path) as opened:
        for number in range(60):
            await keep(opened, float(number), number + 0.5)
    (path,) = files(tmp_path)
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(int(size * share) // 4096 * 4096)
        file.write(b"\xa5" * 4096)
    statistics = SpoolStatistics()
    async with spool(tmp_path, statistics=statistics) as opened:
        last = await keep(opened, 1e6)
        found = await read_all(opened)
        assert found[-1] == 1e6
        requests = found[:-1:2]
        assert requests == sorted(requests)
        assert found[1:-1:2] == [n + 0.5 for n in requests]
        # Without a loss the page was one that holds nothing.
        kept_aside = path.with_name(path.name + ".damaged")
        assert len(requests) == 60 or statistics.unreadable or kept_aside.exists()
        opened.commit_offset("main", last)
        await until(lambda: not path.exists())


_KEEPS_SIXTY = """
import asyncio, json, sys
from pathlib import Path
from pointgate.store.spool.statistics import SpoolStatistics
from tests.support.spools import files, keep, read_all, spool

async def main():
    statistics = SpoolStatistics()
    async with spool(Path(sys.argv[1]), statistics=statistics) as opened:
        for number in range(60):
            await keep(opened, float(number), number + 0.5)
        print(json.dumps([await read_all(opened), statistics.failures]))

asyncio.run(main())
"""


def _traced(folder: Path, *options: str) -> tuple[str, str]:
    """Keep sixty requests under strace; returns what was read again, and what strace says."""
    log = folder / "strace"
    done = subprocess.run(
        [
            *("strace", "-f", "-qq", "-o", str(log), "-e", "trace=fsync,fdatasync,pwrite64"),
            *(*options, sys.executable, "-c", _KEEPS_SIXTY, str(folder / "spool")),
        ],
        env=os.environ | {"PYTHONPATH": _PATH},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    if "ptrace" in log.read_text():
        pytest.skip("tracing is not permitted here")
    return done.stdout, log.read_text()


needs_strace = pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")


@needs_strace
@pytest.mark.parametrize(
    ("fault", "failures"),
    [
        ("fdatasync:error=EIO:when=20", 1),
        ("fsync,fdatasync:error=EIO:when=30+25", 4),
        ("fdatasync:error=ENOSPC:when=20", 1),
        ("pwrite64:error=EIO:when=100", 1),
        ("pwrite64:error=ENOSPC:when=120", 1),
    ],
)
def test_a_failed_write_or_fsync_loses_nothing_and_repeats_nothing(
    tmp_path: Path, fault: str, failures: int
) -> None:
    printed, _ = _traced(tmp_path, "-e", f"inject={fault}")
    found, failed = json.loads(printed)
    assert found == [n / 2 for n in range(120)]
    assert failed == failures


@needs_strace
def test_every_commit_is_an_fsync(tmp_path: Path) -> None:
    printed, log = _traced(tmp_path)
    assert json.loads(printed)[1] == 0
    assert 60 <= log.count("fdatasync(") + log.count("fsync(") < 80
