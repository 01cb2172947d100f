"""A batch: the accepted points of all requests that one commit makes durable.

On disk it is an Arrow IPC stream of `points.SCHEMA`, compressed as a whole with LZ4, beside the
number of points of each request. Its rows are those of its requests, in the order of arrival. Small
bursts are joined first; of large ones each has its own dictionaries, which the reader merges,
because no reply waits for the reader.

The stream is compressed as a whole, not buffer by buffer as Arrow does: for three points that takes
26 µs and 1.1 KB, not 250 µs and 2.9 KB; for 10,000 points 0.3 ms and 7 bytes a point, not 1.2 ms
and 8.5 (2 cores, 2026-11). zstd is a third smaller and takes twice as long.

Batches of earlier versions, whose instants are milliseconds, are converted when they are read.

Invariants: `decode` returns exactly what `encode` was given, or raises `BrokenBatchError`.
"""

from __future__ import annotations

import zlib
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa
from pyarrow import ipc

from pointgate import _core
from pointgate.error_classes import DamageError
from pointgate.store.points import SCHEMA, current

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pointgate.store.base import Points

_CODEC: Final = "lz4"

COUNTS: Final = "I"
"""Four bytes per request, in native byte order: a spool stays on its machine."""

PAGE_BYTES: Final = 4096
_ROW_BYTES: Final = 96
"""The size of a row without the two BLOB columns."""

_HIGHEST_RATIO: Final = 256
"""LZ4 compresses by at most this factor. `raw_bytes` is not covered by the checksum: a flipped bit
in it must not cause an allocation of an exabyte, which would look like a lack of memory."""
_LEAST_ROOM: Final = 4096

_JOINED_BYTES: Final = 1024 * 1024
"""Larger parts are not copied: they would take no less time, and twice the memory."""


class BrokenBatchError(DamageError):
    """The stored batch is corrupt."""


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch as it is on disk.

    Attributes:
        counts: How many points each request has, as bytes of `COUNTS`.
        points: How many points there are in total.
        body: The points.
        raw_bytes: The size of `body` before compression.
        checksum: CRC-32 of `counts` and `body`.
    """

    counts: bytes
    points: int
    body: bytes
    raw_bytes: int
    checksum: int

    @property
    def size(self) -> int:
        """Its size in a file, in whole pages."""
        return -(-(len(self.body) + len(self.counts) + _ROW_BYTES) // PAGE_BYTES) * PAGE_BYTES


def encode(counts: array[int], parts: Iterable[Points]) -> Batch:
    """Write a batch.

    Args:
        counts: How many points each request has.
        parts: The points.

    Raises:
        ValueError: The number of points is not the sum of `counts`, or the columns differ.
    """
    stream = pa.BufferOutputStream()
    rows = 0
    with ipc.new_stream(stream, SCHEMA) as writer:
        for part in _joined([*parts]):
            for record in pa.RecordBatchReader.from_stream(part):
                writer.write_batch(record)
                rows += record.num_rows
    if rows != sum(counts):
        raise ValueError(f"expected {sum(counts)} points, got {rows}")
    raw = stream.getvalue()
    body = pa.compress(raw, codec=_CODEC, asbytes=True)
    data = counts.tobytes()
    return Batch(data, rows, body, raw.size, _checksum(data, body))


def _joined(parts: Sequence[Points]) -> Sequence[Points]:
    """Small parts as one: to write a part and to read it takes 60 µs whatever is in it."""
    judged = [part for part in parts if isinstance(part, _core.Points)]
    if len(judged) < max(2, len(parts)) or sum(part.nbytes for part in judged) > _JOINED_BYTES:
        return parts
    joined = _core.Points.joined(judged)
    return parts if joined is None else [joined]  # None: an attempt before has exported some


def decode(batch: Batch) -> tuple[array[int], pa.Table]:
    """Read a batch: how many points each request has, and the points.

    Raises:
        BrokenBatchError: The batch is corrupt.
        MemoryError: An allocation failed; the batch may be intact.
    """
    if _checksum(batch.counts, batch.body) != batch.checksum:
        raise BrokenBatchError("checksum mismatch")
    if not 0 <= batch.raw_bytes <= _HIGHEST_RATIO * len(batch.body) + _LEAST_ROOM:
        raise BrokenBatchError(
            f"impossible size: {len(batch.body)} bytes cannot decompress to {batch.raw_bytes}"
        )
    try:
        raw = pa.decompress(batch.body, decompressed_size=batch.raw_bytes, codec=_CODEC)
        table = current(ipc.open_stream(raw).read_all())
    except MemoryError:  # first: Arrow's own is an ArrowException, too
        raise
    except (pa.ArrowException, OSError) as error:
        raise BrokenBatchError(str(error)) from error
    return array(COUNTS, batch.counts), table


def _checksum(counts: bytes, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(counts))
