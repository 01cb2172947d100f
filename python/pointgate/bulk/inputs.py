"""What there is to judge: files, folders and standard input, cut into jobs.

    -           standard input
    a folder    every file below it, by name, without those whose names begin with a dot
    a file      a plain one is cut into spans, which other processes read
                a compressed one, or a pipe, is read here
                one that holds one document goes with others like it

A file whose name ends in `.json`, `.json.gz` or `.json.zst` holds one document; any other one, and
standard input, one a line. `whole` decides otherwise for all of them.

Invariants: jobs come in the order of the inputs; nothing of the inputs is kept but the block that
is being cut.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pointgate.bulk.blocks import blocks_of, is_compressed, opened, read_at_most, whole_lines
from pointgate.bulk.jobs import Documents, Job, Span, Text
from pointgate.document import os_reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import IO

STDIN: Final = "-"

_SPAN_BYTES: Final = 4_194_304
"""Some ten milliseconds of work, so that handing it out and waiting for the last costs little."""

_DOCUMENTS: Final = 64
"""Files a job: their names must fit into a pipe that nobody reads from yet."""

_COMPRESSED: Final = {".gz", ".zst"}


def unusable(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Those inputs that cannot be opened, and why."""
    for name in names:
        try:
            if name == STDIN:
                os.fstat(sys.stdin.fileno() if sys.stdin else -1)
            elif os.path.isdir(name):  # noqa: PTH112 - a Path drops what the user wrote
                os.scandir(name).close()
            elif stat.S_ISREG(os.stat(name).st_mode):  # noqa: PTH116 - the same
                Path(name).open("rb").close()
        except (OSError, ValueError) as error:
            yield name, "stdin is closed" if name == STDIN else os_reason(error)


class Inputs:
    """The inputs of one run.

    Args:
        names: Files, folders and `-`, as the user named them.
        keep: How much of a line or a document is ever needed.
        whole: Whether each file is one document; None lets its name decide.

    Attributes:
        files: How many files were begun.
        problems: What could not be read here, and why.
    """

    def __init__(self, names: Sequence[str], *, keep: int, whole: bool | None = None) -> None:
        self.files = 0
        self.problems: list[tuple[str, str]] = []
        self._names = names
        self._keep = keep
        self._whole = whole

    def size(self) -> int | None:
        """The bytes of all inputs as they are stored; None when an input is a pipe."""
        total = 0
        for name, path in self._paths():
            try:
                status = path.stat()
            except OSError:
                status = None
            if name == STDIN or (status and not stat.S_ISREG(status.st_mode)):
                return None
            total += status.st_size if status else 0  # a problem when it is its turn
        return total

    def jobs(self) -> Iterator[Job]:
        """Everything there is to do, in order."""
        return _together(job for name, path in self._paths() for job in self._jobs_of(name, path))

    def _paths(self) -> Iterator[tuple[str, Path]]:
        """Each file by the name that the user knows it by."""
        for name in self._names:
            if name == STDIN or not os.path.isdir(name):  # noqa: PTH112 - as above
                yield name, Path(name)
                continue
            for folder, folders, files in os.walk(name, onerror=self._unreadable):
                folders[:] = sorted(one for one in folders if not one.startswith("."))
                for file in sorted(one for one in files if not one.startswith(".")):
                    path = Path(folder, file)
                    yield str(path), path

    def _unreadable(self, error: OSError) -> None:
        self.problems.append((str(error.filename), os_reason(error)))

    def _jobs_of(self, name: str, path: Path) -> Iterator[Job]:
        self.files += 1
        whole = self._is_whole(path) if self._whole is None else self._whole
        try:
            if name == STDIN:
                yield from self._stream(name, sys.stdin.buffer, whole=whole)
                return
            status = path.stat()
            is_plain = stat.S_ISREG(status.st_mode)
            if is_plain and whole:
                yield Documents((path,), status.st_size)
            elif is_plain and not is_compressed(path):
                for start in range(0, status.st_size, _SPAN_BYTES):
                    yield Span(name, path, start, min(start + _SPAN_BYTES, status.st_size))
            else:
                with path.open("rb") as file:
                    yield from self._stream(name, file, whole=whole)
        except OSError as error:
            self.problems.append((name, os_reason(error)))

    def _is_whole(self, path: Path) -> bool:
        suffixes = path.suffixes
        return (suffixes[:-1] if suffixes[-1:] and suffixes[-1] in _COMPRESSED else suffixes)[
            -1:
        ] == [".json"]

    def _stream(self, name: str, file: IO[bytes], *, whole: bool) -> Iterator[Job]:
        """Read a file here. Of one that is cut off, the last line is no request."""
        stored = 0
        with opened(file) as contents:
            if whole:
                data = read_at_most(contents, self._keep)
                yield Text(name, data, len(data), first=True, whole=True)
                return
            first = True
            for chunk in whole_lines(blocks_of(contents), self._keep):
                before, stored = stored, file.tell() if file.seekable() else stored
                yield Text(name, chunk, stored - before, first=first)
                first = False


def _together(jobs: Iterable[Job]) -> Iterator[Job]:
    """Put small files that are one document each into one job."""
    waiting: list[Documents] = []
    for job in jobs:
        if isinstance(job, Documents):
            waiting.append(job)
            full = sum(one.stored for one in waiting) >= _SPAN_BYTES or len(waiting) == _DOCUMENTS
        if waiting and (full or not isinstance(job, Documents)):
            yield _one(waiting)
            waiting = []
        if not isinstance(job, Documents):
            yield job
    if waiting:
        yield _one(waiting)


def _one(jobs: Sequence[Documents]) -> Documents:
    return Documents(
        tuple(path for job in jobs for path in job.paths), sum(job.stored for job in jobs)
    )
