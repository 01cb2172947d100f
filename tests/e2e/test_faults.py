"""The service when the broker, a disk, the clock or its catalog change under it.

What each part does by itself is tested beside it; here it is a process with a real broker.
"""

from __future__ import annotations

import json
import re
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from benches import soak
from tests.e2e.ledger import Ledger, until, whole_lines
from tests.e2e.sinks import PIPE_BYTES, READING_BYTES, Tap, service
from tests.support.processes import Broker, Sender, small
from tests.support.small_disk import fill, small_disk

if TYPE_CHECKING:
    from tests.support.processes import Service

IN_FLIGHT: Final = "pointgate_requests_in_flight"
LOST: Final = 'pointgate_requests_ignored_total{reason="connection_lost"}'

RECOVERY: Final = 2.0
"""Seconds until requests are answered again when a disk or a sink has come back."""


def all_held(running: Service, ledger: Ledger) -> bool:
    """Whether all that is not answered has arrived and waits."""
    ledger.look()
    return running.metric(IN_FLIGHT) == ledger.waiting


def test_a_broker_that_is_frozen_is_left_and_what_it_did_not_take_is_answered_later(
    tmp_path: Path, broker: Broker
) -> None:
    keepalive, tick = 2.0, 1.0
    with Sender(broker.port) as sender, Tap(running=False) as tap:
        ledger = Ledger(sender)
        with tap.service(tmp_path, broker, f"keepalive = {keepalive:.0f}", ack="sink") as running:
            running.ready()

            ledger.send(200)
            until(lambda: all_held(running, ledger) and ledger.waiting > 100)
            waiting = ledger.waiting
            broker.send_signal(signal.SIGSTOP)
            frozen = time.monotonic()
            tap.open()  # now there are replies, and a broker that takes none
            running.wait_for("does not answer pings")
            assert time.monotonic() - frozen <= 2 * keepalive + tick
            # It lets 20 replies be unacknowledged: only their requests were acknowledged, and those
            # that the pipe to the sink has taken between the look at them and the signal.
            running.wait_for_metric(IN_FLIGHT, 0)
            assert running.metric(LOST) >= waiting - 20 - PIPE_BYTES // READING_BYTES
            broker.send_signal(signal.SIGCONT)
            running.wait_for("session resumed")
            ledger.take(ledger.waiting)
            assert running.end() == 0
    ledger.check(tap.stored())


@pytest.mark.parametrize("full", ["disk", "spool"])
def test_what_is_full_stops_the_answers_and_loses_nothing(
    tmp_path: Path, broker: Broker, full: str
) -> None:
    disk_is_full = full == "disk"
    with (
        small_disk(tmp_path / "disk", 16 * 2**20) as disk,
        Sender(broker.port) as sender,
        Tap(running=False) as tap,
        tap.service(tmp_path, broker, spool=disk / "spool", max_bytes=2**20) as running,
    ):
        running.ready()
        ledger = Ledger(sender)
        ledger.send(100)  # more than the pipe to the sink holds
        ledger.take(100)
        if disk_is_full:
            ballast = fill(disk, leave=8192)
        with ledger.flow():
            until(lambda: running.readiness()[0] == 503)
        reason = "cannot be written: database or disk is full" if disk_is_full else "is full: sink"
        assert f"the spool {reason}" in running.readiness()[1]
        ledger.send(50)
        until(lambda: all_held(running, ledger))
        accepted = ledger.look()
        time.sleep(1.0)  # time for answers that must not come
        assert ledger.look() == accepted
        assert ledger.waiting >= 50
        held = "pointgate_spool_failures_total" if disk_is_full else "pointgate_spool_bytes"
        assert running.metric(held) >= (1 if disk_is_full else 2**20)

        if disk_is_full:
            ballast.unlink()
        else:
            tap.open()
        until(lambda: running.readiness()[0] == 200, RECOVERY)
        ledger.take(ledger.waiting)
        tap.open()
        until(lambda: ledger.accepted <= tap.stored().keys())
        ledger.check(tap.stored())
        assert all(len(times) == 2 for times in tap.stored().values())  # and nothing twice


CLOCK: Final = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
YEARS: Final = 365 * 86_400


def set_clock(clock: Path, seconds: int) -> None:
    """Let it be so much later than it is."""
    new = clock.with_suffix(".new")
    new.write_text(f"{seconds:+d}")
    new.replace(clock)


@pytest.mark.skipif(CLOCK is None, reason="libfaketime is not installed")
def test_a_clock_that_jumps_ahead_gives_its_time_to_points_without_one_and_stops_nothing(
    tmp_path: Path, broker: Broker
) -> None:
    clock = tmp_path / "clock"
    set_clock(clock, 0)
    environ = {
        "LD_PRELOAD": str(CLOCK),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    windows: list[tuple[float, float]] = []
    with (
        Sender(broker.port) as sender,
        Tap(running=False) as tap,
        tap.service(tmp_path, broker, "keepalive = 2", environ=environ) as running,
    ):
        running.ready()
        for jump in (0, 5 * YEARS, -5 * YEARS):
            set_clock(clock, jump)
            begun = time.time() + jump
            for number in range(100):
                sender.send(small(number))
            assert {json.loads(reply.payload)["code"] for reply in sender.take(100)} == {200}
            # Set back, the clock gives no instant again: arrivals go on behind the last one.
            ended = time.time() + jump
            if jump < 0:
                begun = windows[-1][0]
                ended = windows[-1][1] + 0.001
            windows.append((begun, ended))
            time.sleep(1.0)  # a new page of metrics
            page = running.metrics()
            assert "pointgate_sink_lag_requests" in page
            assert not re.search(r"^pointgate\S* -", page, re.MULTILINE)
        tap.open()
        until(lambda: len(tap.points()) == 300)
        assert running.end() == 0
    for number, point in enumerate(tap.points()):
        begun, ended = windows[number // 100]
        assert begun <= point["time"] / 1000 <= ended
        assert point["received"] == point["time"]
    instants = [point["time"] for point in tap.points()]
    assert instants == sorted(set(instants))


def test_memory_is_within_its_window_while_a_sink_stands_still(tmp_path: Path) -> None:
    folders = tmp_path / "small", tmp_path / "large"
    for folder in folders:
        folder.mkdir()
    cases = (
        soak.small(2.0, folders[0]),
        soak.large(2.0, folders[1], payload_bytes=8_000_000),
    )
    assert all(figures.within for figures in cases), cases


FIRST: Final = {"first": "DOUBLE", "second": "STRING"}
SECOND: Final = {"first": "STRING", "second": "DOUBLE"}


def catalog(folder: Path, points: dict[str, str]) -> Path:
    """Write a catalog whose one model has these points."""
    folder.mkdir(exist_ok=True)
    (folder / "catalog.toml").write_text(
        '[products.protocol]\nmodel = "model.json"\ndevices = "devices.txt"\n'
    )
    (folder / "devices.txt").write_text("device1\n")
    model = {
        name: {"identifier": name, "dataType": kind, "hasQuality": False}
        for name, kind in points.items()
    }
    (folder / "model.json").write_text(json.dumps({"modelId": "m", "measurepoints": model}))
    return folder


def test_what_is_answered_200_is_stored_as_the_model_had_it_while_models_change_under_load(
    tmp_path: Path, broker: Broker
) -> None:
    # Right under the first model, under the second one, and under none.
    values = [(1.5, "x"), ("x", 1.5), (1.5, 1.5)]
    rounds = 4

    def request(number: int) -> bytes:
        first, second = values[number % 3]
        entry = {"deviceKey": "device1", "time": number, "measurepoints": {"first": first}}
        other = entry | {"measurepoints": {"second": second}}
        members = {"id": number, "version": "1.0", "params": [entry, other]}
        return json.dumps(members | {"method": "integration.measurepoint.post"}).encode()

    folder, lines = catalog(tmp_path / "catalog", FIRST), tmp_path / "lines"
    with (
        Sender(broker.port) as sender,
        service(tmp_path, broker, sink=str(lines), catalog=folder) as running,
    ):
        running.ready()
        sent = 0
        for turn in range(rounds):
            catalog(folder, SECOND if turn % 2 == 0 else FIRST)
            running.send_signal(signal.SIGHUP)
            while sum("catalog loaded" in line for line in running.lines) < turn + 1:
                sender.send(request(sent))
                sent += 1
                time.sleep(0.0005)
            for _ in range(50):
                sender.send(request(sent))
                sent += 1
        answers = {
            answer["id"]: answer for answer in (json.loads(r.payload) for r in sender.take(sent))
        }
        accepted = {number for number, answer in answers.items() if answer["code"] == 200}
        until(lambda: len(whole_lines(lines.read_text())) == 2 * len(accepted))
        assert running.end() == 0
    assert len(answers) == sent
    # Each kind was right for a while, and the one that never was is refused by one model or other.
    assert {number % 3 for number in accepted} == {0, 1}
    faults = {a["data"]["identifier"] for n, a in answers.items() if n % 3 == 2}
    assert faults == {"first", "second"}
    found: dict[int, dict[str, object]] = {}
    for point in whole_lines(lines.read_text()):
        found.setdefault(point["time"], {})[point["identifier"]] = point["value"]
    expected = {n: dict(zip(("first", "second"), values[n % 3], strict=True)) for n in accepted}
    assert found == expected
