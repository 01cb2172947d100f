"""Chunks of points into sinks, each chunk once.

A sink is told how many chunks, and how many rows of the next one, it has with a write. This is the
sequence of a writer that is this import alone (`sinks.base.LIVE`): 3 << 32 after three chunks,
3 << 32 | 500 after 500 rows of the fourth. A chunk is one write; it is halved if memory does not
suffice, or to find the point that a sink refuses. A crash between a sink's commit and that of the
state:

    parquet     the dataset knows the last sequence that is in it; that is not written again
    delta       the same of the table
    postgres    the same keys are the same rows
    ndjson      lines that are in the file behind the size noted before the write are counted,
                compared with the chunk, and not written again
    ndjson -    standard output has no memory: the chunk's lines are repeated

Invariants: a chunk is noted as committed after its write has returned; nothing is held back.
"""

from __future__ import annotations

import asyncio
from threading import Thread
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self, TypeVar

import orjson
import pyarrow as pa

from pointgate import failpoint
from pointgate.importing.state import SinkState, StateError
from pointgate.sinks.base import SinkRefusedError, SinkUnavailableError
from pointgate.sinks.registry import build

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from pathlib import Path

    from pointgate.importing.state import State
    from pointgate.sinks.base import Sink
    from pointgate.sinks.settings import SinkSettings

_ROW_BITS: Final = 32

_REMEMBER: Final = ("parquet", "delta")
"""Kinds of sinks that know which chunks they have."""

_RETRY_SECONDS: Final = (0.2, 0.5, 1.0, 2.0, 4.0)
"""A restart of PostgreSQL takes less; what is away longer is for the operator, who starts again."""

T = TypeVar("T")


class Sinks:
    """The sinks of an import, on an event loop in a thread of their own.

    Args:
        settings: Which sinks.
        state: The progress of each of them.
        save: Makes the state durable.
        refuse: Takes each row that a sink refuses, with the sink's name and its reason.

    Raises:
        ConfigError: One cannot be made.
        SinkUnavailableError: On entering and on writing: one is unavailable.
        StateError: On entering: one does not have what it had.
    """

    def __init__(
        self,
        settings: Sequence[SinkSettings],
        state: State,
        save: Callable[[], None],
        refuse: Callable[[str, dict[str, Any], str], None],
    ) -> None:
        self._settings = settings
        self._sinks: list[Sink] = [sink for sink, _ in build(settings, writer=f"import-{state.id}")]
        self._state = state
        self._save = save
        self._refuse = refuse
        self._opened: list[Sink] = []
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="sinks", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            for settings, sink in zip(self._settings, self._sinks, strict=True):
                self._run(_retried(sink.open))
                self._opened.append(sink)
                state = self._state.sinks.setdefault(sink.name, SinkState())
                newest = sink.newest()
                _check_holds(settings, state, newest)
                _catch_up(state, newest)
        except BaseException:
            self._stop()
            raise
        self._save()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    @property
    def committed(self) -> int:
        """How many chunks every sink has."""
        return min((self._state.sinks[sink.name].chunks for sink in self._sinks), default=0)

    def write(self, number: int, points: pa.Table) -> None:
        """Write a chunk into every sink that lacks it, and note that it is there.

        Args:
            number: Which one, from 0.
            points: Its points; they may be none.
        """
        for settings, sink in zip(self._settings, self._sinks, strict=True):
            state = self._state.sinks[sink.name]
            if state.chunks > number:
                continue
            rows, start = self._missing(settings, state, points)
            if rows.num_rows:
                self._run(self._write(sink, rows, _Place(number, start, points.num_rows)))
            failpoint.hit("import-before-commit")
            state.chunks = number + 1
            state.rows, state.size = 0, -1
            if (file := _lines_file(settings)) is not None:
                state.written = file.stat().st_size
            self._save()

    def _missing(
        self, settings: SinkSettings, state: SinkState, points: pa.Table
    ) -> tuple[pa.Table, int]:
        """The points of a chunk that a sink does not have from before a crash, and their place."""
        file = _lines_file(settings)
        if file is None:
            return points.slice(state.rows), state.rows
        size = file.stat().st_size
        if state.size >= 0:
            there = _lines_there(file, state.size, points)
            return points.slice(there), there
        state.size = size
        self._save()
        return points, 0

    async def _write(self, sink: Sink, points: pa.Table, place: _Place) -> None:
        sequence = place.sequence(points.num_rows)
        try:
            await _retried(lambda: _store(sink, points, sequence))
        except MemoryError:
            if points.num_rows == 1:
                raise
        except SinkRefusedError as error:
            if points.num_rows == 1:
                self._refuse(sink.name, points.to_pylist()[0], str(error))
                # So that it is not refused, and reported, once more after a crash.
                self._state.sinks[sink.name].rows = place.start + 1
                self._save()
                return
        else:
            return
        half = points.num_rows // 2
        await self._write(sink, points.slice(0, half), place)
        await self._write(sink, points.slice(half), place._replace(start=place.start + half))

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()

    def _stop(self) -> None:
        try:
            for sink in self._opened:
                self._run(sink.close())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()


class _Place(NamedTuple):
    """Where rows are in the chunks.

    Attributes:
        chunk: The number of their chunk, from 0.
        start: The first of them in it.
        size: How many rows the chunk has.
    """

    chunk: int
    start: int
    size: int

    def sequence(self, rows: int) -> int:
        """The sequence of a write of so many rows."""
        done = self.start + rows
        return self.chunk + 1 << _ROW_BITS if done == self.size else self.chunk << _ROW_BITS | done


def _lines_file(settings: SinkSettings) -> Path | None:
    """The file of a sink of JSON lines."""
    output = settings.output
    if settings.kind != "ndjson" or output is None or output.kind != "file":
        return None
    return output.path


def _check_holds(settings: SinkSettings, state: SinkState, newest: int) -> None:
    """Refuse a sink that does not have the chunks that it had."""
    reason = ""
    file = _lines_file(settings)
    if settings.kind in _REMEMBER and state.chunks and not newest:
        reason = f"has none of {state.chunks:,} writes that this import has made"
    elif file is not None and (size := file.stat().st_size) < state.written:
        reason = f"has {size:,} of {state.written:,} bytes that this import has left"
    if reason:
        raise StateError(
            f"{settings.shown_place}: {reason}: restore it, or import with another --state"
        )


def _catch_up(state: SinkState, newest: int) -> None:
    """Note what a sink says that it has, beyond what the state says."""
    chunks, rows = newest >> _ROW_BITS, newest & (1 << _ROW_BITS) - 1
    state.chunks, state.rows = max((state.chunks, state.rows), (chunks, rows))


async def _store(sink: Sink, points: pa.Table, sequence: int) -> None:
    try:
        if not sink.pending:
            await sink.write(points, sequence=sequence)
        await sink.commit()
    except MemoryError as error:
        if sink.pending:  # it may be stored: it must not be written in halves
            raise SinkUnavailableError(f"sink {sink.name}: out of memory") from error
        raise


async def _retried(call: Callable[[], Coroutine[Any, Any, None]]) -> None:
    for seconds in _RETRY_SECONDS:
        try:
            return await call()
        except SinkUnavailableError:
            await asyncio.sleep(seconds)
    return await call()


def _lines_there(path: Path, size: int, points: pa.Table) -> int:
    """How many of a chunk's points stand in a file, in lines behind a size."""
    names = ("product", "device", "identifier")
    columns = [points.column(name).to_pylist() for name in names]
    times = points.column("time").cast(pa.int64()).to_pylist()
    there = 0
    with path.open("rb") as file:
        file.seek(size)
        for line in file:
            if not line.endswith(b"\n") or there == points.num_rows:
                break
            found = orjson.loads(line)
            key = [found[name] for name in names]
            if (
                key != [column[there] for column in columns]
                or round(found["time"] * 1000) != times[there]
            ):
                raise SinkUnavailableError(
                    f"{path}: another process has written to it since the import was stopped; "
                    "expected the rest of the import's last write"
                )
            there += 1
    return there


def known(settings: Sequence[SinkSettings], names: Sequence[str]) -> list[SinkSettings]:
    """The sinks that were asked for by name; all without any.

    Raises:
        ValueError: There is no such sink.
    """
    there = {one.name: one for one in settings}
    for name in names:
        if name not in there:
            raise ValueError(f"--sink: expected one of {', '.join(there) or 'none'}, got {name}")
    return [there[name] for name in dict.fromkeys(names)] if names else list(settings)
