"""A broker for the demo: on loopback, on a free port, gone when the demo ends.

Mosquitto where it is installed, else the `iotcore` package, whose defaults would not do: it listens
on every interface, speaks only MQTT 3.1.1 and cuts payloads at 20 KB, so it gets a whole
configuration. Neither keeps anything on disk.
"""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
import socket
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pointgate.errors import PointgateError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

HOST: Final = "127.0.0.1"

_SEARCHED: Final = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")
"""Where Mosquitto is when it is not on the PATH of an ordinary user."""

_START_SECONDS: Final = 10.0
_STOP_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.02
_LOG_LINES: Final = 5

_MOSQUITTO: Final = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence false
set_tcp_nodelay true
max_queued_messages 10000
max_packet_size 16777216
log_dest stderr
log_type error
"""

_IOTCORE: Final = """\
id = 0
[router]
id = 0
max_connections = 100
max_outgoing_packet_count = 200
max_segment_size = 1048576
max_segment_count = 10
[v4.1]
name = "v4"
listen = "127.0.0.1:{port_4}"
next_connection_delay_ms = 1
[v4.1.connections]
connection_timeout_ms = 5000
max_payload_size = 16777216
max_inflight_count = 200
dynamic_filters = true
[v5.1]
name = "v5"
listen = "127.0.0.1:{port}"
next_connection_delay_ms = 1
[v5.1.connections]
connection_timeout_ms = 5000
max_payload_size = 16777216
max_inflight_count = 200
dynamic_filters = true
"""


class DemoError(PointgateError):
    """The demo cannot go on; the text says what to do about it."""


@dataclass(frozen=True, slots=True)
class Broker:
    """A running broker.

    Attributes:
        name: What it is.
        port: Where it speaks MQTT 5.
        port_4: Where it speaks MQTT 3.1.1; the same port if it can tell the two apart.
    """

    name: str
    port: int
    port_4: int


@asynccontextmanager
async def local_broker(folder: Path) -> AsyncIterator[Broker]:
    """Run a broker for as long as the context lasts.

    Args:
        folder: Where its configuration and its log go.

    Raises:
        DemoError: There is none to run, or it does not start.
    """
    config = folder / "broker.toml"  # iotcore goes by the suffix
    mosquitto = _mosquitto()
    if mosquitto:
        port = free_port()
        broker = Broker("mosquitto", port, port)
        config.write_text(_MOSQUITTO.format(port=port))
        command = [mosquitto, "-c", str(config)]
    elif importlib.util.find_spec("iotcore"):
        broker = Broker("iotcore", free_port(), free_port())
        config.write_text(_IOTCORE.format(port=broker.port, port_4=broker.port_4))
        # Its log calls every packet an error.
        command = [sys.executable, "-P", "-m", "iotcore"]
        command += ["--config", str(config), "--log-level", "CRITICAL"]
    else:
        raise DemoError(
            "the demo needs an MQTT broker: install Mosquitto (apt install mosquitto, "
            "brew install mosquitto) or pip install 'pointgate[demo]'"
        )
    log = folder / "broker.log"
    async with process(command, log=log) as running:
        if not await _listens(broker.port, running):
            raise DemoError(f"{broker.name} does not start; its log ends with\n{end_of(log)}")
        yield broker


@asynccontextmanager
async def process(
    command: Sequence[str], *, log: Path, environ: dict[str, str] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a program for as long as the context lasts; then ask it to end, and see that it does.

    Args:
        command: The program and its arguments.
        log: Where its output goes.
        environ: Its environment; ours when absent.
    """
    with log.open("ab") as output:
        running = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environ,
            start_new_session=True,  # Ctrl-C is ours alone: we end it when its turn has come
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
    """The last lines of a log, for the person who wants to know why."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-_LOG_LINES:])


async def _listens(port: int, running: asyncio.subprocess.Process) -> bool:
    """Wait until something listens on a port, or the program that should has ended."""
    deadline = asyncio.get_running_loop().time() + _START_SECONDS
    while running.returncode is None and asyncio.get_running_loop().time() < deadline:
        try:
            _, writer = await asyncio.open_connection(HOST, port)
        except OSError:
            await asyncio.sleep(_LOOK_SECONDS)
        else:
            writer.close()
            return True
    return False


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _mosquitto() -> str | None:
    return shutil.which("mosquitto") or shutil.which("mosquitto", path=":".join(_SEARCHED))
