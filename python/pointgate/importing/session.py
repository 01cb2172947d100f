"""An import from its beginning, or from where it was, to its end.

    begin     the state: a new one, or the one that is there, if it is of these inputs
    read      rows → judge → runs; the state is saved with each run
    plan      all runs → chunks
    write     chunk by chunk into every sink; the state is saved with each chunk

Invariants: what the state says is durable before it says so.
"""

from __future__ import annotations

import secrets
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import pyarrow as pa

from pointgate import Validator, failpoint
from pointgate.bulk.streams import MARGIN_BYTES, DamagedError
from pointgate.diagnostics import os_reason
from pointgate.errors import PointgateError
from pointgate.importing.coverage import Coverage
from pointgate.importing.csv_rows import CsvBlocks
from pointgate.importing.inputs import STDIN, expand, fingerprint
from pointgate.importing.judging import Judging, RejectsFile
from pointgate.importing.layouts import Layout
from pointgate.importing.opening import parts, payloads, table_of
from pointgate.importing.reading import Block, BlockResult, read_some, table_of_stream
from pointgate.importing.records import Table, TableError
from pointgate.importing.runs import ROW_BYTES, Runs, spill
from pointgate.importing.state import Input, State, StateError, StateFolder
from pointgate.importing.writing import Sinks
from pointgate.topics import request_topic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pointgate.bulk.pool import Pool
    from pointgate.bulk.streams import Source
    from pointgate.importing.plan import Plan
    from pointgate.importing.value_kinds import ValueKinds
    from pointgate.sinks.settings import SinkSettings

_REQUESTS: Final = 64


class Import:
    """One import.

    Args:
        plan: What and how.
        folder: Where its state is.
        show: Called with the phase, how far it is and how much there is.
        pool: Reads and judges lines; None to do so in this process.

    Raises:
        StateError: The state is of another import, or an input has changed.
    """

    def __init__(
        self,
        plan: Plan,
        folder: StateFolder,
        show: Callable[[str, int, int], None],
        pool: Pool[Block, BlockResult] | None = None,
    ) -> None:
        self._plan = plan
        self._pool = pool
        self._folder = folder
        self._show = show
        self._names: list[str] = []
        self.state = self._begin()
        self.coverage = Coverage()
        self._rejects = RejectsFile(folder.path / "rejects.ndjson", self.state.rejects_bytes)
        self._kinds: dict[str, ValueKinds] = {}
        self._judging = Judging(
            Validator(plan.catalog, payload_bytes=plan.payload_bytes),
            self.state.counts,
            self._rejects,
            payload_bytes=plan.payload_bytes,
        )
        self._tables: list[pa.Table] = []
        self._bytes = 0
        self._read = 0

    @property
    def rejects(self) -> Path:
        """The file of rejected points."""
        return self._folder.path / "rejects.ndjson"

    def run(self, sinks: Sequence[SinkSettings]) -> None:
        """Do all that is left to do.

        Args:
            sinks: Where to; none for a trial.

        Raises:
            ConfigError: A sink cannot be made.
            SinkUnavailableError: A sink is unavailable.
            OSError: The state cannot be written.
        """
        try:
            if self.state.phase == "reading":
                self._read_all()
                self._finish_reading()
            if self._pool:
                self._pool.close()
            self._write_all(sinks)
        except _StateFailedError as error:
            raise error.reason from error
        finally:
            self._rejects.close()

    def _begin(self) -> State:
        problems: dict[str, str] = {}
        names = [name for name in expand(self._plan.names, problems) if self._wants(name)]
        state = self._folder.load()
        if state is None:
            state = State(
                id=secrets.token_hex(8),
                mapping=self._plan.digest,
                started_us=time.time_ns() // 1000,
            )
        elif state.mapping != self._plan.digest:
            raise StateError(
                f"{self._folder.path}: begun with another mapping or product: "
                "import with those, or with another --state"
            )
        self._folder.tidy(state)
        fresh = [name for name in names if self._check(name, state, problems)]
        if state.phase == "done" and fresh:  # the same history goes on
            state.phase, state.sinks, state.chunks = "reading", {}, []
            state.id = secrets.token_hex(8)
        if state.phase == "writing" and fresh:
            raise StateError(
                f"{fresh[0]}: expected the inputs of the import that was stopped; "
                "import this one when it has ended"
            )
        missing = [name for name, one in state.inputs.items() if not one.done and name not in names]
        if missing and state.phase == "reading":
            raise StateError(f"{missing[0]}: expected it among the inputs, as it was begun")
        state.problems = {
            name: reason for name, reason in state.problems.items() if name not in fresh
        } | problems
        self._names = names
        return state

    def _wants(self, name: str) -> bool:
        """Whether a file is read: one that may be an archive is asked for its members."""
        packed = name.lower().endswith((".zip", ".tar", ".tgz", ".tar.gz", ".tar.xz", ".tar.zst"))
        return name == STDIN or packed or name in self._plan.filter

    def _check(self, name: str, state: State, problems: dict[str, str]) -> bool:
        """Whether an input is new.

        Raises:
            StateError: It is not what it was.
        """
        try:
            now = fingerprint(name)
        except OSError as error:
            problems[name] = os_reason(error)
            return False
        known = state.inputs.get(name)
        if known is None:
            state.inputs[name] = Input(now)
            return True
        if change := known.fingerprint.difference(now):
            raise StateError(
                f"{name}: has changed since its import began: {change}; restore it, "
                "or import it under another name"
            )
        return False

    # reading

    def _read_all(self) -> None:
        total = sum(one.fingerprint.size for one in self.state.inputs.values())
        done = 0
        for name in self._names:
            one = self.state.inputs.get(name)
            if one is None or one.done:
                done += one.fingerprint.size if one else 0
                continue
            try:
                if name == STDIN:
                    self._read_file(name, one, sys.stdin.buffer, lambda _: None)
                else:
                    start = done
                    with Path(name).open("rb") as file:
                        self._read_file(name, one, file, partial(self._show_from, start, total))
            except OSError as error:
                self.state.problems[name] = os_reason(error)
            one.done = True
            done += one.fingerprint.size
        self._commit()

    def _show_from(self, start: int, total: int, at: int) -> None:
        self._show("reading", start + at, total)

    def _read_file(
        self, name: str, one: Input, file: IO[bytes], show: Callable[[int], None]
    ) -> None:
        skip_parts, skip = one.part, one.records
        for number, (part, opened) in enumerate(parts(name, file, self._plan.mapping)):
            if number < skip_parts:
                continue
            if isinstance(opened, str):
                self.state.problems[part] = opened
                continue
            if part != name and part not in self._plan.filter:
                continue
            one.part = number
            one.records = skip if number == skip_parts else 0
            try:
                if isinstance(opened, Table):
                    self._rows(part, opened, one, lambda: show(_position(file)))
                elif self._plan.mapping is None:
                    self._requests(part, opened, one, lambda: show(_position(file)))
                elif self._pool and self._plan.mapping.is_cut_into_lines:
                    self._lines(part, opened, one, file, show)
                else:
                    table = table_of(opened, self._plan.mapping)
                    self._rows(part, table, one, lambda: show(_position(file)))
            except (TableError, DamagedError) as error:
                self.state.problems[part] = str(error)

    def _rows(self, part: str, table: Table, one: Input, show: Callable[[], None]) -> None:
        layout = self._layout(table)
        records = islice(table.records, one.records, None)
        while (
            taken := read_some(part, records, layout, self._judging, lambda: self._arrive(1))
        ).rows:
            self._took(taken.rows, taken.tables, one)
            show()
            if taken.failure:
                break
        if taken.failure:
            raise taken.failure

    def _lines(
        self, part: str, text: Source, one: Input, file: IO[bytes], show: Callable[[int], None]
    ) -> None:
        """The same by the pool."""
        assert self._plan.mapping is not None  # noqa: S101 - as above
        assert self._pool is not None  # noqa: S101 - as above
        blocks = CsvBlocks(text, self._plan.mapping.csv)
        self._layout(Table(blocks.columns, iter(())))  # a column may be missing
        blocks.skip(one.records)
        failure: list[DamagedError | OSError] = []

        def jobs() -> Iterator[Block]:
            try:
                for lines in blocks:
                    yield Block(part, blocks.columns, lines, self._arrive(1), _position(file))
            except (DamagedError, OSError) as error:  # after the results of what was before it
                failure.append(error)

        for block, result in self._pool.run(jobs()):
            self.state.counts.add(result.counts)
            with _of_state():
                self._rejects.append(result.rejects)
            self._took(result.counts.rows, list(map(table_of_stream, result.points)), one)
            show(block.at)
        if failure:
            raise failure[0]

    def _layout(self, table: Table) -> Layout:
        assert self._plan.mapping is not None  # noqa: S101 - as above
        return Layout(self._plan.mapping, table, self._plan.catalog.products, self._kinds)

    def _took(self, rows: int, tables: Sequence[pa.Table], one: Input) -> None:
        """Note what was read of an input; make it durable when it is enough."""
        one.records += rows
        self._tables += tables
        self._bytes += sum(table.nbytes for table in tables)
        if self._bytes >= self._plan.memory // 4:
            self._commit()

    def _requests(self, part: str, text: Source, one: Input, show: Callable[[], None]) -> None:
        product = self._plan.product or ""
        topic = request_topic(product)
        keep = self._plan.payload_bytes + MARGIN_BYTES
        lines = islice(payloads(text, part, keep), one.records, None)
        while some := list(islice(lines, _REQUESTS)):
            arrived_us = self._arrive(len(some))
            tables = self._judging.requests(part, [topic] * len(some), some, arrived_us=arrived_us)
            self.state.counts.rows += len(some)
            self._took(len(some), tables, one)
            show()

    def _arrive(self, count: int) -> int:
        """The instant of the next request; so many are of this call."""
        self.state.arrivals += count
        return self.state.started_us + self.state.arrivals - count

    def _commit(self) -> None:
        """Make what was read durable, then say so."""
        with _of_state():
            if self._tables:
                name = f"{int(self.state.runs[-1]) + 1 if self.state.runs else 1:06}"
                tables, self._tables, self._bytes = self._tables, [], 0
                spill(tables, self._folder.runs, name)
                failpoint.hit("import-after-run")
                self.state.runs.append(name)
            self._save()

    def _save(self) -> None:
        self.state.rejects_bytes = self._rejects.sync()
        self._folder.save(self.state)

    def _finish_reading(self) -> None:
        self.state.most_rows = max(1000, self._plan.memory // 4 // ROW_BYTES)
        runs = Runs(self._folder.runs, self.state.runs)
        self.state.chunks = runs.plan(self.state.most_rows)
        self.state.phase = "writing"
        self._save()

    # writing

    def _write_all(self, settings: Sequence[SinkSettings]) -> None:
        if self.state.phase == "done":
            return
        runs = Runs(self._folder.runs, self.state.runs)
        total = sum(chunk.rows for chunk in self.state.chunks)
        done = 0
        with (
            Sinks(settings, self.state, self._save, self._refuse) as sinks,
            ThreadPoolExecutor(1, thread_name_prefix="runs") as loader,
        ):
            chunks = self.state.chunks
            loading = loader.submit(runs.load, chunks[0]) if chunks else None
            for number, chunk in enumerate(chunks):
                rows = loading.result() if loading else None
                following = chunks[number + 1 : number + 2]
                loading = loader.submit(runs.load, following[0]) if following else None
                if rows is not None:
                    self.coverage.add(rows)
                    sinks.write(number, pa.Table.from_batches([rows]))
                    failpoint.hit("import-after-chunk")
                done += chunk.rows
                self._show("writing", done, total)
        self.state.phase = "done"
        self.state.runs = []
        self._save()
        self._folder.tidy(self.state)

    def _refuse(self, sink: str, row: Mapping[str, Any], reason: str) -> None:
        """Describe a point that a sink can never store."""
        self.state.counts.reject("refused")
        found = {"file": "", "line": None, "reason": "refused", "message": f"{sink}: {reason}"}
        values = (one for name, one in row.items() if name.startswith("value_"))
        value = next((one for one in values if one is not None), None)
        key = {name: row[name] for name in ("product", "device", "identifier")}
        time = row["time"].strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        self._rejects.write(found | key | {"time": time, "value": value})


class _StateFailedError(PointgateError):
    """The state cannot be written, which is not to be taken for an input that cannot be read."""

    def __init__(self, reason: OSError) -> None:
        super().__init__(str(reason))
        self.reason = reason


@contextmanager
def _of_state() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _StateFailedError(error) from error


def _position(file: IO[bytes]) -> int:
    try:
        return file.tell()
    except OSError:
        return 0
