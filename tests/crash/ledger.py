"""The ledger: what was sent and what came back, a line each, in the order in which it happened.

    {"sent":7,"corrects":null,"wrong":false,"points":[["protocol","device1","temp",1704…,7.1,…],…]}
    {"again":7}              sent once more, because no answer had come
    {"taken":7}              the broker has acknowledged it
    {"ok":7} {"err":7,"code":1204}
    {"cut":true}             the connection has ended: the broker is gone
    {"strange":"…"}          an answer to nobody knows what

`sent` and `again` are on the disk before the request goes out.

It does not judge (`compare.py`).
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tests.crash.traffic import Point

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from typing import Self

    from tests.crash.traffic import Request

EXPECTED = pa.schema(
    [
        ("number", pa.int64()),
        ("product", pa.string()),
        ("device", pa.string()),
        ("identifier", pa.string()),
        ("time", pa.int64()),
        ("value_double", pa.float64()),
        ("value_long", pa.int64()),
        ("value_json", pa.string()),
        ("quality", pa.int8()),
    ]
)
"""Every point that was sent, with the number of its request; `Point` is the rest of a row."""


class LedgerWriter:
    """Writes a ledger; one thread only."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8")

    def sent(self, request: Request) -> None:
        """A request is about to be sent for the first time."""
        corrects = request.at if request.at != request.number else None
        points = [list(point) for point in request.points]
        self.note(sent=request.number, corrects=corrects, wrong=request.wrong, points=points)

    def note(self, **line: object) -> None:
        """Write any line."""
        self._file.write(json.dumps(line, separators=(",", ":")) + "\n")

    def sync(self) -> None:
        """Make sure that all of it is on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sync()
        self._file.close()


@dataclass(slots=True)
class Entry:
    """What became of a request.

    Attributes:
        wrong: Whether it must be refused.
        points: How many points it has; if it is wrong, before the fault.
        sent: How often it was sent.
        ok: How often it was answered 200.
        err: How often it was answered anything else.
        held: Whether the broker has acknowledged it and has been up ever since.
        corrects: The request whose points these are, too, with other values. That one had been
            sent once, and answered 200, before this one was sent.
        safe: Whether the broker has been up ever since it was sent.
    """

    wrong: bool
    points: int
    corrects: int | None = None
    sent: int = 1
    ok: int = 0
    err: int = 0
    held: bool = False
    safe: bool = True


@dataclass(slots=True)
class Ledger:
    """A ledger, read.

    Attributes:
        requests: All that were sent, by their numbers.
        expected: Their points, rows of `EXPECTED`.
        strange: Answers that are none.
    """

    requests: dict[int, Entry] = field(default_factory=dict)
    expected: pa.Table = field(default_factory=EXPECTED.empty_table)
    strange: list[str] = field(default_factory=list)


def read(lines: Iterable[str]) -> Ledger:
    """Read a ledger; a last line that is not whole yet is none."""
    reader = _Reader()
    for line in lines:
        if line.endswith("\n"):
            reader.take(json.loads(line))
    return reader.end()


class _Reader:
    def __init__(self) -> None:
        self._ledger = Ledger()
        self._columns: list[list[Any]] = [[] for _ in EXPECTED.names]
        self._held: set[int] = set()
        self._safe: set[int] = set()

    def take(self, line: dict[str, Any]) -> None:
        """Take the next line."""
        requests = self._ledger.requests
        match line:
            case {"sent": number, "corrects": corrects, "wrong": wrong, "points": points}:
                requests[number] = Entry(wrong, len(points), corrects)
                self._safe.add(number)
                for point in points:
                    row = (number, *Point(*point))
                    for column, value in zip(self._columns, row, strict=True):
                        column.append(value)
            case {"again": number}:
                requests[number].sent += 1
            case {"ok": number}:
                requests[number].ok += 1
            case {"err": number}:
                requests[number].err += 1
            case {"taken": number}:
                self._held.add(number)
            case {"cut": _}:
                self._held.clear()
                self._safe.clear()
            case {"strange": text}:
                self._ledger.strange.append(text)

    def end(self) -> Ledger:
        """What all of them say together."""
        ledger = self._ledger
        for number, entry in ledger.requests.items():
            entry.held = number in self._held
            entry.safe = number in self._safe
        arrays = [
            pa.array(column, kind.type)
            for column, kind in zip(self._columns, EXPECTED, strict=True)
        ]
        ledger.expected = pa.table(arrays, schema=EXPECTED)
        return ledger
