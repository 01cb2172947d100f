"""The inputs of a run: files, folders and standard input, split into jobs.

    -           standard input
    a folder    every file below it, sorted by name, without hidden ones
    a file      plain text with a request on each line: byte ranges, which workers read
                plain text with one document: a job for several such files
                otherwise (compressed, archive, UTF-16, damaged, pipe): read by this process

`extract.py` detects by the content what a file is, and whether it has one document or one on each
line. `whole` overrides the latter for all files.

Invariants: jobs are in the order of the inputs; only the current block of the inputs is in memory.
"""

from __future__ import annotations

import io
import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pointgate.bulk.extract import document_in, foreign_content, is_document, lines_in, parts_of
from pointgate.bulk.file_types import HEAD_BYTES, FileType, file_type_of, mark_bytes
from pointgate.bulk.jobs import Block, DocumentFiles, FileRange, Job
from pointgate.bulk.streams import READ_BYTES, DamagedError, Source
from pointgate.diagnostics import os_reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import IO

STDIN: Final = "-"

_RANGE_BYTES: Final = 4_194_304
"""The size of a range: some ten milliseconds of work, which outweighs the cost of a job."""

_DOCUMENTS: Final = 64
"""Files a job: their names must fit in the buffer of a pipe, so that sending does not block."""


def unusable(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The inputs that cannot be opened, each with the reason."""
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
        names: Files, folders and `-`, as given on the command line.
        keep: The number of bytes to keep of a long line or document.
        whole: Whether each file is one document; None detects it by the content.

    Attributes:
        files: The number of files begun. Files in an archive count, the archive does not.
        problems: The files that this process could not read, each with the reason.
    """

    def __init__(self, names: Sequence[str], *, keep: int, whole: bool | None = None) -> None:
        self.files = 0
        self.problems: list[tuple[str, str]] = []
        self._names = names
        self._keep = keep
        self._whole = whole

    def size(self) -> int | None:
        """The size of all inputs on disk; None if an input is a pipe."""
        total = 0
        for name, path in self._paths():
            try:
                status = path.stat()
            except OSError:
                status = None
            if name == STDIN or (status and not stat.S_ISREG(status.st_mode)):
                return None
            total += status.st_size if status else 0  # reported when it is read
        return total

    def jobs(self) -> Iterator[Job]:
        """All jobs, in order."""
        return _together(job for name, path in self._paths() for job in self._jobs_of(name, path))

    def _paths(self) -> Iterator[tuple[str, Path]]:
        """Each file, with its name for reports."""
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
        begun = self.files
        try:
            if name == STDIN:
                yield from self._parts(name, sys.stdin.buffer)
                return
            status = path.stat()
            is_file = stat.S_ISREG(status.st_mode)
            if not is_file and name not in self._names:
                self.files += 1  # reading a pipe in a folder could block for ever
                self.problems.append((name, "expected a file, got a pipe, a socket or a device"))
                return
            with path.open("rb", buffering=0) as file:
                if is_file:
                    head = file.read(READ_BYTES)
                    if _is_plain(file, head, status.st_size):
                        self.files += 1
                        yield from self._plain(name, path, file, head)
                        return
                    file.seek(0)
                with io.BufferedReader(file) as buffered:
                    yield from self._parts(name, buffered)
        except OSError as error:
            self.files = max(self.files, begun + 1)
            self.problems.append((name, os_reason(error)))

    def _plain(self, name: str, path: Path, file: IO[bytes], head: bytes) -> Iterator[Job]:
        """Jobs for a plain text file, which workers read."""
        size = os.fstat(file.fileno()).st_size
        text = Source(file)
        text.put_back(head[mark_bytes(head, file_type_of(head[:HEAD_BYTES])) :])
        if self._is_whole(text, name):
            yield DocumentFiles((path,), size)
            return
        for start in range(0, size, _RANGE_BYTES):
            yield FileRange(name, path, start, min(start + _RANGE_BYTES, size))

    def _is_whole(self, text: Source, name: str) -> bool:
        return is_document(text, name, self._keep) if self._whole is None else self._whole

    def _parts(self, name: str, file: IO[bytes]) -> Iterator[Job]:
        """Jobs for a file that this process reads."""
        can_tell = file.seekable()
        again = can_tell and file.tell() == 0
        stored = 0
        for part, text in parts_of(name, file, file if again else None):
            self.files += 1
            if isinstance(text, str):
                self.problems.append((part, text))
                continue
            try:
                for data, first, whole in self._texts(part, text):
                    before, stored = stored, file.tell() if can_tell else stored
                    yield Block(part, data, max(stored - before, 0), first=first, whole=whole)
            except DamagedError as error:
                self.problems.append((part, str(error)))

    def _texts(self, name: str, text: Source) -> Iterator[tuple[bytes, bool, bool]]:
        """The blocks of a text, each with whether it is the first, and whether it is a document."""
        if self._is_whole(text, name):
            data, damage = document_in(text, self._keep)
            if data or not damage:
                yield data, True, True
            if damage:
                raise damage
            return
        first = True
        for chunk in lines_in(text, self._keep):
            yield chunk, first, False
            first = False


def _is_plain(file: IO[bytes], head: bytes, size: int) -> bool:
    """Whether a file is plain text, which workers can read in ranges."""
    if len(head) < size:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(len(head))
    else:
        last = head[-1:]
    start = head[:HEAD_BYTES]
    is_text = file_type_of(start) in {FileType.TEXT, FileType.UTF8_MARKED}
    return is_text and last != b"\x00" and not foreign_content(start)


def _together(jobs: Iterable[Job]) -> Iterator[Job]:
    """Combine small files of one document each into one job."""
    waiting: list[DocumentFiles] = []
    for job in jobs:
        if isinstance(job, DocumentFiles):
            waiting.append(job)
            full = sum(one.stored for one in waiting) >= _RANGE_BYTES or len(waiting) == _DOCUMENTS
        if waiting and (full or not isinstance(job, DocumentFiles)):
            yield _one(waiting)
            waiting = []
        if not isinstance(job, DocumentFiles):
            yield job
    if waiting:
        yield _one(waiting)


def _one(jobs: Sequence[DocumentFiles]) -> DocumentFiles:
    return DocumentFiles(
        tuple(path for job in jobs for path in job.paths), sum(job.stored for job in jobs)
    )
