"""The journal of a copy: the position that its files have reached, and how long they are then.

    5f2c9a1e {"position": "…", "at": 1764324000.5, "lengths": {"inverter": 1204}, "checksums": {…}}

One line for each batch of changes, behind those changes. After a crash, the last line whose
checksum is right decides: what files have beyond its lengths is truncated, and is read again.

Invariants: a position in the journal is never ahead of the files; lengths of products that a line
does not name are those of the lines before it.
"""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from pointgate.durable_files import SHARED, write_file

if TYPE_CHECKING:
    from pathlib import Path

_MOST_BYTES: Final = 262_144
"""A longer journal is replaced by one line."""


@dataclass(slots=True)
class Progress:
    """What the journal says.

    Attributes:
        position: The position; None if there is none.
        at: When the copy was last known to be up to date, in seconds since 1970.
        lengths: Bytes of the file of changes of each product.
        checksums: Its CRC-32; not of a file that an earlier version has begun.
    """

    position: str | None = None
    at: float = 0.0
    lengths: dict[str, int] = field(default_factory=dict)
    checksums: dict[str, int] = field(default_factory=dict)


class Journal:
    """A journal.

    Args:
        path: Its file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size = 0

    def read(self) -> Progress:
        """What it says; what stands behind a damaged line does not count.

        Raises:
            OSError: It cannot be read.
        """
        progress = Progress()
        self._size = 0
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return progress
        for line in data.splitlines(keepends=True):
            document = _document(line)
            if document is None:
                break
            progress.position, progress.at = document["position"], document["at"]
            progress.lengths |= document["lengths"]
            progress.checksums |= document.get("checksums", {})
            self._size += len(line)
        return progress

    def write(self, progress: Progress, changed: dict[str, int], *, sync: bool) -> None:
        """Append a line.

        Args:
            progress: What is to be known from then on.
            changed: Those of its lengths that have changed.
            sync: Whether the line has to survive a power cut from now on.

        Raises:
            OSError: It cannot be written.
        """
        if self._size > _MOST_BYTES or not self._size:
            line = _line(progress, progress.lengths)
            write_file(self._path, line, SHARED)
            self._size = len(line)
            return
        line = _line(progress, changed)
        with open(self._path, "r+b", buffering=0, opener=SHARED.opener) as file:
            file.truncate(self._size)  # whatever an attempt that failed has left
            file.seek(self._size)
            file.write(line)
            if sync:
                os.fsync(file.fileno())
        self._size += len(line)


def _line(progress: Progress, lengths: dict[str, int]) -> bytes:
    checksums = {key: progress.checksums[key] for key in lengths if key in progress.checksums}
    document = {
        "position": progress.position,
        "at": progress.at,
        "lengths": lengths,
        "checksums": checksums,
    }
    text = json.dumps(document, ensure_ascii=True).encode()
    return b"%08x %b\n" % (zlib.crc32(text), text)


def _document(line: bytes) -> dict[str, Any] | None:
    checksum, _, text = line.partition(b" ")
    text = text.removesuffix(b"\n")
    if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(text):
        return None
    found: dict[str, Any] = json.loads(text)
    return found
