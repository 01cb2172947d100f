"""`pointgate import --post`: through a real broker to a real service, killed, away and resumed."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections import Counter
from typing import TYPE_CHECKING, Any

import pyarrow.dataset as pads

from pointgate.importing.posting import WINDOW
from tests.support.imports import command, rejected, run
from tests.support.parquet_dataset import keys_of
from tests.support.paths import CATALOG
from tests.support.patience import PATIENCE
from tests.support.processes import Broker, Process, Service

if TYPE_CHECKING:
    from pathlib import Path

MAPPING = """
product = "protocol"
device = { column = "d" }
[time]
column = "t"
format = "epoch_ms"
[wide]
[points]
temp = "temp"
"""
ROWS = 60_000
FIRST = 1_600_000_000_000
OPTIONS = ["--mapping", "mapping.toml", "-c", "service.toml", "--memory", "4MiB", "--json"]


def history(folder: Path, rows: int = ROWS) -> list[object]:
    """An export and its mapping; the arguments that post it."""
    lines = [f"{FIRST + number},device1,{number % 50}.01" for number in range(rows)]
    (folder / "history.csv").write_text("\n".join(["t,d,temp", *lines]))
    (folder / "mapping.toml").write_text(MAPPING)
    return ["history.csv", *OPTIONS, "--post", "--wait", "20s"]


def service(folder: Path, broker: Broker, *, catalog: Path = CATALOG) -> Service:
    """A service that writes its files when it ends."""
    sink = (f'path = "{folder}/spool"', "[[sinks]]", 'type = "parquet"', 'rotate_age = "1h"')
    place = f'path = "{folder}/points"'
    return Service(folder, broker.port, "[spool]", *sink, place, ack="spool", catalog=catalog)


def stored(folder: Path) -> Counter[int]:
    """The times in the dataset, as often as they are there."""
    return Counter(time for *_, time in keys_of(folder / "points").elements())


def readings(folder: Path) -> dict[int, float]:
    """The value of each microsecond in the dataset."""
    table = pads.dataset(folder / "points", partitioning="hive").to_table(["time", "value"])
    times = table["time"].cast("int64").to_pylist()
    return dict(zip(times, table["value"].to_pylist(), strict=True))


def everything(rows: int = ROWS) -> Counter[int]:
    return Counter(FIRST + number for number in range(rows))


def codes(report: dict[str, Any]) -> dict[int, int]:
    return {one["code"]: one["requests"] for one in report["posted"]["replies"]}


def test_every_point_is_posted_and_stored_as_it_is(tmp_path: Path, broker: Broker) -> None:
    arguments = history(tmp_path)
    with service(tmp_path, broker) as running:
        running.ready()
        done = run(*arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        assert report["points"] == ROWS
        assert codes(report) == {200: report["posted"]["requests"]}
        again = run(*arguments, cwd=tmp_path)
        assert again.returncode == 0
        assert running.end() == 0
    assert stored(tmp_path) == everything()
    assert readings(tmp_path)[FIRST * 1000 + 7000] == 7.01
    assert not done.stderr


def archive(folder: Path, count: int) -> list[object]:
    """Archived requests without `time`, each of which is posted by itself."""
    (folder / "archive.ndjson").write_bytes(b"\n".join(request(n) for n in range(count)))
    arguments = ["archive.ndjson", "--product", "protocol", "-c", "service.toml", "--json"]
    return [*arguments, "--post", "--wait", "20s"]


def request(number: int) -> bytes:
    entry = {"deviceKey": "device1", "measurepoints": {"temp": number}}
    document = {"version": "1.0", "method": "integration.measurepoint.post", "params": [entry]}
    return json.dumps(document).encode()


def test_after_a_kill_what_was_answered_is_not_posted_again(tmp_path: Path, broker: Broker) -> None:
    count = 1500
    arguments = archive(tmp_path, count)
    with service(tmp_path, broker) as running:
        running.ready()
        for place in ("import-before-answer:1", "import-before-answer:400", "import-after-chunk:1"):
            killed = run(*arguments, cwd=tmp_path, POINTGATE_FAILPOINT=place)
            assert killed.returncode == -signal.SIGKILL, killed.stderr
        done = run(*arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        assert report["points"] == count
        # Two instants that are whole milliseconds are sent as `time`, together.
        assert codes(report)[200] in {count, count - 1}
        assert codes(report).keys() == {200}
        name = 'pointgate_requests_total{code="200"}'
        running.wait_for_metric(name, count, at_least=True)
        assert running.metric(name) <= count + 2 * WINDOW
        assert running.end() == 0
    assert sorted(readings(tmp_path).values()) == list(range(count))


def test_an_import_that_is_interrupted_continues(tmp_path: Path, broker: Broker) -> None:
    arguments = archive(tmp_path, 3000)
    with service(tmp_path, broker) as running:
        running.ready()
        name = 'pointgate_requests_total{code="200"}'
        with subprocess.Popen(command(*arguments), cwd=tmp_path, stderr=subprocess.PIPE) as process:
            running.wait_for_metric(name, 50, at_least=True)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == 128 + signal.SIGINT
        assert errors.decode() == "stopped; the same command continues, and stores nothing twice\n"
        done = run(*arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        running.wait_for_metric(name, 3000, at_least=True)
        assert running.metric(name) <= 3000 + WINDOW
        assert running.end() == 0
    assert len(readings(tmp_path)) == 3000


def test_a_service_that_restarts_and_a_broker_that_restarts_are_waited_for(tmp_path: Path) -> None:
    rows = 1500
    arguments = archive(tmp_path, rows)
    with Broker(tmp_path) as broker, service(tmp_path, broker) as running:
        running.ready()
        arguments[-1] = "120s"
        running.send_signal(signal.SIGSTOP)  # requests are in flight until the broker is away
        with Process(*command(*arguments), cwd=tmp_path) as importing:
            broker.wait_for(r"Received PUBLISH from \S+-import-")
            broker.end()
            importing.wait_for(r"mqtt://127.0.0.1:\d+: .*; retrying for \d+ s \(--wait\)")
            running.send_signal(signal.SIGCONT)
            broker.start()
            # A request that is posted before the service is back is posted again after 30 s.
            importing.wait_for("requests are answered again", 90)
            assert running.end() == 0
            with service(tmp_path, broker) as again:
                again.ready()
                assert importing.status(60) == 0
                assert again.end() == 0
    assert len(readings(tmp_path)) == rows


def test_without_a_service_the_import_ends_and_says_for_how_long_it_waited(
    tmp_path: Path, broker: Broker
) -> None:
    with service(tmp_path, broker) as running:  # which writes its settings
        running.end()
    arguments = archive(tmp_path, 100)
    arguments[-1] = "1s"
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 74
    assert "no reply within 1 s; no reply for" in done.stderr
    assert "(--wait); the same command continues, and stores nothing twice" in done.stderr
    broker.end()
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 74
    assert "cannot connect" in done.stderr


def test_what_the_service_rejects_is_in_the_report(tmp_path: Path, broker: Broker) -> None:
    theirs = tmp_path / "catalog"
    shutil.copytree(CATALOG, theirs)
    devices = theirs / "devices/protocol.txt"
    devices.write_text(devices.read_text().replace("device2\n", ""))
    rows = 20_000
    arguments = history(tmp_path, rows)
    with (tmp_path / "history.csv").open("a") as file:
        file.write("".join(f"\n{FIRST + number},device2,1" for number in (5, 6, 20_000)))
    with service(tmp_path, broker, catalog=theirs) as running:
        running.ready()
        options = ["--catalog", str(CATALOG)]
        killed = run(
            *arguments, *options, cwd=tmp_path, POINTGATE_FAILPOINT="import-before-answer:6"
        )
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        done = run(*arguments, *options, cwd=tmp_path)
        assert done.returncode == 1, done.stderr
        report = json.loads(done.stdout)
        assert report["points"] == rows
        assert report["reasons"] == [{"reason": "device", "count": 3}]
        assert codes(report)[1257] > 3
        assert running.end() == 0
    found = rejected(tmp_path / "import-state")
    assert [(one["device"], one["code"], one["reason"]) for one in found] == (
        [("device2", 1257, "device")] * 3
    )
    assert found[0]["message"].startswith("Device not found: params[0].deviceKey: ")
    assert stored(tmp_path).keys() == everything(rows).keys()
