"""Hostile payloads over MQTT: each gets its contract answer, the service stays within bounds."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from tests.judge.test_hostile import MEMORY_LIMIT, TOTAL_BYTES, hostile_payloads
from tests.support.cgroup import MemoryLimit, most_memory
from tests.support.processes import TOPIC, Broker, Sender, Service, small

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.timeout(900)
def test_a_gibibyte_of_hostile_requests_is_answered_within_half_of_one(
    broker: Broker, tmp_path: Path
) -> None:
    payloads = hostile_payloads(2**23 - 2**10)
    with (
        MemoryLimit(MEMORY_LIMIT) as limit,
        Service(
            tmp_path,
            broker.port,
            command=[*limit.command, sys.executable, "-m", "pointgate"],
        ) as service,
        Sender(broker.port) as sender,
    ):
        service.ready()
        sent = 0
        while sent < TOTAL_BYTES:
            for name, (payload, code) in payloads.items():
                reply = sender.ask(payload, TOPIC)
                assert json.loads(reply.payload)["code"] == code, name
                sent += len(payload)
        assert json.loads(sender.ask(small("after")).payload)["id"] == "after"
        assert limit.kills == 0
        assert most_memory(service.pid) < MEMORY_LIMIT
        assert service.end() == 0
