"""Throughput and memory of `pointgate import` with CSV of years.

    python benches/bench_import.py --points 100000000 --devices 1000 --folder /var/tmp/import

A CSV file of 56 bytes a point is written to the folder, in the order of time or with
`--by-device`, and imported into a Parquet dataset beside it. Printed are points a second, the peak
of the memory of the main process, and the files. The folder is removed afterwards; it needs 80
bytes a point.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

POINTS = {"activePower": 100, "dayEnergy": 4000, "cabinetTemperature": 30}
CATALOG = Path(__file__).parents[1] / "python/pointgate/demo/catalog"
VALUES = 4001
MAPPING = """
product = "solar"
csv.delimiter = ";"
values.decimal = ","
[time]
column = "Zeit"
format = "%d.%m.%Y %H:%M:%S"
zone = "Etc/GMT-1"
[device]
column = "Anlage"
[long]
identifier = "Tag"
value = "Wert"
quality = "Status"
[quality.names]
Good = 0
"""


def rows(points: int, devices: int, *, by_device: bool) -> Iterator[str]:
    """The lines of the file, many at a time."""
    dice = random.Random(1)
    tails = [
        [
            f";{name};{most * (1 + dice.random()) / 2:.2f};Good\n".replace(".", ",")
            for _ in range(VALUES)
        ]
        for name, most in POINTS.items()
    ]
    steps = points // (devices * len(POINTS))
    begin = datetime(2022, 1, 1)  # noqa: DTZ001 - the clock of the zone
    times = [
        (begin + timedelta(minutes=5 * step)).strftime("%d.%m.%Y %H:%M:%S") for step in range(steps)
    ]
    names = [f";INV{number:04}" for number in range(devices)]
    yield "Zeit;Anlage;Tag;Wert;Status\n"
    if by_device:
        for name in names:
            for tail in tails:
                yield "".join(time + name + tail[n * 17 % VALUES] for n, time in enumerate(times))
        return
    for step, time in enumerate(times):
        yield "".join(
            time + name + tail[(number * 17 + step) % VALUES]
            for number, name in enumerate(names)
            for tail in tails
        )


def catalog(folder: Path, devices: int) -> None:
    folder.mkdir()
    shutil.copy(CATALOG / "models/inverter.json", folder / "model.json")
    (folder / "devices.txt").write_text("".join(f"INV{one:04}\n" for one in range(devices)))
    (folder / "catalog.toml").write_text(
        '[products.solar]\nmodel = "model.json"\ndevices = "devices.txt"\n'
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--points", type=int, default=3_000_000)
    parser.add_argument("--devices", type=int, default=1000)
    parser.add_argument("--by-device", action="store_true")
    parser.add_argument("--folder", type=Path, required=True, help="a folder to be made")
    parser.add_argument("rest", nargs="*", help="more arguments of the import, behind --")
    options = parser.parse_args()
    folder: Path = options.folder
    folder.mkdir()
    try:
        catalog(folder / "catalog", options.devices)
        (folder / "mapping.toml").write_text(MAPPING)
        with (folder / "history.csv").open("w") as file:
            file.writelines(rows(options.points, options.devices, by_device=options.by_device))
        command = [sys.executable, "-m", "pointgate", "import", "history.csv", "--json"]
        command += ["--mapping", "mapping.toml", "--catalog", "catalog", "--out", "out"]
        done = subprocess.run(
            [*command, *options.rest], cwd=folder, check=True, stdout=subprocess.PIPE
        )
        report = json.loads(done.stdout)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        sizes = [path.stat().st_size for path in (folder / "out").rglob("*.parquet")]
        print(
            f"{report['points']:,} points in {report['seconds']:,.1f} s, "
            f"{report['points'] / report['seconds']:,.0f}/s; peak {peak / 1024:,.0f} MiB; "
            f"{len(sizes)} files, {sum(sizes) / 1e6:,.1f} MB, up to {max(sizes) / 1e6:,.1f} MB"
        )
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
