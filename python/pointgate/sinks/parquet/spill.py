"""Rows of a commit that wait on disk, because too few of them are for the same day or month.

A row group costs some 2 ms of CPU time, however few rows it has. The buffer in memory holds a
million rows: of a year that is 3,000 a day, and a commit has several buffers. So what a buffer has
for a partition waits in a temporary file until the commit ends, and makes one row group with what
the others have for it (an external sort).

    write-spill-….tmp     an Arrow IPC file: a record batch a partition, of one buffer

Invariants: the rows of a partition come back in the order in which they were added; each file has
fewer than `FEW_ROWS` of them, and texts of `ROW_GROUP_BYTES` at most.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import pyarrow as pa
from pyarrow import ipc

from pointgate.durable_files import SHARED
from pointgate.sinks.key_order import NAMES
from pointgate.sinks.parquet.rows import ROW_GROUP_BYTES, own_entries
from pointgate.sinks.tables import one_batch, text_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pointgate.sinks.parquet.dataset import Dataset

FEW_ROWS: Final = 32_768
"""Fewer of a partition wait; those of so many cost several times what their row group does."""

MOST_BYTES: Final = 512 * 1024 * 1024
"""On disk: some ten million rows. Those of a year are 25,000 a day."""


class Spill:
    """The rows that wait.

    Args:
        dataset: Where; its `discard`, and the next start, remove the files of a failed commit.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._files: list[Path] = []
        self._batches: dict[str, list[tuple[int, int]]] = {}
        self._bytes = 0
        self._names = 0

    def __bool__(self) -> bool:
        return bool(self._files)

    @property
    def is_full(self) -> bool:
        """Whether its rows should come back now."""
        return self._bytes >= MOST_BYTES

    @staticmethod
    def takes(batch: pa.RecordBatch) -> bool:
        """Whether the texts of a buffer are short enough."""
        return text_bytes(batch) <= ROW_GROUP_BYTES

    def add(self, rows: Sequence[tuple[str, pa.RecordBatch]]) -> None:
        """Write what one buffer has of some partitions, each with the same dictionaries.

        Raises:
            OSError: It cannot be written.
        """
        if not rows:
            return
        self._names += 1
        path = self._dataset.temporary(f"write-{self._dataset.file_name('spill', 0, self._names)}")
        os.close(SHARED.opener(str(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
        with (
            pa.OSFile(str(path), "wb") as file,
            ipc.new_file(file, rows[0][1].schema) as writer,
        ):
            for number, (partition, batch) in enumerate(rows):
                writer.write_batch(batch)
                self._batches.setdefault(partition, []).append((len(self._files), number))
        self._bytes += path.stat().st_size
        self._files.append(path)

    def taken(self) -> Iterator[tuple[str, pa.RecordBatch]]:
        """Each partition with its rows, in the order of names; afterwards none wait.

        Raises:
            OSError: A file cannot be read.
        """
        with ExitStack() as stack:
            # Not mapped: its pages would be counted as this process's memory.
            files = [stack.enter_context(pa.OSFile(str(path))) for path in self._files]
            readers = [ipc.open_file(file) for file in files]
            for partition, places in sorted(self._batches.items()):
                batches = [_own_rows(readers[file].get_batch(number)) for file, number in places]
                yield partition, one_batch(pa.Table.from_batches(batches))
        for path in self._files:
            path.unlink()
        self.clear()

    def clear(self) -> None:
        """Forget all rows, when their files are gone."""
        self._files = []
        self._batches = {}
        self._bytes = 0


def _own_rows(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Rows of one partition, without what else is in the dictionaries: a whole fleet's names."""
    columns = [
        # Fewer names than rows cost less than finding out which of them are there.
        own_entries(column)
        if pa.types.is_dictionary(column.type)
        and not (name in NAMES and len(column.dictionary) <= len(batch))
        else column
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    ]
    return pa.record_batch(columns, schema=batch.schema)
