"""Those that are killed: the service, the broker, the database. Each can be started again.

The service is started as users start it, or through `launch.py` where a kill or a bug needs that.
The broker has the shipped configuration. Logs go on in one file each, over all lives.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final, Self

from pointgate.failpoint import VARIABLE
from tests.support.paths import CATALOG, DEPLOY, ROOT
from tests.support.patience import PATIENCE
from tests.support.ports import unused_port
from tests.support.postgres_server import PASSWORD as DATABASE_PASSWORD
from tests.support.postgres_server import PostgresServer
from tests.support.processes import MOSQUITTO
from tests.support.shipped_broker import CONFIGURATION, PASSWORD, put

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

SENDER: Final = "replay"
"""The sender's account in the shipped access list: the one that may send for every product."""

_LOOK: Final = 0.02
_LOG: Final = 2000
"""Characters of a log that are shown."""


def until(condition: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    """Wait until something is so.

    Raises:
        TimeoutError: It does not become so.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds:.0f} s")
        time.sleep(_LOOK)


class Victim:
    """A process that is killed and started again; its log goes on in one file.

    Attributes:
        log: The file.
        status: The exit status of the last life.
    """

    def __init__(self, log: Path) -> None:
        self.log = log
        self.status = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._since = 0  # where the log of this life begins

    @property
    def pid(self) -> int:
        """Its process id in this life."""
        assert self._process
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self._process is not None and self._process.poll() is None

    def _spawn(self, command: Sequence[str], *, environ: dict[str, str] | None = None) -> None:
        with self.log.open("ab") as log:
            self._since = log.tell()
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
                cwd=ROOT,
                env=os.environ | (environ or {}),
            )

    def said(self, pattern: str) -> re.Match[str] | None:
        """What it has logged in this life, if it has a pattern."""
        with self.log.open("rb") as log:
            log.seek(self._since)
            return re.search(pattern, log.read().decode(errors="replace"))

    def kill(self) -> None:
        """End it with SIGKILL, if it has not ended."""
        if self._process is not None:
            self._process.kill()
            self._reap()

    def dies(self, seconds: float) -> bool:
        """Wait for its end; whether it came."""
        assert self._process
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        self._reap()
        return True

    def ask(self) -> None:
        """Send it a SIGTERM."""
        assert self._process
        self._process.send_signal(signal.SIGTERM)

    def _reap(self) -> None:
        assert self._process
        self.status = self._process.wait(PATIENCE)
        if self._process.stdin:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


class Pointgate(Victim):
    """A service, however it is started.

    Attributes:
        sinks: How many sinks it has.
    """

    sinks: int

    @property
    def ready(self) -> bool:
        """Whether it receives requests, or has done so in this life."""
        return self.said("requests are being received") is not None

    def wait_until_ready(self) -> None:
        """Wait until it receives requests.

        Raises:
            TimeoutError: It does not, or has ended; with the end of its log.
        """
        with contextlib.suppress(TimeoutError):
            until(lambda: self.ready or not self.alive, "the service is ready")
        if not self.ready:
            state = "starts for too long" if self.alive else "ended before it was ready"
            log = self.log.read_text(errors="replace")[-_LOG:]
            raise TimeoutError(f"the service {state}:\n{log}")

    def lag(self) -> float:
        """How many requests the sinks do not have yet, all together; infinite if unknown."""
        found = self.said(r"metrics on http://([^/]+)/metrics")
        if not found:
            return float("inf")
        connection = http.client.HTTPConnection(found[1], timeout=PATIENCE)
        with contextlib.closing(connection):
            try:
                connection.request("GET", "/metrics")
                page = connection.getresponse().read().decode()
            except (OSError, http.client.HTTPException):
                return float("inf")
        lags = re.findall(r'pointgate_sink_lag_requests\{sink="\w+"\} (\S+)\n', page)
        return sum(map(float, lags)) if len(lags) == self.sinks else float("inf")


class Service(Pointgate):
    """`pointgate serve`.

    Attributes:
        points: The folder of its Parquet sink.
    """

    def __init__(
        self,
        folder: Path,
        *,
        broker: int,
        database: int | None,
        ack: str,
        planted: str = "",
        before: Sequence[str] = (),
    ) -> None:
        """Write its settings.

        Args:
            folder: Where its spool, its points and its log are.
            broker: The broker's port.
            database: The database's port; None for no such sink.
            ack: What a 200 promises.
            planted: The name of a bug that it has (`planted.py`).
            before: A command to run it with, such as strace.
        """
        super().__init__(folder / "service.log")
        self.sinks = 2 if database else 1
        self.points = folder / "points"
        self._planted = planted
        self._before = before
        self._settings = folder / "pointgate.toml"
        (folder / "password").write_text(f"{PASSWORD}\n")
        (folder / "database-password").write_text(f"{DATABASE_PASSWORD}\n")
        lines = [
            f'[mqtt]\nurl = "mqtt://127.0.0.1:{broker}"\nclient_id = "crash"',
            'username = "pointgate"\npassword_file = "password"',
            f'[catalog]\npath = "{CATALOG}"\n[metrics]\nlisten = "127.0.0.1:0"',
            f'[store]\nack = "{ack}"\n[spool]\npath = "spool"',
            '[[sinks]]\ntype = "parquet"\npath = "points"\nrotate_age = 0',
        ]
        if database:
            url = f"postgresql://pointgate@127.0.0.1:{database}/postgres"
            lines.append(f'[[sinks]]\ntype = "postgres"\nurl = "{url}"')
            lines.append('password_file = "database-password"')
        self._settings.write_text("\n".join(lines) + "\n")

    def start(self, *, failpoint: str = "", launcher: bool = False) -> None:
        """Start it.

        Args:
            failpoint: Where it shall kill itself.
            launcher: Whether it shall listen to `arm`.
        """
        command = ["-m", "pointgate"]
        if launcher or self._planted:
            command = ["-m", "tests.crash.launch", self._planted or "none"]
        arguments = ["serve", "-c", str(self._settings)]
        environ = {VARIABLE: failpoint} if failpoint else {}
        self._spawn([*self._before, sys.executable, *command, *arguments], environ=environ)

    def arm(self, place: str, passes: int, victim: int) -> None:
        """Let it kill a process when it passes a place; one that came by the launcher only.

        Args:
            place: The name of a failpoint, or one of `launch.py`.
            passes: At which pass.
            victim: Whom.
        """
        assert self._process
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):  # it is dead already
            self._process.stdin.write(f"{place} {passes} {victim}\n".encode())
            self._process.stdin.flush()


class Broker(Victim):
    """A Mosquitto with the shipped configuration, on a port that it keeps."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "broker.log")
        self.port = unused_port()
        self._file = folder / "mosquitto.conf"
        passwords = folder / "passwords"
        passwords.touch(mode=0o600)
        for account in ("pointgate", SENDER):
            command = ["mosquitto_passwd", "-b", str(passwords), account, PASSWORD]
            subprocess.run(command, check=True)
        text = put(
            CONFIGURATION,
            {
                "listener 1883 127.0.0.1": f"listener {self.port} 127.0.0.1",
                "password_file /etc/mosquitto/passwords": f"password_file {passwords}",
                "acl_file /etc/mosquitto/acl": f"acl_file {DEPLOY / 'mosquitto/acl'}",
                "persistence_location /var/lib/mosquitto/": f"persistence_location {folder}/",
            },
        )
        # Started by root it would become another user, who cannot read or write here.
        self._file.write_text(f"{text}user root\n")

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        self._spawn([MOSQUITTO, "-c", str(self._file)])
        until(self._listens, "the broker takes connections")

    def _listens(self) -> bool:
        if not self.alive:  # someone had the port
            self._spawn([MOSQUITTO, "-c", str(self._file)])
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", self.port)).close()
            return True
        return False


class Database:
    """A PostgreSQL server; what it holds survives its death, but not the run."""

    def __init__(self) -> None:
        self._server = PostgresServer()
        self._server.port = unused_port()

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._server.port

    @property
    def pid(self) -> int:
        """The process id of the postmaster in this life."""
        assert self._server.process
        return self._server.process.pid

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        self._server.start()

    def kill(self) -> None:
        """End the postmaster and all its processes with SIGKILL."""
        self._server.kill()

    def dies(self, seconds: float) -> bool:
        """Wait for the postmaster's end; whether it came. Its other processes are ended."""
        assert self._server.process
        try:
            self._server.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        self._server.kill()
        return True

    def url(self) -> str:
        """Its address, with the password in the environment of whoever asks."""
        return self._server.url()

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.__exit__()
