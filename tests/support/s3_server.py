"""A real S3 server of the tests' own: the Versity gateway over a folder, on loopback.

    with S3Server(folder) as server:
        server.options     # those of an object store
        server.kill(); server.start()

`make servers` builds it once with Go, in the user's cache (100 s). It honours conditional puts,
which a commit of Delta Lake needs.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from tests.support.ports import unused_port

if TYPE_CHECKING:
    from types import TracebackType

VERSION: Final = "v1.8.0"

SECRET: Final = "secretsecret"  # noqa: S105 - of a server that only tests see


class S3MissingError(Exception):
    """This machine can neither find nor build the server."""


def binary() -> Path:
    """The server's program, built if it is not there.

    Raises:
        S3MissingError: There is no Go to build it, or no module for it.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "pointgate" / f"versitygw-{VERSION}"
    program = folder / "versitygw"
    if program.exists():
        return program
    go = shutil.which("go")
    if go is None:
        raise S3MissingError(
            "no S3 server: expected go on the PATH to build it (apt install golang)"
        )
    built = subprocess.run(
        [go, "install", f"github.com/versity/versitygw/cmd/versitygw@{VERSION}"],
        env=os.environ | {"GOBIN": str(folder), "GOFLAGS": "-mod=mod"},
        check=False,
        capture_output=True,
        text=True,
    )
    if built.returncode:
        raise S3MissingError(f"no S3 server: go could not build it: {built.stderr[-300:]}")
    return program


class S3Server:
    """A server with one bucket, `points`."""

    def __init__(self, folder: Path) -> None:
        self.port = unused_port()
        self._data = folder / "s3"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def options(self) -> dict[str, str]:
        """How an object store reaches it."""
        return {
            "aws_endpoint_url": f"http://127.0.0.1:{self.port}",
            "aws_allow_http": "true",
            "aws_region": "us-east-1",
            "aws_access_key_id": "accessacc",
            "aws_secret_access_key": SECRET,
        }

    @property
    def environment(self) -> dict[str, str]:
        """The same as variables."""
        return {name.upper(): value for name, value in self.options.items()}

    def __enter__(self) -> Self:
        (self._data / "points").mkdir(parents=True)
        self.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        self._process = subprocess.Popen(
            [
                *(binary(), "--access", "accessacc", "--secret", SECRET, "--quiet"),
                *("--port", f"127.0.0.1:{self.port}", "posix", self._data),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(200):
            assert self._process.poll() is None, "the S3 server has ended"
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError("the S3 server does not start")

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


if __name__ == "__main__":
    try:
        print(binary())  # noqa: T201 - for `make servers`
    except S3MissingError as error:
        print(f"{error}; its tests will be skipped")  # noqa: T201 - the same
