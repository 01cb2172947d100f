"""A 200 means stored: whatever dies, whenever, the points are where they belong."""

from __future__ import annotations

import json
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.processes import PATIENCE, Broker, Sender, Service

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def reading(number: int, device: str = "device1") -> bytes:
    """A request with a point of its own: two points that belong together."""
    entry = {
        "deviceKey": device,
        "measurepoints": {"temp": number},
        "time": 1_700_000_000_000 + number,
    }
    second = entry | {"time": 1_800_000_000_000 + number}
    request = {
        "id": str(number),
        "version": "1.0",
        "params": [entry, second],
        "method": "integration.measurepoint.post",
    }
    return json.dumps(request).encode()


class Ledger:
    """Sends readings, some of which are wrong, and notes what was answered."""

    def __init__(self, sender: Sender) -> None:
        self.accepted: set[int] = set()
        self.rejected: set[int] = set()
        self._sender = sender
        self._sent = 0

    def send(self, count: int) -> None:
        for number in range(self._sent, self._sent + count):
            self._sender.send(reading(number, "nobody" if number % 5 == 4 else "device1"))
        self._sent += count

    def take(self, count: int) -> None:
        """Take this many first answers; one may come again."""
        until = len(self.accepted | self.rejected) + count
        while len(self.accepted | self.rejected) < until:
            answer = json.loads(self._sender.reply().payload)
            codes = {200: self.accepted, 1257: self.rejected}
            codes[answer["code"]].add(int(answer["id"]))

    def check(self, stored: dict[int, list[int]]) -> None:
        """Nothing is lost, nothing is there that was refused, no request by halves."""
        assert self.accepted <= stored.keys()
        assert not self.rejected & stored.keys()
        assert all(
            set(times) == {1_700_000_000_000 + number, 1_800_000_000_000 + number}
            for number, times in stored.items()
        )


def lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    text = path.read_text()
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def stored(path: Path) -> dict[int, list[int]]:
    """Each reading in a sink's file, and the times of its points."""
    found: dict[int, list[int]] = {}
    for point in lines(path):
        found.setdefault(int(point["value"]), []).append(point["time"])
    return found


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


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


@pytest.mark.parametrize("place", PLACES)
def test_what_was_answered_is_stored_wherever_the_service_dies(
    tmp_path: Path, broker: Broker, points: Path, place: str
) -> None:
    with Sender(broker.port) as sender:
        ledger = Ledger(sender)
        with service(tmp_path, broker, environ={"POINTGATE_FAILPOINT": f"{place}:3"}) as running:
            running.ready()
            for _ in range(3):  # a pass at least
                ledger.send(5)
                if running.alive:
                    time.sleep(0.05)
            assert running.status() == -signal.SIGKILL
        with service(tmp_path, broker):
            ledger.take(15)
            until(lambda: ledger.accepted <= stored(points).keys())
    ledger.check(stored(points))
    assert len(ledger.accepted) == 12


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
    there.write_text("in the way")
    with (
        Sender(broker.port) as sender,
        service(tmp_path, broker, "max_bytes = 1048576", ack=ack) as running,
    ):
        running.ready()
        ledger = Ledger(sender)
        if ack == "spool":
            while running.readiness()[0] == 200:
                ledger.send(5)
                until(lambda: sender.replies.qsize() >= 5 or running.readiness()[0] == 503)
                ledger.take(sender.replies.qsize())
            assert running.readiness()[1].startswith("the spool is full: sink ndjson")
            # With a group of its own on top, at most; then nothing is answered.
            ledger.send(5)
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
            assert second.status() == 78
            assert f"spool.path: {tmp_path}/spool is in use by process" in second.lines[-2]
