"""The sink that writes newline-delimited JSON, to a file or to standard output.

    {"product":"solar","device":"inv1","identifier":"temp","time":1714521600000,"value":21.5,
     "quality":0,"received":1714521600123.456}                                   (on one line)

Times are UTC milliseconds, as in requests: whole numbers if the request gave the time, and with
three decimals if it is the instant of arrival, which has microseconds. So the unit is the same as
in files of former versions, and an IEEE double is exact to the microsecond. `quality` is present
for points that have one. A value is a number, a boolean, a string, or the ARRAY or STRUCT as it was
posted, with its line breaks replaced by spaces; a whole number in a DOUBLE has no fraction. Arrow
makes the lines column by column; orjson encodes only the names and texts, each distinct name once.
That makes 1 to 4 M points/s on a shared core, compared with some 0.3 M/s for orjson on a dictionary
for each point.

The file is append-only, and each write is synced. It may be rotated away at any time; the next
write creates a new one. A write that fails is truncated away. After a crash or a power cut,
recovery truncates the file at the first damaged line (`file.py`). Whole lines of an interrupted
write that come before it stay, and appear again when the drain repeats the write. There is no
upsert and no deduplication: a point that is posted twice appears twice, and there is no
`on_conflict`.

Standard output is as durable as the program that reads it. After a broken pipe the sink stays
unavailable: points remain in the spool until the service is restarted with a new reader.

Invariants: when `write` returns, all its lines are durable in the file; lines never interleave.
"""

from __future__ import annotations

import asyncio
import os
import select
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from pointgate.diagnostics import os_reason
from pointgate.sinks.base import CommitsEachWrite, SinkRefusedError, SinkUnavailableError
from pointgate.sinks.ndjson.file import LineFile
from pointgate.sinks.tables import one_batch, pieces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pointgate.sinks.ndjson.settings import NdjsonSettings

_ROWS: Final = 50_000
"""Lines made at a time: some 10 MB where values are short."""

_TEXT_BYTES: Final = 8 * 1024 * 1024
"""Bytes of texts in the lines made at a time; making them takes several times as much memory."""

_STDOUT: Final = 1

_POLL_SECONDS: Final = 0.2
"""The interval at which a blocked write to standard output checks whether the sink is closing."""


def build(settings: NdjsonSettings, writer: str) -> NdjsonSink:  # noqa: ARG001 - see `newest`
    """Make the sink from its settings."""
    return NdjsonSink(name=settings.name, path=settings.file)


class NdjsonSink(CommitsEachWrite):
    """Writes points as lines of JSON.

    Attributes:
        name: Its name in metrics and log lines.
    """

    def __init__(self, *, name: str, path: Path | None) -> None:
        """Store the settings; `open` creates the file.

        Args:
            name: The sink's name.
            path: The file; None is standard output.
        """
        self.name = name
        self._path = path
        self._file = LineFile(path) if path else None
        self._closing = threading.Event()
        # One thread, so that a write whose task was cancelled ends before the next call begins.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"sink {name}")

    def newest(self) -> int:
        """0: lines have no sequence (see `base.Sink`)."""
        return 0

    async def open(self) -> None:
        """Create the file, or recover it after a crash.

        Raises:
            SinkUnavailableError: It cannot be created or read.
        """
        if self._file is not None:
            await self._run(self._file.recover)

    async def write(self, points: pa.Table, *, sequence: int) -> None:  # noqa: ARG002 - see `Sink`
        """Append points.

        Args:
            points: Rows of `store.points.SCHEMA`.
            sequence: Ignored.

        Raises:
            SinkUnavailableError: The disk is full or failing, and nothing was written; or standard
                output is a broken pipe.
            SinkRefusedError: Arrow cannot convert a value.
        """
        if self._file is None:
            await self._run(_print, points, self._closing.is_set)
        else:
            await self._run(self._file.append, lines(points))

    async def close(self) -> None:
        """Release the thread; a write that is blocked on standard output is cancelled."""
        self._closing.set()
        await asyncio.get_running_loop().run_in_executor(self._thread, _barrier)
        self._thread.shutdown(wait=False)

    async def _run(self, call: Callable[..., Any], *arguments: Any) -> None:
        target = "standard output" if self._path is None else self._path
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)
        except BrokenPipeError as error:
            raise SinkUnavailableError(f"broken pipe: no process reads {target}") from error
        except OSError as error:
            raise SinkUnavailableError(f"cannot write to {target}: {os_reason(error)}") from error
        except MemoryError:  # Arrow's own is also an ArrowException
            raise
        except pa.ArrowException as error:
            raise SinkRefusedError(f"cannot be written as JSON: {error}") from error


def lines(points: pa.Table) -> Iterator[pa.Buffer]:
    """The points as lines of JSON, in blocks."""
    for piece in pieces(points, most_rows=_ROWS, most_bytes=_TEXT_BYTES):
        batch = one_batch(piece)
        text = pc.binary_join_element_wise(
            '{"product":',
            names(batch["product"]),
            ',"device":',
            names(batch["device"]),
            ',"identifier":',
            names(batch["identifier"]),
            ',"time":',
            milliseconds(batch["time"]),
            ',"value":',
            values(batch),
            _quality(batch["quality"]),
            ',"received":',
            milliseconds(batch["received"]),
            "}\n",
            "",
        )
        yield _bytes(text)


def names(column: pa.DictionaryArray) -> pa.Array:
    """Names as JSON strings."""
    texts = [orjson.dumps(name).decode() for name in column.dictionary.to_pylist()]
    return pa.array(texts, pa.string()).take(column.indices)


def milliseconds(instants: pa.Array) -> pa.Array:
    """Instants as numbers: `1714521600123`, or `1714521600123.050` with microseconds."""
    microseconds = instants.view(pa.int64())
    whole = pc.divide(microseconds, 1000)
    text = whole.cast(pa.string())
    rest = pc.subtract(microseconds, pc.multiply(whole, 1000))
    is_whole = pc.equal(rest, 0)
    if pc.all(is_whole).as_py():
        return text
    decimals = pc.utf8_lpad(rest.cast(pa.string()), 3, "0")
    return pc.if_else(is_whole, text, pc.binary_join_element_wise(text, decimals, "."))


def values(batch: pa.RecordBatch) -> pa.Array:
    """The value of each point as JSON, on one line."""
    json = batch["value_json"]
    for line_break in "\n\r":
        json = pc.replace_substring(json, line_break, " ")
    return pc.coalesce(
        batch["value_double"].cast(pa.string()),
        batch["value_long"].cast(pa.string()),
        batch["value_bool"].cast(pa.string()),
        names(batch["value_text"].dictionary_encode()),
        json,
    )


def _quality(column: pa.Array) -> pa.Array:
    member = pc.binary_join_element_wise(',"quality":', column.cast(pa.string()), "")
    return pc.coalesce(member, "")


def _bytes(text: pa.Array) -> pa.Buffer:
    """The contiguous bytes of an array of strings."""
    _, offsets, data = text.buffers()
    ends = pa.Array.from_buffers(pa.int32(), len(text) + 1, [None, offsets], offset=text.offset)
    return data.slice(ends[0].as_py(), ends[-1].as_py() - ends[0].as_py())


def _print(points: pa.Table, closing: Callable[[], bool]) -> None:
    pipe = not stat.S_ISREG(os.fstat(_STDOUT).st_mode)
    for data in lines(points):
        rest = memoryview(data)
        while rest:
            # A writable pipe takes PIPE_BUF bytes without blocking, so `closing` is seen in time.
            if pipe and not select.select([], [_STDOUT], [], _POLL_SECONDS)[1]:
                if closing():
                    raise BrokenPipeError
                continue
            rest = rest[os.write(_STDOUT, rest[: select.PIPE_BUF] if pipe else rest) :]
    if not pipe:
        os.fsync(_STDOUT)


def _barrier() -> None:
    """Do nothing: when this call returns, the thread's queue is empty."""
