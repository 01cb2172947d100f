"""A recording: the real service under strace, with traffic, restarts, merges and dead letters.

    life 1    traffic; then the sinks take nothing, more traffic; SIGKILL when all is quiet
    life 2    begins with what life 1 has left in its spool; traffic; SIGTERM
    life 3    the same

The broker has the shipped configuration. The Parquet sink refuses the points of one product, which
become dead letters.

    requests         every request, and what was answered
    life-1.strace    the system calls of a life
    state/           spool, points, lines, rejected requests: what is recorded
    recording.json   how it was made

SIGKILL comes when no call is under way: what a killed process was just doing, only the kernel
knows.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, replace
from random import Random
from typing import TYPE_CHECKING, Final

from tests.crash import ledger as ledgers
from tests.crash.ledger import Ledger, LedgerWriter
from tests.crash.order import exit_of
from tests.crash.traffic import PRODUCTS, TOPICS, correct, make
from tests.crash.victims import SENDER, Broker, Pointgate, until
from tests.powercut.launch import REFUSED
from tests.powercut.trace import LINES, Name, Trace, Write, strace
from tests.support.paths import CATALOG
from tests.support.patience import PATIENCE
from tests.support.shipped_broker import PASSWORD, Account

if TYPE_CHECKING:
    from pathlib import Path

    from tests.crash.traffic import Request

SINKS: Final = ("parquet", "lines")

_REFUSED_TOPIC: Final = TOPICS[0].replace(PRODUCTS[0], REFUSED)
_REFUSED_SHARE: Final = 0.12
_CORRECTIONS: Final = 0.15
_BURST: Final = 6
_HELD: Final = 30
"""Requests that are sent while the sinks take nothing."""

_SEEN: Final = {
    "files of the spool": re.compile(r"spool-\d+-\d+\.db"),
    "versions of files of points": re.compile(r"live-\d+-\w+-\d+\.parquet"),
    "commits of files": re.compile(r"commit\.json"),
    "merged files": re.compile(r"merged-\d+-\w+-\d+\.parquet"),
    "dead letters": re.compile(r"\d+\.arrow"),
}
"""What names of files tell."""

_QUIET: Final = 0.5

_SETTINGS: Final = """
[mqtt]
url = "mqtt://127.0.0.1:{port}"
client_id = "powercut"
username = "pointgate"
password_file = "password"
[catalog]
path = "catalog"
[metrics]
listen = "127.0.0.1:0"
[store]
ack = "{ack}"
[spool]
path = "state/spool"
[quarantine]
path = "state/quarantine"
[[sinks]]
name = "parquet"
type = "parquet"
path = "state/points"
rotate_age = 0
[[sinks]]
name = "lines"
type = "ndjson"
path = "state/{lines}"
"""


@dataclass(frozen=True, slots=True)
class Options:
    """How a recording is made.

    Attributes:
        ack: What a 200 promises.
        requests: How many there are, but for those sent while the sinks take nothing.
        seed: Decides what is sent.
        planted: The bug that the service has.
    """

    ack: str
    requests: int
    seed: int
    planted: str = ""


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording, read.

    Attributes:
        folder: Where it is.
        options: How it was made.
        trace: What the service did.
        ledger: What was sent.
    """

    folder: Path
    options: Options
    trace: Trace
    ledger: Ledger

    def until(self, line: int) -> Ledger:
        """The ledger at a line: what had been answered by then."""
        accepted = {
            one.number for one in self.trace.replies if one.begin <= line and one.code == 200
        }
        requests = {
            number: replace(entry, ok=int(number in accepted))
            for number, entry in self.ledger.requests.items()
        }
        return Ledger(requests, self.ledger.expected)


def seen(trace: Trace) -> dict[str, int]:
    """How often happened what a recording is made for."""
    names = [one for one in trace.operations if isinstance(one, Name) and one.inode is not None]
    writes = Counter(trace.kinds[one.inode] for one in trace.operations if isinstance(one, Write))
    return {
        **{
            what: sum(bool(form.fullmatch(one.name)) for one in names)
            for what, form in _SEEN.items()
        },
        "pages of databases": writes[".db"],
        "writes of lines": writes[".ndjson"],
        "marks of lines": writes[".synced"],
    }


def read(folder: Path) -> Recording:
    """Read a recording.

    Raises:
        ValueError: The trace does not have the replies that were received.
    """
    options = Options(**json.loads((folder / "recording.json").read_text()))
    trace = Trace(folder / "state")
    for log in sorted(folder.glob("life-*.strace")):
        trace.read(log)
    with (folder / "requests").open(encoding="utf-8") as lines:
        ledger = ledgers.read(lines)
    sent = Counter((one.number, one.code == 200) for one in trace.replies)
    for number, entry in ledger.requests.items():
        if entry.ok > sent[number, True] or entry.err > sent[number, False]:
            raise ValueError(f"request {number} was answered, and the trace does not have it")
    return Recording(folder, options, trace, ledger)


def settings(folder: Path, *, port: int, ack: str) -> Path:
    """Write the settings of a service; its catalog is beside them."""
    path = folder / "pointgate.toml"
    (folder / "password").write_text(f"{PASSWORD}\n")
    path.write_text(_SETTINGS.format(port=port, ack=ack, lines=LINES))
    return path


def make_recording(folder: Path, options: Options) -> None:
    """Record a service.

    Args:
        folder: An empty folder.
        options: How.

    Raises:
        TimeoutError: Something does not happen.
        ValueError: The trace is not what really happened.
    """
    with Broker(folder) as broker:
        broker.start()
        _Recorder(folder.resolve(), broker, options)()


class Service(Pointgate):
    """The service, recorded or not."""

    sinks = len(SINKS)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "service.log")
        self._settings = folder / "pointgate.toml"

    def start(self, *, trace: Path | None = None, planted: str = "") -> None:
        """Start it."""
        before = strace(trace) if trace else ()
        command = (sys.executable, "-m", "tests.powercut.launch", planted or "none")
        self._spawn([*before, *command, "serve", "-c", str(self._settings)])


class _Recorder:
    def __init__(self, folder: Path, broker: Broker, options: Options) -> None:
        self._folder = folder
        self._port = broker.port
        self._options = options
        self._draw = Random(options.seed)  # noqa: S311 - to be had again
        self._service = Service(folder)
        self._trace = Trace(folder / "state")
        self._sent: dict[int, Request] = {}
        self._open: set[int] = set()
        self._accepted: list[Request] = []

    def __call__(self) -> None:
        folder, options = self._folder, self._options
        (folder / "state").mkdir()
        (folder / "recording.json").write_text(json.dumps(asdict(options)))
        settings(folder, port=self._port, ack=options.ack)
        shutil.copytree(CATALOG, folder / "catalog")
        with (folder / "catalog/catalog.toml").open("a") as catalog:
            catalog.write(f'\n[products.{REFUSED}]\nmodel = "models/protocol.json"\n')
            catalog.write('devices = "devices/protocol.txt"\n')
        with (
            self._service,
            Account(self._port, SENDER) as sender,
            LedgerWriter(folder / "requests") as ledger,
        ):
            sender.subscribe(*(f"{topic}_reply" for topic in (*TOPICS, _REFUSED_TOPIC)))
            for life in (1, 2, 3):
                self._live(life, sender, ledger)

    def _live(self, life: int, sender: Account, ledger: LedgerWriter) -> None:
        service, log = self._service, self._folder / f"life-{life}.strace"
        service.start(trace=log, planted=self._options.planted)
        service.wait_until_ready()
        for _ in range(self._options.requests // 3):
            self._send(sender, ledger)
            if (count := len(self._open)) > self._draw.randint(0, _BURST):
                self._answers(sender, ledger, left=self._draw.randint(0, count - 1))
        self._answers(sender, ledger, left=0)
        if life == 1:
            (self._folder / "hold").touch()
            for _ in range(_HELD):
                self._send(sender, ledger)
            if self._options.ack == "spool":
                self._answers(sender, ledger, left=0)
            self._wait_for_quiet(log)
            service.kill()
            (self._folder / "hold").unlink()
        else:
            until(lambda: service.lag() == 0, "the sinks have everything", PATIENCE)
            service.ask()
            if not service.dies(PATIENCE) or service.status:
                raise TimeoutError(f"SIGTERM: exit status {service.status}")
        self._wait_for_end(log)
        self._trace.read(log)
        if wrong := self._trace.check():
            raise ValueError(f"life {life} is not what its trace says: {'; '.join(wrong)}")

    def _send(self, sender: Account, ledger: LedgerWriter) -> None:
        number = len(self._sent)
        if self._accepted and self._draw.random() < _CORRECTIONS:
            chosen = self._accepted.pop(self._draw.randrange(len(self._accepted)))
            request = correct(chosen, number)
        else:
            request = make(number, self._draw)
            fits = not request.wrong and request.points[0].product == PRODUCTS[0]  # its model
            if fits and self._draw.random() < _REFUSED_SHARE:
                points = tuple(point._replace(product=REFUSED) for point in request.points)
                request = replace(request, topic=_REFUSED_TOPIC, points=points)
        self._sent[number] = request
        if request.topic != _REFUSED_TOPIC or self._options.ack == "spool":
            self._open.add(number)  # with `ack = "sink"` nobody answers what a sink refuses
        ledger.sent(request)
        sender.publish(request.topic, request.payload)

    def _answers(self, sender: Account, ledger: LedgerWriter, *, left: int) -> None:
        """Wait for answers until so few are open."""
        while len(self._open) > left:
            _, payload = sender.messages.get(timeout=PATIENCE)
            answer = json.loads(payload)
            number, code = int(answer["id"]), answer["code"]
            self._open.discard(number)
            request = self._sent[number]
            if code == 200:
                ledger.note(ok=number)
                if request.at == number and request.topic != _REFUSED_TOPIC:
                    self._accepted.append(request)
            else:
                ledger.note(err=number, code=code)

    def _wait_for_quiet(self, log: Path) -> None:
        """Wait until no calls have been made for a while."""
        size, since = -1, time.monotonic()
        end = since + PATIENCE
        while time.monotonic() - since < _QUIET:
            if time.monotonic() > end:
                raise TimeoutError("the service is never quiet")
            if log.stat().st_size != size:
                size, since = log.stat().st_size, time.monotonic()
            time.sleep(_QUIET / 10)

    def _wait_for_end(self, log: Path) -> None:
        end = re.compile(
            exit_of(self._service.pid).pattern.replace("exited with", ""), re.MULTILINE
        )

        def ended() -> bool:
            with log.open("rb") as file:
                file.seek(max(0, log.stat().st_size - 4096))
                return end.search(file.read().decode("latin-1")) is not None

        until(ended, "strace ends", PATIENCE)
