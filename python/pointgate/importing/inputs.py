"""The inputs of an import: files, folders, patterns and standard input, each with a fingerprint.

    history/             every file below it, by name, without hidden ones
    'history/*.csv.gz'   a pattern, where the shell has not expanded it
    -                    standard input

`--include` and `--exclude` are patterns for the names of files, also of those in a zip or a tar.
What an import has begun must not change: size, time of modification and a digest of the first
64 KiB are compared when it continues.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
import stat
import sys
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pointgate.diagnostics import os_reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

STDIN: Final = "-"
_ARCHIVE: Final = re.compile(r"\.(zip|tar|tar\.[a-z0-9]+|t(gz|bz2?|xz|zst|lz4?))$", re.IGNORECASE)
_HEAD_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What tells an input from a changed one; size and time of standard input are 0.

    Attributes:
        size: Bytes.
        modified_ns: When it was modified.
        head: A digest of its beginning.
    """

    size: int
    modified_ns: int
    head: str

    def difference(self, now: Fingerprint) -> str:
        """What has changed; empty when nothing has."""
        if self.size != now.size:
            return f"its size was {self.size} bytes and is {now.size}"
        if self.head != now.head:
            return "its first bytes are others"
        return "its time of modification is another" if self != now else ""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which files are read.

    Attributes:
        include: Patterns of which one must match; none: all match.
        exclude: Patterns of which none may match.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def __contains__(self, name: str) -> bool:
        return (not self.include or _matches(name, self.include)) and not self.excludes(name)

    def has(self, part: str, name: str) -> bool:
        """Whether a file in an input is read: the patterns are for each archive that it is in, too.

        Args:
            part: `a.zip/b.tar/c.csv`.
            name: Of it the input, `a.zip`.
        """
        names = [one for one in containers(part) if len(one) >= len(name)]
        return not any(map(self.excludes, names)) and any(one in self for one in names)

    def excludes(self, name: str) -> bool:
        """Whether a pattern says that it is not read."""
        return _matches(name, self.exclude)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    base = name.rpartition("/")[2]
    return any(fnmatch(name, pattern) or fnmatch(base, pattern) for pattern in patterns)


def containers(part: str) -> list[str]:
    """What a file may be in by its name, from the outside, and itself: `a.zip`, `a.zip/b.csv`."""
    ends = [place for place, letter in enumerate(part) if letter == "/"]
    return [*(part[:end] for end in ends), part]


def is_archive(name: str) -> bool:
    """Whether a file has others in it, by its name."""
    return bool(_ARCHIVE.search(name))


def expand(names: Sequence[str], problems: dict[str, str]) -> Iterator[str]:
    """Each file by the name that its user knows; what cannot be listed is a problem."""
    seen: set[str] = set()
    for name in names:
        for file in _files_of(name, problems):
            if file not in seen:
                seen.add(file)
                yield file


def _files_of(name: str, problems: dict[str, str]) -> Iterator[str]:
    path = Path(name)
    if name == STDIN:
        yield name
    elif path.is_dir():
        yield from _files_in(name, problems)
    elif not path.exists() and glob.has_magic(name):
        # A Path drops what the user wrote.
        found = [one for one in sorted(glob.glob(name, recursive=True)) if Path(one).is_file()]  # noqa: PTH207
        if not found:
            problems[name] = "expected a pattern that matches a file, got none"
        yield from found
    elif not path.exists():
        problems[name] = "no such file"
    elif _is_pipe(path):
        problems[name] = "expected a file, or - for standard input, got a pipe or a device"
    else:
        yield name


def _files_in(name: str, problems: dict[str, str]) -> Iterator[str]:
    is_empty = True
    for folder, folders, files in os.walk(
        name, onerror=lambda error: problems.update({str(error.filename): os_reason(error)})
    ):
        folders[:] = sorted(one for one in folders if not one.startswith("."))
        for file in sorted(one for one in files if not one.startswith(".")):
            inner = Path(folder, file)
            is_empty = False
            if _is_pipe(inner):
                problems[str(inner)] = "expected a file, got a pipe, a socket or a device"
            else:
                yield str(inner)
    if is_empty and name not in problems:
        problems[name] = "expected a folder with files, got none that is not hidden"


def _is_pipe(path: Path) -> bool:
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False  # a problem when it is opened


def fingerprint(name: str) -> Fingerprint:
    """The fingerprint of an input.

    Raises:
        OSError: It cannot be read.
    """
    if name == STDIN:
        head = sys.stdin.buffer.peek(_HEAD_BYTES) if hasattr(sys.stdin.buffer, "peek") else b""
        # A pipe gives what is in it: the first bytes alone are the same in every run.
        return Fingerprint(0, 0, digest(head[:512]))
    with Path(name).open("rb") as file:
        status = os.fstat(file.fileno())
        return Fingerprint(status.st_size, status.st_mtime_ns, digest(file.read(_HEAD_BYTES)))


def digest(data: bytes) -> str:
    """What tells bytes from others: 32 hexadecimal digits."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()
