"""The judge and its peers, side by side in one process.

    python benches/compare.py [--shapes S,M,L,XL] [--rounds 15] [--json FILE]

A shared machine changes its speed by half from one second to the next, so only ratios inside a
round count: in each round every peer passes over the stream, in an order drawn anew, and the table
has the median of the rounds' ratios with their quartiles. A pass that is not timed comes before the
timed ones, since the peer before has left its own data in the caches; short passes are repeated
until they take `LEAST_SECONDS`. Every peer's codes are compared with the stated ones before
anything is timed.

The judge is timed as Python calls it, with its reports and replies made; a peer gives a bare code.
Nanoseconds a point count what stands in the payloads, also where a fault lets a peer read less.
"""

from __future__ import annotations

import argparse
import gc
import math
import platform
import random
import statistics
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import orjson

# Run as a script, Python looks for modules beside this file only.
if not __package__:
    sys.path.insert(0, str(Path(__file__).parent.parent))

from benches.corpus import CODES, SHAPES, Stream, stream
from benches.peers import JUDGE, PEERS, Pass, prepare
from pointgate._core import __version__, build_profile

LEAST_SECONDS: Final = 0.01
VARIED: Final = "M"
"""The shape whose variants are compared, too."""
GOALS: Final = {
    ("S", "msgspec_typed"): 4.5,
    ("S", "orjson_checks"): 10.0,
    ("M", "msgspec_typed"): 3.0,
    ("M", "orjson_checks"): 7.0,
    ("L", "msgspec_typed"): 3.2,
    ("L", "orjson_checks"): 9.0,
    ("XL", "msgspec_typed"): 5.0,
    ("XL", "orjson_checks"): 14.0,
}
"""How many times faster than a peer the judge is meant to be on valid requests, at least."""


def environment() -> dict[str, str]:
    """What the figures depend on."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = [platform.processor() or platform.machine()]
    return {
        "cpu": f"{len(names)} x {names[0]}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "pointgate": f"{__version__} ({build_profile})",
        "orjson": version("orjson"),
        "msgspec": version("msgspec"),
    }


def time_pass(judge_all: Pass, repeats: int) -> float:
    """The seconds that one pass takes with warm caches."""
    judge_all()
    start = time.perf_counter()
    for _ in range(repeats):
        judge_all()
    return (time.perf_counter() - start) / repeats


def time_peers(requests: Stream, rounds: int) -> dict[str, list[float]]:
    """The seconds of each peer's pass in each round."""
    passes = {name: prepare(name, requests) for name in PEERS}
    repeats = {name: math.ceil(LEAST_SECONDS / time_pass(one, 1)) for name, one in passes.items()}
    seconds: dict[str, list[float]] = {name: [] for name in passes}
    names, dice = list(passes), random.Random(rounds)
    # What lives already is not the peers' garbage.
    gc.collect()
    gc.freeze()
    for _ in range(rounds):
        for name in dice.sample(names, len(names)):
            seconds[name].append(time_pass(passes[name], repeats[name]))
    gc.unfreeze()
    return seconds


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """The lower quartile, the median and the upper quartile."""
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, median, high


def summarise(requests: Stream, seconds: dict[str, list[float]]) -> dict[str, Any]:
    """The figures of one stream."""
    peers = {}
    for name, times in seconds.items():
        low, median, high = quartiles(times)
        ratios = [one / judge for one, judge in zip(times, seconds[JUDGE], strict=True)]
        peers[name] = {
            "seconds": times,
            "mb_per_second": requests.size / median / 1e6,
            "requests_per_second": len(requests.payloads) / median,
            "ns_per_point": median / requests.points * 1e9,
            "spread": (high - low) / median,
            "ratio": quartiles(ratios),
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


def show(result: dict[str, Any]) -> None:
    """Print the figures of one stream."""
    print(
        f"\n{result['shape']} {result['variant']}: {result['requests']:,} requests of code"
        f" {result['code']}, {result['bytes'] / 1e6:.2f} MB, {result['points']:,} points"
    )
    for name, peer in result["peers"].items():
        low, median, high = peer["ratio"]
        line = (
            f"  {name:<14}{peer['mb_per_second']:>8.0f} MB/s{peer['ns_per_point']:>8.1f} ns/point"
            f"{peer['requests_per_second']:>12,.0f} req/s{peer['spread']:>7.1%} spread"
        )
        if name != JUDGE:
            line += f"{median:>8.2f} x ({low:.2f} to {high:.2f})"
        goal = GOALS.get((result["shape"], name))
        if goal and result["variant"] == "valid":
            line += f"  at least {goal}"
        print(line)


def main() -> None:
    """Compare, print, and write JSON when asked to."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shapes", default=",".join(SHAPES), help="of S,M,L,XL (default: all)")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path, help="write every figure to this file")
    options = parser.parse_args()
    shapes = options.shapes.split(",")
    if unknown := set(shapes) - SHAPES.keys():
        parser.error(f"expected shapes of {', '.join(SHAPES)}, got {', '.join(sorted(unknown))}")
    if options.rounds < 1:
        parser.error(f"expected at least 1 round, got {options.rounds}")

    around = environment()
    print(", ".join(f"{name} {value}" for name, value in around.items()))
    print(
        f"medians of {options.rounds} rounds; x: times the judge's time in the same round"
        " (quartiles); spread: quartile range of the times"
    )
    results = []
    for shape in shapes:
        for variant in CODES if shape == VARIED else ("valid",):
            requests = stream(shape, variant)
            results.append(summarise(requests, time_peers(requests, options.rounds)))
            show(results[-1])
    if options.json:
        report = {"environment": around, "rounds": options.rounds, "streams": results}
        options.json.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2))


if __name__ == "__main__":
    main()
