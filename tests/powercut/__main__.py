"""`make powercut`: recordings of the service, many power cuts on them, a bar, a summary.

    python -m tests.powercut --states 1000 --seed 7 --json
    python -m tests.powercut --folder FOLDER --seed 7 --state 123     one of them again

Recordings take turns: `ack = "spool"` and `ack = "sink"`. The seed decides the states, not the
recordings, whose timing is the machine's: a state is replayed from the folder with the recordings,
which stays, as do the folders of the states in which something was found.

Exit status: 0 nothing found, 1 something found, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import secrets
import shutil
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tests.powercut import record, work
from tests.powercut.disk import DATA
from tests.powercut.planted import AFTER, BUGS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.powercut.record import Recording
    from tests.powercut.replay import Outcome

_ACKS: Final = ("spool", "sink")

_SHOWN: Final = 300
"""Characters of a violation in the summary."""

_TOLD: Final = 100
"""States a line, where there is no terminal for a bar."""

_FAST: Final = Path("/dev/shm")  # noqa: S108 - a file system in memory, where a sync takes no time


def main() -> None:
    """Run as a process."""
    options = _options()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="pointgate-powercut-"))
    folder.mkdir(parents=True, exist_ok=True)
    folder = folder.resolve()
    seed = options.seed if options.seed is not None else secrets.randbits(24)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(f"seed {seed}, evidence in {folder}")
    begun = time.monotonic()
    if not any(folder.glob("recording-*")):
        _record(folder, options, seed, console)
    if options.state is not None:
        work.begin(str(folder), options.planted)
        path = folder / f"state-{options.state:06}-again"
        shutil.rmtree(path, ignore_errors=True)
        cut = {"only": options.only, "data": options.data}
        outcomes = [work.replay(options.state, seed, str(path), whole=options.whole == 1, **cut)]
    else:
        outcomes = _replay_all(folder, options, seed, console)
    recordings = [record.read(path) for path in sorted(folder.glob("recording-*"))]
    summary = _summary(recordings, outcomes, seed, time.monotonic() - begun)
    if options.json:
        print(json.dumps(summary | {"found": [asdict(one) for one in outcomes if one.violations]}))  # noqa: T201
    else:
        print(*_lines(summary, outcomes, folder), sep="\n")  # noqa: T201 - as above
    sys.exit(1 if summary["violations"] else 0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.powercut", description=__doc__)
    parser.add_argument("--states", type=int, default=1000, help="how many power cuts (1000)")
    parser.add_argument("--seed", type=int, help="what decides; drawn and printed if not given")
    parser.add_argument("--jobs", type=int, default=2, help="processes (2)")
    parser.add_argument("--recordings", type=int, default=4, help="recordings (4)")
    parser.add_argument("--requests", type=int, default=300, help="requests of each (300)")
    parser.add_argument(
        "--whole", type=int, default=100, help="1 state in so many: all of it (100)"
    )
    parser.add_argument("--state", type=int, help="only this one, of the recordings in --folder")
    parser.add_argument("--ack", choices=_ACKS, action="append", help="what a 200 promises (both)")
    parser.add_argument("--only", default="", help="cuts before syncs of a kind of file: .ndjson")
    parser.add_argument("--data", choices=DATA, default="", help="what is left of unsynced data")
    parser.add_argument("--planted", choices=sorted(BUGS), default="", help="a bug to be found")
    parser.add_argument("--folder", type=Path, help="where recordings are, or will be kept")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    options = parser.parse_args()
    if min(options.states, options.jobs, options.recordings, options.requests, options.whole) < 1:
        parser.error("expected numbers of 1 and more")
    return options


# Recordings


def _record(folder: Path, options: argparse.Namespace, seed: int, console: Console) -> None:
    planted = "" if options.planted in AFTER else options.planted
    acks = options.ack or _ACKS
    plans = [
        record.Options(acks[number % len(acks)], options.requests, seed + number, planted)
        for number in range(options.recordings)
    ]
    with _bar("recordings", console) as bar, ThreadPoolExecutor(options.jobs) as pool:
        task = bar.add_task("", total=len(plans), found="")
        futures = []
        for number, plan in enumerate(plans):
            path = folder / f"recording-{number}-{plan.ack}"
            path.mkdir()
            futures.append(pool.submit(record.make_recording, path, plan))
        for future in as_completed(futures):
            future.result()
            bar.advance(task)


def _bar(name: str, console: Console) -> Progress:
    return Progress(
        *(TextColumn(name), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()),
        TextColumn("{task.fields[found]}"),
        console=console,
        disable=not console.is_terminal,
    )


# States


def _replay_all(
    folder: Path, options: argparse.Namespace, seed: int, console: Console
) -> list[Outcome]:
    place = Path(tempfile.mkdtemp(prefix="pointgate-", dir=_FAST if _FAST.is_dir() else None))
    outcomes, found = [], 0
    context = multiprocessing.get_context("spawn")
    arguments = (str(folder), options.planted)
    try:
        with (
            _bar("states", console) as bar,
            ProcessPoolExecutor(options.jobs, context, work.begin, arguments) as pool,
        ):
            task = bar.add_task("", total=options.states, found="")
            futures = [
                pool.submit(
                    work.replay,
                    number,
                    seed,
                    str(place / f"state-{number:06}"),
                    whole=number % (options.whole + 1) == options.whole,
                    only=options.only,
                    data=options.data,
                )
                for number in range(options.states)
            ]
            for future in as_completed(futures):
                outcomes.append(future.result())
                found += bool(outcomes[-1].violations)
                text = f"{found} WITH VIOLATIONS" if found else "nothing found"
                bar.update(task, advance=1, found=text)
                if not console.is_terminal and len(outcomes) % _TOLD == 0:
                    console.print(f"{len(outcomes)} of {options.states} states: {text}")
        for left in place.iterdir():
            shutil.rmtree(folder / left.name, ignore_errors=True)
            shutil.move(left, folder / left.name)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return sorted(outcomes, key=lambda one: one.number)


# What came of it


def _summary(
    recordings: Sequence[Recording], outcomes: Sequence[Outcome], seed: int, seconds: float
) -> dict[str, Any]:
    return {
        "seed": seed,
        "seconds": round(seconds, 1),
        "recordings": len(recordings),
        "requests": sum(len(one.ledger.requests) for one in recordings),
        "operations": sum(len(one.trace.operations) for one in recordings),
        "seen": dict(sum((Counter(record.seen(one.trace)) for one in recordings), Counter())),
        "states": len(outcomes),
        "answered": sum(one.answered for one in outcomes),
        "lost": sum(one.lost for one in outcomes),
        "violations": sum(bool(one.violations) for one in outcomes),
        "names": dict(sorted(Counter(one.cut.names for one in outcomes).items())),
        "data": dict(sorted(Counter(one.cut.data or "each file" for one in outcomes).items())),
    }


def _lines(summary: dict[str, Any], outcomes: Sequence[Outcome], folder: Path) -> Iterator[str]:
    yield (
        f"{summary['states']:,} power cuts in {summary['seconds'] / 60:.1f} minutes, "
        f"seed {summary['seed']}: {summary['recordings']} recordings with "
        f"{summary['requests']:,} requests and {summary['operations']:,} operations"
    )
    yield f"  200 before the cut {summary['answered']:,}, lost {summary['lost']:,}"
    for kind in ("seen", "names", "data"):
        counts = ", ".join(f"{name} {count}" for name, count in summary[kind].items())
        yield f"  {kind}: {counts}"
    for one in outcomes:
        if one.violations:
            yield (
                f"VIOLATION in state {one.number} of {one.recording}, {one.cut}; again with "
                f"--folder {folder} --seed {summary['seed']} --state {one.number}"
            )
            for text in one.violations:
                yield f"  {text if len(text) <= _SHOWN else text[:_SHOWN] + ' …'}"


if __name__ == "__main__":
    main()
