"""Compares the judge with its peers in one process.

    python benches/compare.py [--shapes S,M,L,XL] [--rounds 15] [--json FILE] [--plot FILE.svg]
                              [--markdown FILE.md]

A shared machine changes its speed by half from one second to the next, so only ratios within a
round are meaningful. In each round every peer makes a pass over the stream, in random order; the
table has the median and the quartiles of the ratios. A pass that is not timed comes before the
timed ones, because the previous peer has filled the caches; short passes are repeated until they
take `LEAST_SECONDS`. Seconds are CPU time of the thread, so that other load matters only by its
cache use. The codes of every peer are compared with the stated ones before anything is timed.

The judge is timed as called from Python, including its reports and replies; a peer returns only a
code. Nanoseconds per point refer to all points in the payloads, even if a fault ends reading early.
"""

from __future__ import annotations

import argparse
import gc
import math
import os
import platform
import random
import statistics
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

import orjson

# Run as a script, Python looks for modules beside this file only.
if not __package__:
    sys.path.insert(0, str(Path(__file__).parent.parent))

from benches.corpus import CODES, SHAPES, Stream, stream
from benches.peers import JUDGE, PEERS, Pass, prepare
from benches.plot import svg
from benches.report import NAMES, Report, goal_of, markdown
from pointgate._core import __version__, build_profile

LEAST_SECONDS: Final = 0.01
VARIANTS: Final = {
    "S": ("valid", "shuffled", "pretty"),
    "M": tuple(CODES),
    "L": ("valid", "shuffled", "pretty"),
    "XL": ("valid",),
}
"""The variants of each shape that are compared."""
DIGITS: Final = 5
"""The significant digits of figures in the report, more than their precision."""


def environment() -> dict[str, str]:
    """The machine and the versions on which the figures depend."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = [platform.processor() or platform.machine()]
    return {
        "cpu": f"{len(names)} x {names[0]}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "pointgate": f"{__version__} ({build_profile})",
        **{name: version(name) for name in ("orjson", "msgspec", "pydantic", "jsonschema-rs")},
        "load": f"{os.getloadavg()[0]:.1f} before the run (one minute's average)",
    }


def time_pass(judge_all: Pass, repeats: int) -> float:
    """The seconds that one pass takes with warm caches."""
    judge_all()
    start = time.thread_time()
    for _ in range(repeats):
        judge_all()
    return (time.thread_time() - start) / repeats


def time_peers(requests: Stream, rounds: int) -> dict[str, list[float]]:
    """The seconds of each peer's pass in each round."""
    passes = {name: prepare(name, requests) for name in PEERS}
    repeats = {name: math.ceil(LEAST_SECONDS / time_pass(one, 1)) for name, one in passes.items()}
    seconds: dict[str, list[float]] = {name: [] for name in passes}
    names, dice = list(passes), random.Random(rounds)
    # Exclude existing objects from garbage collection during the passes.
    gc.collect()
    gc.freeze()
    for _ in range(rounds):
        for name in dice.sample(names, len(names)):
            seconds[name].append(time_pass(passes[name], repeats[name]))
    gc.unfreeze()
    return seconds


def quartiles(values: list[float]) -> list[float]:
    """The lower quartile, the median and the upper quartile."""
    if len(values) < 2:
        return values * 3
    return statistics.quantiles(values, n=4, method="inclusive")


def written(figure: float) -> float:
    return float(f"{figure:.{DIGITS}g}")


def summarise(requests: Stream, seconds: dict[str, list[float]]) -> Report:
    """The figures of one stream."""
    peers = {}
    for name, times in seconds.items():
        low, median, high = quartiles(times)
        ratios = [one / judge for one, judge in zip(times, seconds[JUDGE], strict=True)]
        peers[name] = {
            "seconds": [written(one) for one in (low, median, high)],
            "mb_per_second": written(requests.size / median / 1e6),
            "requests_per_second": written(len(requests.payloads) / median),
            "ns_per_point": written(median / requests.points * 1e9),
            "spread": written((high - low) / median),
            "ratio": [written(one) for one in quartiles(ratios)],
        }
    return {
        "shape": requests.shape,
        "variant": requests.variant,
        "code": CODES[requests.variant],
        "requests": len(requests.payloads),
        "bytes": requests.size,
        "points": requests.points,
        "peers": peers,
    }


def show(result: Report) -> None:
    """Print the figures of one stream."""
    print(
        f"\n{result['shape']} {result['variant']}: {result['requests']:,} requests of code"
        f" {result['code']}, {result['bytes'] / 1e6:.2f} MB, {result['points']:,} points"
    )
    for name, peer in result["peers"].items():
        low, median, high = peer["ratio"]
        line = (
            f"  {NAMES[name]:<23}{peer['mb_per_second']:>7.0f} MB/s"
            f"{peer['ns_per_point']:>8.1f} ns/point{peer['requests_per_second']:>12,.0f} req/s"
            f"{peer['spread']:>7.1%} spread"
        )
        if name != JUDGE:
            line += f"{median:>8.2f} x ({low:.2f} to {high:.2f})"
        goal = goal_of(result, name)
        if goal is not None:
            line += f"  {'at least' if median >= goal else 'MISSES'} {goal:g}"
        print(line, flush=True)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shapes", default=",".join(SHAPES), help="of S,M,L,XL (default: all)")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path, help="write every figure to this file")
    parser.add_argument("--plot", type=Path, help="draw the ratios as SVG")
    parser.add_argument("--markdown", type=Path, help="write the tables for people")
    options = parser.parse_args()
    options.shapes = options.shapes.split(",")
    if unknown := set(options.shapes) - SHAPES.keys():
        parser.error(f"expected shapes of {', '.join(SHAPES)}, got {', '.join(sorted(unknown))}")
    if options.rounds < 1:
        parser.error(f"expected at least 1 round, got {options.rounds}")
    return options


def main() -> None:
    """Compare, print, and write the requested files."""
    options = arguments()
    around = environment()
    print(", ".join(f"{name} {value}" for name, value in around.items()))
    print(
        f"medians of {options.rounds} rounds; x: times the judge's time in the same round"
        " (quartiles); spread: quartile range of the times"
    )
    results = []
    for shape in options.shapes:
        for variant in VARIANTS[shape]:
            requests = stream(shape, variant)
            results.append(summarise(requests, time_peers(requests, options.rounds)))
            show(results[-1])
    report: Report = {
        "date": datetime.now(UTC).date().isoformat(),
        "environment": around,
        "rounds": options.rounds,
        "streams": results,
    }
    if options.json:
        layout = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
        options.json.write_bytes(orjson.dumps(report, option=layout))
    if options.plot:
        options.plot.write_text(svg(report), encoding="utf-8")
    if options.markdown:
        address = options.plot and os.path.relpath(options.plot, options.markdown.parent)
        options.markdown.write_text(markdown(report, address), encoding="utf-8")


if __name__ == "__main__":
    main()
