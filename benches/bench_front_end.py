"""The service's CPU time for a small request, without a broker's share of the cores.

    python benches/bench_front_end.py --seconds 5 --qos 1 --ack spool --json

Instead of a broker there is a stand-in: one socket that sends blocks of encoded requests and counts
the bytes of the replies, which all have the same length. So nearly all CPU time of the machine is
the service's, and reads are full, as behind a broker that is faster than the service. Every reply
of the first blocks must be 200, in order; later ones must have exactly the bytes expected in total.
The CPU time of the service, with all its threads, is read from /proc (Linux).

`--block 1 --window 1` is one request at a time, `--rate` an open loop: what it costs to wait for
other requests.

Behind Mosquitto, which sends one packet at a time, a request costs more: `bench_echo.py`.
"""

from __future__ import annotations

import argparse
import json
import select
import socket
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

# Run as a script, Python looks for modules beside this file only.
if not __package__:
    sys.path.insert(0, str(Path(__file__).parent.parent))

from benches.bench_echo import CATALOG, SETTINGS, cpu_seconds, free_port, python_command, start

TOPIC: Final = "sys/protocol/integration/measurepoint/post"
ENTRY: Final = (
    '{"deviceKey":"%s","measurepoints":{"Power":{"value":%d,"quality":9},"temp":%s,'
    '"branchCurr":["%s","2.02","7.93"]},"time":%d}'
)
ENTRIES: Final = ",".join(
    (
        ENTRY % ("device1", 1, "1.02", "1.02", 123456),
        ENTRY % ("device1", 2, "2.02", "3.02", 123567),
        ENTRY % ("device2", 1, "1.02", "1.02", 123456),
    )
)
PAYLOAD: Final = (
    f'{{"id":"%08d","version":"1.0","params":[{ENTRIES}],"method":"integration.measurepoint.post"}}'
)
"""Like the protocol page's example (shape S: 3 entries, 3 points each)."""

IDS: Final = 0x8000
"""The number of packet ids of replies; a block of requests must divide it."""

FIRST_REPLY_ID: Final = 0x8000
START_SECONDS: Final = 20
PUBACK_BYTES: Final = 4

Figures = dict[str, Any]


def text(value: str) -> bytes:
    data = value.encode()
    return len(data).to_bytes(2, "big") + data


def packet(first: int, body: bytes) -> bytes:
    length, size = bytearray(), len(body)
    while size > 127:
        length.append(size & 127 | 128)
        size >>= 7
    length.append(size)
    return bytes((first,)) + bytes(length) + body


class StandIn:
    """What the service takes for a broker: MQTT 5 or 3.1.1, one client, requests without end."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._qos = options.qos
        self._five = options.protocol == 5
        self._block = options.block
        self._window = max(1, options.window // self._block)
        self._interval = self._block / options.rate if options.rate else 0.0
        starts = range(0, IDS, self._block)
        self._requests = [self._request_block(start) for start in starts]
        self._pubacks = [
            b"".join(
                b"\x40\2" + (FIRST_REPLY_ID + start + n).to_bytes(2) for n in range(self._block)
            )
            for start in starts
        ]
        reply = text(TOPIC + "_reply") + b"\0\0" * bool(self._qos) + b"\0" * self._five
        reply += b'{"id":"00000000","code":200,"data":{}}'
        self._unit = len(packet(0x30, reply)) + PUBACK_BYTES * bool(self._qos)
        self._socket: socket.socket | None = None
        self._sent = self._done = 0  # blocks

    def _request_block(self, start: int) -> bytes:
        frames = []
        for n in range(start, start + self._block):
            packet_id = (n + 1).to_bytes(2) if self._qos else b""
            body = text(TOPIC) + packet_id + b"\0" * self._five + (PAYLOAD % n).encode()
            frames.append(packet(0x30 | self._qos << 1, body))
        return b"".join(frames)

    def accept(self) -> None:
        """Accept the service, and answer CONNECT and SUBSCRIBE."""
        self._listener.settimeout(START_SECONDS)
        self._socket, _ = self._listener.accept()
        self._socket.settimeout(START_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        assert self._socket.recv(65536)[0] == 0x10  # CONNECT
        self._socket.sendall(packet(0x20, b"\0\0" + b"\0" * self._five))
        subscribe = self._socket.recv(65536)
        assert subscribe[0] == 0x82, subscribe  # SUBSCRIBE
        self._socket.sendall(packet(0x90, subscribe[2:4] + b"\0" * self._five + b"\1\1"))

    def run(self, seconds: float) -> Figures:
        """Send requests for `seconds`, then wait for the last reply."""
        assert self._socket is not None
        head = bytearray()
        before, received = self._done, 0
        self._sent_at: list[float] = []
        latencies: list[float] = []
        begun = time.perf_counter()
        end = begun + seconds
        for _ in range(1 if self._interval else self._window):
            self._send_block()
        buffer = bytearray(1 << 20)
        while self._done < self._sent or (self._interval and time.perf_counter() < end):
            if self._interval and self._wait(begun, before, end):
                self._send_block()
                continue
            size = self._socket.recv_into(buffer)
            assert size, "the service closed the connection"
            if received < 1_000_000:  # some thousands of replies
                head += buffer[:size]
            received += size
            now = time.perf_counter()
            while self._done - before < received // (self._unit * self._block):
                latencies.append(now - self._sent_at[self._done - before])
                out = self._pubacks[self._done % len(self._pubacks)] if self._qos else b""
                self._done += 1
                self._socket.sendall(out)
                if now < end and not self._interval:
                    self._send_block()
        elapsed = time.perf_counter() - begun
        requests = (self._sent - before) * self._block
        assert received == requests * self._unit, "some replies have another length"
        self._check(bytes(head), before * self._block)
        latencies.sort()
        return {
            "requests": requests,
            "seconds": elapsed,
            "p50_ms": latencies[len(latencies) // 2] * 1000,
            "p99_ms": latencies[len(latencies) * 99 // 100] * 1000,
        }

    def _send_block(self) -> None:
        assert self._socket is not None
        self._sent_at.append(time.perf_counter())
        self._socket.sendall(self._requests[self._sent % len(self._requests)])
        self._sent += 1

    def _wait(self, begun: float, before: int, end: float) -> bool:
        """In an open loop: wait for replies or the next block; returns whether that is due."""
        assert self._socket is not None
        due = begun + (self._sent - before) * self._interval
        rest = due - time.perf_counter() if due < end else START_SECONDS
        ready, _, _ = select.select([self._socket], [], [], max(0.0, rest))
        return not ready

    def _check(self, head: bytes, first: int) -> None:
        for number in range(len(head) // self._unit):
            reply = head[number * self._unit : (number + 1) * self._unit]
            expected = b'{"id":"%08d","code":200,"data":{}}' % ((first + number) % IDS)
            assert expected in reply, (number, reply)


def measure(options: argparse.Namespace) -> Figures:
    """Start the service on a stand-in, warm up, and measure."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stand_in = StandIn(options)
        settings = SETTINGS.format(
            broker=stand_in.port,
            metrics=free_port(),
            catalog=CATALOG,
            protocol=options.protocol,
            ack=options.ack,
        )
        (folder / "pointgate.toml").write_text(settings)
        command = python_command(options.service or "python -m pointgate serve -c")
        service = start(stack, folder / "service.log", *command, str(folder / "pointgate.toml"))
        stand_in.accept()
        stand_in.run(1)
        before = cpu_seconds(service)
        figures = stand_in.run(options.seconds)
        after = cpu_seconds(service)
    requests = figures["requests"]
    return {
        "qos": options.qos,
        "protocol": options.protocol,
        "ack": options.ack,
        **figures,
        "requests_per_second": requests / figures["seconds"],
        "service_us": (after - before) / requests * 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--qos", type=int, choices=(0, 1), default=1)
    parser.add_argument("--protocol", type=int, choices=(4, 5), default=5)
    parser.add_argument("--ack", choices=("verdict", "spool"), default="verdict")
    parser.add_argument("--window", type=int, default=896, help="requests in flight")
    parser.add_argument("--block", type=int, default=128, help="requests that are sent together")
    parser.add_argument("--rate", type=float, default=0.0, help="requests a second; 0: closed loop")
    parser.add_argument("--service", default="", help="the command of another service to compare")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = measure(options)
    if options.json:
        print(json.dumps(figures))
    else:
        print(
            f"QoS {options.qos}, ack {options.ack}: "
            f"{figures['requests_per_second']:,.0f} requests/s, "
            f"{figures['service_us']:.2f} µs CPU of the service a request, "
            f"replies after {figures['p50_ms']:.2f} ms (median), {figures['p99_ms']:.2f} ms (99 %)"
        )


if __name__ == "__main__":
    main()
