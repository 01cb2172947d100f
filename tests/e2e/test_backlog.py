"""What waited in the broker during an outage is answered once each, over one connection."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from pointgate.topics import REQUEST_FILTERS
from tests.e2e.flood import Replies, open_session, publish
from tests.support.patience import PATIENCE
from tests.support.processes import Broker, Sender, Service, small

if TYPE_CHECKING:
    from pathlib import Path

_COUNT = 70_000
"""Mosquitto 2.0 sends all before its first PUBACK: twice as many as replies have packet ids."""


@pytest.mark.parametrize("protocol", [5, 4])
def test_a_backlog_of_more_requests_than_packet_ids_is_answered_once_each(
    tmp_path: Path, broker: Broker, protocol: int
) -> None:
    open_session(broker.port, "service", REQUEST_FILTERS)
    publish(broker.port, (small(number) for number in range(_COUNT)))
    with (
        Replies(broker.port) as replies,
        Service(tmp_path, broker.port, f"protocol = {protocol}") as service,
    ):
        replies.take(_COUNT, patience=2 * PATIENCE)
        service.wait_for_metric("pointgate_requests_in_flight", 0)
        assert set(replies.counts.values()) == {1}
        assert service.metric("pointgate_requests_received_total") == _COUNT
        assert service.metric("pointgate_mqtt_connections_lost_total") == 0


@pytest.mark.parametrize("protocol", [5, 4])
def test_a_request_that_waits_at_qos_2_in_an_older_session_is_answered_once(
    tmp_path: Path, broker: Broker, protocol: int
) -> None:
    # One: of several, Mosquitto 2.0.11 delivers the first and stalls, with any client.
    open_session(broker.port, "service", REQUEST_FILTERS, qos=2)
    with Sender(broker.port) as sender:
        sender.send(small("waits"), qos=2).wait_for_publish(PATIENCE)
        with Service(tmp_path, broker.port, f"protocol = {protocol}") as service:
            assert json.loads(sender.reply().payload)["id"] == "waits"
            broker.wait_for("Received PUBREC from service")
            broker.wait_for("Received PUBCOMP from service")
            service.wait_for_metric("pointgate_requests_in_flight", 0)
            assert service.metric("pointgate_requests_received_total") == 1
