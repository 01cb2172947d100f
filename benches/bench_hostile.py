"""Worst-case cost of hostile payloads: the time per byte is bounded, and linear in the size.

    python benches/bench_hostile.py [--bytes 1000000] [--rounds 5] [--only WORDS] [--json]

Each shape attacks one part of the judge: numbers that are hard to round, escapes, unknown names,
depth, endless members. Each is validated at one size and at twice that size, with and without
collecting its points, in turn. The measure is the CPU time of this thread, the least of all rounds,
because other load on the machine can only add to it. A shape over a limit is measured again before
it is reported. Shapes below a tenth of a nanosecond per byte have no ratio: the judge stops at
their beginning.

Refusals are small requests whose fault messages take longest to render. Their measure is the time
per request, which must be so short that a slice of them does not block the event loop (`_SLICE` in
`gate.py`).

Exit status 1 if a shape is above `BYTE_NANOSECONDS` or `RATIO`, or a refusal above
`REFUSAL_MICROSECONDS`.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

if __name__ == "__main__":  # as a script, this folder is on the path, its parent is not
    sys.path.insert(0, str(Path(__file__).parent.parent))

from benches.hostile import REFUSALS, SHAPES, Shape, refusal, topic, validator

if TYPE_CHECKING:
    from collections.abc import Callable

    from pointgate import Validator

BYTE_NANOSECONDS: Final = 20.0
RATIO: Final = 2.2
"""The limit on the ratio of the times for twice the bytes."""
REFUSAL_MICROSECONDS: Final = 150.0
"""With it, a slice of 64 takes 10 ms of the event loop."""
LEAST_NANOSECONDS: Final = 0.1
"""Per byte; below it, the time does not depend on the bytes."""
BURST: Final = 64
TRIES: Final = 8
"""How often a shape over a limit is measured."""


Row = dict[str, float | None]
WAYS: Final = ("judge", "collect")


def is_over(row: Row) -> bool:
    """Whether a figure exceeds its limit."""
    limits = {"microseconds": REFUSAL_MICROSECONDS}
    limits |= dict.fromkeys(WAYS, BYTE_NANOSECONDS)
    limits |= dict.fromkeys([f"{way}_ratio" for way in WAYS], RATIO)
    return any(value is not None and value > limits[name] for name, value in row.items())


def seconds(call: Callable[..., object], topics: list[str], payloads: list[bytes]) -> float:
    """This thread's CPU time for a call."""
    started = time.thread_time()
    call(topics, payloads)
    return time.thread_time() - started


def measure(judge: Validator, shape: Shape, size: int, rounds: int) -> Row:
    """Nanoseconds per byte, the greater of both sizes, and the ratio of their times."""
    calls: dict[str, Callable[..., object]] = {"judge": judge.validate, "collect": judge.collect}
    payloads = [shape.make(size), shape.make(2 * size)]
    on, growth = [topic(shape.product)], len(payloads[1]) / len(payloads[0]) / 2
    for payload in payloads:
        [report] = judge.validate(on, [payload])
        assert report.code == shape.code, (shape.name, report.code, report.fault)
    least = {(way, payload): math.inf for way in WAYS for payload in payloads}
    row: Row = {}
    for _ in range(TRIES):
        for _ in range(rounds):
            for (way, payload), taken in least.items():
                least[way, payload] = min(taken, seconds(calls[way], on, [payload]))
        for way in WAYS:
            short, long = (least[way, payload] for payload in payloads)
            nanoseconds = 1e9 * max(short / len(payloads[0]), long / len(payloads[1]))
            row[way] = nanoseconds
            row[f"{way}_ratio"] = long / short / growth if nanoseconds > LEAST_NANOSECONDS else None
        if not is_over(row):
            break
    return row


def measure_refusal(judge: Validator, payload: bytes, rounds: int) -> Row:
    """Microseconds of one small request in a burst."""
    on, payloads = [topic("plain")] * BURST, [payload] * BURST
    assert {report.code for report in judge.validate(on, payloads)} == {1204}
    least = min(seconds(judge.validate, on, payloads) for _ in range(2 * rounds))
    return {"microseconds": least * 1e6 / BURST}


def show(name: str, row: Row) -> None:
    """Print a line of the table."""
    if "microseconds" in row:
        figures = f"{row['microseconds']:7.1f} us a request"
    else:
        figures = "  ".join(
            f"{row[way]:7.2f} {'    -' if ratio is None else f'{ratio:5.2f}'}"
            for way in WAYS
            for ratio in [row[f"{way}_ratio"]]
        )
    print(f"{name:<42} {figures}{'  OVER' * is_over(row)}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bytes", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="shapes with this in their name")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    judge = validator()
    found: dict[str, Row] = {}
    say = (lambda *_: None) if options.json else show
    if not options.json:
        print(f"{'ns a byte, and the ratio':<42}   judge ratio  collect ratio")
    for shape in SHAPES:
        if options.only in shape.name:
            found[shape.name] = measure(judge, shape, options.bytes, options.rounds)
            say(shape.name, found[shape.name])
    for name, points in REFUSALS.items():
        if options.only in name:
            found[name] = measure_refusal(judge, refusal(points), options.rounds)
            say(name, found[name])
    over = [name for name, row in found.items() if is_over(row)]
    if options.json:
        print(json.dumps({"shapes": found, "over": over}))
    elif over:
        print(f"\nabove a limit: {'; '.join(over)}")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
