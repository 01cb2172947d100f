"""Points a second into the sinks that write files, and through compaction.

    python -m benches.bench_parquet --points 1000000 --rounds 5 --json

Makes tables as the spool gives them, from entries of 20 points each of random devices, and gives
them to a sink in chunks of 100,000 points, as the drain does, with one commit, synced to the disk
of `--folder`:

    live        one day, as it comes from a service that keeps up
    history     the same spread over a year: 365 files
    backlog     four times as many over a year, as a commit has under load
    products    one day of 1,000 products
    plain       one day, as it is, by `pyarrow.parquet.write_table` with zstd, in no order
    small       a thousand points a commit, into a file that grows
    ndjson      one day, as lines of JSON
    compaction  what `live` wrote, as many times over as there were rounds, into one file

In the second round and later the files of the first one become longer, as those of a service do.
What is written is counted before a figure is printed. Rounds go through the cases in turn; the
figures are those of the median round and of the fastest one. On a shared machine the processor time
tells more: it counts all threads, but neither the disk nor the work of others.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from pointgate.sinks.drain import CHUNK_POINTS
from pointgate.sinks.ndjson.sink import NdjsonSink
from pointgate.sinks.parquet.compaction import compact_all
from pointgate.sinks.parquet.dataset import Dataset
from pointgate.sinks.parquet.settings import ParquetSettings
from pointgate.sinks.parquet.sink import ParquetSink
from pointgate.store.points import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pointgate.sinks.base import Sink

ENTRY = 20
"""Points of one device at one time."""

DAY = 86_400_000
START = 1_714_521_600_000_000
SMALL = 1000


def synthetic(points: int, *, devices: int, days: int, seed: int, products: int = 1) -> pa.Table:
    """Points of a solar plant: 15 measurements with two decimals, 3 counters, 2 states an entry."""
    chance = random.Random(seed)
    entries = points // ENTRY
    numbers = range(entries * ENTRY)

    def column(name: str, values: list[object]) -> pa.Array:
        return pa.array(values, SCHEMA.field(name).type)

    def names(values: list[int], pattern: str) -> pa.Array:
        known = pa.array([pattern.format(number) for number in range(max(values) + 1)])
        return pa.DictionaryArray.from_arrays(pa.array(values, pa.int32()), known)

    seconds = days * DAY // 1000
    entry_devices = [chance.randrange(devices) for _ in range(entries)]
    entry_times = [START + 1_000_000 * chance.randrange(seconds) for _ in range(entries)]
    columns = {
        "product": names([entry_devices[n // ENTRY] % products for n in numbers], "solar{:04}"),
        "device": names([entry_devices[n // ENTRY] for n in numbers], "inverter{:06}"),
        "identifier": names([n % ENTRY for n in numbers], "INV.Measurement{}"),
        "time": column("time", [entry_times[n // ENTRY] for n in numbers]),
        "value_double": column(
            "value_double",
            [round(chance.gauss(230, 40), 2) if n % ENTRY < 15 else None for n in numbers],
        ),
        "value_long": column(
            "value_long",
            [chance.randrange(10**6) if 15 <= n % ENTRY < 18 else None for n in numbers],
        ),
        "value_bool": column(
            "value_bool", [chance.random() < 0.9 if n % ENTRY >= 18 else None for n in numbers]
        ),
        "received": column("received", [START + n for n in numbers]),
    }
    empty = {name: pa.nulls(len(numbers), SCHEMA.field(name).type) for name in SCHEMA.names}
    return pa.table({**empty, **columns}, schema=SCHEMA)


class Figures:
    """What each case took."""

    def __init__(self) -> None:
        self._points: dict[str, int] = {}
        self._seconds: dict[str, list[float]] = defaultdict(list)
        self._cpu_seconds: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def round(self, case: str, points: int) -> Iterator[None]:
        """Take the time of one round."""
        self._points[case] = points
        started, cpu = time.perf_counter(), time.process_time()
        yield
        self._seconds[case].append(time.perf_counter() - started)
        self._cpu_seconds[case].append(time.process_time() - cpu)

    def report(self) -> dict[str, dict[str, float]]:
        """Points a second of each case."""
        return {
            case: {
                "points": points,
                "points_per_second": round(points / statistics.median(self._seconds[case])),
                "fastest": round(points / min(self._seconds[case])),
                "points_per_cpu_second": round(points / statistics.median(self._cpu_seconds[case])),
            }
            for case, points in self._points.items()
        }


async def run(folder: Path, points: int, devices: int, rounds: int) -> dict[str, dict[str, float]]:
    figures = Figures()
    tables = {
        "live": synthetic(points, devices=devices, days=1, seed=1),
        "history": synthetic(points, devices=devices, days=365, seed=365),
        "backlog": synthetic(4 * points, devices=devices, days=365, seed=4),
        "products": synthetic(points, devices=devices, days=1, seed=2, products=1000),
    }
    sinks = {
        case: ParquetSink(ParquetSettings(name=case, path=folder / case))
        for case in (*tables, "small")
    }
    lines = NdjsonSink(name="ndjson", path=folder / "points.ndjson")
    every: list[Sink] = [*sinks.values(), lines]
    for sink in every:
        await sink.open()
    small = tables["live"].slice(0, SMALL)
    for number in range(1, rounds + 1):
        for case, table in tables.items():
            with figures.round(case, table.num_rows):
                for begin in range(0, table.num_rows, CHUNK_POINTS):
                    chunk = table.slice(begin, CHUNK_POINTS)
                    await sinks[case].write(chunk, sequence=number)
                await sinks[case].commit()
        with figures.round("plain", tables["live"].num_rows):
            pq.write_table(tables["live"], folder / "plain.parquet", compression="zstd")
        with figures.round("ndjson", tables["live"].num_rows):
            await lines.write(tables["live"], sequence=number)
        with figures.round("small", 10 * SMALL):
            for part in range(10):
                await sinks["small"].write(small, sequence=10 * number + part)
                await sinks["small"].commit()
    for sink in every:
        await sink.close()
    check(folder, tables, rounds)
    dataset = Dataset(folder / "live")
    with figures.round("compaction", rounds * tables["live"].num_rows):
        compact_all(dataset, grace=0.0, progress=lambda *_: None)
    check(folder, {"live": tables["live"]}, 1)
    return figures.report()


def check(folder: Path, tables: dict[str, pa.Table], rounds: int) -> None:
    """Everything is there, as often as it was written, but for what was twice in a row group."""
    for case, table in tables.items():
        names = ("product", "device", "identifier")
        keys = pa.table([table[name].cast(pa.string()) for name in names] + [table["time"]], "pdit")
        distinct = keys.group_by([*"pdit"], use_threads=False).aggregate([]).num_rows
        found = pads.dataset(folder / case, partitioning="hive").count_rows()
        assert distinct * rounds <= found <= table.num_rows * rounds
        assert rounds > 1 or found == distinct


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--points", type=int, default=1_000_000, help="points a write")
    parser.add_argument("--devices", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to write; the disk matters")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        report = asyncio.run(
            run(Path(folder), arguments.points, arguments.devices, arguments.rounds)
        )
    if arguments.json:
        print(json.dumps(report, indent=2))
        return
    for case, figures in report.items():
        print(
            f"{case:10}  {figures['points_per_second'] / 1e6:6.2f} M points/s"
            f"  (fastest {figures['fastest'] / 1e6:.2f},"
            f" {1e6 / figures['points_per_cpu_second']:.3f} µs of processor time a point)"
        )


if __name__ == "__main__":
    main()
