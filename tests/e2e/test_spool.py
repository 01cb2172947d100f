"""A 200 means stored: whatever dies, whenever, the points are where they belong."""

from __future__ import annotations

import json
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.ledger import Ledger, stored, until
from tests.support.processes import Broker, Sender, Service

if TYPE_CHECKING:
    from pathlib import Path


def service(folder: Path, broker: Broker, *extra: str, ack: str = "spool", **rest: Any) -> Service:
    """A service whose only sink is a file of lines."""
    sink = (
        *("[spool]", f'path = "{folder}/spool"', *extra),
        *("[[sinks]]", 'type = "ndjson"', f'path = "{folder}/points/lines"'),
    )
    return Service(folder, broker.port, *sink, ack=ack, **rest)


@pytest.fixture
def points(tmp_path: Path) -> Path:
    folder = tmp_path / "points"
    folder.mkdir()
    return folder / "lines"


@pytest.mark.parametrize("ack", ["spool", "sink"])
def test_what_was_answered_is_stored_when_the_service_is_killed_at_any_moment(
    tmp_path: Path, broker: Broker, points: Path, ack: str
) -> None:
    with Sender(broker.port) as sender:
        ledger = Ledger(sender)
        for answers in (1, 30, 150):
            with service(tmp_path, broker, ack=ack) as running:
                running.ready()
                ledger.send(200)
                ledger.take(answers)
                running.end(signal.SIGKILL)
        with service(tmp_path, broker, ack=ack):
            ledger.take(600 - len(ledger.accepted | ledger.rejected))
            until(lambda: ledger.accepted <= stored(points).keys())
    ledger.check(stored(points))


PLACES = [
    *("after-receive", "after-verdict", "before-write", "after-write", "after-fsync"),
    *("before-reply", "after-reply", "before-ack", "after-ack"),
]


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_what_was_answered_is_stored_wherever_the_service_dies(
    tmp_path: Path, broker: Broker, points: Path, place: str
) -> None:
    with Sender(broker.port) as sender:
        ledger = Ledger(sender)
        with service(tmp_path, broker, environ={"POINTGATE_FAILPOINT": f"{place}:3"}) as running:
            running.ready()
            rounds = 0
            while running.alive and rounds < 100:  # a pass each, if none shares another's commit
                ledger.send(5)
                rounds += 1
                time.sleep(0.05)
            assert running.status() == -signal.SIGKILL
        with service(tmp_path, broker):
            ledger.take(ledger.waiting)
            until(lambda: ledger.accepted <= stored(points).keys())
    ledger.check(stored(points))
    assert len(ledger.accepted) == 4 * rounds


def test_a_service_that_is_terminated_under_load_gives_its_sinks_what_it_answered(
    tmp_path: Path, broker: Broker, points: Path
) -> None:
    with Sender(broker.port) as sender, service(tmp_path, broker) as running:
        running.ready()
        ledger = Ledger(sender)
        stop = threading.Event()

        def load() -> None:
            while not stop.is_set():
                ledger.send(1)
                stop.wait(0.0005)

        loading = threading.Thread(target=load)
        loading.start()
        ledger.take(300)
        assert running.end(signal.SIGTERM) == 0
        stop.set()
        loading.join()
        while not sender.replies.empty():
            answer = json.loads(sender.reply().payload)
            if answer["code"] == 200:
                ledger.accepted.add(int(answer["id"]))
        ledger.check(stored(points))


@pytest.mark.parametrize("ack", ["spool", "sink"])
def test_a_sink_that_is_away_stops_intake_only_when_it_has_to(
    tmp_path: Path, broker: Broker, ack: str
) -> None:
    there = tmp_path / "points"
    there.mkdir()
    with (
        Sender(broker.port) as sender,
        service(tmp_path, broker, "max_bytes = 1048576", ack=ack) as running,
    ):
        running.ready()
        until((there / "lines").exists)
        there.rename(tmp_path / "gone")
        there.write_text("in the way")
        ledger = Ledger(sender)
        if ack == "spool":
            with ledger.flow():
                until(lambda: running.readiness()[0] == 503)
            assert running.readiness()[1].startswith("the spool is full: sink ndjson")
            ledger.send(5)
            # With a group of its own on top, at most; then nothing is answered.
            held = "pointgate_requests_in_flight"
            until(lambda: ledger.look() and running.metric(held) == ledger.waiting)
            assert running.metric('pointgate_sink_lag_requests{sink="ndjson"}') > 200
        else:
            ledger.send(5)
            until(lambda: "sink ndjson: " in running.readiness()[1])
        answered = len(ledger.accepted)
        time.sleep(0.3)
        assert {
            json.loads(sender.reply().payload)["code"] for _ in range(sender.replies.qsize())
        } <= {1257}
        there.unlink()
        there.mkdir()
        until(lambda: len(stored(there / "lines")) >= answered + 4)
        until(lambda: running.readiness()[0] == 200)
        ledger.check(stored(there / "lines"))


def test_two_services_never_share_a_spool(tmp_path: Path, broker: Broker, points: Path) -> None:
    assert not points.exists()
    with service(tmp_path, broker) as running:
        running.ready()
        with service(tmp_path, broker, name="second") as second:
            assert second.status() == 75
            assert f"spool.path: {tmp_path}/spool is in use by process" in second.lines[-2]
