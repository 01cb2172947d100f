"""Watching files: what the kernel names, what only a look finds, and what that costs."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pointgate.file_states import signature
from pointgate.service.directory_events import DirectoryEvents
from pointgate.service.file_watch import FileWatch
from tests.support.patience import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator

inotify = pytest.mark.skipif(sys.platform != "linux", reason="events are those of Linux")


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """A catalog file, and 2,500 others in two folders: more than one look covers."""
    paths = [tmp_path / "catalog.toml"]
    for folder in ("models", "devices"):
        (tmp_path / folder).mkdir()
        paths += [tmp_path / folder / f"{number}.txt" for number in range(1_250)]
    for path in paths:
        path.write_text("x")
    return paths


@pytest.fixture
def watch(files: list[Path]) -> Iterator[FileWatch]:
    watch = FileWatch(files[0], lambda: None)
    states = {path: signature(path) for path in files}
    assert watch.watch(states, files) is states
    assert watch.look() is states
    yield watch
    with suppress(RuntimeError):
        watch.close()


def without_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a network file system and other systems than Linux are like."""
    monkeypatch.setattr(DirectoryEvents, "watch", lambda *_: False)
    monkeypatch.setattr(DirectoryEvents, "read", lambda _: set())


@inotify
def test_the_next_look_finds_what_the_kernel_names(watch: FileWatch, files: list[Path]) -> None:
    before = watch.look()
    files[7].write_text("xy")  # in place
    files[2_000].with_suffix(".new").write_text("x")
    files[2_000].with_suffix(".new").replace(files[2_000])
    files[1_999].unlink()
    after = watch.look()
    changed = {path for path in files if before[path] != after[path]}
    assert changed == {files[7], files[2_000], files[1_999]}
    assert after[files[1_999]] is None
    assert watch.look() is after


def test_without_events_some_looks_find_every_change(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    without_events(monkeypatch)
    watch = FileWatch(files[0], lambda: None)
    before = watch.watch({path: signature(path) for path in files}, files)
    for path in (files[7], files[2_000]):
        path.write_text("xy")
    looks = [watch.look() for _ in range(6)]
    assert {path for path in files if before[path] != looks[-1][path]} == {files[7], files[2_000]}
    # A change that a slice finds is probably not alone: the same look sees the others, too.
    assert all(look in (before, looks[-1]) for look in looks)
    watch.close()


def test_the_important_file_is_in_every_look(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    without_events(monkeypatch)
    watch = FileWatch(files[0], lambda: None)
    watch.watch({path: signature(path) for path in files}, files)
    for text in ("ab", "abc", "abcd"):
        files[0].write_text(text)
        assert watch.look()[files[0]] == signature(files[0])
    watch.close()


def test_a_look_does_not_touch_every_file(
    watch: FileWatch, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[Path] = []
    stat = os.stat

    def counted(path: Path) -> os.stat_result:
        looked.append(path)
        return stat(path)

    monkeypatch.setattr(os, "stat", counted)
    watch.look()
    assert 0 < len(looked) < 600
    assert len(files) == 2_501


@inotify
def test_a_folder_that_is_replaced_is_looked_at_whole(watch: FileWatch, files: list[Path]) -> None:
    folder = files[1].parent
    folder.rename(folder.with_name("old"))
    folder.mkdir()
    found = watch.look()
    assert all(found[path] is None for path in files[1:1_251])


@inotify
async def test_an_event_wakes_up_once_until_armed_again(tmp_path: Path) -> None:
    woken = asyncio.Event()
    watch = FileWatch(tmp_path / "catalog.toml", woken.set)
    watch.watch({}, ())
    watch.arm()
    (tmp_path / "catalog.toml").write_text("x")
    async with asyncio.timeout(PATIENCE):
        await woken.wait()
    woken.clear()
    (tmp_path / "catalog.toml").write_text("xy")
    for _ in range(3):
        await asyncio.sleep(0)
    assert not woken.is_set()
    watch.arm()
    async with asyncio.timeout(PATIENCE):
        await woken.wait()
    watch.close()


@inotify
def test_lost_events_are_reported(tmp_path: Path) -> None:
    events = DirectoryEvents()
    assert events.watch([tmp_path])
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    names = [tmp_path / "a", tmp_path / "b"]
    for path in names:
        path.touch()
    for number in range(limit):
        os.utime(names[number % 2])
    found: set[Path] | None = set()
    for _ in range(100):
        found = events.read()
        if found is None:
            break
    assert found is None
    events.close()


def test_folders_that_cannot_be_watched_are_no_error(tmp_path: Path) -> None:
    events = DirectoryEvents()
    events.watch([tmp_path / "none"])
    assert events.read() == set()
    events.close()
    assert not events.watch([tmp_path])
