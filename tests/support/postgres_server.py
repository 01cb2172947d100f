"""A real PostgreSQL of the tests' own: in a folder that goes away, on a free port of the loopback.

    with PostgresServer() as server:
        psycopg.connect(server.url())
        server.kill()                 # as the out-of-memory killer or a power cut does
        server.start()                # the same data, after crash recovery
        server.freeze(); server.thaw()

Debian keeps the server's binaries off the PATH, so they are looked for where its packages put them
as well. PostgreSQL refuses to run as root: there it runs as `postgres` or `nobody`. Readiness is
read from the server's own log, not guessed from the clock.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

from tests.support.ports import unused_port

if TYPE_CHECKING:
    from collections.abc import Iterator

USER = "pointgate"
PASSWORD = "a password: with 'quotes' & 100% odd"  # noqa: S105 - of a server that only tests see
READY = "database system is ready to accept connections"
START_SECONDS = 30
STOP_SECONDS = 20
ATTEMPTS = 5
"""How often another port is tried, when someone takes the free one before the server does."""


class PostgresMissingError(Exception):
    """This machine has no PostgreSQL server; the text says what to install."""


def binaries() -> Path:
    """The folder of `initdb` and `postgres`, of the newest version there is.

    Raises:
        PostgresMissingError: There is none.
    """
    found = [folder for folder in _folders() if (folder / "initdb").exists()]
    if not found:
        raise PostgresMissingError(
            "no PostgreSQL server: expected initdb in /usr/lib/postgresql/*/bin or on the PATH "
            "(apt install postgresql)"
        )
    return found[0]


def _folders() -> Iterator[Path]:
    versions = Path("/usr/lib/postgresql").glob("[0-9]*/bin")
    yield from sorted(versions, key=lambda folder: float(folder.parent.name), reverse=True)
    if command := shutil.which("initdb"):
        yield Path(command).resolve().parent


class PostgresServer:
    """One server with one superuser, `USER`, who needs a password.

    Attributes:
        port: Where it listens on 127.0.0.1; the same after each start.
        process: The server while it runs.
    """

    def __init__(self, *, fsync: bool = False, **options: str | int) -> None:
        """Describe a server.

        Args:
            fsync: Whether it writes through to the disk. Off, a test is faster and a killed server
                loses nothing all the same, because the operating system lives on.
            options: Settings as in `postgresql.conf`.
        """
        self.port = 0
        self.process: subprocess.Popen[str] | None = None
        self._options = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "on" if fsync else "off",
            "log_checkpoints": "off",
            "shared_buffers": "64MB",
            "max_connections": 30,
        } | options
        self._folder = Path()
        self._binaries = Path()
        self._account: pwd.struct_passwd | None = None
        self._lines: list[str] = []
        self._reader: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._binaries = binaries()
        self._folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        try:
            self._create()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.thaw()
        # "Immediate": at once, too, but a killed server leaves its shared memory to the machine.
        self._end(signal.SIGQUIT)
        shutil.rmtree(self._folder)

    def url(self, *, port: int | None = None, **parameters: str | int) -> str:
        """The address of its database, without the password.

        Args:
            port: Another port than its own, such as that of a proxy.
            parameters: Connection parameters, as libpq knows them.
        """
        query = "&".join(f"{name}={quote(str(value))}" for name, value in parameters.items())
        return f"postgresql://{USER}@127.0.0.1:{port or self.port}/postgres?{query}"

    def start(self) -> None:
        """Start it, on the port it had if it had one, and wait until it takes connections."""
        for _ in range(ATTEMPTS):
            port = self.port or unused_port()
            if self._started(port):
                self.port = port
                return
        raise AssertionError("PostgreSQL does not start:\n" + "".join(self._lines[-20:]))

    def stop(self) -> None:
        """Stop it as an administrator does who does not wait for clients ("fast")."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End it and all its processes at once; nothing is written out."""
        self.thaw()
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Stop it and all its processes where they stand; connections stay open, unanswered."""
        for process in self._processes():
            os.kill(process, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        for process in self._processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)

    def _create(self) -> None:
        password = self._folder / "password"
        password.write_text(PASSWORD)
        if os.geteuid() == 0:
            self._account = _account()
            for path in (self._folder, password):
                os.chown(path, self._account.pw_uid, self._account.pw_gid)
        data = str(self._folder / "data")
        making = self._spawn(
            *(str(self._binaries / "initdb"), "-D", data, "--no-sync", "-U", USER),
            *("--auth=scram-sha-256", f"--pwfile={password}", "--encoding=UTF8", "--locale=C"),
        )
        _, talk = making.communicate(timeout=START_SECONDS)
        assert making.returncode == 0, talk

    def _started(self, port: int) -> bool:
        settings = [f"--{name}={value}" for name, value in self._options.items()]
        data = str(self._folder / "data")
        postgres = str(self._binaries / "postgres")
        self.process = self._spawn(postgres, "-D", data, "-p", str(port), *settings)
        ready = threading.Event()
        self._lines = []
        # It goes on reading, or the server would block once the pipe is full.
        self._reader = threading.Thread(target=self._read, args=(self.process, ready), daemon=True)
        self._reader.start()
        assert ready.wait(START_SECONDS), "PostgreSQL neither starts nor ends"
        if any(READY in line for line in self._lines):
            return True
        self._end(signal.SIGKILL)
        return False

    def _read(self, process: subprocess.Popen[str], ready: threading.Event) -> None:
        assert process.stderr
        for line in process.stderr:
            self._lines.append(line)
            if READY in line:
                ready.set()
        ready.set()

    def _end(self, number: signal.Signals) -> None:
        if not self.process or not self._reader:
            return
        processes = self._processes() if number == signal.SIGKILL else [self.process.pid]
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)
        self.process.wait(STOP_SECONDS)
        # The pipe closes with the last of its processes: then the port and its memory are free.
        self._reader.join(STOP_SECONDS)
        assert self.process.stderr
        self.process.stderr.close()
        self.process = None

    def _processes(self) -> list[int]:
        """The server and what it started; it first, so that it starts no more."""
        if not self.process:
            return []
        parent = self.process.pid
        children = Path(f"/proc/{parent}/task/{parent}/children")
        # Without /proc the server alone: its processes end by themselves when it has gone.
        return [parent, *map(int, children.read_text().split() if children.exists() else ())]

    def _spawn(self, *command: str) -> subprocess.Popen[str]:
        account = self._account
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd="/",
            env=os.environ | {"LC_ALL": "C"},
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=[] if account else None,
        )


def _account() -> pwd.struct_passwd:
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    return next(known[name] for name in ("postgres", "nobody") if name in known)
