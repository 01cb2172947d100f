"""One run: everything up, the kills, quiet, the comparison.

    broker, database, service, sender up
    for each kill of the plan:  wait, kill, start again at once
    nothing new is sent; what is open is answered or given up; the sinks catch up; SIGTERM
    ledger against sinks; `pointgate compact`; ledger against Parquet once more

With `ack = "sink"` the service is killed once more before the quiet, and what the sinks hold at
that moment must have all that was answered 200.

The folder of a run keeps everything: `ledger`, `kills`, the logs, the configurations, the spool,
the points, and what the database held as `postgres.parquet`.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from random import Random
from typing import TYPE_CHECKING, Final

import pyarrow.parquet as pq

from tests.crash import ledger as ledgers
from tests.crash import plan as plans
from tests.crash.compare import compare, forgotten, misjudged
from tests.crash.outcome import Outcome
from tests.crash.plan import ALL, BROKER, COMMITS, DATABASE, SERVICE, Kill
from tests.crash.stored import of_parquet, of_postgres
from tests.crash.victims import SENDER, Broker, Database, Service, until
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE
from tests.support.shipped_broker import PASSWORD

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import pyarrow as pa

    from tests.crash.ledger import Ledger

_REACH: Final = 6.0
"""Seconds to reach a named place; after that it is a kill like any other."""

_ENDS: Final = {-signal.SIGKILL, 0, 128 + signal.SIGTERM, -signal.SIGTERM}
"""Exit statuses of a service that was asked to end, at any time from its very first moment on."""

_CLOSE_SECONDS: Final = 60.0
"""Seconds the sender has to end."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a run does.

    Attributes:
        kills: How many.
        seed: Decides everything that chance decides.
        ack: What a 200 promises.
        victims: Who may be killed; without the database there is no such sink.
        planted: The bug that the service has.
        plan: The kills themselves, instead of some that are drawn.
        patience: Seconds at the end for what has not been answered.
    """

    kills: int
    seed: int
    ack: str = "spool"
    victims: tuple[str, ...] = ALL
    planted: str = ""
    plan: tuple[Kill, ...] = ()
    patience: float = PATIENCE


def _whole_once(ledger: Ledger, number: int) -> bool:
    """Whether a request must have been there as a whole, and nothing older can come instead."""
    entry = ledger.requests[number]
    return entry.ok > 0 and (entry.corrects is None or ledger.requests[entry.corrects].safe)


class Run:
    """One run.

    Args:
        options: What it does.
        folder: Where everything is kept; there and empty.
        told: Called after each kill; returns whether to go on.
    """

    def __init__(
        self, options: Options, folder: Path, told: Callable[[], bool] = lambda: True
    ) -> None:
        self.outcome = Outcome(options.seed, options.ack, str(folder))
        self._options = options
        self._folder = folder.resolve()
        self._told = told
        self._draw = Random(options.seed)  # noqa: S311 - to be had again
        self._figures: dict[str, int] = {}
        self._broker = Broker(self._folder)
        self._database = Database() if DATABASE in options.victims else None
        self._service = Service(
            self._folder,
            broker=self._broker.port,
            database=self._database.port if self._database else None,
            ack=options.ack,
            planted=options.planted,
        )

    def __call__(self) -> Outcome:
        """Do it."""
        begun = time.monotonic()
        options, outcome = self._options, self.outcome
        plan = list(options.plan) or plans.make(options.kills, options.victims, self._draw)
        with ExitStack() as stack:
            stack.enter_context(self._broker)
            self._broker.start()
            if self._database:
                stack.enter_context(self._database)
            stack.enter_context(self._service)
            self._start(plan)
            self._service.wait_until_ready()
            with self._send() as sender:
                try:
                    self._kill_all(plan)
                    self._quiet(sender)
                except TimeoutError as error:
                    outcome.problems.append(str(error))
                finally:
                    self._service.kill()
                    sender.kill()
            self._compare()
        outcome.seconds = time.monotonic() - begun
        text = json.dumps(outcome.as_json(), indent=1)
        (self._folder / "outcome.json").write_text(text + "\n")
        return outcome

    # The sender

    def _send(self) -> subprocess.Popen[str]:
        arguments = {
            "--port": self._broker.port,
            "--account": SENDER,
            "--ledger": self._folder / "ledger",
            "--seed": self._draw.getrandbits(32),
            "--patience": self._options.patience,
        }
        with (self._folder / "sender.log").open("wb") as log:
            sender = subprocess.Popen(
                [
                    *(sys.executable, "-m", "tests.crash.sender"),
                    *(str(part) for pair in arguments.items() for part in pair),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=ROOT,
            )
        assert sender.stdin
        sender.stdin.write(f"{PASSWORD}\n")
        sender.stdin.flush()
        threading.Thread(target=self._read_figures, args=(sender,), daemon=True).start()
        return sender

    def _read_figures(self, sender: subprocess.Popen[str]) -> None:
        assert sender.stdout
        for line in sender.stdout:
            self._figures = json.loads(line)

    @property
    def _answers(self) -> int:
        return self._figures.get("ok", 0) + self._figures.get("err", 0)

    # The kills

    def _start(self, plan: Sequence[Kill]) -> bool:
        """Start the service for the next kills of a plan.

        Returns:
            Whether it knows where to kill itself. That is so if the next kill is its own; else it
            has to be told when the time comes, for which users have no use.
        """
        kill = plan[0] if plan else None
        if kill and (kill.victim != SERVICE or kill.place in COMMITS):
            self._service.start(launcher=True)
            return False
        self._service.start(failpoint=f"{kill.place}:{kill.passes}" if kill and kill.place else "")
        return True

    def _kill_all(self, plan: Sequence[Kill]) -> None:
        knows = plan[0].victim == SERVICE and plan[0].place not in COMMITS
        for number, kill in enumerate(plan, 1):
            self._kill(kill, told=knows)
            rest = plan[number:] if self._told() else ()
            if kill.victim == SERVICE:
                knows = self._start(rest)
            if not rest:
                return

    def _kill(self, kill: Kill, *, told: bool) -> None:
        """Kill somebody, and start him again, if he is not the service.

        Args:
            kill: Whom and where.
            told: Whether the service knows already, because it was started so.
        """
        service = self._service
        victim: Service | Broker | Database = service
        if kill.victim == BROKER:
            victim = self._broker
        elif kill.victim == DATABASE and self._database:
            victim = self._database
        reached = False
        if kill.place:
            if not told:
                service.arm(kill.place, kill.passes, victim.pid)
            reached = victim.dies(_REACH)
        else:
            self._wait_for_work(kill.work)
            time.sleep(kill.delay)
            if kill.asked >= 0:
                service.ask()
                time.sleep(kill.asked)
        self._note(kill, reached=reached)
        victim.kill()
        if not isinstance(victim, Service):
            victim.start()
        elif service.status not in (_ENDS if kill.asked >= 0 else {-signal.SIGKILL}):
            self.outcome.problems.append(f"the service ended with status {service.status}")

    def _wait_for_work(self, answers: int) -> None:
        """Wait until so many more answers have come."""
        before = self._answers
        until(
            lambda: self._answers >= before + answers or not self._service.alive,
            f"{answers} more answers",
        )

    def _note(self, kill: Kill, *, reached: bool) -> None:
        where = kill.place if reached else "at random"
        self.outcome.kills[f"{kill.victim} {where}"] += 1
        line = {"at": time.time(), **asdict(kill), "reached": reached, **self._figures}
        with (self._folder / "kills").open("a") as file:
            file.write(json.dumps(line) + "\n")

    # The end

    def _quiet(self, sender: subprocess.Popen[str]) -> None:
        service = self._service
        if self._options.ack == "sink":
            self._wait_for_work(50)
            service.kill()
            self._note(Kill(SERVICE, "", 0, 50, 0), reached=False)
            self._compare_now()
            service.start()
        service.wait_until_ready()
        assert sender.stdin
        sender.stdin.write("finish\n")
        sender.stdin.flush()
        until(lambda: sender.poll() is not None, "the sender ends", _CLOSE_SECONDS)
        if sender.returncode:
            raise TimeoutError(f"the sender ended with status {sender.returncode}: see sender.log")
        until(lambda: service.lag() == 0, "the sinks have everything")
        service.ask()
        if not service.dies(PATIENCE) or service.status:
            self.outcome.problems.append(f"SIGTERM: exit status {service.status}")

    def _compare_now(self) -> None:
        """What `ack = "sink"` promises: whatever has been answered is in every sink by now."""
        stored = self._stored()
        ledger = self._ledger()
        for sink, rows in stored.items():
            findings = compare(ledger, rows)
            # A request of which something is there may just be written for a second time.
            parts = [number for number in findings.torn if _whole_once(ledger, number)]
            if unkept := findings.lost + findings.stale + parts:
                self.outcome.unkept[sink] = unkept

    def _compare(self) -> None:
        outcome = self.outcome
        ledger = self._ledger()
        requests = ledger.requests.values()
        outcome.requests = len(requests)
        outcome.again = sum(entry.sent - 1 for entry in requests)
        outcome.accepted = sum(entry.ok > 0 for entry in requests)
        outcome.rejected = sum(entry.err > 0 for entry in requests)
        outcome.unanswered = sum(not entry.ok and not entry.err for entry in requests)
        outcome.forgotten, outcome.misjudged = forgotten(ledger), misjudged(ledger)
        outcome.problems += [f"strange answer: {text}" for text in ledger.strange]
        stored = self._stored()
        copies = of_parquet(self._service.points, newest=False)
        outcome.sinks = {sink: compare(ledger, rows) for sink, rows in stored.items()}
        outcome.sinks["parquet"] = compare(ledger, stored["parquet"], every=copies)
        outcome.problems += self._compact()
        compacted = of_parquet(self._service.points, newest=False)
        outcome.sinks["parquet, compacted"] = compare(ledger, compacted)
        outcome.problems += self._traces()
        if self._database:
            pq.write_table(stored["postgres"], self._folder / "postgres.parquet")

    def _ledger(self) -> Ledger:
        with (self._folder / "ledger").open(encoding="utf-8") as lines:
            return ledgers.read(lines)

    def _stored(self) -> dict[str, pa.Table]:
        stored = {"parquet": of_parquet(self._service.points)}
        if self._database:
            stored["postgres"] = of_postgres(self._database.url())
        return stored

    def _compact(self) -> list[str]:
        command = [sys.executable, "-m", "pointgate", "compact", "--now", str(self._service.points)]
        done = subprocess.run(
            command,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return [f"pointgate compact: {done.stderr or done.stdout}"] if done.returncode else []

    def _traces(self) -> list[str]:
        """What should never be left behind."""
        spool = self._folder / "spool"
        found = [
            f"left behind: {path.relative_to(self._folder)}"
            for pattern in ("*.damaged", "refused/*/*")
            for path in spool.glob(pattern)
        ]
        if count := self._service.log.read_text("utf-8", "replace").count("Traceback"):
            found.append(f"{count} tracebacks in the service's log")
        return found
