"""aiomqtt with msgspec or pydantic: `python -m benches.glue.aiomqtt_ msgspec SETTINGS`."""

from __future__ import annotations

import asyncio
import sys

import aiomqtt

from benches.glue.judges import FILTERS, JUDGES, settings


async def main(name: str, file: str) -> None:
    port, devices = settings(file)
    judge = JUDGES[name](devices)
    async with aiomqtt.Client("127.0.0.1", port, identifier="glue") as client:
        client.pending_calls_threshold = 1_000_000  # else it warns of each call
        await client.subscribe([(one, 1) for one in FILTERS])
        async for message in client.messages:
            reply = judge(bytes(message.payload))
            await client.publish(f"{message.topic}_reply", reply, qos=message.qos)


asyncio.run(main(*sys.argv[1:]))
