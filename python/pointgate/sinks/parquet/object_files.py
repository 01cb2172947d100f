"""The objects of one commit, as Parquet files in memory until they are put.

    files = ObjectFiles(prefix, metadata)
    files.write(partition, rows)       # row groups
    files.finish()                     # all objects: what `Commits.stage` wants

Invariants: at most `_OPEN` files are open at a time; a partition that comes again after its file
was closed gets another one.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from pointgate.sinks.parquet.object_commits import Finished
from pointgate.sinks.parquet.rows import ROW_GROUP, parquet_writer, row_groups

if TYPE_CHECKING:
    from collections.abc import Mapping

_OPEN: Final = 400
"""Files that are open at a time: those of the days of a year. One takes some 20 kB."""


class ObjectFiles:
    """Writes the objects of one commit.

    Args:
        prefix: What all names begin with, and no other commit's.
        metadata: What the files say of themselves.
    """

    def __init__(self, prefix: str, metadata: Mapping[str, str]) -> None:
        self._prefix = prefix
        self._metadata = dict(metadata)
        self._open: OrderedDict[str, _File] = OrderedDict()
        self._finished: list[Finished] = []
        self._closed = 0

    @property
    def bytes(self) -> int:
        """How large the objects are so far."""
        return self._closed + sum(file.size for file in self._open.values())

    def write(self, partition: str, rows: pa.RecordBatch) -> None:
        """Write rows of one partition, sorted, one a key.

        Raises:
            pa.ArrowException: They cannot be written; the commit must be given up.
            MemoryError: The same.
        """
        for group in row_groups(rows):
            file = self._open.get(partition)
            if file is None:
                if len(self._open) >= _OPEN:
                    self._close_oldest()
                file = self._open[partition] = _File(group, self._metadata)
            self._open.move_to_end(partition)
            file.writer.write_table(group, ROW_GROUP)

    def finish(self) -> list[Finished]:
        """Close all files, and return them."""
        while self._open:
            self._close_oldest()
        return self._finished

    def _close_oldest(self) -> None:
        partition, file = self._open.popitem(last=False)
        content = file.close()
        self._closed += content.nbytes
        name = f"{self._prefix}-{len(self._finished) + 1:05}"
        self._finished.append(Finished(name, f"{partition}/{name}.parquet", content))


class _File:
    def __init__(self, first: pa.Table, metadata: dict[str, str]) -> None:
        self._stream: Any = pa.BufferOutputStream()
        self.writer = parquet_writer(self._stream, first, metadata=metadata)

    @property
    def size(self) -> int:
        return int(self._stream.tell())

    def close(self) -> memoryview:
        self.writer.close()
        return memoryview(self._stream.getvalue()).cast("B")  # Arrow's own are of signed bytes
