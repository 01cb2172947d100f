"""Readers with a plain glob, while the dataset is written, and its writer killed, again and again.

Every query succeeds, and every count is exact: of each day the rows are those of its first
requests, each once, and never fewer than before. POINTGATE_READERS sets how many queries are made;
`make readers` makes 10,000.
"""

from __future__ import annotations

import io
import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest

from pointgate.sinks.parquet.compaction import compact_all
from pointgate.sinks.parquet.dataset import Dataset
from tests.readers.writer import DAYS, POINTS
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

QUERIES: Final = int(os.environ.get("POINTGATE_READERS", "400"))
SECONDS: Final = 6.0
"""At least; as many more as the queries take."""

PLACES: Final = (
    *("before-write", "after-fsync", "sink-before-record", "sink-before-rename"),
    *("sink-between-renames", "sink-after-rename", "sink-before-forget"),
)

Counts = dict[int, tuple[int, int, int]]
"""For each day: rows, requests, the number of its last request."""

_QUERY: Final = """
SELECT value_long % 3, count(*), count(DISTINCT value_long), max(value_long)
FROM {} GROUP BY 1
"""
_VIEW: Final = """(
    SELECT * FROM read_parquet('{}')
    QUALIFY row_number() OVER (
        PARTITION BY product, device, identifier, time ORDER BY received DESC) = 1)
"""


def by_duckdb(path: Path) -> Counts:
    return duck(f"read_parquet('{path}/**/*.parquet')")


def by_view(path: Path) -> Counts:
    return duck(_VIEW.format(f"{path}/**/*.parquet"))


def duck(table: str) -> Counts:
    with duckdb.connect() as database:
        rows = database.execute(_QUERY.format(table)).fetchall()
    return {day: (count, requests, last) for day, count, requests, last in rows}


def by_polars(path: Path) -> Counts:
    frame = pl.scan_parquet(f"{path}/**/*.parquet").select("value_long").collect()
    return counted(frame["value_long"].to_arrow())


def by_pyarrow(path: Path) -> Counts:
    return counted(pads.dataset(path, partitioning="hive").to_table(["value_long"])["value_long"])


def by_footer(path: Path) -> Counts:
    """Takes the footers of all files first, and opens them again for what is in them."""
    footers = [(file, pq.read_metadata(file)) for file in sorted(path.rglob("*.parquet"))]
    tables = []
    for file, footer in footers:
        with pq.ParquetFile(file, metadata=footer) as opened:
            tables.append(opened.read(["value_long"]))
    return counted(pa.concat_tables(tables)["value_long"]) if tables else {}


def by_length(path: Path) -> Counts:
    """Trusts the lengths that were listed, as Spark does."""
    lengths = [(file, file.stat().st_size) for file in sorted(path.rglob("*.parquet"))]
    tables = []
    for file, length in lengths:
        with file.open("rb") as opened:
            tables.append(pq.read_table(io.BytesIO(opened.read(length)), columns=["value_long"]))
    return counted(pa.concat_tables(tables)["value_long"]) if tables else {}


def counted(numbers: pa.ChunkedArray) -> Counts:
    numbers = numbers.cast(pa.int64())
    whole = pc.multiply(pc.divide(numbers, DAYS), DAYS)
    table = pa.table({"day": pc.subtract(numbers, whole), "number": numbers})
    groups = table.group_by("day", use_threads=False).aggregate(
        [("number", "count"), ("number", "count_distinct"), ("number", "max")]
    )
    rows = groups.select(["day", "number_count", "number_count_distinct", "number_max"]).to_pydict()
    return {day: tuple(values) for day, *values in zip(*rows.values(), strict=True)}


PLAIN: Final = {
    "duckdb": by_duckdb,
    "polars": by_polars,
    "pyarrow": by_pyarrow,
    "footer first": by_footer,
    "listed length": by_length,
}


@dataclass(slots=True)
class Outcome:
    """What the readers have seen."""

    queries: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)


def check(counts: Counts, before: Counts) -> list[str]:
    """What is wrong with what a reader has seen, after what it had seen before."""
    found = []
    for day, (rows, requests, last) in counts.items():
        expected = last // DAYS + 1
        if (rows, requests) != (expected * POINTS, expected):
            found.append(f"day {day}: {rows} rows of {requests} requests, expected {expected}")
        if day in before and rows < before[day][0]:
            found.append(f"day {day}: {rows} rows, before {before[day][0]}")
    return found


def watch(
    name: str, reader: Callable[[Path], Counts], path: Path, outcome: Outcome, stop: threading.Event
) -> None:
    before: Counts = {}
    while not stop.is_set():
        if not next(path.rglob("*.parquet"), None):
            stop.wait(0.02)
            continue
        try:
            counts = reader(path)
        except Exception as error:  # noqa: BLE001 - which is what must not be
            outcome.failures.append(f"{name}: {type(error).__name__}: {error}")
        else:
            outcome.failures += [f"{name}: {wrong}" for wrong in check(counts, before)]
            before = counts
        outcome.queries[name] += 1


def start(folder: Path, place: str = "", url: str = "") -> subprocess.Popen[str]:
    environ = {"POINTGATE_FAILPOINT": place} if place else {}
    command = [sys.executable, "-m", "tests.readers.writer", str(folder), *filter(None, [url])]
    return subprocess.Popen(
        command, cwd=ROOT, env=os.environ | environ, stdout=subprocess.PIPE, text=True
    )


def torture(
    folder: Path, readers: Mapping[str, Callable[[Path], Counts]], *, merge: bool
) -> Outcome:
    """Read while it is written, killed and, if wanted, merged."""
    points, outcome, stop = folder / "points", Outcome(), threading.Event()
    threads = [
        threading.Thread(target=watch, args=(name, reader, points, outcome, stop))
        for name, reader in readers.items()
    ]
    for thread in threads:
        thread.start()
    chance = random.Random(7)  # noqa: S311 - no secret
    end = time.monotonic() + SECONDS
    try:
        for place in itertools.cycle(PLACES):
            if time.monotonic() > end and outcome.queries.total() >= QUERIES:
                break
            passes = chance.randint(1, 60 if not place.startswith("sink") else 12)
            with start(folder, f"{place}:{passes}") as writer:
                try:
                    writer.wait(3.0)
                except subprocess.TimeoutExpired:
                    writer.kill()
                    place = "at random"  # noqa: PLW2901 - it was not reached
            assert writer.returncode == -signal.SIGKILL
            outcome.kills[place] += 1
            if merge:
                merge_all(points)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    (folder / "end").touch()
    with start(folder) as writer:
        output, _ = writer.communicate(timeout=PATIENCE)
    stored = int(output)
    last = next(iter(readers.values()))(points)
    outcome.failures += check(last, {})
    if sum(rows for rows, *_ in last.values()) != stored:
        outcome.failures.append(f"{stored} points were stored, the end is {last}")
    return outcome


def merge_all(points: Path) -> None:
    """What `pointgate compact` does, beside nobody or a service; nothing is deleted yet."""
    dataset = Dataset(points)
    if dataset.exists:
        dataset.create()
        with dataset.locked("compaction", wait=True):
            compact_all(dataset, grace=3600, progress=lambda *_: None)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_no_query_fails_and_no_point_is_seen_twice_whatever_is_killed(tmp_path: Path) -> None:
    outcome = torture(tmp_path, PLAIN, merge=False)
    print(outcome.queries, outcome.kills)  # noqa: T201 - pytest shows it with a failure, or with -s
    assert not outcome.failures
    assert outcome.queries.total() >= QUERIES


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_documented_view_is_exact_while_files_are_merged(tmp_path: Path) -> None:
    outcome = torture(tmp_path, {"view": by_view}, merge=True)
    print(outcome.queries, outcome.kills)  # noqa: T201 - as above
    assert not outcome.failures
