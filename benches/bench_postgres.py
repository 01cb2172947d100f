"""Throughput of the PostgreSQL sink: new points, repeated writes, and small writes.

    python -m benches.bench_postgres --rounds 5 --json

Starts a PostgreSQL on a free port on loopback with its defaults, including `fsync = on`, and writes
through `PostgresSink` as the drain does. Server and sink share the machine's cores, so the figures
are those of both. In each round, on an empty table:

    series      the first write, in which all series are new
    new         writes of new points of known series
    replayed    the same writes again: upserts that change nothing
    small       writes of 100 new points, one after the other
    copy        for comparison: the same new points in order by one COPY each into the same keyed
                table, series numbers given: what the server can do at most

All points that were written must be in the view before a figure counts. The rate of a round is that
of all its writes together; printed are the median, the lowest and the highest of the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import resource
import statistics
import time
from typing import TYPE_CHECKING, Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from pointgate.sinks.postgres.rows import copy_bytes, in_order
from pointgate.sinks.postgres.sink import PostgresSink
from pointgate.sinks.postgres.tables import copy_into, prepare
from pointgate.store.points import SCHEMA
from tests.support.postgres_server import PASSWORD, PostgresServer

if TYPE_CHECKING:
    from collections.abc import Iterable

DEVICES = 1_000
IDENTIFIERS = 20
SERIES = DEVICES * IDENTIFIERS
SMALL_POINTS = 100
SMALL_WRITES = 100
START = 1_750_000_000_000_000
STEP = 60_000_000
"""Microseconds between two points of a series."""


class Corpus:
    """Points of 20,000 series, mostly numbers, all those of a device together, as gateways send."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._at = 0

    def next(self, count: int) -> pa.Table:
        """The next points in the order of time."""
        places = range(self._at, self._at + count)
        self._at += count
        series = [place % SERIES for place in places]
        times = [START + place // SERIES * STEP for place in places]
        kinds = [number % IDENTIFIERS for number in series]
        chance = self._chance
        columns = [
            names(["product"], [0] * count),
            names([f"device{n:05}" for n in range(DEVICES)], [n // IDENTIFIERS for n in series]),
            names([f"point{n:02}" for n in range(IDENTIFIERS)], kinds),
            times,
            [round(chance.uniform(-50, 500), 2) if kind < 14 else None for kind in kinds],
            [chance.randrange(10_000) if 14 <= kind < 17 else None for kind in kinds],
            [chance.random() < 0.5 if kind == 17 else None for kind in kinds],
            ["running normally" if kind == 18 else None for kind in kinds],
            ["[1.02, 2.02, 7.93]" if kind == 19 else None for kind in kinds],
            [9 if kind < 5 else None for kind in kinds],
            [START] * count,
        ]
        typed = [
            column if isinstance(column, pa.Array) else pa.array(column, field.type)
            for column, field in zip(columns, SCHEMA, strict=True)
        ]
        return pa.table(typed, schema=SCHEMA)


def names(known: list[str], places: list[int]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(places, pa.int32()), known)


async def rate(sink: PostgresSink, writes: Iterable[pa.Table]) -> float:
    points, started = 0, time.perf_counter()
    for sequence, write in enumerate(writes):
        await sink.write(write, sequence=sequence)
        points += len(write)
    return points / (time.perf_counter() - started)


async def run(server: PostgresServer, options: argparse.Namespace, seed: int) -> dict[str, float]:
    schema = f"round{seed}"
    corpus = Corpus(seed)
    first = corpus.next(SERIES)
    writes = [corpus.next(options.points) for _ in range(options.writes)]
    small = [corpus.next(SMALL_POINTS) for _ in range(SMALL_WRITES)]
    sink = PostgresSink(
        name="bench",
        url=server.url(),
        password=PASSWORD,
        schema=schema,
        on_conflict=options.on_conflict,
    )
    await sink.open()
    before = time.process_time()
    figures = {"series": await rate(sink, [first]), "new": await rate(sink, writes)}
    figures["replayed"] = await rate(sink, writes)
    own = time.process_time() - before
    lasted = []
    for write in small:
        started = time.perf_counter()
        await sink.write(write, sequence=0)
        lasted.append((time.perf_counter() - started) * 1000)
    await sink.close()
    check(server, schema, SERIES + options.points * options.writes + len(small) * SMALL_POINTS)
    figures["copy"] = copy_rate(server, writes)
    figures["new_of_copy"] = figures["new"] / figures["copy"]
    figures["small_ms"] = statistics.median(lasted)
    figures["small_p99_ms"] = statistics.quantiles(lasted, n=100)[-1]
    figures["own_us"] = own / (SERIES + 2 * options.points * options.writes) * 1e6
    return figures


def copy_rate(server: PostgresServer, writes: list[pa.Table]) -> float:
    points, seconds = 0, 0.0
    with psycopg.connect(server.url(), password=PASSWORD) as connection:
        prepare(connection, schema="plain")
        connection.commit()
        for write in writes:
            numbers = pa.array(range(points, points + len(write)), pa.int64())
            series = pc.subtract(numbers, pc.multiply(pc.divide(numbers, SERIES), SERIES))
            rows = in_order(write.append_column("series_id", series), keep="last")
            pieces = [bytes(piece) for piece in copy_bytes(rows)]
            started = time.perf_counter()
            with connection.cursor().copy(copy_into("plain")) as copy:
                for piece in pieces:
                    copy.write(piece)
            connection.commit()
            seconds += time.perf_counter() - started
            points += len(write)
        connection.execute("DROP SCHEMA plain CASCADE")
        connection.commit()
    return points / seconds


def check(server: PostgresServer, schema: str, expected: int) -> None:
    with psycopg.connect(server.url(), password=PASSWORD, autocommit=True) as connection:
        row = connection.execute(f"SELECT count(*) FROM {schema}.points").fetchone()  # noqa: S608
        assert row == (expected,), f"expected {expected} points, found {row}"
        connection.execute(f"DROP SCHEMA {schema} CASCADE")
        connection.execute("CHECKPOINT")  # so that no round pays for the previous one


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    with PostgresServer(fsync=True, shared_buffers="128MB") as server:
        rounds = [await run(server, options, seed) for seed in range(options.rounds)]
    figures: dict[str, Any] = {
        "points": options.points,
        "writes": options.writes,
        "on_conflict": options.on_conflict,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    for name in rounds[0]:
        values = sorted(figure[name] for figure in rounds)
        figures[name] = [values[0], statistics.median(values), values[-1]]
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--writes", type=int, default=5, help="writes a round")
    parser.add_argument("--points", type=int, default=100_000, help="points a write")
    parser.add_argument("--on-conflict", choices=("update", "ignore"), default="update")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = asyncio.run(measure(options))
    if options.json:
        print(json.dumps(figures))
        return
    for name in ("series", "new", "replayed", "copy"):
        low, median, high = figures[name]
        print(f"{name:9} {median:9,.0f} points/s ({low:,.0f} to {high:,.0f})")
    print(f"new       {figures['new_of_copy'][1]:.2f} of copy")
    print(f"small     {figures['small_ms'][1]:.2f} ms a write of {SMALL_POINTS} points (median)")
    print(f"CPU a point in the sink's own process: {figures['own_us'][1]:.2f} µs")


if __name__ == "__main__":
    main()
