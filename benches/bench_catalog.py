"""How the judge's cost grows with the catalog: devices of a product, products, points of a model.

    python -m benches.bench_catalog [--largest 10000000] [--rounds 5] [--json] [--markdown FILE]

Devices and products are chosen at random and differ in each round, so that caches help no more than
with a fleet. Times are CPU times of one thread, medians of the rounds; `load` is that of reading a
device file, and `bytes` what it adds to the resident memory, by device. Every code is checked.

10,000,000 devices take 1 GB of memory and half a minute; `--largest` bounds them.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pointgate import Catalog, Devices, Model, Product, Validator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Row = dict[str, float]

DEVICES: Final = (100, 10_000, 100_000, 1_000_000, 10_000_000)
PRODUCTS: Final = (1, 100, 1_000, 10_000)
POINTS: Final = (1, 10, 100, 1_000)
TOPIC: Final = "sys/{}/integration/measurepoint/post"
_TIME: Final = 1_700_000_000_000
_UNITS: Final = 1 << 20
"""About so many entries or points are judged in all rounds."""


def payload(entries: Sequence[tuple[str, dict[str, float]]]) -> bytes:
    """A request with these devices and points."""
    params = [
        {"measurepoints": points, "deviceKey": device, "time": _TIME} for device, points in entries
    ]
    return json.dumps(
        {
            "id": "1",
            "version": "1.0",
            "params": params,
            "method": "integration.measurepoint.post",
        },
        separators=(",", ":"),
    ).encode()


def model(points: int) -> Model:
    """A model of so many points."""
    names = {f"point{number:04d}": {"dataType": "DOUBLE"} for number in range(points)}
    return Model.compile(json.dumps({"measurepoints": names}).encode())


def nanoseconds(
    validator: Validator, make: Callable[[], tuple[str, bytes]], *, requests: int, rounds: int
) -> float:
    """Median time of judging a request; each round has other requests."""
    made = [[make() for _ in range(requests)] for _ in range(rounds + 1)]
    figures = []
    for some in made:
        topics, payloads = map(list, zip(*some, strict=True))
        begun = time.thread_time()
        reports = validator.validate(topics, payloads)
        figures.append((time.thread_time() - begun) * 1e9 / requests)
        assert {report.code for report in reports} == {200}
    return statistics.median(figures[1:])  # the first round has cold page tables


def _resident() -> int:
    ctypes.CDLL(None).malloc_trim(0)
    pages = Path("/proc/self/statm").read_text("ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def of_devices(count: int, rounds: int) -> Row:
    """A table of so many devices with keys of 20 bytes."""
    keys = [f"plant{number % 1000:04d}-inv{number:07d}" for number in range(count)]
    text = "\n".join(keys).encode()
    before, begun = _resident(), time.thread_time()
    devices = Devices.parse(text, "txt")
    row: Row = {"devices": count, "load s": time.thread_time() - begun}
    row["bytes a device"] = (_resident() - before) / count
    validator = Validator(Catalog({"p": Product(model(1), devices)}))
    draw = random.Random(count)
    for entries in (1_000, 3):

        def make(entries: int = entries) -> tuple[str, bytes]:
            some = [(draw.choice(keys), {"point0000": 1.5}) for _ in range(entries)]
            return TOPIC.format("p"), payload(some)

        requests = _UNITS // 20 // entries + 1
        taken = nanoseconds(validator, make, requests=requests, rounds=rounds)
        row[f"ns an entry, {entries:,} a request"] = taken / entries
    return row


def of_products(count: int, rounds: int) -> Row:
    """So many products, each with a model of 20 points and 100 devices of its own."""
    names = [f"product{number}" for number in range(count)]
    keys = [f"device{number:03d}" for number in range(100)]
    products = {name: Product(model(20), Devices(keys)) for name in names}
    validator = Validator(Catalog(products))
    draw = random.Random(count)
    points = {f"point{number:04d}": 1.5 for number in range(3)}

    def make() -> tuple[str, bytes]:
        return TOPIC.format(draw.choice(names)), payload([(draw.choice(keys), points)] * 3)

    taken = nanoseconds(validator, make, requests=20_000, rounds=rounds)
    return {"products": count, "ns a request of 3 x 3": taken}


def of_points(count: int, rounds: int) -> Row:
    """A model of so many points, of which each entry has all."""
    validator = Validator(Catalog({"p": Product(model(count), Devices(["d"]))}))
    request = payload([("d", {f"point{number:04d}": 1.5 for number in range(count)})] * 10)
    requests = _UNITS // 10 // count + 1
    taken = nanoseconds(
        validator, lambda: (TOPIC.format("p"), request), requests=requests, rounds=rounds
    )
    return {"points of the model": count, "ns a point": taken / 10 / count}


TABLES: Final[dict[str, tuple[Callable[[int, int], Row], tuple[int, ...]]]] = {
    "devices": (of_devices, DEVICES),
    "products": (of_products, PRODUCTS),
    "points": (of_points, POINTS),
}


def measure(largest: int, rounds: int) -> dict[str, list[Row]]:
    """All tables, each row in a process of its own, whose memory is not that of another row."""
    tables: dict[str, list[Row]] = {}
    for name, (_, sizes) in TABLES.items():
        for size in (size for size in sizes if size <= largest):
            command = [sys.executable, "-m", "benches.bench_catalog", "--row", name, str(size)]
            done = subprocess.run(
                [*command, "--rounds", str(rounds)], check=True, stdout=subprocess.PIPE
            )
            tables.setdefault(name, []).append(json.loads(done.stdout))
            print(tables[name][-1], file=sys.stderr)
    return tables


def markdown(tables: dict[str, list[Row]]) -> Iterator[str]:
    """The tables as lines of Markdown."""
    for name, rows in tables.items():
        yield f"## {name.capitalize()}\n"
        yield "| " + " | ".join(rows[0]) + " |"
        yield "|" + " ---: |" * len(rows[0])
        for row in rows:
            count, *figures = row.values()
            shown = [f"{figure:,.2f}" if figure < 10 else f"{figure:,.0f}" for figure in figures]
            yield f"| {count:,} | " + " | ".join(shown) + " |"
        yield ""


_HEAD: Final = """# How the judge's cost grows with the catalog

Written by `python -m benches.bench_catalog --markdown docs/benchmarks/catalog.md` on
{day}: CPU time of one thread, medians, on a shared virtual machine under other load.
Devices and products are chosen at random. A look-up in a table that no cache holds waits for
memory, so the judge looks up several devices at a time
([decision 0020](../decisions/0020-look-ups-overlap.md)).
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--largest", type=int, default=DEVICES[-1])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--row", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        name, size = options.row
        print(json.dumps(TABLES[name][0](int(size), options.rounds)))
        return
    tables = measure(options.largest, options.rounds)
    text = "\n".join(markdown(tables)).rstrip() + "\n"
    if options.markdown:
        head = _HEAD.format(day=time.strftime("%Y-%m-%d"))
        options.markdown.write_text(f"{head}\n{text}", encoding="utf-8")
    print(json.dumps(tables) if options.json else text)


if __name__ == "__main__":
    main()
