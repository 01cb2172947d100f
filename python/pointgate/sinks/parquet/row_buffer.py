"""Rows that wait in memory until enough of them can be sorted together.

A row group for each partition in each chunk of the drain would make 100,000 points over a year cost
ten times as much.

Invariant: `BUFFER_BYTES` are exceeded by one batch at most.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from pointgate.sinks.tables import one_batch

BUFFER_BYTES: Final = 64 * 1024 * 1024
"""Rows that wait in memory, decoded: as much as the largest legal request takes."""

GATHERED: Final = 4_000_000
"""Points that are worth a commit, whatever their age: some 30 to 60 MiB of files."""


class RowBuffer:
    """Rows of points in the order of arrival."""

    def __init__(self) -> None:
        self._batches: list[pa.RecordBatch] = []
        self._bytes = 0

    def has_room_for(self, batch: pa.RecordBatch) -> bool:
        """Whether it is not full with these rows, too."""
        return bool(self._bytes + batch.nbytes <= BUFFER_BYTES)

    @property
    def is_over_full(self) -> bool:
        """Whether its rows must be written before others are added."""
        return self._bytes > BUFFER_BYTES

    def append(self, batch: pa.RecordBatch) -> None:
        """Add rows."""
        self._batches.append(batch)
        self._bytes += batch.nbytes

    def take(self) -> pa.RecordBatch | None:
        """Remove and return all rows; None if there are none."""
        if not self._batches:
            return None
        batches, self._batches, self._bytes = self._batches, [], 0
        return one_batch(pa.Table.from_batches(batches))

    def clear(self) -> None:
        """Drop all rows."""
        self._batches, self._bytes = [], 0
