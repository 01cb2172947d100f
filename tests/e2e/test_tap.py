"""`pointgate tap` and `top` beside a real service and broker: over its admin socket."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.support.paths import CATALOG
from tests.support.patience import PATIENCE
from tests.support.processes import TOPIC, Broker, Sender, Service, small

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GOOD: Final = small(7)
BAD: Final = small("\x1b[2J").replace(b"1.5", b'"warm"').replace(b"\x1b", b"\\u001b")
POINTGATE: Final = [sys.executable, "-m", "pointgate"]


@contextmanager
def traffic(port: int) -> Iterator[None]:
    """Forty requests a second; every second one is rejected."""
    ending = threading.Event()

    def post() -> None:
        with Sender(port) as sender:
            while not ending.wait(0.05):
                sender.send(GOOD, qos=0)
                sender.send(BAD, qos=0)

    thread = threading.Thread(target=post)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


def run(folder: Path, command: str, *options: str) -> subprocess.CompletedProcess[str]:
    arguments = [*POINTGATE, command, "-c", str(folder / "service.toml"), *options]
    return subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=PATIENCE)


@pytest.fixture
def service(tmp_path: Path, broker: Broker) -> Iterator[Service]:
    with Service(tmp_path, broker.port, ack="spool") as service:
        yield service.ready()


def test_requests_are_shown_with_their_verdicts_as_they_are_answered(
    service: Service, broker: Broker, tmp_path: Path
) -> None:
    assert stat.S_IMODE((tmp_path / "admin.sock").stat().st_mode) == 0o600
    with traffic(broker.port):
        text = run(tmp_path, "tap", "--requests", "6")
        found = run(tmp_path, "tap", "--reason", "type", "--json", "--payload", "--requests", "5")
        nobody = run(tmp_path, "tap", "--product", "nobody", "--seconds", "2")
        top = run(tmp_path, "top")
    assert (text.returncode, found.returncode, nobody.returncode) == (0, 0, 0)
    assert "protocol  200  1 point  {" in text.stdout
    assert "protocol  1204 type  device device1" in text.stdout
    assert '  params[0].measurepoints.temp: expected DOUBLE, got string "warm"' in text.stdout
    assert text.stdout.replace("\n", "").isprintable()
    documents: list[dict[str, Any]] = [*map(json.loads, found.stdout.splitlines())]
    assert [one["payload"] for one in documents] == [BAD.decode()] * 5
    assert {one["topic"] for one in documents} == {TOPIC}
    assert {one["dropped"] for one in documents} == {0}
    assert nobody.stdout == ""
    assert re.fullmatch(
        r"0 requests shown, 0 more match; [1-9]\d* were answered; "
        "the catalog has no product nobody\n",
        nobody.stderr,
    )
    assert " ".join(top.stdout.split()).startswith(f"{tmp_path}/admin.sock ready")
    assert "requests by code       200: " in top.stdout
    assert service.end() == 0
    assert not (tmp_path / "admin.sock").exists()


def test_a_live_tap_is_traffic_for_diff(service: Service, broker: Broker, tmp_path: Path) -> None:
    new = tmp_path / "new"
    shutil.copytree(CATALOG, new)
    model = {"measurepoints": {"temp": {"dataType": "STRING"}}}
    (new / "new.json").write_text(json.dumps(model))
    (new / "new.txt").write_text("device1\n")
    (new / "catalog.toml").write_text(
        "[products.protocol]\nmodel = 'new.json'\ndevices = 'new.txt'\n"
    )
    pointgate = " ".join(POINTGATE)
    tap = f"{pointgate} tap -c {tmp_path}/service.toml --json --payload --requests 40"
    command = f"{tap} | {pointgate} diff {CATALOG} {new} - --json"
    with traffic(broker.port):
        done = subprocess.run(
            ["sh", "-c", command], capture_output=True, text=True, timeout=90, check=False
        )
    assert done.returncode == 1, done.stderr
    document = json.loads(done.stdout)
    assert (document["requests"], document["changed"], document["problems"]) == (40, 40, [])
    assert sorted(one["requests"] for one in document["changes"]) == [20, 20]
    assert service.alive


def test_on_a_terminal_lines_fit_and_ctrl_c_ends_it(
    service: Service, broker: Broker, tmp_path: Path
) -> None:
    assert service.alive
    terminal, other = pty.openpty()
    command = [*POINTGATE, "tap", "-c", str(tmp_path / "service.toml"), "--rate", "20"]
    environ = os.environ | {"COLUMNS": "80", "LINES": "24", "TERM": "xterm"}
    with (
        traffic(broker.port),
        subprocess.Popen(command, stdin=other, stdout=other, stderr=other, env=environ) as process,
    ):
        os.close(other)
        seen = b""
        end = time.monotonic() + PATIENCE
        while seen.count(b"\n") < 30 and time.monotonic() < end:
            if select.select([terminal], [], [], 1.0)[0]:
                seen += os.read(terminal, 65536)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
        if select.select([terminal], [], [], 1.0)[0]:
            seen += os.read(terminal, 65536)
    os.close(terminal)
    lines = seen.decode().split("\r\n")
    assert len(lines) > 20
    assert max(map(len, lines[:20])) <= 80
    assert "\x1b[2J" not in seen.decode()
    assert b"Traceback" not in seen
    assert b" requests shown, " in seen


def test_a_killed_service_leaves_a_socket_that_the_next_one_replaces(
    tmp_path: Path, broker: Broker
) -> None:
    with Service(tmp_path, broker.port) as service:
        service.ready()
        service.end(signal.SIGKILL)
    assert (tmp_path / "admin.sock").is_socket()
    done = run(tmp_path, "tap")
    assert done.returncode == 74
    assert "the service that made it has ended" in done.stderr
    with Service(tmp_path, broker.port) as service, traffic(broker.port):
        service.ready()
        assert run(tmp_path, "tap", "--requests", "1").returncode == 0


def test_a_socket_of_a_living_process_is_refused(tmp_path: Path, broker: Broker) -> None:
    path = tmp_path / "taken.sock"
    lines = ("[admin]", f'socket = "{path}"')
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(str(path))
        living.listen()
        with Service(tmp_path, broker.port, *lines) as service:
            service.wait_for(r"admin\.socket: cannot listen on .*another process listens on it")
            assert service.status() == 75
