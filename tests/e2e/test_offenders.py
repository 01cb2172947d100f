"""One product of twenty fails: the alert, the log, /offenders and `pointgate top` say which."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import pytest

from pointgate.topics import request_topic
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE
from tests.support.processes import Broker, Sender, Service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PRODUCTS: Final = [f"plant{number:02}" for number in range(20)]
FAILING: Final = "plant07"
MODEL: Final = '{"measurepoints":{"temp":{"dataType":"DOUBLE","maximum":100}}}'
ALERTS: Final = ROOT / "deploy/prometheus/alerts.yml"


def catalog(folder: Path) -> Path:
    folder.mkdir()
    (folder / "model.json").write_text(MODEL)
    (folder / "devices.txt").write_text("inverter1\ninverter2\n")
    tables = (
        f'[products.{key}]\nmodel = "model.json"\ndevices = "devices.txt"' for key in PRODUCTS
    )
    (folder / "catalog.toml").write_text("\n".join(tables))
    return folder


def payload(temp: float) -> bytes:
    entry = {"deviceKey": "inverter1", "measurepoints": {"temp": temp}}
    method = "integration.measurepoint.post"
    return json.dumps({"id": "1", "version": "1.0", "method": method, "params": [entry]}).encode()


@contextmanager
def traffic(port: int) -> Iterator[None]:
    """Every product posts twenty requests a second; all requests of one are rejected."""
    ending = threading.Event()

    def post() -> None:
        with Sender(port) as sender:
            while not ending.wait(0.05):
                for product in PRODUCTS:
                    temp = 250.5 if product == FAILING else 21.5
                    sender.send(payload(temp), request_topic(product), qos=0)

    thread = threading.Thread(target=post)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


def top(service: Service, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pointgate", "top", "--url", url(service), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)


def rejecting(service: Service) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """What `top` shows, as text and as JSON, in seconds in which requests were rejected."""
    end = time.monotonic() + PATIENCE
    while True:
        shown, document = top(service), json.loads(top(service, "--json").stdout)
        first = [line for line in shown.stdout.splitlines() if line.startswith("plant")][:1]
        if document["products"][0]["rejected"] and "100.0%" in "".join(first):
            return shown, document
        assert time.monotonic() < end, shown.stdout


def url(service: Service) -> str:
    found = (re.search(r"metrics on (http://[^/]+)/metrics", line) for line in service.lines)
    return next(one[1] for one in found if one)


def firing(pages: list[str], folder: Path) -> list[dict[str, Any]]:
    """The alerts that fire a minute after the first page, if the pages were 15 s apart."""
    values: dict[str, list[str]] = {}
    for page in pages:
        for name, value in re.findall(
            r"^(pointgate_requests_total{.*}) (\S+)$", page, re.MULTILINE
        ):
            values.setdefault(name, []).append(value)
    series = [{"series": name, "values": " ".join(all_of)} for name, all_of in values.items()]
    expr = "count by (alertname, product) (ALERTS{alertstate='firing'})"
    expected = f'{{alertname="PointgateProductRejected",product="{FAILING}"}}'
    condition = {"expr": expr, "eval_time": "1m", "exp_samples": [{"labels": expected, "value": 1}]}
    tests = [{"interval": "15s", "input_series": series, "promql_expr_test": [condition]}]
    file = folder / "rules.json"
    rules = {"rule_files": [str(ALERTS)], "evaluation_interval": "15s", "tests": tests}
    file.write_text(json.dumps(rules))
    command = ["promtool", "test", "rules", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return series


@pytest.fixture
def service(tmp_path: Path, broker: Broker) -> Iterator[Service]:
    with Service(tmp_path, broker.port, catalog=catalog(tmp_path / "plants")) as service:
        yield service.ready()


@pytest.mark.skipif(not shutil.which("promtool"), reason="needs promtool")
def test_within_a_minute_everything_names_the_product(
    service: Service, broker: Broker, tmp_path: Path
) -> None:
    pages = [service.metrics()]
    with traffic(broker.port):
        line = service.wait_for(f"requests rejected: [0-9]+ of product {FAILING}, reason range.*")[
            0
        ]
        assert "/params/0/measurepoints/temp: expected a finite DOUBLE, at most 100" in line
        assert "got 250.5" in line
        for _ in range(4):
            time.sleep(1.5)
            pages.append(service.metrics())
        shown, document = rejecting(service)
    firing(pages, tmp_path)

    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    (plant,) = [line for line in lines if line.startswith(FAILING) and "100.0%" in line]
    assert "range" in plant
    assert lines.index(plant) == 1 + next(
        place for place, line in enumerate(lines) if line.startswith("product ")
    )
    assert f"{FAILING} / range / temp" in shown.stdout
    assert "/params/0/measurepoints/temp: expected a finite DOUBLE, at most 100" in shown.stdout

    worst = document["products"][0]
    assert worst["product"] == FAILING
    assert worst["rejected"] == worst["requests"] == worst["reasons"]["range"] > 0
    assert document["products"][1]["rejected"] == 0
    (fault,) = document["offenders"]["faults"]
    assert (fault["reason"], fault["identifier"]) == ("range", "temp")
    assert fault["pointer"] == "/params/0/measurepoints/temp"
    (device,) = document["offenders"]["devices"]
    assert (device["product"], device["deviceKey"]) == (FAILING, "inverter1")


def test_on_a_terminal_the_view_is_renewed(service: Service, broker: Broker) -> None:
    terminal, other = pty.openpty()
    command = [sys.executable, "-m", "pointgate", "top", "--url", url(service), "--interval", "1"]
    environ = os.environ | {"COLUMNS": "80", "LINES": "24", "TERM": "xterm"}
    with (
        traffic(broker.port),
        subprocess.Popen(command, stdin=other, stdout=other, stderr=other, env=environ) as process,
    ):
        os.close(other)
        seen = b""
        end = time.monotonic() + PATIENCE
        while seen.count(FAILING.encode()) < 4 and time.monotonic() < end:
            if select.select([terminal], [], [], 1.0)[0]:
                seen += os.read(terminal, 65536)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
    os.close(terminal)
    assert seen.count(FAILING.encode()) >= 4
    assert b"Traceback" not in seen
