"""`pointgate bench send` as a process: its exit status, its figures, its errors."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import pointgate
from pointgate import Catalog, Validator
from tests.support.patience import PATIENCE
from tests.support.ports import unused_port
from tests.support.processes import Broker
from tests.support.stand_in_broker import StandInBroker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pointgate._core import Burst

DEMO = Path(pointgate.__file__).parent / "demo/catalog"
MEMBERS = {
    "url", "product", "shape", "qos", "connections", "window", "rate", "bad", "seconds", "requests",
    "bytes", "answered", "accepted", "lost", "mismatches", "repeated", "foreign",
    "requests_per_second", "latency_ms", "behind_ms", "cpu_us",
}  # fmt: skip


def send(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pointgate", "bench", "send", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
        env=os.environ | environ,
    )


@pytest.fixture
def validator() -> Validator:
    return Validator(Catalog.load(DEMO))


@pytest.fixture
def url(validator: Validator) -> Iterator[str]:
    with StandInBroker(validator) as broker:
        yield f"mqtt://127.0.0.1:{broker.port}"


def test_the_figures_as_json(url: str) -> None:
    done = send("--url", url, "--product", "wind", "--requests", "200", "--bad", "0.25", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    figures = json.loads(done.stdout)
    assert figures.keys() == MEMBERS
    assert figures["latency_ms"].keys() == {"p50", "p99", "p999", "max"}
    assert (figures["requests"], figures["answered"], figures["accepted"]) == (200, 200, 150)
    assert (figures["lost"], figures["mismatches"], figures["product"]) == (0, [], "wind")


def test_the_figures_as_text(url: str) -> None:
    done = send("--url", url, "--product", "example", "--requests", "200", "--qos", "0")
    assert (done.returncode, done.stderr) == (0, "")
    assert "  answered as expected                 200\n" in done.stdout
    assert "ms (p99.9)" in done.stdout


def test_wrong_replies_are_findings(validator: Validator) -> None:
    def err(burst: Burst) -> None:
        replies = [one or b"" for one in burst.replies]
        burst.answer([one.replace(b'"code":200', b'"code":1220') for one in replies])

    with StandInBroker(validator, err) as broker:
        url = f"mqtt://127.0.0.1:{broker.port}"
        arguments = ["--url", url, "--product", "example", "--requests", "50"]
        done = send(*arguments, "--json")
        assert done.returncode == 1
        assert json.loads(done.stdout)["mismatches"] == [
            {"expected": 200, "got": 1220, "requests": 50}
        ]
        done = send(*arguments)
        assert done.returncode == 1
        assert "1220 instead of 200" in done.stdout


def test_lost_replies_are_findings(validator: Validator) -> None:
    with StandInBroker(validator, lambda burst: burst.answer([None] * len(burst))) as broker:
        url = f"mqtt://127.0.0.1:{broker.port}"
        done = send("--url", url, "--product", "example", "--requests", "50", "--timeout", "0.3")
    assert done.returncode == 1
    assert "  no reply                              50\n" in done.stdout
    assert "no reply at all: is the service running" in done.stderr
    assert " ms" not in done.stdout, "latencies of nothing"


def test_there_are_no_latencies_of_nothing(validator: Validator) -> None:
    with StandInBroker(validator, lambda burst: burst.answer([None] * len(burst))) as broker:
        url = f"mqtt://127.0.0.1:{broker.port}"
        options = ("--product", "example", "--requests", "5", "--timeout", "0.3", "--json")
        figures = json.loads(send("--url", url, *options).stdout)
    assert figures["answered"] == 0
    assert set(figures["latency_ms"].values()) == {None}


def test_the_configuration_names_broker_and_catalog(tmp_path: Path, url: str) -> None:
    file = tmp_path / "pointgate.toml"
    file.write_text(f'[mqtt]\nurl = "{url}"\n[catalog]\npath = "{DEMO}"\n')
    done = send("-c", str(file), "--product", "solar", "--requests", "10")
    assert done.returncode == 0, done.stderr
    elsewhere = f"mqtt://127.0.0.1:{unused_port()}"
    done = send("-c", str(file), "--product", "solar", "--url", elsewhere)
    assert done.returncode == 74
    assert done.stderr.startswith(f"{elsewhere}: cannot connect")


def test_wrong_usage(url: str, tmp_path: Path) -> None:
    for arguments, status, words in (
        (("--url", url), 2, "expected one of battery, example"),
        (("--url", url, "--product", "exampel"), 2, "did you mean example"),
        (("--url", url, "--product", "example", "--bad", "1.5"), 2, "--bad"),
        (("--url", url, "--product", "example", "--bad", "nan"), 2, "--bad"),
        (("--url", url, "--product", "example", "--rate", "0"), 2, "--rate"),
        (("--url", url, "--product", "example", "--shape", "XXL"), 2, "--shape"),
        (("--url", "http://x", "--product", "example"), 78, "mqtts://"),
        (("--url", url, "--product", "example", "--ca-file", "x"), 78, "ca_file"),
        (("-c", str(tmp_path / "none.toml")), 78, "none.toml"),
        (("--url", url, "--catalog", str(tmp_path)), 78, "catalog.toml"),
    ):
        done = send(*arguments)
        assert (done.returncode, words in done.stderr) == (status, True), (arguments, done.stderr)
        assert "Traceback" not in done.stderr


def test_a_broker_that_demands_a_password(tmp_path: Path) -> None:
    with Broker(tmp_path, "allow_anonymous false") as broker:
        done = send("--url", f"mqtt://127.0.0.1:{broker.port}", "--product", "example")
    assert done.returncode == 74
    assert "refuses this client: Not authorized" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_with_its_figures(url: str, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "pointgate", "bench", "send", "--url", url, "--json"]
    control, terminal = pty.openpty()
    with subprocess.Popen(
        [*command, "--product", "example", "--seconds", "60"],
        stdout=subprocess.PIPE,
        stderr=terminal,
        text=True,
    ) as running:
        os.close(terminal)
        shown = b""
        while b"answered" not in shown:  # the live progress on a terminal
            shown += os.read(control, 4096)
        running.send_signal(number)
        output, _ = running.communicate(timeout=PATIENCE)
    os.close(control)
    assert running.returncode == 128 + number
    assert json.loads(output)["lost"] == 0
