"""Files that `pointgate compact` replaces by merged ones: durably, whatever crashes between.

    .pointgate/merge-…-00001.json    {"new": [[temporary, path], …], "old": [paths], "placed": …}

While the record is there the old files are claimed: no commit makes them longer. Where `placed` is
null the merge was not finished: the record and its temporary files are removed. Else the
merge is committed and resumes: the new files get their names, and `grace` seconds after `placed`
the old ones are deleted.

A reader who lists the names within these seconds sees the points of the old files twice; one that
listed before the deletion and opens a file after it finds it gone. With plain files it cannot be
otherwise: what is listed can be opened until it is deleted, and then it was listed a moment ago.

Invariants: whoever changes a record or deletes files holds the locks `compaction` and `files`, in
this order; a file is deleted only when those made of it are on the disk under their names.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Final

from pointgate import failpoint
from pointgate.durable_files import SHARED, sync_folder, write_synced

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pointgate.sinks.parquet.dataset import Dataset

_PATTERN: Final = "merge-*.json"


@dataclass(slots=True)
class Merge:
    """A merge, as its record says.

    Attributes:
        old: The files that are merged, relative to the dataset.
        new: The names of temporary files, and what they will be called, relative to the dataset.
        placed: When the new files got their names, in seconds since 1970; None before.
        grace: How many seconds later the old files are deleted.
    """

    old: list[str]
    new: list[list[str]] = field(default_factory=list)
    placed: float | None = None
    grace: float = 0.0

    @property
    def left(self) -> float:
        """Seconds until the old files may be deleted; a clock that was set back does not count."""
        if self.placed is None:
            return self.grace
        return min(self.grace, max(0.0, self.placed + self.grace - time.time()))


def record(dataset: Dataset, name: str, merge: Merge) -> None:
    """Write the record of a merge; it is durable when this returns."""
    temporary = dataset.temporary(f"{name}.record")
    write_synced(temporary, json.dumps(asdict(merge)).encode(), SHARED)
    sync_folder(dataset.own)
    temporary.replace(dataset.own / f"{name}.json")
    sync_folder(dataset.own)


def records(dataset: Dataset) -> dict[str, Merge]:
    """All records, by their names."""
    found = {}
    for path in sorted(dataset.own.glob(_PATTERN)):
        with suppress(FileNotFoundError):
            found[path.stem] = Merge(**json.loads(path.read_bytes()))
    return found


def claimed(dataset: Dataset) -> set[str]:
    """The files that may not grow."""
    return {path for merge in records(dataset).values() for path in merge.old}


def place(dataset: Dataset, name: str, merge: Merge) -> None:
    """Decide a merge, and give the new files their names."""
    merge.placed = time.time()
    failpoint.hit("merge-before-record")
    record(dataset, name, merge)
    _rename(dataset, merge)


def delete(dataset: Dataset, name: str, merge: Merge) -> None:
    """Delete the old files of a merge whose new ones have their names, and then its record."""
    folders = set()
    for one in merge.old:
        failpoint.hit("merge-before-delete")
        path = dataset.path / one
        path.unlink(missing_ok=True)
        folders.add(path.parent)
    failpoint.hit("merge-after-delete")
    for folder in folders:
        with suppress(FileNotFoundError):
            sync_folder(folder)
    _remove_empty(dataset, folders)
    (dataset.own / f"{name}.json").unlink(missing_ok=True)


def recover(dataset: Dataset) -> None:
    """Go on with merges that another process has not finished, as far as it is time.

    Does nothing while another process merges files.
    """
    if not any(dataset.own.glob(_PATTERN)) and not any(dataset.own.glob("merge-*.tmp")):
        return
    with suppress(BlockingIOError), dataset.locked("compaction", wait=False):
        resume(dataset)


def resume(dataset: Dataset) -> float:
    """The same for who holds the lock `compaction`; returns the seconds until the next deletion."""
    found = records(dataset)
    for name, merge in found.items():
        if merge.placed is None:
            (dataset.own / f"{name}.json").unlink(missing_ok=True)
            continue
        _rename(dataset, merge)
        if merge.left <= 0:
            delete(dataset, name, merge)
    kept = {new[0] for merge in found.values() if merge.placed is not None for new in merge.new}
    for path in dataset.own.glob("merge-*.tmp"):
        if path.name not in kept:
            path.unlink(missing_ok=True)
    waiting = [merge.left for merge in found.values() if merge.placed is not None]
    return max(waiting, default=0.0)


def _rename(dataset: Dataset, merge: Merge) -> None:
    failpoint.hit("merge-before-rename")
    folders = set()
    for temporary, name in merge.new:
        path = dataset.path / name
        folders.add(path.parent)
        with suppress(FileNotFoundError):  # renamed before
            os.replace(dataset.own / temporary, path)  # noqa: PTH105 - strings, as they are stored
            failpoint.hit("merge-after-rename")
    for folder in folders:
        with suppress(FileNotFoundError):  # every file in it was merged once more
            sync_folder(folder)


def _remove_empty(dataset: Dataset, folders: Sequence[Path] | set[Path]) -> None:
    """Remove folders of a former layout that have become empty."""
    for folder in folders:
        for path in (folder, folder.parent):
            if path != dataset.path and "product=" in str(path.relative_to(dataset.path)):
                with suppress(OSError):
                    path.rmdir()
