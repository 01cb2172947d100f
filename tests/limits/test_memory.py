"""A service whose address space ends: failed allocations are no damage and reject nothing."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pytest

from tests.e2e.ledger import until
from tests.limits import largest
from tests.support.cgroup import MIB
from tests.support.processes import Broker, Sender, Service

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(900)]

REQUESTS = 4


@pytest.fixture(scope="module")
def address_space(tmp_path_factory: pytest.TempPathFactory) -> int:
    """What a service at rest takes of it, in bytes."""
    folder = tmp_path_factory.mktemp("rest")
    with Broker(folder) as broker, service(folder, broker) as running:
        running.ready()
        status = Path(f"/proc/{running.pid}/status").read_text()
    found = re.search(r"VmPeak:\s+(\d+) kB", status)
    assert found
    return int(found[1]) * 1024


def service(folder: Path, broker: Broker, *, memory: int | None = None) -> Service:
    lines = (
        *("[spool]", f'path = "{folder}/spool"'),
        *("[[sinks]]", 'type = "parquet"', f'path = "{folder}/points"'),
    )
    catalog = largest.catalog(folder / "catalog")
    return Service(folder, broker.port, *lines, catalog=catalog, ack="spool", memory=memory)


def payloads() -> Iterator[tuple[bytes, int]]:
    for number in range(REQUESTS):
        yield largest.numbers(number) if number % 2 else (largest.texts(number), largest.TEXTS)


@pytest.mark.parametrize("more", [120, 400, 600])
def test_nothing_is_rejected_or_lost_for_want_of_memory(
    tmp_path: Path, address_space: int, more: int
) -> None:
    expected = 0
    with Broker(tmp_path) as broker, Sender(broker.port) as sender:
        with service(tmp_path, broker, memory=address_space + more * MIB) as short:
            short.ready()
            for payload, points in payloads():
                sender.send(payload, largest.TOPIC)
                expected += points
            end = time.monotonic() + 10
            while short.alive and time.monotonic() < end:
                time.sleep(0.1)
            # Rust ends the process where Python raises: a crash like any other.
            assert short.alive or short.status() < 0, "\n".join(short.lines[-20:])
        with service(tmp_path, broker) as enough:
            enough.ready()
            replies: set[bytes] = set()
            while len(replies) < REQUESTS:  # some twice, where it was redelivered
                replies.add(sender.replies.get(timeout=120).payload)
            until(lambda: not enough.metric('pointgate_sink_lag_requests{sink="parquet"}'), 120)
            assert enough.end() == 0
    assert all(b'"code":200' in reply for reply in replies)
    files = f"read_parquet('{tmp_path}/points/**/*.parquet')"
    keys = f"SELECT DISTINCT identifier, time FROM {files}"  # noqa: S608 - our own
    counted = duckdb.execute(f"SELECT count(*) FROM ({keys})").fetchall()  # noqa: S608
    assert counted == [(expected,)]
    assert not list(tmp_path.rglob("*.damaged"))
    assert not (tmp_path / "spool/refused").exists()
