"""End-to-end throughput: requests and replies through Mosquitto and one service process.

    python benches/bench_echo.py --seconds 10 --qos 1 --json

Starts a Mosquitto and `pointgate serve` on free ports on loopback, warms up for a second, and runs
`load.py` in a closed loop. All three share the machine's cores, so the figures are those of the
whole chain. Every request must be answered 200, in order. The CPU time of the service and the
broker is read from /proc (Linux).

On 2 cores the broker is the bottleneck: it takes some 25 to 50 µs for a request and its reply. So
compare the service's own microseconds, too.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
CATALOG = ROOT / "tests/data/catalog"
BROKER = """listener {port} 127.0.0.1
allow_anonymous true
max_queued_messages 0
set_tcp_nodelay true
"""
SETTINGS = """[mqtt]
url = "mqtt://127.0.0.1:{broker}"
client_id = "bench"
protocol = {protocol}
[catalog]
path = "{catalog}"
[metrics]
listen = "127.0.0.1:{metrics}"
[store]
ack = "{ack}"
"""
START_SECONDS = 20


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def cpu_seconds(process: subprocess.Popen[bytes]) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def start(stack: ExitStack, log: Path, *command: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log.open("wb"))
    stack.callback(process.wait)
    stack.callback(process.terminate)
    return process


def fetch(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", path)
    with connection.getresponse() as answer:
        return answer.status, answer.read().decode()


def wait_ready(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < end:
        with suppress(OSError):
            if fetch(port, "/readyz")[0] == 200:
                return
        time.sleep(0.05)
    process.kill()
    sys.exit(f"the service is not ready after {START_SECONDS} s:\n{log.read_text()}")


def bursts(port: int) -> float:
    lines = fetch(port, "/metrics")[1].splitlines()
    return float(dict(line.rsplit(" ", 1) for line in lines)["pointgate_bursts_total"])


def load(port: int, options: argparse.Namespace, seconds: float) -> dict[str, Any]:
    command = [sys.executable, str(Path(__file__).with_name("load.py")), "--port", str(port)]
    command += ["--qos", str(options.qos), "--window", str(options.window)]
    command += ["--seconds", str(seconds)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return dict(json.loads(done.stdout))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    broker_port, metrics_port = free_port(), free_port()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "mosquitto.conf").write_text(BROKER.format(port=broker_port))
        settings = SETTINGS.format(
            broker=broker_port,
            metrics=metrics_port,
            catalog=CATALOG,
            protocol=options.protocol,
            ack=options.ack,
        )
        (folder / "pointgate.toml").write_text(settings)
        mosquitto = os.environ.get("MOSQUITTO") or shutil.which("mosquitto")
        mosquitto = mosquitto or "/usr/sbin/mosquitto"
        log = folder / "service.log"
        broker = start(
            stack, folder / "broker.log", mosquitto, "-c", str(folder / "mosquitto.conf")
        )
        command = options.service.split() or [sys.executable, "-m", "pointgate", "serve", "-c"]
        service = start(stack, log, *command, str(folder / "pointgate.toml"))
        wait_ready(metrics_port, service, log)
        load(broker_port, options, 1)
        before = cpu_seconds(service), cpu_seconds(broker)
        bursts_before = bursts(metrics_port)
        figures = load(broker_port, options, options.seconds)
        after = cpu_seconds(service), cpu_seconds(broker)
        time.sleep(1)  # the service renders metrics once a second at most
        burst_count = bursts(metrics_port) - bursts_before
    requests = figures["requests"]
    assert figures["accepted"] == requests, (
        f"{requests - figures['accepted']} were not answered 200"
    )
    return {
        "qos": options.qos,
        "window": options.window,
        "protocol": options.protocol,
        "ack": options.ack,
        **figures,
        "requests_per_second": requests / figures["seconds"],
        "requests_per_burst": requests / burst_count,
        "service_us": (after[0] - before[0]) / requests * 1e6,
        "broker_us": (after[1] - before[1]) / requests * 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--qos", type=int, choices=(0, 1), default=1)
    parser.add_argument("--window", type=int, default=256, help="requests in flight")
    parser.add_argument("--ack", choices=("verdict", "spool", "sink"), default="verdict")
    parser.add_argument("--protocol", type=int, choices=(4, 5), default=5)
    parser.add_argument(
        "--service", default="", help="another command that takes the settings file"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = measure(options)
    if options.json:
        print(json.dumps(figures))
        return
    print("{requests_per_second:,.0f} requests/s at QoS {qos}, all answered 200".format(**figures))
    print("reply after {p50_ms:.2f} ms (median), {p99_ms:.2f} ms (99 %)".format(**figures))
    print(
        "CPU a request: service {service_us:.1f} µs ({requests_per_burst:.1f} requests a burst), "
        "broker {broker_us:.1f} µs".format(**figures)
    )


if __name__ == "__main__":
    main()
