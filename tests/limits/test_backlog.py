"""A backlog as large as the shipped Mosquitto holds is drained over one connection, once each.

.venv/bin/pytest -m limits tests/limits/test_backlog.py -s
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from pointgate.topics import REQUEST_FILTERS
from tests.e2e.flood import Replies, open_session, publish
from tests.support.processes import Service, small
from tests.support.shipped_broker import PASSWORD, ShippedBroker

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.limits, pytest.mark.timeout(1200)]

_MEMORY: Final = 420
"""MB: what docs/operations.md reckons with for the default limits and one sink."""


def _requests(count: int) -> Iterator[bytes]:
    """Requests of 132 bytes: a million of them are under the broker's `max_queued_bytes`."""
    for number in range(count):
        yield small(f"{number:05x}").replace(b'"temp":1.5', b'"temp":1')


@pytest.mark.parametrize("protocol", [5, 4])
@pytest.mark.parametrize("count", [600_000, 1_000_000])
def test_a_backlog_of_any_size_is_answered_once_each(
    tmp_path: Path, count: int, protocol: int
) -> None:
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    settings = (
        'username = "pointgate"',
        f'password_file = "{tmp_path}/password"',
        f"protocol = {protocol}",
    )
    service_account, product = ("pointgate", PASSWORD), ("protocol", PASSWORD)
    with ShippedBroker(tmp_path) as broker:
        open_session(broker.port, "service", REQUEST_FILTERS, account=service_account)
        publish(broker.port, _requests(count), account=product)
        with Replies(broker.port, account=product) as replies:
            begun = time.monotonic()
            with Service(tmp_path, broker.port, *settings, ack="spool") as service:
                replies.take(count, patience=120)
                seconds = time.monotonic() - begun
                peak = _peak(service.pid)
                print(  # noqa: T201 - what docs/operations.md says is measured with this
                    f"{count:,} requests waiting, MQTT {protocol}: "
                    f"{count / seconds:,.0f} a second, peak {peak} MB"
                )
                service.wait_for_metric("pointgate_requests_in_flight", 0)
                assert set(replies.counts.values()) == {1}
                assert service.metric("pointgate_requests_received_total") == count
                assert service.metric("pointgate_mqtt_connections_lost_total") == 0
                assert peak < 1.1 * _MEMORY


def _peak(pid: int) -> int:
    """The most memory that a process ever had, in MB."""
    status = Path(f"/proc/{pid}/status").read_text("utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) // 1024
