"""A load generator with little CPU use, which leaves the cores to the measured processes.

    python benches/load.py --port 1883 --seconds 10 --qos 1      prints one line of JSON

Raw MQTT packets over one socket, in a closed loop: `--window` requests are in flight, and each
reply triggers the next request. Replies must have the ids of the requests in order, so that a lost,
repeated or reordered reply ends the run.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
import time

PUBLISH, PUBACK = 0x30, 0x40
ENTRY = (
    '{"deviceKey":"%s","measurepoints":{"Power":{"value":%d,"quality":9},"temp":%s,'
    '"branchCurr":["%s","2.02","7.93"]},"time":%d}'
)
ENTRIES = ",".join(
    (
        ENTRY % ("device1", 1, "1.02", "1.02", 123456),
        ENTRY % ("device1", 2, "2.02", "3.02", 123567),
        ENTRY % ("device2", 1, "1.02", "1.02", 123456),
    )
)
PAYLOAD = (
    f'{{"id":"%08d","version":"1.0","params":[{ENTRIES}],"method":"integration.measurepoint.post"}}'
)
"""Like the protocol page's example (shape S: 3 entries, 3 points each)."""


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


class Sender:
    """One MQTT 3.1.1 client."""

    def __init__(self, port: int, topic: str, qos: int, window: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._data = b""
        self._qos = qos
        self._window = window
        ids = ((n + 1).to_bytes(2, "big") if qos else b"" for n in range(window))
        self._requests = [
            packet(PUBLISH | qos << 1, text(topic) + packet_id + (PAYLOAD % n).encode())
            for n, packet_id in enumerate(ids)
        ]
        self._ids = [b'"id":"%08d"' % n for n in range(window)]
        connect = text("MQTT") + bytes((4, 2)) + (0).to_bytes(2, "big") + text(f"load-{port}")
        self._socket.sendall(packet(0x10, connect))
        self._expect(0x20)
        self._socket.sendall(packet(0x82, b"\0\1" + text(topic + "_reply") + bytes((qos,))))
        self._expect(0x90)

    def _expect(self, first: int) -> None:
        while not self._data:
            self._data = self._socket.recv(65536)
        assert self._data[0] == first, self._data[:20]
        size = self._data[1] + 2
        assert self._data[size - 1] < 0x80, "the broker rejected the connection or subscription"
        self._data = self._data[size:]

    def run(self, seconds: float) -> dict[str, float]:
        """Send for `seconds`, then wait for the last reply."""
        sent, replies, accepted = self._window, 0, 0
        latencies: list[float] = []
        begun = now = time.perf_counter()
        end = begun + seconds
        sent_at = [now] * self._window
        self._socket.sendall(b"".join(self._requests))
        while replies < sent:
            data = self._data + self._socket.recv(262144)
            assert data, "the broker closed the connection"
            now = time.perf_counter()
            first_new, out = replies, bytearray()
            start, length = 0, len(data)
            while length - start >= 4:
                size, body = data[start + 1], start + 2
                if size > 127:
                    size, body = size & 127 | data[start + 2] << 7, start + 3
                stop = body + size
                if stop > length:
                    break
                if data[start] & 0xF0 == PUBLISH:
                    slot = replies % self._window
                    assert self._ids[slot] in data[body:stop], (slot, data[body:stop])
                    latencies.append(now - sent_at[slot])
                    replies += 1
                    if self._qos:
                        at = body + 2 + (data[body] << 8 | data[body + 1])
                        out += b"\x40\2" + data[at : at + 2]
                start = stop
            accepted += data.count(b'"code":200', 0, start)
            self._data = data[start:]
            if now < end:
                for slot in range(first_new, replies):
                    sent_at[slot % self._window] = now
                    out += self._requests[slot % self._window]
                sent += replies - first_new
            self._socket.sendall(out)
        latencies.sort()
        return {
            "requests": replies,
            "accepted": accepted,
            "seconds": now - begun,
            "p50_ms": latencies[len(latencies) // 2] * 1000,
            "p99_ms": latencies[len(latencies) * 99 // 100] * 1000,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--topic", default="sys/protocol/integration/measurepoint/post")
    parser.add_argument("--qos", type=int, choices=(0, 1), default=1)
    parser.add_argument("--window", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    sender = Sender(options.port, options.topic, options.qos, options.window)
    json.dump(sender.run(options.seconds), sys.stdout)


if __name__ == "__main__":
    main()
