"""`make crash`: many kills, several runs side by side, a bar, a summary.

    python -m tests.crash --kills 1000 --jobs 2 --seed 7 --json

Runs take turns: `ack = "spool"` and `ack = "sink"`, with a broker that is killed, too, and with one
that lives and so must not forget anything (`compare.py`: forgotten, stale). The seed decides who is
killed, where and when; not to the microsecond, so the same seed finds the same mistake often, not
always. The folder with the evidence of all runs stays.

Exit status: 0 all kills made and nothing found, 1 a violation or too little time, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
import tempfile
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tests.crash.plan import ALL, DATABASE, SERVICE
from tests.crash.run import Options, Run
from tests.crash.summary import Summary

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.crash.outcome import Outcome

PART: Final = 50
"""Kills of one run. Each ends with a comparison, so that a violation is told while others go on."""

TURNS: Final = tuple(
    (ack, victims) for victims in (ALL, (SERVICE, DATABASE)) for ack in ("spool", "sink")
)


def main() -> None:
    """Run as a process."""
    options = _options()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="pointgate-crash-"))
    folder.mkdir(parents=True, exist_ok=True)
    seed = options.seed if options.seed is not None else secrets.randbits(24)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(f"seed {seed}, evidence in {folder}")
    runs = []
    for number, done in enumerate(range(0, options.kills, PART)):
        ack, victims = TURNS[number % len(TURNS)]
        kills = min(PART, options.kills - done)
        runs.append(Options(kills, seed + number, ack=ack, victims=victims))
    begun = time.monotonic()
    end = begun + 60 * options.minutes
    outcomes = _Jobs(folder, console, lambda: time.monotonic() < end).do(runs, options.jobs)
    summary = Summary(seed, options.kills, time.monotonic() - begun, outcomes)
    if options.json:
        print(json.dumps(summary.as_json()))  # noqa: T201 - data
    else:
        print(*summary.lines(), sep="\n")  # noqa: T201 - as above
    sys.exit(0 if summary.good else 1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description="The ledger check.")
    parser.add_argument("--kills", type=int, default=1000, help="how many (1000)")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time (2)")
    parser.add_argument("--minutes", type=float, default=90, help="no kill after that (90)")
    parser.add_argument("--seed", type=int, help="what decides; drawn and printed if not given")
    parser.add_argument("--folder", type=Path, help="where evidence is kept")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    options = parser.parse_args()
    if options.kills < 1 or options.jobs < 1:
        parser.error("expected at least one kill and one job")
    return options


class _Jobs:
    """Does runs, some at a time, and tells how it goes."""

    def __init__(self, folder: Path, console: Console, go_on: Callable[[], bool]) -> None:
        self._folder = folder
        self._console = console
        self._go_on = go_on
        self._interrupted = threading.Event()
        self._bar = Progress(
            *(TextColumn("kills"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()),
            TextColumn("{task.fields[found]}"),
            console=console,
            disable=not console.is_terminal,
        )

    def do(self, runs: Sequence[Options], jobs: int) -> list[Outcome]:
        """Do all of them."""
        total, found = sum(run.kills for run in runs), 0
        with self._bar, ThreadPoolExecutor(jobs) as pool:
            task = self._bar.add_task("", total=total, found="")
            futures = [pool.submit(self._run, number, run) for number, run in enumerate(runs)]
            try:
                for done, future in enumerate(as_completed(futures), 1):
                    found += len(future.result().violations)
                    self._bar.update(task, found=f"{found} violations" if found else "")
                    if not self._console.is_terminal:
                        self._tell(done, len(futures), future.result())
            except KeyboardInterrupt:
                self._interrupted.set()
                pool.shutdown(cancel_futures=True)
                raise
        return [future.result() for future in futures]

    def _run(self, number: int, options: Options) -> Outcome:
        folder = self._folder / f"run-{number:03}"
        folder.mkdir()
        run = Run(options, folder, self._killed)
        if not self._go_on():
            return run.outcome
        try:
            return run()
        except Exception:  # noqa: BLE001 - the other runs have something to say, too
            run.outcome.problems.append(traceback.format_exc())
            return run.outcome

    def _killed(self) -> bool:
        """There has been a kill; returns whether to go on."""
        if self._interrupted.is_set():
            raise InterruptedError("interrupted")
        self._bar.advance(self._bar.task_ids[0])
        return self._go_on()

    def _tell(self, done: int, total: int, outcome: Outcome) -> None:
        """A line a run, where there is no terminal for a bar."""
        found = f"{len(outcome.violations)} VIOLATIONS" if outcome.violations else "nothing found"
        self._console.print(
            f"{done} of {total} runs: seed {outcome.seed}, ack {outcome.ack}, "
            f"{outcome.kills.total()} kills, {outcome.requests} requests, "
            f"{outcome.seconds:.0f} s: {found}"
        )


if __name__ == "__main__":
    main()
