"""What there is to judge: files, folders and standard input, cut into jobs.

    -           standard input
    a folder    every file below it, by name, without those whose names begin with a dot
    a file      a plain one is cut into spans, which other processes read
                one that holds one document goes with others like it
                anything else is read here: compressed, packed, in UTF-16, damaged, a pipe

What a file is, and whether it holds one document or one a line, `parts.py` finds by its content.
`whole` decides otherwise for all of them.

Invariants: jobs come in the order of the inputs; nothing of the inputs is kept but the block that
is being cut.
"""

from __future__ import annotations

import io
import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pointgate.bulk.extract import (
    document_in,
    instead_of_requests,
    is_document,
    lines_in,
    parts_of,
)
from pointgate.bulk.file_types import HEAD_BYTES, Kind, kind_of, mark_bytes
from pointgate.bulk.jobs import Documents, Job, Span, Text
from pointgate.bulk.streams import READ_BYTES, DamagedError, Source
from pointgate.diagnostics import os_reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import IO

STDIN: Final = "-"

_SPAN_BYTES: Final = 4_194_304
"""Some ten milliseconds of work, so that handing it out and waiting for the last costs little."""

_DOCUMENTS: Final = 64
"""Files a job: their names must fit into a pipe that nobody reads from yet."""


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
        whole: Whether each file is one document; None lets its content decide.

    Attributes:
        files: How many files were begun; those in a zip or a tar count, it does not.
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
        begun = self.files
        try:
            if name == STDIN:
                yield from self._parts(name, sys.stdin.buffer)
                return
            status = path.stat()
            is_file = stat.S_ISREG(status.st_mode)
            if not is_file and name not in self._names:
                self.files += 1  # nobody may ever write into a pipe that lies about
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
        """Have a file read by others; it is only looked at here."""
        size = os.fstat(file.fileno()).st_size
        text = Source(file)
        text.put_back(head[mark_bytes(head, kind_of(head[:HEAD_BYTES])) :])
        if self._is_whole(text, name):
            yield Documents((path,), size)
            return
        for start in range(0, size, _SPAN_BYTES):
            yield Span(name, path, start, min(start + _SPAN_BYTES, size))

    def _is_whole(self, text: Source, name: str) -> bool:
        return is_document(text, name, self._keep) if self._whole is None else self._whole

    def _parts(self, name: str, file: IO[bytes]) -> Iterator[Job]:
        """Read a file here."""
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
                    yield Text(part, data, max(stored - before, 0), first=first, whole=whole)
            except DamagedError as error:
                self.problems.append((part, str(error)))

    def _texts(self, name: str, text: Source) -> Iterator[tuple[bytes, bool, bool]]:
        """What is in a text, whether it is the first of it, and whether it is a document."""
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
    """Whether other processes can read a file as it is."""
    if len(head) < size:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(len(head))
    else:
        last = head[-1:]
    start = head[:HEAD_BYTES]
    is_text = kind_of(start) in {Kind.TEXT, Kind.UTF8_MARKED}
    return is_text and last != b"\x00" and not instead_of_requests(start)


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
