"""The first phase of an import: every input, from where it was left, to runs of judged points.

    input → parts → rows → judge → points → runs
                    in this process, or cut into blocks that a pool of others reads

Invariants: what the state says of an input is durable in the runs before it says so.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Protocol

from pointgate import Validator, failpoint
from pointgate.bulk.streams import MARGIN_BYTES, DamagedError
from pointgate.diagnostics import os_reason
from pointgate.errors import PointgateError
from pointgate.importing.csv_rows import CsvBlocks, Lines
from pointgate.importing.inputs import STDIN
from pointgate.importing.json_rows import KEEP_BYTES
from pointgate.importing.judging import Judging
from pointgate.importing.layouts import Layout
from pointgate.importing.line_blocks import WholeLines, line_blocks
from pointgate.importing.opening import ParquetPart, parquet_rows, parts, payloads, table_of
from pointgate.importing.parquet_rows import RowBatch
from pointgate.importing.reading import Block, read_some
from pointgate.importing.records import Table, TableError
from pointgate.importing.runs import spill
from pointgate.topics import request_topic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from collections.abc import Mapping as MappingOf

    import pyarrow as pa

    from pointgate.bulk.pool import Pool
    from pointgate.bulk.streams import Source
    from pointgate.importing.judging import RejectsFile
    from pointgate.importing.mapping import Mapping
    from pointgate.importing.plan import Plan
    from pointgate.importing.reading import BlockResult
    from pointgate.importing.state import Input, State, StateFolder
    from pointgate.importing.value_kinds import ValueKinds

_REQUESTS: Final = 64

BlockRows = Lines | WholeLines | RowBatch
"""What of an input is one job of the pool."""


class Progress(Protocol):
    """Shows the progress of a phase."""

    def __call__(self, phase: str, done: int, total: int, /) -> None:
        """Show it: so much is done of so much."""


class StateFailedError(PointgateError):
    """The state cannot be written, which is not to be taken for an input that cannot be read."""

    def __init__(self, reason: OSError) -> None:
        super().__init__(str(reason))
        self.reason = reason


class ReadPhase:
    """Reads the inputs of an import.

    Args:
        plan: What and how.
        folder: Where the state is.
        state: What is known of the import.
        rejects: Where rejected points are written.
        pool: Reads and judges; None to do so in this process.
    """

    def __init__(
        self,
        plan: Plan,
        folder: StateFolder,
        state: State,
        rejects: RejectsFile,
        pool: Pool[Block, BlockResult] | None,
    ) -> None:
        self._plan = plan
        self._folder = folder
        self._state = state
        self._rejects = rejects
        self._pool = pool
        self._kinds: dict[str, ValueKinds] = {}
        self._judging = Judging(
            Validator(plan.catalog, payload_bytes=plan.payload_bytes),
            state.counts,
            rejects,
            payload_bytes=plan.payload_bytes,
        )
        self._tables: list[pa.Table] = []
        self._bytes = 0

    def run(
        self, paths: MappingOf[str, str], show: Progress, report: Callable[[str], None]
    ) -> None:
        """Read all that was not read yet.

        Args:
            paths: The inputs, in their order: the name of each, and where it is.
            show: Shows the progress, in bytes.
            report: Prints a line of diagnostics.

        Raises:
            StateFailedError: The state cannot be written.
        """
        total = sum(one.fingerprint.size for one in self._state.inputs.values())
        done = 0
        for name, path in paths.items():
            one = self._state.inputs.get(name)
            if one is None or one.done:
                done += one.fingerprint.size if one else 0
                continue
            try:
                if name == STDIN:
                    self._read_file(name, one, sys.stdin.buffer, lambda _: None, report)
                else:
                    start = done
                    with Path(path).open("rb") as file:
                        shown = partial(_show_from, show, start, total)
                        self._read_file(name, one, file, shown, report)
            except OSError as error:
                self._state.problems[name] = os_reason(error)
            one.done, one.overlaps = True, {}
            done += one.fingerprint.size
        self._commit()

    def _read_file(
        self,
        name: str,
        one: Input,
        file: IO[bytes],
        show: Callable[[int], None],
        report: Callable[[str], None],
    ) -> None:
        skip_parts, skip = one.part, one.records
        chosen, number = self._plan.filter, -1
        is_empty = True
        for number, (part, opened) in enumerate(parts(name, file, self._plan.mapping)):
            if part != name:
                one.patterns = repr(chosen)
            if not chosen.has(part, name):
                continue
            is_empty = False
            if number < skip_parts:
                continue
            if isinstance(opened, str):
                self._state.problems[part] = opened
                continue
            one.part = number
            one.records = skip if number == skip_parts else 0
            one.overlaps = one.overlaps if number == skip_parts else {}
            place = _Place(part, one, file, show)
            try:
                self._read_part(place, opened)
                if not one.records:
                    report(f"{part}: has no rows")
            except (TableError, DamagedError) as error:
                self._state.problems[part] = str(error)
        if is_empty:
            report(f"{name}: has no file" + (" that the patterns choose" if number >= 0 else ""))

    def _read_part(self, place: _Place, opened: Source | ParquetPart) -> None:
        if isinstance(opened, ParquetPart):
            self._parquet(place, opened)
        elif self._plan.mapping is None:
            self._requests(place, opened)
        else:
            self._text(place, opened, self._plan.mapping)

    def _text(self, place: _Place, text: Source, mapping: Mapping) -> None:
        """A table of lines."""
        if self._pool is None or not mapping.is_cut:
            self._rows(place, table_of(text, mapping))
        elif mapping.format == "ndjson":
            columns = [str(one) for one in mapping.columns()]
            lines = line_blocks(text, KEEP_BYTES, place.input.records)
            self._blocks(place, columns, lines)
        else:
            blocks = CsvBlocks(text, mapping.csv)
            self._layout(Table(blocks.columns, iter(())))  # a column may be missing
            blocks.skip(place.input.records)
            self._blocks(place, blocks.columns, blocks)

    def _parquet(self, place: _Place, opened: ParquetPart) -> None:
        assert self._plan.mapping is not None  # noqa: S101 - no archived request is Parquet
        with _of_state():
            file = opened.open(self._folder.path)
        with file:
            rows = parquet_rows(file, self._plan.mapping)
            if self._pool is None or not self._plan.mapping.is_cut:
                self._rows(place, rows.table())
            else:
                self._layout(Table(rows.columns, iter(())))
                self._blocks(place, rows.columns, rows.blocks(place.input.records))

    def _requests(self, place: _Place, text: Source) -> None:
        keep = self._plan.payload_bytes + MARGIN_BYTES
        topic = request_topic(self._plan.product or "")
        lines = islice(payloads(text, place.part, keep), place.input.records, None)
        while some := list(islice(lines, _REQUESTS)):
            topics = [topic] * len(some)
            arrived_us = self._arrive(len(some))
            tables = self._judging.requests(place.part, topics, some, arrived_us=arrived_us)
            self._state.counts.rows += len(some)
            self._took(len(some), tables, place.input)
            place.show_progress()

    def _rows(self, place: _Place, table: Table) -> None:
        """A table, by this process."""
        layout = self._layout(table)
        layout.overlaps = place.input.overlaps  # saved with the rows that it speaks of
        records = islice(table.records, place.input.records, None)
        while (
            taken := read_some(place.part, records, layout, self._judging, lambda: self._arrive(1))
        ).rows:
            self._took(taken.rows, taken.tables, place.input)
            place.show_progress()
            if taken.failure:
                break
        if taken.failure:
            raise taken.failure

    def _blocks(
        self, place: _Place, columns: list[str] | None, blocks: Iterable[BlockRows]
    ) -> None:
        """Rows in blocks, by the pool; the results of what is before a damage are taken."""
        assert self._pool is not None  # noqa: S101 - as the caller has seen
        failure: list[DamagedError | OSError] = []

        def jobs() -> Iterator[Block]:
            try:
                for rows in blocks:
                    yield Block(place.part, columns, rows, self._arrive(1), place.position())
            except (DamagedError, OSError) as error:
                failure.append(error)

        for block, result in self._pool.run(jobs()):
            self._state.counts.add(result.counts)
            with _of_state():
                self._rejects.append(result.rejects)
            self._took(result.counts.rows, result.points, place.input)
            place.show(block.at)
        if failure:
            raise failure[0]

    def _layout(self, table: Table) -> Layout:
        assert self._plan.mapping is not None  # noqa: S101 - archived requests have none
        return Layout(self._plan.mapping, table, self._plan.catalog.products, self._kinds)

    def _took(self, rows: int, tables: Sequence[pa.Table], one: Input) -> None:
        """Note what was read of an input; make it durable when it is enough."""
        one.records += rows
        self._tables += tables
        self._bytes += sum(table.nbytes for table in tables)
        if self._bytes >= self._plan.memory // 4:
            self._commit()

    def _arrive(self, count: int) -> int:
        """The instant of the next request; so many are of this call."""
        self._state.arrivals += count
        return self._state.started_us + self._state.arrivals - count

    def _commit(self) -> None:
        """Make what was read durable, then say so."""
        with _of_state():
            if self._tables:
                name = f"{int(self._state.runs[-1]) + 1 if self._state.runs else 1:06}"
                tables, self._tables, self._bytes = self._tables, [], 0
                spill(tables, self._folder.runs, name)
                failpoint.hit("import-after-run")
                self._state.runs.append(name)
            self._state.rejects_bytes = self._rejects.sync()
            self._folder.save(self._state)


@dataclass(frozen=True, slots=True)
class _Place:
    """A part of an input, while it is read.

    Attributes:
        part: Its name.
        input: What is known of the input.
        file: The file that it is in.
        show: Takes how many bytes of the file were read.
    """

    part: str
    input: Input
    file: IO[bytes]
    show: Callable[[int], None]

    def position(self) -> int:
        """How many bytes of the file were read; 0 where it cannot tell."""
        try:
            return self.file.tell()
        except (OSError, ValueError):  # a pipe; a file that was closed
            return 0

    def show_progress(self) -> None:
        """Show how many."""
        self.show(self.position())


@contextmanager
def _of_state() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StateFailedError(error) from error


def _show_from(show: Progress, start: int, total: int, at: int) -> None:
    show("reading", start + at, total)
