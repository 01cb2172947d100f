"""How many queued requests a SIGKILL of the broker loses, and the cost of better persistence.

    MOSQUITTO=/path/to/mosquitto-2.1 python -m benches.bench_broker_kill --turns 3

For each kind of persistence: while the service is stopped, 3,000 requests are posted at 500/s.
Right after the last acknowledgement the broker is killed and restarted, and the service answers the
requests that are left. Then the throughput is measured with the service running: requests of 500
bytes at QoS 1. The kinds alternate, so that load on the machine affects all of them; the figures
are the median, the lowest and the highest.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from random import SystemRandom
from statistics import median
from typing import TYPE_CHECKING, Final

from pointgate.topics import REQUEST_FILTERS
from tests.e2e.flood import Client, Replies, open_session, publish
from tests.support.processes import TOPIC, Service, small
from tests.support.scripted_broker import PUBLISH, frame
from tests.support.shipped_broker import (
    CONFIGURATION,
    PASSWORD,
    SQLITE,
    ShippedBroker,
    sqlite_plugin,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PRODUCT: Final = ("protocol", PASSWORD)
GATE: Final = ("pointgate", PASSWORD)
RATE: Final = 500
WAITING: Final = 3_000

WAYS: Final[Mapping[str, tuple[str, Mapping[str, str]]]] = {
    "autosave_interval 5 (mosquitto.conf)": (CONFIGURATION, {}),
    "sqlite, flush_period 5 (its default)": (
        SQLITE,
        {"plugin_opt_flush_period 0": "plugin_opt_flush_period 5"},
    ),
    "sqlite, flush_period 1": (
        SQLITE,
        {"plugin_opt_flush_period 0": "plugin_opt_flush_period 1"},
    ),
    "sqlite, flush_period 0 (mosquitto-2.1-sqlite.conf)": (SQLITE, {}),
    "sqlite, flush_period 0, sync full": (
        SQLITE,
        {"plugin_opt_sync normal": "plugin_opt_sync full"},
    ),
}


def payloads(count: int) -> Iterator[bytes]:
    for number in range(count):
        yield small(number).ljust(500)


def at_a_rate(port: int) -> None:
    """Publish requests at `RATE`; returns when all are acknowledged."""
    head = len(TOPIC).to_bytes(2) + TOPIC.encode()
    begin, open_ = time.monotonic(), 0
    with Client(port, "slow", account=PRODUCT) as client:
        for number, payload in enumerate(payloads(WAITING)):
            # The client counts acknowledgements of ids from 0x8000 on.
            identifier = (0x8000 + number).to_bytes(2)
            client.send(frame(PUBLISH | 2, head + identifier + payload))
            open_ += 1
            if number % 10 == 0:
                time.sleep(max(0.0, begin + number / RATE - time.monotonic()))
            while open_ and (number % 10 == 0 or number == WAITING - 1):
                client.read()
                open_ -= len(client.splitter.acknowledged)
                client.splitter.acknowledged.clear()


def service(folder: Path, port: int) -> Service:
    password = folder / "password"
    password.write_text(f"{PASSWORD}\n")
    return Service(
        folder, port, "protocol = 4", 'username = "pointgate"', f'password_file = "{password}"'
    )


def lost(configuration: str, lines: Mapping[str, str]) -> int:
    """The number of queued requests that are never answered."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with ShippedBroker(folder, lines, configuration=configuration) as broker:
            open_session(broker.port, "service", REQUEST_FILTERS, account=GATE)
            time.sleep(SystemRandom().uniform(5, 12))  # at a random time after the session is saved
            at_a_rate(broker.port)
            broker.end(signal.SIGKILL)
            broker.start()
            with (
                Replies(broker.port, account=PRODUCT) as replies,
                service(folder, broker.port) as gate,
            ):
                gate.ready()
                publish(broker.port, [small("last")], account=PRODUCT)
                while b"last" not in replies.counts:
                    replies.take(len(replies.counts) + 1)
                return WAITING - (len(replies.counts) - 1)


def rate(configuration: str, lines: Mapping[str, str], count: int) -> float:
    """The throughput with the service running, in requests a second."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            ShippedBroker(folder, lines, configuration=configuration) as broker,
            Replies(broker.port, account=PRODUCT) as replies,
            service(folder, broker.port) as gate,
        ):
            gate.ready()
            begin = time.monotonic()
            sending = threading.Thread(
                target=publish,
                args=(broker.port, payloads(count)),
                kwargs={"account": PRODUCT},
            )
            sending.start()
            replies.take(count)
            seconds = time.monotonic() - begin
            sending.join()
            return count / seconds


def spread(values: list[float]) -> str:
    return f"{median(values):,.0f} ({min(values):,.0f} to {max(values):,.0f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--requests", type=int, default=50_000)
    options = parser.parse_args()
    ways = {name: way for name, way in WAYS.items() if way[0] is CONFIGURATION or sqlite_plugin()}
    if len(ways) < len(WAYS):
        print("the plugin persist-sqlite is missing: set MOSQUITTO=/path/to/2.1", file=sys.stderr)
    losses: dict[str, list[float]] = {name: [] for name in ways}
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.turns):
        for name, way in ways.items():
            losses[name].append(lost(*way))
            rates[name].append(rate(*way, options.requests))
    print(f"| persistence | lost of {WAITING:,} | requests/s |\n| --- | --- | --- |")
    for name in ways:
        print(f"| {name} | {spread(losses[name])} | {spread(rates[name])} |")


if __name__ == "__main__":
    main()
