"""The sink that writes a JSON object a line, to a file or to standard output.

    {"product":"solar","device":"inv1","identifier":"temp","time":1714521600000,"value":21.5,
     "quality":0,"received":1714521600123.456}                                   (on one line)

Times are UTC milliseconds, as on the wire: whole numbers where a request gave the time, and with
three decimals where it is the instant of an arrival, which is a microsecond. So there is one unit
in a file that a former version began, and a reader of IEEE doubles has every microsecond. `quality`
is there for points that have one. A value is a number, a boolean, a string, or the ARRAY or STRUCT
as it came, with line breaks in it turned into spaces; a whole number in a DOUBLE is written without
a fraction. Lines are made by Arrow, column by column, and only names and texts by orjson, each
once: 1 to 4 M points/s on a shared core, where orjson on a dictionary for each point makes some 0.3
M/s.

A file is appended to and synced. It may be moved away at any time; the next write begins a new
one. A write that fails is cut off again, and so is, at the next start, what a crash or a power cut
has left of one, from its first damaged line on (`ndjson_file.py`). Whole lines before that stay,
and are written again with the rest of their write. Points that were posted again stand there again:
`on_conflict` has no meaning here.

Standard output is as safe as what reads it. A pipe that nobody reads any more makes the sink
unavailable for good: points stay in the spool, and the service must be started again with a reader.

Invariants: when `write` returns all lines are in the file and on the disk; lines are never mixed.
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
"""Bytes of texts in the lines made at a time; they take a multiple while they are made."""

_STDOUT: Final = 1

_PATIENCE: Final = 0.2
"""Seconds of waiting for a reader, until we look whether we have to stop."""


def build(settings: NdjsonSettings) -> NdjsonSink:
    """The sink that a table of the configuration asks for."""
    return NdjsonSink(name=settings.name, path=settings.file)


class NdjsonSink(CommitsEachWrite):
    """Writes points as lines of JSON.

    Attributes:
        name: What its metrics and log lines call it.
    """

    def __init__(self, *, name: str, path: Path | None) -> None:
        """Say where to.

        Args:
            name: The sink's name.
            path: The file; None is standard output.
        """
        self.name = name
        self._path = path
        self._file = LineFile(path) if path else None
        self._closing = threading.Event()
        # One thread: a write whose task was cancelled ends before anything else begins.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"sink {name}")

    def newest(self) -> int:
        """0: lines have no sequence (see `base.Sink`)."""
        return 0

    async def open(self) -> None:
        """Make the file, and cut off what a crash has left of a write.

        Raises:
            SinkUnavailableError: It cannot be made or read.
        """
        if self._file is not None:
            await self._run(self._file.mend)

    async def write(self, points: pa.Table, *, sequence: int) -> None:  # noqa: ARG002 - see `Sink`
        """Append points.

        Args:
            points: Rows of `store.points.SCHEMA`.
            sequence: Of no use here.

        Raises:
            SinkUnavailableError: The disk is full or failing, and nothing was written; or nobody
                reads standard output any more.
            SinkRefusedError: Arrow has no place for something in them.
        """
        if self._file is None:
            await self._run(_print, points, self._closing.is_set)
        else:
            await self._run(self._file.append, lines(points))

    async def close(self) -> None:
        """Let go; a reader of standard output that does not read is not waited for."""
        self._closing.set()
        await asyncio.get_running_loop().run_in_executor(self._thread, _nothing)
        self._thread.shutdown(wait=False)

    async def _run(self, call: Callable[..., Any], *arguments: Any) -> None:
        target = "standard output" if self._path is None else self._path
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)
        except BrokenPipeError as error:
            raise SinkUnavailableError(f"nobody reads {target} any more") from error
        except OSError as error:
            raise SinkUnavailableError(f"cannot write to {target}: {os_reason(error)}") from error
        except MemoryError:  # which Arrow's own is, beside an ArrowException
            raise
        except pa.ArrowException as error:
            raise SinkRefusedError(f"cannot be written as JSON: {error}") from error


def lines(points: pa.Table) -> Iterator[pa.Buffer]:
    """The points as JSON, a line each, some at a time."""
    for piece in pieces(points, most_rows=_ROWS, most_bytes=_TEXT_BYTES):
        batch = one_batch(piece)
        text = pc.binary_join_element_wise(
            '{"product":',
            _names(batch["product"]),
            ',"device":',
            _names(batch["device"]),
            ',"identifier":',
            _names(batch["identifier"]),
            ',"time":',
            _milliseconds(batch["time"]),
            ',"value":',
            _values(batch),
            _quality(batch["quality"]),
            ',"received":',
            _milliseconds(batch["received"]),
            "}\n",
            "",
        )
        yield _bytes(text)


def _names(column: pa.DictionaryArray) -> pa.Array:
    texts = [orjson.dumps(name).decode() for name in column.dictionary.to_pylist()]
    return pa.array(texts, pa.string()).take(column.indices)


def _milliseconds(instants: pa.Array) -> pa.Array:
    """Instants as numbers: `1714521600123`, or `1714521600123.050` for one that is not whole."""
    microseconds = instants.view(pa.int64())
    whole = pc.divide(microseconds, 1000)
    text = whole.cast(pa.string())
    rest = pc.subtract(microseconds, pc.multiply(whole, 1000))
    is_whole = pc.equal(rest, 0)
    if pc.all(is_whole).as_py():
        return text
    decimals = pc.utf8_lpad(rest.cast(pa.string()), 3, "0")
    return pc.if_else(is_whole, text, pc.binary_join_element_wise(text, decimals, "."))


def _values(batch: pa.RecordBatch) -> pa.Array:
    json = batch["value_json"]
    for line_break in "\n\r":
        json = pc.replace_substring(json, line_break, " ")
    return pc.coalesce(
        batch["value_double"].cast(pa.string()),
        batch["value_long"].cast(pa.string()),
        batch["value_bool"].cast(pa.string()),
        _names(batch["value_text"].dictionary_encode()),
        json,
    )


def _quality(column: pa.Array) -> pa.Array:
    member = pc.binary_join_element_wise(',"quality":', column.cast(pa.string()), "")
    return pc.coalesce(member, "")


def _bytes(text: pa.Array) -> pa.Buffer:
    """What an array of strings holds, one behind the other."""
    _, offsets, data = text.buffers()
    ends = pa.Array.from_buffers(pa.int32(), len(text) + 1, [None, offsets], offset=text.offset)
    return data.slice(ends[0].as_py(), ends[-1].as_py() - ends[0].as_py())


def _print(points: pa.Table, closing: Callable[[], bool]) -> None:
    pipe = not stat.S_ISREG(os.fstat(_STDOUT).st_mode)
    for data in lines(points):
        rest = memoryview(data)
        while rest:
            # A pipe that is ready takes so much without making us wait, so that we can be stopped.
            if pipe and not select.select([], [_STDOUT], [], _PATIENCE)[1]:
                if closing():
                    raise BrokenPipeError
                continue
            rest = rest[os.write(_STDOUT, rest[: select.PIPE_BUF] if pipe else rest) :]
    if not pipe:
        os.fsync(_STDOUT)


def _nothing() -> None:
    """What the thread comes to when all before is done."""
