"""Points as requests of the protocol, judged as the service would; each bad point alone.

    entries → one request for hundreds of them → accepted: all of them
                                               → rejected: each entry by itself
                                                           → rejected: each point by itself

So a file without faults costs one verdict for hundreds of rows, and one bad value costs as many
verdicts as its request has entries, and rejects nothing but itself.

Invariants: points come in the order of their rows, so that of equal keys the last one wins.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

import orjson
import pyarrow as pa

from pointgate.codes import Code
from pointgate.fault_document import fault_document, payload_member
from pointgate.topics import METHOD, request_topic

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pointgate import Report, Validator
    from pointgate._core import Points
    from pointgate.importing.layouts import Entry

_ENTRIES: Final = 500
_SHOWN: Final = 1000
"""Characters of a field of a row that cannot be read, and of a name that is skipped."""
_PREFIX: Final = f'{{"version":"1.0","method":"{METHOD}","params":['
_SUFFIX: Final = "]}"

MOST_NAMES: Final = 1_000

UNREADABLE: Final = "unreadable"
"""The reason of a row that was never a request; beside those of the contract."""


@dataclass(slots=True)
class Counts:
    """What became of the rows so far.

    Attributes:
        rows: Rows, or requests of an archive.
        points: Accepted points, before those with equal keys are one.
        rejected: Rejected points, requests and unreadable rows, by reason.
        nulls: Values that were null words.
        skipped: Rows whose name the mapping skips.
        skipped_names: The same by name, of the first `MOST_NAMES` names, cut to `_SHOWN`.
        listed: The names of `[points]` that rows of a long layout had, in order.
    """

    rows: int = 0
    points: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    nulls: int = 0
    skipped: int = 0
    skipped_names: dict[str, int] = field(default_factory=dict)
    listed: list[str] = field(default_factory=list)

    def reject(self, reason: str) -> None:
        """Count one."""
        self.rejected[reason] = self.rejected.get(reason, 0) + 1

    def skip(self, names: Mapping[str, int], rows: int) -> None:
        """Count skipped rows."""
        self.skipped += rows
        for whole, count in names.items():
            name = whole[:_SHOWN]
            if name in self.skipped_names or len(self.skipped_names) < MOST_NAMES:
                self.skipped_names[name] = self.skipped_names.get(name, 0) + count

    def note_listed(self, names: Iterable[str]) -> None:
        """Remember names of `[points]` that rows had."""
        if new := {*names}.difference(self.listed):
            self.listed = sorted([*self.listed, *new])

    def add(self, other: Counts) -> None:
        """Count what others have counted."""
        self.rows += other.rows
        self.points += other.points
        self.nulls += other.nulls
        self.skip(other.skipped_names, other.skipped)
        self.note_listed(other.listed)
        for reason, count in other.rejected.items():
            self.rejected[reason] = self.rejected.get(reason, 0) + count


class Rejects(Protocol):
    """Where rejected points are written."""

    def write(self, found: dict[str, object]) -> None:
        """Write one."""


class Judging:
    """Judges what an import reads.

    Args:
        validator: The judge.
        counts: Where everything is counted.
        rejects: Where rejected points are written.
        payload_bytes: The limit on a request.

    Attributes:
        counts: Where everything is counted.
    """

    def __init__(
        self, validator: Validator, counts: Counts, rejects: Rejects, *, payload_bytes: int
    ) -> None:
        self.counts = counts
        self._validator = validator
        self._rejects = rejects
        self._most = payload_bytes

    def entries(self, file: str, entries: Sequence[Entry], *, arrived_us: int) -> list[pa.Table]:
        """Judge entries; all of them arrive at the same instant, as none lacks a time."""
        by_product: dict[str, list[Entry]] = {}
        for entry in entries:
            by_product.setdefault(entry.product, []).append(entry)
        tables = []
        for product, own in by_product.items():
            groups = list(self._groups(own))
            topic = request_topic(product)
            table = self._whole(topic, [payload for payload, _ in groups], arrived_us)
            if table is None:
                table = self._in_parts(file, topic, groups, arrived_us)
            self.counts.points += table.num_rows
            tables.append(table)
        return [table for table in tables if table.num_rows]

    def requests(
        self,
        file: str,
        topics: Sequence[str],
        payloads: Sequence[tuple[int | None, bytes]],
        *,
        arrived_us: int,
    ) -> list[pa.Table]:
        """Judge whole requests, each with its line."""
        bodies = [payload for _, payload in payloads]
        reports, points = self._validator.collect(
            topics, bodies, now_ms=arrived_us // 1000, arrived_us=arrived_us
        )
        for topic, (line, payload), report in zip(topics, payloads, reports, strict=True):
            if report.fault is not None:
                self._reject({"file": file, "line": line}, topic, report, payload)
        self.counts.points += len(points)
        return [pa.table(points)] if len(points) else []

    def unreadable(self, file: str, line: int, fields: Sequence[object], reason: str) -> None:
        """Count and describe a row that cannot be made a request."""
        self.counts.reject(UNREADABLE)
        row = ["" if one is None else str(one)[:_SHOWN] for one in fields]
        self._rejects.write(
            {"file": file, "line": line, "reason": UNREADABLE, "message": reason, "row": row}
        )

    def _groups(self, entries: Sequence[Entry]) -> Iterator[tuple[bytes, Sequence[Entry]]]:
        """Requests of many entries, as far as the limit on a request allows."""
        for start in range(0, len(entries), _ENTRIES):
            yield from self._group(entries[start : start + _ENTRIES])

    def _group(self, entries: Sequence[Entry]) -> Iterator[tuple[bytes, Sequence[Entry]]]:
        payload = _payload([entry.json() for entry in entries])
        if len(payload) <= self._most or len(entries) == 1:
            yield payload, entries
            return
        half = len(entries) // 2
        yield from self._group(entries[:half])
        yield from self._group(entries[half:])

    def _whole(self, topic: str, payloads: Sequence[bytes], arrived_us: int) -> pa.Table | None:
        """The points of requests that are all accepted; else None."""
        reports, points = self._collect(topic, payloads, arrived_us)
        return pa.table(points) if all(report.code == Code.OK for report in reports) else None

    def _in_parts(
        self,
        file: str,
        topic: str,
        groups: Sequence[tuple[bytes, Sequence[Entry]]],
        arrived_us: int,
    ) -> pa.Table:
        """The points that are right of requests of which some have faults."""
        now_ms = arrived_us // 1000
        texts: list[bytes] = []
        origins: list[tuple[Entry, str]] = []
        reports = self._validator.validate(
            [topic] * len(groups), [payload for payload, _ in groups], now_ms=now_ms
        )
        for report, (payload, entries) in zip(reports, groups, strict=True):
            if report.code == Code.OK:
                texts.append(payload)
                origins.append((entries[0], ""))
            else:
                parts, places = self._apart(topic, entries, now_ms)
                texts += parts
                origins += places
        reports, points = self._collect(topic, texts, arrived_us)
        for report, text, (entry, column) in zip(reports, texts, origins, strict=True):
            if report.fault is not None:
                place: dict[str, object] = {"file": file, "line": entry.record.line}
                if column:
                    place["column"] = column
                self._reject(place, topic, report, text)
        return pa.table(points)

    def _collect(
        self, topic: str, payloads: Sequence[bytes], arrived_us: int
    ) -> tuple[list[Report], Points]:
        return self._validator.collect(
            [topic] * len(payloads), payloads, now_ms=arrived_us // 1000, arrived_us=arrived_us
        )

    def _apart(
        self, topic: str, entries: Sequence[Entry], now_ms: int
    ) -> tuple[list[bytes], list[tuple[Entry, str]]]:
        """Requests of which each is right or has one fault: entries, or points of bad ones."""
        whole = [_payload([entry.json()]) for entry in entries]
        reports = self._validator.validate([topic] * len(whole), whole, now_ms=now_ms)
        texts: list[bytes] = []
        origins: list[tuple[Entry, str]] = []
        for entry, text, report in zip(entries, whole, reports, strict=True):
            if report.code == Code.OK or len(entry.members) == 1:
                texts.append(text)
                origins.append((entry, entry.members[0][1]))
                continue
            for member, column in entry.members:
                texts.append(_payload([entry.head + member + entry.tail]))
                origins.append((entry, column))
        return texts, origins

    def _reject(self, place: dict[str, object], topic: str, report: Report, payload: bytes) -> None:
        if report.fault is None:
            return
        self.counts.reject(report.fault.reason)
        found = place | {"topic": topic[:1024], "code": report.code} | fault_document(report.fault)
        if report.code != Code.TOO_LARGE:
            found |= payload_member(payload)
        self._rejects.write(found)


class RejectsFile:
    """Rejected points, a JSON object a line; what an interrupted import wrote last is cut off.

    Args:
        path: Where they are.
        size: How much of it is part of what was committed.
    """

    def __init__(self, path: object, size: int) -> None:
        self._file = open(str(path), "ab")  # noqa: PTH123, SIM115 - closed by `close`
        self._file.truncate(size)
        self._file.seek(size)

    def write(self, found: dict[str, object]) -> None:
        """Write one."""
        self._file.write(_line(found))

    def append(self, lines: bytes) -> None:
        """Write those of a buffer."""
        self._file.write(lines)

    def sync(self) -> int:
        """Make all of it durable; returns its size."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        """Close it."""
        self._file.close()


class RejectsBuffer:
    """Rejected points in memory."""

    def __init__(self) -> None:
        self._lines: list[bytes] = []

    def write(self, found: dict[str, object]) -> None:
        """Write one."""
        self._lines.append(_line(found))

    def taken(self) -> bytes:
        """All since the last call."""
        lines, self._lines = self._lines, []
        return b"".join(lines)


def _line(found: dict[str, object]) -> bytes:
    file = str(found["file"]).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return orjson.dumps(found | {"file": file}) + b"\n"


def _payload(entries: Sequence[str]) -> bytes:
    return (_PREFIX + ",".join(entries) + _SUFFIX).encode()
