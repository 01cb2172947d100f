"""A real Kafka of the tests' own: one node or several, KRaft, on loopback, jars by Maven.

    with KafkaServer(folder) as server:
        server.servers     # its bootstrap address
        server.kill(); server.start()
    with KafkaCluster(folder, 3) as cluster:
        cluster.servers; cluster.nodes

`make servers` has Maven copy the jars once, into the user's cache (55 MB), and installs Java and
Maven where they are missing. The node's folder is formatted, and the node started, in some
seconds each; so one server serves a whole test run, also of several pytest workers (`shared`).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import trustme
from cryptography.hazmat.primitives import serialization

from tests.support.ports import unused_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_POM: Final = Path(__file__).parent / "kafka/pom.xml"
_FETCH_SECONDS: Final = 600
_ATTEMPTS: Final = 5
_START_SECONDS: Final = 90.0
"""A JVM that shares two cores with others takes its time."""

_JAVA: Final = (
    "java",
    *("-Xms128m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"),
)

_SETTINGS: Final = r"""
process.roles=broker,controller
node.id={number}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{port},SASL_PLAINTEXT://127.0.0.1:{sasl},\
  SASL_SSL://127.0.0.1:{tls},CONTROLLER://127.0.0.1:{controller}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,\
  SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.name.sasl_plaintext.sasl.enabled.mechanisms=PLAIN
listener.name.sasl_ssl.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=\
  org.apache.kafka.common.security.scram.ScramLoginModule required;
ssl.keystore.type=PEM
ssl.keystore.location={folder}/node.pem
listener.name.sasl_plaintext.plain.sasl.jaas.config=\
  org.apache.kafka.common.security.plain.PlainLoginModule required user_gate="{password}";
log.dirs={folder}/data
min.insync.replicas={majority}
offsets.topic.replication.factor={nodes}
offsets.topic.num.partitions=4
transaction.state.log.replication.factor={nodes}
transaction.state.log.min.isr={majority}
transaction.state.log.num.partitions=4
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=500
auto.create.topics.enable=false
log.cleaner.enable=false
"""

PASSWORD: Final = "word-of-the-gate"  # noqa: S105 - of a server that only tests see


class KafkaMissingError(Exception):
    """This machine cannot run the server."""


def jars() -> Path:
    """The folder of the broker's jars; Maven copies them if they are not there.

    Raises:
        KafkaMissingError: Java or Maven is missing, or Maven cannot bring them.
    """
    for command in ("java", "mvn"):
        if not shutil.which(command):
            raise KafkaMissingError(f"Kafka needs Maven and Java 17 or newer: {command} is missing")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pointgate"
    folder = cache / f"kafka-{hashlib.sha256(_POM.read_bytes()).hexdigest()[:16]}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "kafka.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            _fetch(folder)
    return folder


def _fetch(folder: Path) -> None:
    """Have Maven copy the jars; the folder appears whole."""
    fresh = folder.with_suffix(f".{os.getpid()}")
    command = ["mvn", "-q", "-B", "-f", str(_POM), f"-DoutputDirectory={fresh}"]
    command += ["-DincludeScope=runtime", "dependency:copy-dependencies"]
    done = subprocess.run(
        command,
        check=False,
        timeout=_FETCH_SECONDS,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        shutil.rmtree(fresh, ignore_errors=True)
        raise KafkaMissingError(f"Maven cannot bring Kafka: {done.stdout[-500:]}")
    fresh.rename(folder)


class KafkaServer:
    """A node with an open listener, and two for SASL (`gate`, `PASSWORD`).

    Args:
        folder: An empty folder.
        controllers: The ports of the controllers of all nodes of its cluster.
        number: Its own number among them, from 1.

    Attributes:
        servers: The address of the open listener.
        sasl_servers: The address of the listener that asks for a password.
        tls_servers: The address of that for TLS and SCRAM.
        ca_file: Who has signed its certificate.
        pid: The process id of the node.
    """

    def __init__(
        self, folder: Path, controllers: Sequence[int] | None = None, number: int = 1
    ) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        port, sasl, tls = (unused_port() for _ in range(3))
        controllers = controllers or [unused_port()]
        self.servers = f"127.0.0.1:{port}"
        self.sasl_servers = f"127.0.0.1:{sasl}"
        self.tls_servers = f"127.0.0.1:{tls}"
        self.ca_file = folder / "authority.pem"
        _write_certificate(folder / "node.pem", self.ca_file)
        self._settings = folder / "server.properties"
        self._settings.write_text(
            _SETTINGS.format(
                port=port,
                sasl=sasl,
                tls=tls,
                controller=controllers[number - 1],
                number=number,
                voters=",".join(f"{n}@127.0.0.1:{one}" for n, one in enumerate(controllers, 1)),
                nodes=len(controllers),
                majority=len(controllers) // 2 + 1,
                folder=folder,
                password=PASSWORD,
            )
        )

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def __enter__(self) -> Self:
        format_ = [
            "format",
            "--cluster-id",
            "AAAAAAAAQACAAAAAAAAAAQ",
            "--config",
            str(self._settings),
            "--add-scram",
            f"SCRAM-SHA-512=[name=gate,password={PASSWORD}]",
        ]
        done = subprocess.run(
            [*_JAVA, "-cp", f"{jars()}/*", "kafka.tools.StorageTool", *format_],
            check=False,
            capture_output=True,
            text=True,
        )
        assert not done.returncode, done.stdout + done.stderr
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, and wait until it serves.

        While it was away another process may have taken its port, which it soon gives back.
        """
        for _ in range(_ATTEMPTS - 1):
            if self._starts():
                return
            time.sleep(1.0)
        assert self._starts(), (
            "Kafka does not start:\n" + (self._folder / "log").read_text()[-3000:]
        )

    def _starts(self) -> bool:
        log = self._folder / "log"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [*_JAVA, "-cp", f"{jars()}/*", "kafka.Kafka", self._settings],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
            )
        end = time.monotonic() + _START_SECONDS
        while b"Kafka Server started" not in log.read_bytes():
            if self._process.poll() is not None or time.monotonic() > end:
                self.kill()
                return False
            time.sleep(0.05)
        return True

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class KafkaCluster:
    """Several nodes; topics that have a copy on each are written by a majority.

    Args:
        folder: An empty folder.
        nodes: How many.

    Attributes:
        nodes: The nodes.
        servers: The addresses of their open listeners.
    """

    def __init__(self, folder: Path, nodes: int) -> None:
        folders = [folder / f"node{number}" for number in range(1, nodes + 1)]
        for one in folders:
            one.mkdir()
        controllers = [unused_port() for _ in folders]
        self.nodes = [
            KafkaServer(one, controllers, number) for number, one in enumerate(folders, 1)
        ]
        self.servers = ",".join(node.servers for node in self.nodes)

    def __enter__(self) -> Self:
        with ThreadPoolExecutor(len(self.nodes)) as together:  # none starts without a majority
            [*together.map(KafkaServer.__enter__, self.nodes)]
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            node.kill()


def _write_certificate(path: Path, ca_file: Path) -> None:
    """Write a key, as Kafka reads it, with its certificate; and who has signed that."""
    authority = trustme.CA()
    made = authority.issue_cert("127.0.0.1")
    key = serialization.load_pem_private_key(made.private_key_pem.bytes(), password=None)
    plain = serialization.NoEncryption()
    text = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    path.write_bytes(text + b"".join(one.bytes() for one in made.cert_chain_pems))
    authority.cert_pem.write_to_path(str(ca_file))


class Addresses(NamedTuple):
    """Where a server listens.

    Attributes:
        open: Lets everybody in.
        sasl: Asks for a password.
        tls: Asks for it by SCRAM, over TLS.
        ca_file: Who has signed the certificate.
    """

    open: str
    sasl: str
    tls: str
    ca_file: str


_started: Final[list[KafkaServer]] = []
"""Held until this process ends: the last worker ends the server, by its process id."""


@contextmanager
def shared(folder: Path) -> Iterator[Addresses]:
    """The addresses of one server for all workers of a test run; the last one ends it.

    Args:
        folder: A folder that the workers share.
    """
    state, mine = folder / "kafka.json", str(os.getpid())
    with _locked(folder):
        known = json.loads(state.read_text()) if state.exists() else {}
        if not known.get("users"):
            home = folder / f"kafka-{mine}"
            home.mkdir()
            server = KafkaServer(home).__enter__()
            _started.append(server)
            addresses = (
                server.servers,
                server.sasl_servers,
                server.tls_servers,
                str(server.ca_file),
            )
            known = {"addresses": addresses, "pid": server.pid}
        known["users"] = [*known.get("users", []), mine]
        state.write_text(json.dumps(known))
    try:
        yield Addresses(*known["addresses"])
    finally:
        with _locked(folder):
            known = json.loads(state.read_text())
            known["users"].remove(mine)
            state.write_text(json.dumps(known))
            if not known["users"]:
                os.kill(known["pid"], signal.SIGKILL)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / "kafka.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    try:
        print(jars())  # noqa: T201 - for `make servers`
    except KafkaMissingError as error:
        sys.exit(str(error))
