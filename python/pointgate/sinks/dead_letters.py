"""Points that a sink can never take, kept for a person: one request a file.

    spool/refused/postgres/1763870000001234.arrow    its points, an Arrow IPC file
    spool/refused/postgres/1763870000001234.json     why, when, which product

They were answered 200, or not at all under `ack = "sink"`, so they must not vanish. What a sink
refuses is rare and is never tried again by itself: mend the sink, then write the files where they
belong (any Arrow reader opens them), and delete them.

Invariants: when `refused` returns, both files are durable; a file is there as a whole or not at
all; the folder of a sink stays within its
bound, beyond which the sink stands still, and says so.
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


class Quarantine(Protocol):
    """Where points go that a sink can never take."""

    async def refused(self, sink: str, points: pa.Table, reason: str, *, sequence: int) -> None:
        """Keep them for good.

        Args:
            sink: The sink's name.
            points: The points of one request.
            reason: What the sink said.
            sequence: The request's number.

        Raises:
            OSError: Not now; the same call comes again.
        """


class DeadLetters:
    """Keeps them as files (see `Quarantine`).

    Args:
        folder: Where each sink gets a folder of its own.
        max_bytes: How much one of these may hold.
    """

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._held: dict[str, int] = {}

    async def refused(  # noqa: D102 - see Quarantine
        self, sink: str, points: pa.Table, reason: str, *, sequence: int
    ) -> None:
        await asyncio.to_thread(self._write, sink, points, reason, sequence)

    def _write(self, sink: str, points: pa.Table, reason: str, sequence: int) -> None:
        folder = self._folder / sink
        make_folder(folder, PRIVATE)
        if self._held.get(sink, self._max_bytes) >= self._max_bytes:  # a person may have tidied up
            self._held[sink] = sum(path.stat().st_size for path in folder.iterdir())
        if self._held[sink] >= self._max_bytes:
            raise OSError(0, f"{folder} holds {self._max_bytes} bytes of refused points")
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
        # The reason first: points never stand there without it.
        for suffix, content in ((".json", orjson.dumps(about)), (".arrow", stream.getvalue())):
            self._held[sink] += write_file(folder / f"{name}{suffix}", content, PRIVATE)
            sync_folder(folder)
