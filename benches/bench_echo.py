"""End-to-end throughput: requests and replies through a broker and one service process.

    python -m benches.bench_echo --qos 1 --ack spool
    python -m benches.bench_echo --qos 1 --ack spool --rate 5000 --json
    python -m benches.bench_echo --service "python -m benches.glue.raw"

Starts a Mosquitto, or with `--broker nats` a NATS server, and `pointgate serve` on free ports on
loopback, warms up for a second, and runs `pointgate bench send`, which gets every other option:
`--rate`, `--window`, `--shape`, `--bad`, `--connections`. All three share the machine's cores, so
the figures are those of the whole chain. Every request must be answered with its code. The CPU time
of the service and the broker is read from /proc (Linux).

On 2 cores the broker is the bottleneck: it takes some 20 to 40 µs for a request and its reply. So
compare the service's own microseconds, too.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

if __name__ == "__main__":  # as a script, this folder is on the path, its parent is not
    sys.path.insert(0, str(Path(__file__).parent.parent))

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT: Final = Path(__file__).parent.parent
CATALOG: Final = ROOT / "tests/data/catalog"
PRODUCT: Final = "protocol"
BROKER: Final = """listener {port} 127.0.0.1
allow_anonymous true
max_inflight_messages 1000
max_queued_messages 0
set_tcp_nodelay true
"""
NATS: Final = """server_name: bench
listen: "127.0.0.1:{other}"
jetstream {{ store_dir: "{folder}/jetstream" }}
mqtt {{ listen: "127.0.0.1:{port}", max_ack_pending: 1000 }}
"""
SETTINGS: Final = """[mqtt]
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
START_SECONDS: Final = 20
WINDOW: Final = 1000

Figures = dict[str, Any]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def cpu_seconds(process: subprocess.Popen[bytes]) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(process: subprocess.Popen[bytes]) -> float:
    """The peak of the resident memory."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def start(stack: ExitStack, log: Path, *command: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log.open("wb"), cwd=ROOT)
    stack.callback(process.wait)
    stack.callback(process.terminate)
    return process


def python_command(command: str) -> list[str]:
    """The command of a service, run by this Python if it names `python`."""
    words = shlex.split(command)
    return [sys.executable, *words[1:]] if words[:1] == ["python"] else words


def broker_command(name: str, folder: Path, port: int) -> list[str]:
    """The command of a broker, whose settings are written to a folder."""
    file = folder / "broker.conf"
    if name == "nats":
        file.write_text(NATS.format(port=port, other=free_port(), folder=folder))
        beside = shutil.which("nats-server", path=str(Path(sys.executable).parent))
        return [beside or "nats-server", "-c", str(file)]
    file.write_text(BROKER.format(port=port))
    mosquitto = os.environ.get("MOSQUITTO") or shutil.which("mosquitto")
    return [mosquitto or "/usr/sbin/mosquitto", "-c", str(file)]


class Chain:
    """A broker and a service.

    Args:
        service: The command of the service, which takes a settings file; empty for pointgate.
        ack: What a 200 promises.
        broker: `mosquitto` or `nats`.
        protocol: The level of MQTT between the broker and the service; NATS has 4 only.
        catalog: The catalog folder.
        product: The product whose requests are sent.
    """

    def __init__(
        self,
        *,
        service: str = "",
        ack: str = "verdict",
        broker: str = "mosquitto",
        protocol: int = 5,
        catalog: Path = CATALOG,
        product: str = PRODUCT,
    ) -> None:
        self._broker_name = broker
        self._service = service or "python -m pointgate serve -c"
        self._ack, self._catalog = ack, catalog
        self._protocol = 4 if broker == "nats" else protocol
        self._product = product
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            self.port = free_port()
            settings = folder / "pointgate.toml"
            settings.write_text(
                SETTINGS.format(
                    broker=self.port,
                    metrics=free_port(),
                    catalog=self._catalog,
                    protocol=self._protocol,
                    ack=self._ack,
                )
            )
            broker = broker_command(self._broker_name, folder, self.port)
            self._broker = start(stack, folder / "broker.log", *broker)
            self._log = folder / "service.log"
            command = python_command(self._service)
            self._process = start(stack, self._log, *command, str(settings))
            self._wait()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _wait(self) -> None:
        """Wait until a valid and an invalid request are answered with their codes."""
        end = time.monotonic() + START_SECONDS
        while self._process.poll() is None and time.monotonic() < end:
            probe = ["--requests", "2", "--bad", "0.5", "--timeout", "0.3"]
            if self._send(probe).returncode == 0:
                return
        sys.exit(f"the service does not answer:\n{self._log.read_text()[-2000:]}")

    def _send(self, options: Sequence[str]) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pointgate", "bench", "send", "--json"]
        command += ["--url", f"mqtt://127.0.0.1:{self.port}"]
        command += ["--catalog", str(self._catalog), "--product", self._product, *options]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def measure(self, options: Sequence[str]) -> Figures:
        """Run the load generator, and measure broker and service meanwhile."""
        processes = {"service": self._process, "broker": self._broker}
        before = {name: cpu_seconds(process) for name, process in processes.items()}
        done = self._send(options)
        if done.returncode:
            sys.exit(f"exit status {done.returncode}: {done.stderr}{done.stdout}")
        figures: Figures = json.loads(done.stdout)
        for name, process in processes.items():
            cpu = cpu_seconds(process) - before[name]
            figures[f"{name}_us"] = cpu / figures["requests"] * 1e6
            figures[f"{name}_cores"] = cpu / figures["seconds"]
        figures["service_mb"] = memory_mb(self._process)
        return figures


def measure(
    options: Sequence[str], *, seconds: float = 10.0, warm_up: float = 1.0, **chain: Any
) -> Figures:
    """Start everything, warm up, and measure."""
    with Chain(**chain) as running:
        running.measure([*options, "--seconds", str(warm_up)])
        return running.measure([*options, "--seconds", str(seconds)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--ack", choices=("verdict", "spool", "sink"), default="verdict")
    parser.add_argument("--broker", choices=("mosquitto", "nats"), default="mosquitto")
    parser.add_argument("--protocol", type=int, choices=(4, 5), default=5)
    parser.add_argument("--service", default="", help="another command that takes the settings")
    parser.add_argument("--catalog", type=Path, default=CATALOG)
    parser.add_argument("--product", default=PRODUCT)
    parser.add_argument("--json", action="store_true")
    chosen, options = parser.parse_known_args()
    if "--window" not in options and "--rate" not in options:
        options += ["--window", str(WINDOW)]
    figures = measure(
        options,
        seconds=chosen.seconds,
        service=chosen.service,
        ack=chosen.ack,
        broker=chosen.broker,
        protocol=chosen.protocol,
        catalog=chosen.catalog,
        product=chosen.product,
    )
    if chosen.json:
        print(json.dumps(figures))
        return
    latency = figures["latency_ms"]
    print(
        "{requests_per_second:,.0f} requests/s at QoS {qos}, answered as expected".format(**figures)
    )
    print(
        "reply after {p50:.2f} ms (p50), {p99:.2f} ms (p99), {p999:.2f} ms (p99.9)".format(
            **latency
        )
    )
    print(
        "CPU a request: service {service_us:.1f} µs ({service_cores:.2f} cores), broker "
        "{broker_us:.1f} µs, load {cpu_us:.2f} µs".format(**figures)
    )


if __name__ == "__main__":
    main()
