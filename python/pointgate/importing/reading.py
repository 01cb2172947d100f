"""Rows to judged points, in this process or in a pool of others.

    main process                          each worker
    file → blocks of whole lines    →     lines → records → entries → judge
    runs, state, rejected points    ←     points as an Arrow stream, counts, rejected points

What can be cut goes to the pool: lines of CSV and NDJSON, batches of Parquet rows. CSV whose fields
have line breaks is read in the main process, by the same code.

Invariants: results are taken in the order of the blocks, so that of equal keys the last one wins.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from pointgate import Validator
from pointgate.bulk.streams import DamagedError
from pointgate.importing.csv_rows import Lines, records_of
from pointgate.importing.json_rows import json_records
from pointgate.importing.judging import Counts, Judging, RejectsBuffer
from pointgate.importing.layouts import Layout, RowError
from pointgate.importing.line_blocks import WholeLines
from pointgate.importing.parquet_rows import RowBatch, records_of_batch
from pointgate.importing.records import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa

    from pointgate.catalog import Catalog
    from pointgate.importing.layouts import Entry
    from pointgate.importing.mapping import Mapping
    from pointgate.importing.records import Record
    from pointgate.importing.value_kinds import ValueKinds

_ENTRIES: Final = 4000


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What rows are read and judged with.

    Attributes:
        mapping: What their columns mean.
        catalog: The catalog.
        payload_bytes: The limit on a request.
    """

    mapping: Mapping
    catalog: Catalog
    payload_bytes: int


@dataclass(frozen=True, slots=True)
class Block:
    """Rows of a table.

    Attributes:
        part: The file, for the rejected points.
        columns: The titles of its columns; None without a header.
        rows: The rows.
        arrived_us: The instant at which they arrive.
        at: The position in the input, for the progress bar.
    """

    part: str
    columns: list[str] | None
    rows: Lines | WholeLines | RowBatch
    arrived_us: int
    at: int


@dataclass(frozen=True, slots=True)
class BlockResult:
    """What became of them.

    Attributes:
        counts: Of this block alone.
        points: Accepted points.
        rejects: Rejected points, a JSON object a line.
    """

    counts: Counts
    points: list[pa.Table]
    rejects: bytes


@dataclass(slots=True)
class Taken:
    """What was read by one call.

    Attributes:
        rows: How many rows.
        tables: Their accepted points.
        failure: Why no more can be read.
    """

    rows: int = 0
    tables: list[pa.Table] = field(default_factory=list)
    failure: DamagedError | None = None


def read_some(
    part: str,
    records: Iterator[Record],
    layout: Layout,
    judging: Judging,
    arrive: Callable[[], int],
) -> Taken:
    """Read and judge some thousand rows; none where there are no more.

    Args:
        part: The file.
        records: Its rows.
        layout: Reads a row.
        judging: Judges it.
        arrive: The instant at which they arrive.
    """
    taken = Taken()
    entries: list[Entry] = []
    members = 0
    try:
        for record in records:
            taken.rows += 1
            try:
                entry = layout.entry(record)
                if entry is not None:
                    entries.append(entry)
                    members += len(entry.members)
            except RowError as error:
                judging.unreadable(part, record.line, record.fields, str(error))
            if taken.rows >= _ENTRIES or members >= _ENTRIES:
                break
    except DamagedError as error:
        taken.failure = error
    counts = judging.counts
    counts.rows += taken.rows
    counts.nulls += layout.nulls
    counts.skip(layout.skipped, layout.skipped.total())
    counts.note_listed(layout.listed)
    layout.nulls = 0
    layout.skipped.clear()
    layout.listed.clear()
    taken.tables = judging.entries(part, entries, arrived_us=arrive())
    return taken


class _BlockReader:
    """Reads blocks in a worker."""

    def __init__(self, options: ReadOptions) -> None:
        self._options = options
        self._rejects = RejectsBuffer()
        self._judging = Judging(
            Validator(options.catalog, payload_bytes=options.payload_bytes),
            Counts(),
            self._rejects,
            payload_bytes=options.payload_bytes,
        )
        self._kinds: dict[str, ValueKinds] = {}
        self._layout: Layout | None = None
        self._columns: list[str] | None = None

    def run(self, block: Block) -> BlockResult:
        mapping = self._options.mapping
        if self._layout is None or self._columns != block.columns:
            table = Table(block.columns, iter(()))
            products = self._options.catalog.products
            self._layout = Layout(mapping, table, products, self._kinds)
            self._columns = block.columns
        self._judging.counts = Counts()
        records = _records(block, mapping)
        points: list[pa.Table] = []
        while (
            taken := read_some(
                block.part, records, self._layout, self._judging, lambda: block.arrived_us
            )
        ).rows:
            points += taken.tables
        return BlockResult(self._judging.counts, points, self._rejects.taken())


def _records(block: Block, mapping: Mapping) -> Iterator[Record]:
    rows = block.rows
    if isinstance(rows, RowBatch):
        return records_of_batch(rows)
    if isinstance(rows, WholeLines):
        return json_records(rows.data, rows.before, block.columns or [])
    return records_of(rows, mapping.csv)


def reading(options: ReadOptions) -> Callable[[Block], BlockResult]:
    """What reads a block in a worker."""
    return _BlockReader(options).run
