"""A stand-in for broker and service: it answers each request at once, and does nothing else.

    python -m benches.stand_in --port 1883 [--catalog FOLDER]

It is what `pointgate bench send` is measured against: one connection, MQTT 3.1.1, the codec and the
judge of the service between two calls of the socket. It ends with its client.
"""

from __future__ import annotations

import argparse
import socket
import sys
import time
from pathlib import Path

if __name__ == "__main__":  # as a script, this folder is on the path, its parent is not
    sys.path.insert(0, str(Path(__file__).parent.parent))

from benches.bench_echo import CATALOG
from pointgate import Catalog, Validator
from pointgate._core import MqttCodec

READ_BYTES = 1 << 18


def serve(connection: socket.socket, validator: Validator) -> None:
    """Answer one client until it leaves."""
    codec = MqttCodec(
        protocol=4, frame_limit=1 << 24, burst_requests=1 << 20, burst_bytes=1 << 30, reply_qos=None
    )
    codec.allow(65_535, 1, None)
    while data := connection.recv(READ_BYTES):
        codec.feed(data, time.monotonic())
        control = codec.take_control()
        while control:  # CONNECT, SUBSCRIBE, DISCONNECT: all short
            if control[0] == 0x10:
                connection.sendall(b"\x20\x02\x00\x00")
            if control[0] == 0x82:
                connection.sendall(b"\x90\x03" + control[2:4] + control[1 + control[1] :][:1])
            control = control[2 + control[1] :]
        while burst := codec.take_burst():
            now = time.time_ns()
            burst.stamp(now // 1000, now // 1_000_000)
            validator.judge_burst(burst, 0)
            place = 0
            while place < len(burst):
                packets, place, _, _ = codec.write(burst, place)
                connection.sendall(packets)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--catalog", type=Path, default=CATALOG)
    options = parser.parse_args()
    validator = Validator(Catalog.load(options.catalog))
    with socket.create_server(("127.0.0.1", options.port)) as listener:
        connection, _ = listener.accept()
        with connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            serve(connection, validator)


if __name__ == "__main__":
    main()
