"""An asyncio.Protocol around the `mqtt5` codec and msgspec: `python -m benches.glue.raw SETTINGS`.

About the least that a Python service can do: packets are objects, requests are decoded at once.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import mqtt5  # type: ignore[import-not-found,unused-ignore]

from benches.glue.judges import FILTERS, msgspec_judge, settings

QOS_1 = mqtt5.QoS.AT_LEAST_ONCE


class Service(asyncio.Protocol):
    def __init__(self, devices: frozenset[str]) -> None:
        self._judge = msgspec_judge(devices)
        self._rest = b""
        self._packet_id = 0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        connect = mqtt5.ConnectPacket(client_id="glue", clean_start=True, receive_max=1000)
        transport.write(connect.write())

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        view, out, start = memoryview(data), [], 0
        while True:
            try:
                packet, size = mqtt5.read(view[start:])
            except IndexError:
                break
            start += size
            if type(packet) is mqtt5.PublishPacket:
                out.append(self._answer(packet))
                if packet.packet_id is not None:
                    out.append(mqtt5.PubAckPacket(packet.packet_id).write())
            elif type(packet) is mqtt5.ConnAckPacket:
                filters = [mqtt5.TopicFilter(name, max_qos=QOS_1) for name in FILTERS]
                out.append(mqtt5.SubscribePacket(1, filters).write())
        self._rest = data[start:]
        if out:
            self._transport.write(b"".join(out))

    def _answer(self, request: Any) -> bytes:
        packet_id = None
        if request.packet_id is not None:
            packet_id = self._packet_id = self._packet_id % 65535 + 1
        reply: bytes = mqtt5.PublishPacket(
            request.topic + "_reply",
            self._judge(request.payload),
            qos=request.qos,
            packet_id=packet_id,
        ).write()
        return reply

    def connection_lost(self, _: object) -> None:
        sys.exit("connection lost")


async def main() -> None:
    port, devices = settings(sys.argv[1])
    loop = asyncio.get_running_loop()
    await loop.create_connection(lambda: Service(devices), "127.0.0.1", port)
    await asyncio.Event().wait()


asyncio.run(main())
