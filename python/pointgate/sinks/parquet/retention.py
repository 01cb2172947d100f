"""Deletes the days, or months, of which every point is older than `keep`.

A partition goes as a whole when its last instant is `keep` seconds ago; files that others put into
its folder stay. Whatever a crash leaves of it goes the next time. A query that had listed the files
and opens them afterwards fails, as after `pointgate compact`.

Nothing is deleted if no partition was written to for as long as `keep`: then the clock may be
wrong, or somebody looks at an old dataset.

Invariants: it holds the locks `compaction` and `files`; a partition whose files are being merged
waits.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from pointgate import failpoint
from pointgate.durable_files import sync_folder
from pointgate.sinks.parquet import recovery
from pointgate.sinks.parquet.dataset import stored_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from pointgate.sinks.parquet.dataset import Dataset

_NAME: Final = re.compile(r"(?:date=(\d{4}-\d\d-\d\d)|month=(\d{4}-\d\d))")

_DAY: Final = 86_400.0
_MONTHS: Final = 12
_LAST_YEAR: Final = 9999


@dataclass(frozen=True, slots=True)
class Deleted:
    """What was deleted.

    Attributes:
        partitions: Names of folders.
        files: How many files were in them.
        bytes: How large they were.
    """

    partitions: Sequence[str]
    files: int
    bytes: int


def expire(dataset: Dataset, *, keep: float, now: float) -> Deleted | None:
    """Delete what is older than `keep` seconds.

    Args:
        dataset: Which this process writes to, with no commit under way.
        keep: Seconds.
        now: Seconds since 1970, UTC.

    Returns:
        What was deleted; None if nothing may be now: `pointgate compact` is at work.

    Raises:
        OSError: A file cannot be deleted; some may be.
    """
    partitions = dataset.partitions()
    names = expired_partitions([path.name for path in partitions], keep=keep, now=now)
    old = [path for path in partitions if path.name in names]
    if not old or max(path.stat().st_mtime for path in partitions) <= now - keep:
        return Deleted((), 0, 0)
    try:
        with dataset.locked("compaction", wait=False), dataset.locked("files", wait=True):
            claimed = {dataset.path / path for path in recovery.claimed(dataset)}
            return _delete(dataset, old, claimed)
    except BlockingIOError:
        return None


def expired_partitions(names: Iterable[str], *, keep: float, now: float) -> list[str]:
    """Those partitions whose last instant is `keep` seconds before now, by name."""
    return [name for name in names if _end(name) <= now - keep]


def _delete(dataset: Dataset, partitions: Sequence[Path], claimed: set[Path]) -> Deleted:
    names, files, size = [], 0, 0
    for folder in partitions:
        found = stored_files(folder)
        if not claimed.isdisjoint(found):
            continue
        for path in found:
            failpoint.hit("retention-before-delete")
            size += path.stat().st_size
            path.unlink()
        with suppress(OSError):  # it has files of others
            folder.rmdir()
        if found:
            names.append(folder.name)
            files += len(found)
    dataset.forget()
    sync_folder(dataset.path)
    return Deleted(names, files, size)


def _end(name: str) -> float:
    """When the time of a partition is over, in seconds since 1970; never if it has none."""
    match = _NAME.fullmatch(name)
    with suppress(ValueError):
        if match and match[1]:
            return datetime.fromisoformat(match[1]).replace(tzinfo=UTC).timestamp() + _DAY
        if match:
            year, month = map(int, match[2].split("-"))
            year, month = (year + 1, 1) if month == _MONTHS else (year, month + 1)
            if year <= _LAST_YEAR:
                return datetime(year, month, 1, tzinfo=UTC).timestamp()
    return float("inf")
