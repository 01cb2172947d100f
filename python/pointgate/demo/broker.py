"""Child processes of the demo: a Mosquitto on loopback, on a free port, without persistence."""

from __future__ import annotations

import asyncio
import shutil
import socket
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

from pointgate.errors import PointgateError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

HOST: Final = "127.0.0.1"

_SEARCHED: Final = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")
"""Folders of Mosquitto that are not on the PATH of an ordinary user."""

_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.02
_LOG_LINES: Final = 5

_CONFIGURATION: Final = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence false
set_tcp_nodelay true
max_queued_messages 10000
max_packet_size 16777216
log_dest stderr
log_type error
"""


class DemoError(PointgateError):
    """The demo cannot continue; the text says what to do about it."""


@asynccontextmanager
async def local_broker(folder: Path) -> AsyncIterator[int]:
    """Run a Mosquitto while the context lasts, with its files in a folder; yields its port."""
    mosquitto = _mosquitto()
    if not mosquitto:
        raise DemoError(
            "the demo needs an MQTT broker: install Mosquitto (apt install mosquitto, "
            "brew install mosquitto)"
        )
    port, config, log = free_port(), folder / "mosquitto.conf", folder / "broker.log"
    config.write_text(_CONFIGURATION.format(port=port))
    async with process([mosquitto, "-c", str(config)], log=log) as running:

        async def listens() -> bool:
            with suppress(OSError):
                _, writer = await asyncio.open_connection(HOST, port)
                writer.close()
                return True
            return False

        if not await until(listens, running):
            raise DemoError(f"mosquitto does not start; its log ends with\n{end_of(log)}")
        yield port


@asynccontextmanager
async def process(
    command: Sequence[str], *, log: Path, environ: dict[str, str] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a program while the context lasts; then terminate it, and kill it after a timeout."""
    with log.open("ab") as output:
        running = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environ,
            start_new_session=True,  # Ctrl-C goes to this process only, which stops it in order
        )
    try:
        yield running
    finally:
        if running.returncode is None:
            running.terminate()
            try:
                async with asyncio.timeout(_STOP_SECONDS):
                    await running.wait()
            except TimeoutError:
                running.kill()
                await running.wait()


def end_of(log: Path) -> str:
    """The last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-_LOG_LINES:])


def free_port() -> int:
    """A free port on loopback."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


async def until(check: Callable[[], Awaitable[bool]], running: asyncio.subprocess.Process) -> bool:
    """Poll until a check is true; false if the program has ended, or at the timeout."""
    deadline = time.monotonic() + _START_SECONDS
    while running.returncode is None and time.monotonic() < deadline:
        if await check():
            return True
        await asyncio.sleep(_POLL_SECONDS)
    return False


def _mosquitto() -> str | None:
    return shutil.which("mosquitto") or shutil.which("mosquitto", path=":".join(_SEARCHED))
