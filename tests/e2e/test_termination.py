"""SIGTERM under load, whatever does not answer: within ten seconds, with 0, and nothing is lost."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Final

import pytest

from tests.e2e.ledger import Ledger, stored, until
from tests.e2e.sinks import Tap, service
from tests.support.processes import Broker, Sender
from tests.support.small_disk import fill, small_disk

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.processes import Service

LONGEST: Final = 10.0
"""Seconds that whoever sends a SIGTERM waits, usually, before a SIGKILL."""

IN_HASTE: Final = """
import sys
from pointgate import cli
from pointgate.service import serve as service

assert service._DRAIN_SECONDS + 2 * service._SINK_SECONDS <= service.SHUTDOWN_SECONDS < 10
service._DRAIN_SECONDS, service._SINK_SECONDS, service.SHUTDOWN_SECONDS = 0.5, 0.5, 3.0
sys.argv[0] = "pointgate"
"""
"""`pointgate` that waits for a tenth, so that the tests do not."""


def terminate(running: Service) -> None:
    begun = time.monotonic()
    assert running.end(signal.SIGTERM) == 0
    assert time.monotonic() - begun <= LONGEST


@pytest.mark.parametrize(("ack", "sink"), [("spool", "slow"), ("sink", "dead")])
def test_a_sink_that_is_slow_or_dead_gets_the_rest_after_the_next_start(
    tmp_path: Path, broker: Broker, ack: str, sink: str
) -> None:
    program = "-c", f"{IN_HASTE}cli.main()"
    # It takes 80 readings a second, of 1,000.
    with Sender(broker.port) as sender, Tap(running=sink == "slow", pause=0.2) as tap:
        ledger = Ledger(sender)
        with tap.service(tmp_path, broker, ack=ack, program=program) as running:
            running.ready()
            with ledger.flow():
                until(lambda: ledger.waiting > 500 if ack == "sink" else ledger.look() > 500)
                terminate(running)
        ledger.look()
        assert len(ledger.accepted - tap.stored().keys()) > 100 or ack == "sink"
        tap.open()
        with tap.service(tmp_path, broker, ack=ack) as running:
            ledger.take(ledger.waiting)
            until(lambda: ledger.accepted <= tap.stored().keys())
            terminate(running)
        ledger.check(tap.stored())


def test_a_disk_that_is_full_keeps_nothing_from_ending_and_loses_nothing(
    tmp_path: Path, broker: Broker
) -> None:
    with small_disk(tmp_path / "disk", 2 * 2**20) as disk, Sender(broker.port) as sender:
        ledger = Ledger(sender)
        with Tap(running=False) as tap:
            program = "-c", f"{IN_HASTE}cli.main()"
            with tap.service(tmp_path, broker, spool=disk / "spool", program=program) as running:
                running.ready()
                ledger.send(100)
                ledger.take(100)
                ballast = fill(disk, leave=8192)
                with ledger.flow():
                    running.wait_for("the spool cannot be written: database or disk is full")
                    until(lambda: ledger.look() and ledger.waiting > 200)
                    terminate(running)
            ledger.look()
            tap.open()
            # A start on a full disk, too, is no reason to give up what is in the spool.
            with tap.service(tmp_path, broker, spool=disk / "spool") as running:
                until(lambda: ledger.accepted <= tap.stored().keys())
                ballast.unlink()
                ledger.take(ledger.waiting)
                until(lambda: ledger.accepted <= tap.stored().keys())
                terminate(running)
            ledger.check(tap.stored())


HANGS: Final = """
import os, threading
from pointgate.store.spool.reader import Reader
from pointgate.store.spool.segment import Segment

dead = os.environ["DEAD_DISK"]

def on_the_disk(call):
    def perhaps(*arguments, **options):
        if os.path.exists(dead):
            threading.Event().wait()
        return call(*arguments, **options)
    return perhaps

Segment.write = on_the_disk(Segment.write)
Reader.read = on_the_disk(Reader.read)
os.fsync = on_the_disk(os.fsync)
cli.main()
"""
"""`pointgate` on a disk that no longer answers once a file is there: reads, writes and syncs."""


def test_a_disk_that_does_not_answer_is_left_behind(tmp_path: Path, broker: Broker) -> None:
    dead, lines = tmp_path / "dead", tmp_path / "lines"
    with Sender(broker.port) as sender:
        ledger = Ledger(sender)
        program, environ = ("-c", IN_HASTE + HANGS), {"DEAD_DISK": str(dead)}
        with service(
            tmp_path, broker, sink=str(lines), program=program, environ=environ
        ) as running:
            running.ready()
            with ledger.flow():
                until(lambda: ledger.look() > 200)
                dead.touch()
                until(lambda: ledger.look() < ledger.waiting)
                terminate(running)
            assert "exiting despite blocked threads" in "\n".join(running.lines)
        with service(tmp_path, broker, sink=str(lines)) as running:
            ledger.take(ledger.waiting)
            until(lambda: ledger.accepted <= stored(lines).keys())
            terminate(running)
    ledger.check(stored(lines))


def test_the_exit_status_is_the_service_s_whatever_libraries_do_at_the_end(
    tmp_path: Path, broker: Broker
) -> None:
    """A library's thread in an interpreter that is being finalized aborts the process."""
    plant = "import atexit, os, sys; from pointgate import cli; atexit.register(os.abort)"
    program = "-c", f"{plant}; sys.argv[0] = 'pointgate'; cli.main()"
    with Tap() as tap, tap.service(tmp_path, broker, program=program) as running:
        running.ready()
        terminate(running)
        running.wait_for("stopped")


def test_a_thread_ends_what_it_does_before_the_process_ends(tmp_path: Path, broker: Broker) -> None:
    begun, done = tmp_path / "begun", tmp_path / "done"
    plant = f"""
import concurrent.futures, pathlib, sys, time
from pointgate import cli
def work():
    while not pathlib.Path({str(begun)!r}).exists():
        time.sleep(0.01)
    time.sleep(0.2)
    pathlib.Path({str(done)!r}).touch()
concurrent.futures.ThreadPoolExecutor().submit(work)
sys.argv[0] = "pointgate"
cli.main()
"""
    with Tap() as tap, tap.service(tmp_path, broker, program=("-c", plant)) as running:
        running.ready()
        running.send_signal(signal.SIGTERM)
        running.wait_for("stopped")
        begun.touch()
        assert running.status() == 0
    assert done.exists()
