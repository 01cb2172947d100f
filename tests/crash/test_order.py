"""What is answered is on the disk, as far as the system can be told to bring it there."""

from __future__ import annotations

import shutil
from random import Random
from typing import TYPE_CHECKING

import pytest

from tests.crash import order
from tests.crash.traffic import TOPICS, make
from tests.crash.victims import SENDER, Broker, Service, until
from tests.support.shipped_broker import Account

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.broker,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed"),
]

REQUESTS = 20


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Broker(tmp_path_factory.mktemp("broker")) as broker:
        broker.start()
        yield broker


def trace(folder: Path, broker: Broker, *, ack: str, planted: str = "") -> list[order.Call]:
    """Let a service answer one request at a time; returns its system calls."""
    log = folder / "strace"
    with Service(
        folder,
        broker=broker.port,
        database=None,
        ack=ack,
        planted=planted,
        before=order.strace(log),
    ) as service:
        service.start()
        service.wait_until_ready()
        with Account(broker.port, SENDER) as sender:
            sender.subscribe(*(f"{topic}_reply" for topic in TOPICS))
            draw = Random(1)  # noqa: S311 - the same each time
            requests = (make(number, draw) for number in range(2 * REQUESTS))
            for request in [one for one in requests if not one.wrong][:REQUESTS]:
                sender.publish(request.topic, request.payload)
                sender.next()
        service.ask()
        assert service.dies(30)
        end = order.exit_of(service.pid)
        until(lambda: bool(end.search(log.read_text())), "strace ends")
    with log.open() as lines:
        return order.read(lines)


@pytest.mark.parametrize("line", ["5049  +++ exited with 0 +++", "1234567 +++ exited with 143 +++"])
def test_the_end_of_a_trace_is_found_however_long_process_ids_are(line: str) -> None:
    process = int(line.split(maxsplit=1)[0])
    assert order.exit_of(process).search(f"{process} write(1) = 1\n{line}\n")
    assert not order.exit_of(process + 1).search(line)


@pytest.mark.parametrize("ack", ["spool", "sink"])
def test_what_is_answered_is_synced_before(tmp_path: Path, broker: Broker, ack: str) -> None:
    calls = trace(tmp_path, broker, ack=ack)
    assert order.violations(calls, ack=ack) == []
    assert len(list(order._answers(calls))) == REQUESTS


@pytest.mark.parametrize(
    ("planted", "ack", "violation"),
    [
        ("forget-fsync", "spool", "answered before its points were on the disk"),
        ("reply-first", "spool", "answered before its points were on the disk"),
        ("acknowledge-first", "spool", "acknowledged before it was answered"),
        ("forget-fsync-of-files", "spool", "renamed before it was synced"),
        ("forget-fsync-of-folders", "sink", "before its files were on the disk in their place"),
    ],
)
def test_a_planted_bug_is_found(
    tmp_path: Path, broker: Broker, planted: str, ack: str, violation: str
) -> None:
    found = order.violations(trace(tmp_path, broker, ack=ack, planted=planted), ack=ack)
    assert [text for text in found if violation in text]
