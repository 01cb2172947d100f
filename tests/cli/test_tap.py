"""`pointgate tap` beside a service that is played, and without one."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from pointgate import _core
from pointgate.cli.tap import request_lines
from pointgate.service.admin_socket import serve_admin
from pointgate.service.metrics import Metrics
from pointgate.service.pages import Pages
from pointgate.service.taps import Taps
from tests.cli.test_cli import run
from tests.service.test_http import StubHealth
from tests.service.test_taps import MIXED, judged
from tests.support.patience import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMMAND = [sys.executable, "-m", "pointgate", "tap"]


@contextmanager
def played(path: Path, *, busy: bool = False) -> Iterator[None]:
    """A service at the socket that answers the same requests again and again."""
    burst, taps = judged(MIXED), Taps()
    ending, ready = threading.Event(), threading.Event()

    async def serve() -> None:
        metrics = Metrics()
        model = _core.Model.compile(b'{"measurepoints":{"t":{"dataType":"INT"}}}')
        plants = {"plant7": _core.Product(model, _core.Devices(["d"]))}
        metrics.record_catalog(_core.Catalog(plants))
        for _ in range(4 if busy else 0):
            taps.attach("")
        pages = Pages(metrics, StubHealth(), taps)
        async with serve_admin(path, pages, metrics, required=True):
            ready.set()
            while not ending.is_set():
                taps.offer(burst, len(burst))
                await asyncio.sleep(0.02)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(PATIENCE)
        yield
    finally:
        ending.set()
        thread.join()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "admin.sock"
    with played(path):
        yield path


def test_requests_are_lines_of_text_in_a_pipe(service: Path) -> None:
    done = run("tap", "--socket", service, "--requests", "8")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("22:13:20.000  a  200  1 point  {")
    assert lines[0].endswith("}]}")  # whole in a pipe
    assert lines[1] == "22:13:20.000  a  1204 range  device d"
    assert lines[2].startswith("  params[0].measurepoints.t: expected ")
    assert lines[2].endswith(", got 101")
    assert any("sys/a/other  0 bad_topic" in line for line in lines)
    assert done.stderr == "8 requests shown, 0 more match\n"


def test_json_has_an_object_on_each_line(service: Path) -> None:
    options = ("--product", "a", "--code", "1204", "--payload", "--json", "--seconds", "1")
    done = run("tap", "--socket", service, *options)
    assert done.returncode == 0, done.stderr
    documents = [*map(json.loads, done.stdout.splitlines())]
    assert documents
    for one in documents:
        assert (one["reason"], one["deviceKey"], one["got"]) == ("range", "d", "101")
        assert one["payload"] == MIXED[1][1].decode()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_a_summary(service: Path, number: signal.Signals) -> None:
    command = [*COMMAND, "--socket", str(service), "--rate", "5"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout
        assert process.stderr
        shown = [process.stdout.readline() for _ in range(40)]
        process.send_signal(number)
        error = process.stderr.read()
    assert process.returncode == 128 + number
    assert "Traceback" not in error
    assert "not shown" not in error
    assert "requests shown, " in error
    assert any("more not shown)" in line for line in shown)


def test_a_closed_pipe_ends_it_silently(service: Path) -> None:
    command = " ".join(["set -o pipefail;", *COMMAND, "--socket", str(service), "| head -n 1"])
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.stdout.count("\n") == 1
    assert (done.returncode, done.stderr) == (141, "")


def test_on_a_terminal_it_says_at_once_that_it_is_attached(service: Path) -> None:
    ours, theirs = os.openpty()
    command = [*COMMAND, "--socket", str(service), "--device", "nobody"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=theirs) as process:
        os.close(theirs)
        with os.fdopen(ours, "rb", buffering=0) as terminal:
            words = terminal.readline()
            process.send_signal(signal.SIGINT)
    assert words == b"attached: waiting for requests that match\r\n"


def test_a_product_that_the_catalog_does_not_have_is_named(service: Path) -> None:
    command = ["tap", "--socket", str(service), "--seconds", "0.2", "--product"]
    for product, hint in (("plnat7", ", did you mean plant7"), ("x\x1b", "")):
        shown = product.replace("\x1b", "\\x1b")
        done = run(*command, product)
        assert (done.returncode, done.stdout) == (0, "")
        assert done.stderr.endswith(f"; the catalog has no product {shown}{hint}\n")
    assert "the catalog" not in run(*command, "plant7").stderr


def test_the_end_of_the_service_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    pipe = subprocess.PIPE
    command = [*COMMAND, "--socket", str(path)]
    with played(path):
        process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)
        assert process.stdout
        process.stdout.readline()
    out, error = process.communicate(timeout=PATIENCE)
    assert process.returncode == 74, out
    assert "admin.sock" in error
    assert "Traceback" not in error


@pytest.mark.parametrize("line", [b"{bad\n", b"[]\n", b"1\n"])
def test_what_is_no_service_is_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def answer() -> None:
            with listener.accept()[0] as client:
                client.recv(65536)
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n" + line)

        answering = threading.Thread(target=answer)
        answering.start()
        done = run("tap", "--socket", path, "--seconds", "30")
        answering.join()
    assert (done.returncode, done.stdout) == (74, "")
    assert "answers, but not with requests" in done.stderr


def test_a_service_that_hangs_is_no_quiet_one(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        done = run("tap", "--socket", path, "--seconds", "0.5")
    assert (done.returncode, done.stdout) == (74, "")
    assert "timed out" in done.stderr


def test_without_a_service_it_says_why(tmp_path: Path) -> None:
    settings = tmp_path / "pointgate.toml"
    settings.write_text("")
    done = run("tap", "-c", settings)
    assert (done.returncode, done.stdout) == (74, "")
    words = f"cannot reach {tmp_path}/admin.sock: no such file or directory"
    assert done.stderr.startswith(words)
    assert "is the service running" in done.stderr
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "admin.sock"))
    done = run("tap", "-c", settings)
    assert done.returncode == 74
    assert "the service that made it has ended" in done.stderr
    settings.write_text("admin.enabled = false")
    done = run("tap", "-c", settings)
    assert done.returncode == 78
    assert "admin.enabled: expected true" in done.stderr
    done = run("tap", "-c", tmp_path / "gone.toml")
    assert done.returncode == 78
    assert done.stderr.endswith("gone.toml: no such file; or name the service with --socket\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_without_permission_it_says_who_may_connect(service: Path) -> None:
    code = (
        "import os\n"
        "from pathlib import Path\n"
        "from pointgate.cli.service_client import AdminSocket, get\n"
        "os.setgid(65534)\n"
        "os.setuid(65534)\n"
        f"get(AdminSocket(Path({str(service)!r})), '/livez')"
    )
    for folder in (service.parent, service.parent.parent, service.parent.parent.parent):
        folder.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    assert "permission denied (only the service's user and root may connect)" in done.stderr


def test_a_fifth_tap_has_to_wait(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with played(path, busy=True):
        done = run("tap", "--socket", path)
    assert (done.returncode, done.stdout) == (75, "")
    assert "4 taps are attached" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--reason", "rnage"], "did you mean"),
        (["--code", "404"], "expected one of 0, 200"),
        (["--rate", "0"], "--rate"),
        (["--rate", "10001"], "--rate"),
        (["--seconds", "0"], "--seconds"),
        (["--seconds", "inf"], "--seconds"),
        (["--seconds", "nan"], "--seconds"),
        (["--requests", "0"], "--requests"),
    ],
)
def test_wrong_usage(arguments: list[str], words: str) -> None:
    done = run("tap", *arguments)
    assert done.returncode == 2
    assert words in done.stderr


def test_text_fits_a_terminal_and_nothing_reaches_it_unescaped() -> None:
    document = {
        "received": "2026-11-28T10:00:00.123456Z",
        "topic": "sys/solar\x1b[2J/integration/measurepoint/post",
        "code": 1204,
        "answered": 200,
        "points": 0,
        "reason": "type",
        "deviceKey": "d\x1b]0;x\x07" + "k" * 100,
        "message": "Model validate failed: params[0].\u202e: expected INT, got \x9b31m",
        "size": 3,
        "dropped": 1234,
        "payload": "\x1b[31m\r\n" + "x" * 100,
    }
    lines = request_lines(document, 80)
    assert lines[0] == "(1,234 more not shown)"
    assert lines[1].startswith(
        "10:00:00.123  solar\\x1b[2J  1204 type (answered 200)  device d\\x1b]0"
    )
    assert lines[2] == "  params[0].\\u202e: expected INT, got \\x9b31m"
    assert lines[3].startswith("  \\x1b[31m\\r\\nxxx")
    assert all(line.isprintable() for line in lines)
    assert [len(line) <= 80 for line in lines] == [True, True, True, False]
