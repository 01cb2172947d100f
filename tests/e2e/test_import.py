"""An import beside a service that has died: what its spool holds and what is imported are there."""

from __future__ import annotations

import json
import signal
from collections import Counter
from typing import TYPE_CHECKING

from tests.e2e.ledger import Ledger
from tests.support.imports import run
from tests.support.parquet_dataset import keys_of
from tests.support.processes import Broker, Sender, Service

if TYPE_CHECKING:
    from pathlib import Path

MAPPING = """
product = "protocol"
device = "device1"
[time]
column = "t"
format = "epoch_ms"
[wide]
[points]
temp = "temp"
"""
ROWS = 3000
FIRST = 1_600_000_000_000


def service(folder: Path, broker: Broker) -> Service:
    """A service that writes its files when it ends."""
    sink = (f'path = "{folder}/spool"', "[[sinks]]", 'type = "parquet"', 'rotate_age = "1h"')
    place = f'path = "{folder}/points"'
    return Service(folder, broker.port, "[spool]", *sink, place, ack="spool")


def test_an_import_takes_nothing_from_the_spool_of_a_service_that_was_killed(
    tmp_path: Path, broker: Broker
) -> None:
    lines = [f"{FIRST + number},{number % 50}" for number in range(ROWS)]
    (tmp_path / "history.csv").write_text("\n".join(["t,temp", *lines]))
    (tmp_path / "mapping.toml").write_text(MAPPING)
    with Sender(broker.port) as sender:
        ledger = Ledger(sender)
        for times in (1, 2):  # with files of the service in the dataset, and without
            with service(tmp_path, broker) as running:
                running.ready()
                ledger.send(100)
                ledger.take(100)
                running.end(signal.SIGKILL)
            options = ["--mapping", "mapping.toml", "-c", "service.toml", "--memory", "1MiB"]
            state = ["--state", f"state-{len(ledger.accepted)}", "--json"]
            done = run("history.csv", *options, *state, cwd=tmp_path)
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout)["points"] == ROWS
            with service(tmp_path, broker) as running:
                running.ready()
                assert running.end(signal.SIGTERM) == 0
            check(tmp_path, ledger.accepted, times)


def check(folder: Path, accepted: set[int], times: int) -> None:
    """Every point that was answered is there once, and every one of each import."""
    found = Counter(time for *_, time in keys_of(folder / "points").elements())
    live = {base + number for number in accepted for base in (1_700_000_000_000, 1_800_000_000_000)}
    assert live <= found.keys()
    assert {found[time] for time in live} == {1}
    imported = {FIRST + number for number in range(ROWS)}
    assert found.keys() - live == imported
    assert {found[time] for time in imported} == {times}
