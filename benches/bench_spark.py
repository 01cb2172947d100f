"""Requests that Spark judges, in MB a second of CPU time: of Python and the JVM together.

    python -m benches.bench_spark --megabytes 256 --rounds 3

Lines of requests (shape M) are read from a text file by two local tasks. Jobs alternate; the first
round, in which the JVM compiles, does not count:

    read      only the length of each line
    verdicts  `spark.judge`, counted by code
    points    `spark.points`, counted
    write     `spark.write` into a dataset
    parquet   the same points by Spark's own Parquet writer

CPU time is that of this process and all that it has started, from /proc. Needs `make spark`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benches.bench_validate import write_catalog
from benches.corpus import stream
from pointgate import spark
from tests.support.spark_session import new_session

if TYPE_CHECKING:
    from collections.abc import Callable

SHAPE = "M"


def cpu_seconds() -> float:
    """The CPU time of this process and of all its descendants that live."""
    parents, times = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        number = int(path.parent.name)
        parents[number], times[number] = int(fields[1]), sum(map(int, fields[11:15]))
    own = {os.getpid()}
    while found := {one for one, parent in parents.items() if parent in own} - own:
        own |= found
    return sum(times[one] for one in own) / os.sysconf("SC_CLK_TCK")


def jobs(session: Any, lines: Path, folder: Path) -> dict[str, Callable[[], object]]:
    """What is measured."""
    product = stream(SHAPE, "valid").product
    catalog = folder / "catalog"
    catalog.mkdir()
    write_catalog(catalog, product)
    frame = session.read.text(str(lines))
    given: dict[str, Any] = {"payload": "value", "product": product.key}
    points = folder / "points"

    def write() -> object:
        shutil.rmtree(points, ignore_errors=True)
        return spark.write(frame, catalog, points, **given)

    def parquet() -> None:
        shutil.rmtree(points, ignore_errors=True)
        found = spark.points(frame, catalog, **given).selectExpr("*", "CAST(time AS DATE) AS date")
        found.write.partitionBy("date").parquet(str(points))

    return {
        "read": lambda: frame.selectExpr("sum(length(value))").collect(),
        "verdicts": lambda: (
            spark.judge(frame, catalog, keep=[], **given).groupBy("verdict.code").count().collect()
        ),
        "points": lambda: spark.points(frame, catalog, **given).count(),
        "write": write,
        "parquet": parquet,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--megabytes", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=None)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = folder / "requests.ndjson"
        block = b"".join(one + b"\n" for one in stream(SHAPE, "valid").payloads)
        with lines.open("wb") as file:
            for _ in range(max(1, arguments.megabytes * 1_000_000 // len(block))):
                file.write(block)
        size = lines.stat().st_size / 1e6
        session = new_session(folder, master="local[2]")
        found: dict[str, list[float]] = {}
        for turn in range(arguments.rounds + 1):
            for job, call in jobs(session, lines, _fresh(folder / "work")).items():
                if arguments.only and job not in arguments.only:
                    continue
                before = cpu_seconds()
                call()
                if turn:
                    found.setdefault(job, []).append(size / (cpu_seconds() - before))
        session.stop()
    for job, rates in found.items():
        spread = f"{min(rates):.0f} to {max(rates):.0f}"
        print(f"{job:<10}{statistics.median(rates):>8.0f} MB/s of CPU   ({spread})")


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


if __name__ == "__main__":
    main()
