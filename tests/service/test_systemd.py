"""What the service manager is told, over a socket as systemd's is."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import time
from typing import TYPE_CHECKING

import pytest

from pointgate.service.systemd import Notifier
from tests.support.paths import CATALOG
from tests.support.patience import PATIENCE
from tests.support.processes import Broker, Service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(PATIENCE)
        yield listening


def environment(manager: socket.socket) -> dict[str, str]:
    return {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "200000"}


async def test_status_is_told_when_it_changes_and_the_watchdog_all_the_time(
    manager: socket.socket,
) -> None:
    status = ["catalog not loaded"]
    running = asyncio.create_task(Notifier(environment(manager)).run(lambda: status[0]))
    receive = asyncio.get_running_loop().run_in_executor
    assert await receive(None, manager.recv, 99) == b"WATCHDOG=1\nSTATUS=catalog not loaded"
    assert await receive(None, manager.recv, 99) == b"WATCHDOG=1"
    status[0] = ""
    while (told := await receive(None, manager.recv, 99)) == b"WATCHDOG=1":
        pass
    assert told == b"WATCHDOG=1\nSTATUS=requests are being received"
    running.cancel()


@pytest.mark.parametrize(
    "environ",
    [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "/nowhere/notify"}, {"WATCHDOG_USEC": "x"}],
)
def test_without_a_service_manager_nothing_happens(environ: dict[str, str]) -> None:
    Notifier(environ).notify("READY=1")


def test_the_watchdog_of_another_process_is_not_ours(manager: socket.socket) -> None:
    other = environment(manager) | {"WATCHDOG_PID": str(os.getpid() + 1)}
    assert Notifier(other)._watchdog == 0.0


@pytest.mark.broker
def test_a_service_tells_that_it_is_up_ready_and_stopping(
    tmp_path: Path, manager: socket.socket
) -> None:
    environ = {"NOTIFY_SOCKET": manager.getsockname()}
    with Broker(tmp_path) as broker, Service(tmp_path, broker.port, environ=environ) as service:
        assert manager.recv(99) == b"READY=1"
        while manager.recv(999) != b"STATUS=requests are being received":
            pass
        service.ready()
        assert service.end() == 0


def states(manager: socket.socket, wanted: bytes) -> list[bytes]:
    """Every state up to the one that begins so."""
    found: list[bytes] = []
    while not (found and found[-1].startswith(wanted)):
        found += manager.recv(999).splitlines()
    return found


def test_a_reload_is_announced_on_the_clock_of_the_service_manager(manager: socket.socket) -> None:
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    Notifier(environment(manager)).reloading()
    reloading, instant = manager.recv(99).splitlines()
    assert reloading == b"RELOADING=1"
    name, _, value = instant.partition(b"=")
    assert name == b"MONOTONIC_USEC"
    assert before <= int(value) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


@pytest.mark.broker
def test_a_reload_begins_and_ends_whatever_comes_of_it(
    tmp_path: Path, manager: socket.socket
) -> None:
    environ = {"NOTIFY_SOCKET": manager.getsockname()}
    catalog = tmp_path / "catalog"
    shutil.copytree(CATALOG, catalog)
    with (
        Broker(tmp_path) as broker,
        Service(tmp_path, broker.port, catalog=catalog, environ=environ) as service,
    ):
        service.ready()
        assert states(manager, b"STATUS=requests are being received")[0] == b"READY=1"
        service.send_signal(signal.SIGHUP)
        assert states(manager, b"READY=1")[0] == b"RELOADING=1"
        service.wait_for("catalog loaded")
        (catalog / "catalog.toml").write_text("[[")
        service.send_signal(signal.SIGHUP)
        assert states(manager, b"READY=1")[0] == b"RELOADING=1"
        service.wait_for("catalog not loaded, the last valid one stays active")
        assert service.end() == 0
        assert b"STOPPING=1" in states(manager, b"STATUS=draining")
