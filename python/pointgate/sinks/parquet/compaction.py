"""`pointgate compact`: the files of each day or month become few, with one point for each key.

Merged files are written beside the data (`merging.py`); `recovery.py` gives them their names and
deletes the files that they were made of, when no reader can hold their names any more.

Files of the former layout, a folder for each product and day, become files of this one.

Invariants: as many points are read and written as the footers say, or nothing is changed. One
process merges at a time (the caller holds the lock `compaction`); a service may write meanwhile.
What cannot be merged is named, and stays as it is.
"""

from __future__ import annotations

import errno
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from pointgate.sinks.parquet import recovery
from pointgate.sinks.parquet.dataset import stored_files
from pointgate.sinks.parquet.merging import merge
from pointgate.sinks.parquet.recovery import Merge
from pointgate.sinks.parquet.runs import metadata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from pointgate.sinks.parquet.dataset import Dataset

GRACE: Final = 600.0
"""Seconds for which the files that were merged stay: no reader lists names for longer and then
opens them."""

_NO_ROOM: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""What would be wrong with the next folder, too."""


@dataclass(slots=True)
class Summary:
    """What became of a dataset.

    Attributes:
        folders: How many days or months there are.
        merged: How many of them were merged; what follows is about those.
        files_before: How many files there were.
        files_after: How many there are now.
        bytes_before: How large they were.
        bytes_after: How large they are now.
        points_before: How many points were in them.
        duplicates: How many of those had the key of another one.
        problems: What could not be merged, and why.
    """

    folders: int
    merged: int = 0
    files_before: int = 0
    files_after: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    points_before: int = 0
    duplicates: int = 0
    problems: list[str] = field(default_factory=list)


def compact_all(
    dataset: Dataset, *, grace: float, progress: Callable[[float, float], object]
) -> Summary:
    """Merge all files of each partition, where they are not merged already.

    The files that were merged stay for a while: `wait` deletes them.

    Args:
        dataset: Of which the caller holds the lock `compaction`.
        grace: For how many seconds.
        progress: Told how many more bytes it has got through, and how many there are in all.

    Raises:
        OSError: There is no room; what was merged so far is.
    """
    recovery.resume(dataset)
    waiting = recovery.claimed(dataset)
    folders = _partitions(dataset)
    due = {
        name: files
        for name, files in folders.items()
        if not _is_compact(files) and waiting.isdisjoint(_relative(dataset, files))
    }
    total = sum(_size(path) for files in due.values() for path in files)
    summary = Summary(folders=len(folders))
    for partition in due:
        try:
            _compact(dataset, partition, grace, summary, lambda size: progress(size, total))
        except Exception as error:
            recovery.resume(dataset)
            if isinstance(error, OSError) and error.errno in _NO_ROOM:
                raise
            summary.problems.append(f"{dataset.path / partition}: {error}")
    return summary


def wait(dataset: Dataset) -> None:
    """Wait until the files that were merged can be deleted, and delete them."""
    while (left := recovery.resume(dataset)) > 0:
        time.sleep(left)


def _compact(
    dataset: Dataset,
    partition: str,
    grace: float,
    summary: Summary,
    progress: Callable[[float], object],
) -> None:
    """Merge the files of one partition."""
    name = dataset.file_name("merge", time.time_ns() // 1000, 0)
    with dataset.locked("files", wait=True):
        files = _partitions(dataset, only=partition)[partition]
        claim = Merge(_relative(dataset, files), grace=grace)
        recovery.record(dataset, name, claim)
    before = sum(map(_size, files))
    points = sum(metadata(path).num_rows for path in files)
    made = merge(dataset, files, on_conflict=dataset.on_conflict, progress=progress)
    number = time.time_ns() // 1000
    for part, path in enumerate(made):
        new = f"{dataset.file_name('merged', number, part)}.parquet"
        claim.new.append([path.name, f"{partition}/{new}"])
    stored = sum(metadata(path).num_rows for path in made)
    after = sum(map(_size, made))
    with dataset.locked("files", wait=True):
        dataset.folder(partition)
        recovery.place(dataset, name, claim)
        if not grace:
            recovery.delete(dataset, name, claim)
    summary.merged += 1
    summary.files_before += len(files)
    summary.files_after += len(made)
    summary.bytes_before += before
    summary.bytes_after += after
    summary.points_before += points
    summary.duplicates += points - stored


def _partitions(dataset: Dataset, *, only: str = "") -> dict[str, list[Path]]:
    """The files of each partition, or of one, by its folder's name; also of the former layout."""
    found: dict[str, list[Path]] = {}
    for folder in [*dataset.former(), *dataset.partitions()]:
        if only in {"", folder.name} and (files := stored_files(folder)):
            found.setdefault(folder.name, []).extend(files)
    return dict(sorted(found.items()))


def _relative(dataset: Dataset, files: Iterable[Path]) -> list[str]:
    return [str(path.relative_to(dataset.path)) for path in files]


def _size(path: Path) -> int:
    with suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


def _is_compact(files: Sequence[Path]) -> bool:
    """Whether each key is in them once: they are the parts of one merge."""
    merges = {path.name.rpartition("-")[0] for path in files}
    return len(merges) == 1 and files[0].name.startswith("merged-")
