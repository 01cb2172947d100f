"""Dead letters: points that a sink permanently rejected, in files, one request each.

    spool/refused/postgres/1763870000001234.arrow    its points, an Arrow IPC file
    spool/refused/postgres/1763870000001234.json     the reason, the time, the product

Their requests were answered 200 (or not at all under `ack = "sink"`), so they must not be lost.
Dead letters are rare and are not retried automatically. An operator repairs the sink, loads the
files into it (any Arrow reader opens them), and deletes them.

Invariants: when `add` returns, both files are durable; a file appears as a whole or not at all;
when a sink's folder has reached its limit, `add` fails and that sink stops until there is room.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

import orjson
import pyarrow as pa
from pyarrow import ipc

from pointgate.durable_files import PRIVATE, make_folder, sync_folder, write_file

if TYPE_CHECKING:
    from pathlib import Path


class DeadLetterStore(Protocol):
    """Stores points that a sink permanently rejected."""

    async def add(self, sink: str, points: pa.Table, reason: str, *, sequence: int) -> None:
        """Store the points of one request durably.

        Args:
            sink: The sink's name.
            points: The points of the request.
            reason: The sink's error message.
            sequence: The request's number.

        Raises:
            OSError: A temporary failure; the drain retries the same call.
        """


class DeadLetters:
    """A `DeadLetterStore` of files.

    Args:
        folder: The parent folder; each sink gets a subfolder.
        max_bytes: The limit for each subfolder.
    """

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._sizes: dict[str, int] = {}

    async def add(  # noqa: D102 - see DeadLetterStore
        self, sink: str, points: pa.Table, reason: str, *, sequence: int
    ) -> None:
        await asyncio.to_thread(self._write, sink, points, reason, sequence)

    def _write(self, sink: str, points: pa.Table, reason: str, sequence: int) -> None:
        folder = self._folder / sink
        make_folder(folder, PRIVATE)
        # Measured again when full: an operator may have deleted files.
        if self._sizes.get(sink, self._max_bytes) >= self._max_bytes:
            self._sizes[sink] = sum(path.stat().st_size for path in folder.iterdir())
        if self._sizes[sink] >= self._max_bytes:
            raise OSError(0, f"{folder} is full: {self._max_bytes} bytes of dead letters")
        about = {
            "sink": sink,
            "reason": reason,
            "products": points.column("product").unique().to_pylist(),
            "points": points.num_rows,
            "sequence": sequence,
            "at": datetime.now(UTC),
        }
        stream = pa.BufferOutputStream()
        with ipc.new_file(stream, points.schema) as writer:
            writer.write_table(points)
        name = f"{sequence:016}"
        # The reason is written first, so that there are never points without one.
        for suffix, content in ((".json", orjson.dumps(about)), (".arrow", stream.getvalue())):
            self._sizes[sink] += write_file(folder / f"{name}{suffix}", content, PRIVATE)
            sync_folder(folder)
