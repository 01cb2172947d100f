"""`pointgate import --post`: through a real broker to a real service, killed, away and resumed."""

from __future__ import annotations

import json
import signal
from collections import Counter
from typing import TYPE_CHECKING, Any

import pyarrow.dataset as pads

from pointgate.importing.posting import WINDOW
from tests.support.imports import command, rejected, run
from tests.support.parquet_dataset import keys_of
from tests.support.paths import CATALOG
from tests.support.processes import Broker, Process, Service

if TYPE_CHECKING:
    from collections.abc import Iterator
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
    table = pads.dataset(tmp_path / "points", partitioning="hive").to_table(["time", "value"])
    found = dict(zip(table["time"].cast("int64").to_pylist(), table["value"].to_pylist(), strict=True))
    assert found[FIRST * 1000 + 7000] == 7.01
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
        assert codes(report) == {200: count}
        name = 'pointgate_requests_total{code="200"}'
        running.wait_for_metric(name, count, at_least=True)
        assert running.metric(name) <= count + 2 * WINDOW
        assert running.end() == 0
    table = pads.dataset(tmp_path / "points", partitioning="hive").to_table(["time", "value"])
    found = set(zip(table["time"].cast("int64").to_pylist(), table["value"].to_pylist(), strict=True))
    assert sorted(value for _, value in found) == list(range(count))
    assert len({time for time, _ in found}) == count
