"""A service without a free descriptor logs little, keeps its connection and recovers by itself."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.processes import Broker, Sender, Service, small

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs prlimit")


@contextlib.contextmanager
def crowd(service: Service) -> Iterator[None]:
    """More connections to the service's HTTP port than it has descriptors for."""
    used = sum(1 for _ in Path(f"/proc/{service.pid}/fd").iterdir())
    limit = f"--nofile={used + 5}:4096"
    subprocess.run(["prlimit", f"--pid={service.pid}", limit], check=True)
    found = (re.search(r"metrics on http://(.+):(\d+)/", line) for line in service.lines)
    host, port = next(one.groups() for one in found if one)
    with contextlib.ExitStack() as stack:
        for _ in range(40):
            client = stack.enter_context(socket.socket())
            client.settimeout(0)
            client.connect_ex((host, int(port)))
        yield


@pytest.mark.parametrize("ack", ["verdict", "spool"])
def test_a_service_without_descriptors_writes_little_and_answers(
    tmp_path: Path, broker: Broker, ack: str
) -> None:
    with Service(tmp_path, broker.port, ack=ack) as service, Sender(broker.port) as sender:
        service.ready()
        with crowd(service):
            service.wait_for("cannot accept connections: too many open files")
            end = time.monotonic() + 4
            while time.monotonic() < end:  # it takes connections and lets them go meanwhile
                if ack == "verdict":
                    assert json.loads(sender.ask(small(1)).payload)["code"] == 200
                time.sleep(0.1)
            assert len(service.lines) < 30
        assert json.loads(sender.ask(small(2)).payload)["code"] == 200
        assert service.readiness() == (200, "ready\n")


def test_a_service_that_cannot_connect_for_want_of_descriptors_writes_little_and_comes_back(
    tmp_path: Path, broker: Broker
) -> None:
    with Service(tmp_path, broker.port) as service:
        service.ready()
        with crowd(service):
            service.wait_for("cannot accept connections")
            broker.end(signal.SIGKILL)
            time.sleep(3)  # the crowd takes the descriptor that this freed
            broker.start()
            time.sleep(2)
            assert len(service.lines) < 30
        with Sender(broker.port) as sender:
            service.wait_for("requests are being received")
            assert json.loads(sender.ask(small(1)).payload)["code"] == 200
