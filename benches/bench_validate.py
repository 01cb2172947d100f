"""Throughput of `pointgate validate` as a share of the judge's, on all cores.

    python benches/bench_validate.py --requests 1000000 --rounds 5 --json

An archive of different requests (shape S, one on each line) is written once; no point has the key
of another one. Then three cases alternate, so that load on the machine affects all of them:

    judge     one process per core, each validating requests in its memory
    validate  the command, on the archive: plain, or compressed with `--gzip`
    out       the same, which writes the accepted points with `--out`

A rate is that of all processes together, in requests a second of wall time, which includes other
load on the machine, and of CPU time, which does not. The start-up time of the command, measured on
an empty archive, is subtracted. Figures are medians of all rounds.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

if __name__ == "__main__":  # as a script, this folder is on the path, its parent is not
    sys.path.insert(0, str(Path(__file__).parent.parent))

from benches.corpus import stream
from benches.peers.judge import BURST, validator

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from benches.corpus import Product

SHAPE = "S"
OUT = "points"
_TIME = re.compile(rb'"time":(\d+)')
_TIMES = {"clock": "wall time", "processor": "CPU time"}


def write_catalog(folder: Path, product: Product) -> None:
    (folder / "model.json").write_text(json.dumps(product.model))
    (folder / "devices.txt").write_text("\n".join(product.devices))
    (folder / "catalog.toml").write_text(
        f'[products.{product.key}]\nmodel = "model.json"\ndevices = "devices.txt"\n'
    )


def write_archive(path: Path, requests: int, *, compress: bool) -> int:
    """Write whole rounds of the stream; returns the number of requests."""
    payloads = stream(SHAPE, "valid").payloads
    block = b"".join(payload + b"\n" for payload in payloads)
    assert block.count(b"\n") == len(payloads)
    rounds = max(requests // len(payloads), 1)
    with gzip.open(path, "wb", 1) if compress else path.open("wb") as file:
        for later in range(rounds):
            file.write(_TIME.sub(lambda time: b'"time":%d' % (int(time[1]) + later), block))  # noqa: B023
    return rounds * len(payloads)


def judge(requests: int, connection: Connection) -> None:
    """Validate from memory for each message on the connection; send back the times."""
    corpus = stream(SHAPE, "valid")
    topic, validate = corpus.product.topic, validator(corpus.product).validate
    # Each request has its own memory, and all of them exceed any cache.
    payloads = [bytes(bytearray(payload)) for payload in corpus.payloads * 50]
    calls = [
        ([topic] * BURST, payloads[start : start + BURST])
        for start in range(0, len(payloads) - BURST + 1, BURST)
    ]
    passes = max(requests // (len(calls) * BURST), 1)
    corpus.check("judge", [report.code for report in validate([topic] * 2000, payloads[:2000])])
    while connection.recv():
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(passes):
            for call in calls:
                validate(*call)
        took = time.perf_counter() - wall, time.process_time() - cpu
        connection.send((passes * len(calls) * BURST, *took))


def run(archive: Path, folder: Path, product: str, *options: str) -> tuple[float, float, int]:
    """Run the command; returns its wall time, its CPU time, and the number of accepted requests."""
    shutil.rmtree(folder / OUT, ignore_errors=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "pointgate", "validate", "--json"]
    done = subprocess.run(
        [*command, str(archive), "--product", product, "--catalog", str(folder), *options],
        check=True,
        cwd=folder,
        capture_output=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    summary = json.loads(done.stdout)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return summary["seconds"], cpu, summary["accepted"]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--gzip", action="store_true", help="compress the archive")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    cores = len(os.sched_getaffinity(0))
    product = stream(SHAPE, "valid").product
    context = get_context("fork")
    pipes = [context.Pipe() for _ in range(cores)]
    processes = [
        context.Process(target=judge, args=(options.requests // cores, theirs), daemon=True)
        for _, theirs in pipes
    ]
    for process in processes:
        process.start()
    commands: dict[str, list[str]] = {"validate": [], "out": ["--out", OUT]}
    rates: dict[str, list[float]] = {case: [] for case in ("judge", *commands)}
    per_cpu: dict[str, list[float]] = {case: [] for case in rates}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_catalog(folder, product)
        archive, empty = folder / "archive", folder / "empty"
        requests = write_archive(archive, options.requests, compress=options.gzip)
        empty.touch()
        starts = {
            case: statistics.median(run(empty, folder, product.key, *how)[1] for _ in range(5))
            for case, how in commands.items()
        }
        run(archive, folder, product.key)
        for _ in range(options.rounds):
            for ours, _ in pipes:
                ours.send(True)  # noqa: FBT003 - go
            took = [ours.recv() for ours, _ in pipes]
            rates["judge"].append(sum(count / wall for count, wall, _ in took))
            per_cpu["judge"].append(sum(count / cpu for count, _, cpu in took))
            for case, how in commands.items():
                wall, cpu, accepted = run(archive, folder, product.key, *how)
                assert accepted == requests, accepted
                rates[case].append(requests / wall)
                per_cpu[case].append(requests / (cpu - starts[case]) * cores)
    medians = {
        name: {kind: statistics.median(values) for kind, values in found.items()}
        for name, found in {"clock": rates, "processor": per_cpu}.items()
    }
    for found in medians.values():
        found |= {f"{case}_ratio": found[case] / found["judge"] for case in commands}
    if options.json:
        print(json.dumps({"cores": cores, "requests": requests, **medians}))
        return
    print(f"{requests:,} requests, {archive_kind(gzipped=options.gzip)}, {cores} cores")
    for name, found in medians.items():
        print(
            f"{_TIMES[name]:<10} judge {found['judge']:>12,.0f}/s   "
            f"validate {found['validate']:>12,.0f}/s, {found['validate_ratio']:.2f} of that   "
            f"out {found['out']:>12,.0f}/s, {found['out_ratio']:.2f}"
        )


def archive_kind(*, gzipped: bool) -> str:
    return "gzip" if gzipped else "plain"


if __name__ == "__main__":
    main()
