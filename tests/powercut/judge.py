"""What stands in the sinks after a power cut and a restart, against what had been answered.

    answered 200 before the cut, and missing in a sink    lost
    of a request only a part                              torn
    answered otherwise, and there                         phantom
    a correction answered 200, the older value stands     stale
    there, and never sent like this                       strange
    with ack = "sink": missing already before the start   unkept
    a file that cannot be read, a line that is no JSON    damaged
    the start fails, or a sink does not get everything    problem

Dead letters count as what their sink has. Points that stand there twice are no finding: what was
not known to be delivered is delivered again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import ipc

from tests.crash import compare
from tests.crash.ledger import EXPECTED
from tests.powercut.trace import LINES

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.crash.ledger import Ledger

_Row: TypeAlias = tuple[Any, ...]
"""The columns of `ledger.EXPECTED` behind the number; the first four are the key of a point."""

_KEY: Final = 4
_COLUMNS: Final = EXPECTED.names[1:]
_MICROSECONDS: Final = 10**14
"""No time in milliseconds is greater."""


@dataclass(slots=True)
class Verdict:
    """What is wrong with a state.

    Attributes:
        lost: How many answered requests are missing, summed over sinks.
        violations: Everything, in words.
    """

    lost: int = 0
    violations: list[str] = field(default_factory=list)


def before_start(state: Path, ledger: Ledger, *, ack: str) -> list[str]:
    """What is promised at any moment: files are whole, and sinks have what `ack = "sink"` says."""
    damaged: list[str] = []
    stored = _stored(state, damaged)
    found = [f"before the start: {one}" for one in damaged if not one.startswith("lines")]
    for sink, rows in stored.items() if ack == "sink" else ():
        findings = _compare(ledger, rows)
        torn = [number for number in findings.torn if ledger.requests[number].ok]
        if missing := findings.lost + findings.stale + torn:
            found.append(f"{sink}: unkept: {', '.join(map(str, missing))}")
    return found


def after_start(state: Path, ledger: Ledger) -> Verdict:
    """Compare everything."""
    verdict = Verdict()
    for sink, rows in _stored(state, verdict.violations).items():
        findings = _compare(ledger, rows)
        verdict.lost += len(findings.lost)
        for kind in compare.KINDS:
            if which := getattr(findings, kind):
                verdict.violations.append(f"{sink}: {kind}: {', '.join(map(str, which))}")
    return verdict


def _compare(ledger: Ledger, rows: Iterable[_Row]) -> compare.Findings:
    """Compare a ledger with the rows of a sink, of which the last one of each point counts.

    The same as `compare.compare` in a tenth of the time, which thousands of states are worth.
    """
    newest = {row[:_KEY]: row for row in rows}
    stored = set(newest.values())
    findings = compare.Findings(points=len(stored))
    there = dict.fromkeys(ledger.requests, 0)
    expected = set()
    for number, *point in zip(*(column.to_pylist() for column in ledger.expected), strict=True):
        row = tuple(point)
        expected.add(row)
        there[number] += row in stored
    findings.strange = sorted(map(str, stored - expected))
    compare.judge(ledger, there, findings)
    return findings


def _stored(state: Path, damaged: list[str]) -> dict[str, list[_Row]]:
    """The rows of each sink; what cannot be read is told in `damaged`."""
    lines = state / LINES
    data = lines.read_bytes() if lines.exists() else b""
    return {
        "parquet": [*_letters(state, damaged), *_points(state, damaged)],
        "lines": list(_lines(data, damaged)),
    }


def _points(state: Path, damaged: list[str]) -> Iterable[_Row]:
    """The rows of a dataset in the order in which they were received."""
    tables = []
    for path in sorted((state / "points").glob("*/*.parquet")):
        try:
            tables.append(pq.read_table(path, partitioning=None))
        except (OSError, pa.ArrowException) as error:
            damaged.append(f"parquet: damaged: {path.relative_to(state)}: {error}")
    if tables:
        yield from _rows(pa.concat_tables(tables).sort_by("received"))


def _letters(state: Path, damaged: list[str]) -> Iterable[_Row]:
    """The dead letters of Parquet."""
    for path in sorted((state / "spool/refused/parquet").glob("[0-9]*.arrow")):
        try:
            with ipc.open_file(path) as file:
                table = file.read_all()
            json.loads(path.with_suffix(".json").read_bytes())
        except (OSError, ValueError, pa.ArrowException) as error:
            damaged.append(f"dead letters: damaged: {path.name}: {error}")
            continue
        yield from _rows(table)


def _rows(table: pa.Table) -> Iterable[_Row]:
    milliseconds = table["time"].cast(pa.timestamp("ms", "UTC")).cast(pa.int64())
    columns = [milliseconds if name == "time" else table[name] for name in _COLUMNS]
    return zip(*(column.to_pylist() for column in columns), strict=True)


def _lines(data: bytes, damaged: list[str]) -> Iterable[_Row]:
    *lines, rest = data.split(b"\n")
    if rest:
        damaged.append(f"lines: damaged: the last line has no end: {rest[:80]!r}")
    for number, line in enumerate(lines, 1):
        try:
            yield _row(json.loads(line))
        except (ValueError, KeyError, TypeError):
            damaged.append(f"lines: damaged: line {number}: {line[:80]!r}")


def _row(point: dict[str, Any]) -> _Row:
    value = point["value"]
    as_double = value if point["identifier"] == "temp" else None
    as_json = json.dumps(value, separators=(",", ":")) if isinstance(value, list) else None
    as_long = value if as_double is None and as_json is None else None
    time = point["time"] // 1000 if point["time"] > _MICROSECONDS else point["time"]
    key = (point["product"], point["device"], point["identifier"], time)
    return (*key, as_double, as_long, as_json, point.get("quality"))
