"""The Parquet sink in an object store: each point once, whatever happens to writer and store."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pointgate.errors import ConfigError
from pointgate.sinks import registry
from pointgate.sinks.base import SinkUnavailableError
from pointgate.sinks.object_stores import ObjectUrl
from pointgate.sinks.parquet.object_sink import ObjectSink
from pointgate.sinks.parquet.object_store import ObjectStore, StoreError
from pointgate.sinks.parquet.settings import ParquetSettings
from tests.support.object_dataset import (
    PLACE,
    QUICK,
    URL,
    file_system,
    keys,
    new_sink,
    read,
    store,
)
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE
from tests.support.point_tables import DAY, EVERY_TYPE, Point, columns_of, table

if TYPE_CHECKING:
    from tests.support.s3_server import S3Server

PLACES = [
    "objects-before-record",
    "objects-after-record",
    "objects-between-copies",
    "objects-after-copies",
]

WRITER = """
import asyncio, json, sys
from tests.sinks.parquet.test_objects import cut
from tests.support.object_dataset import new_sink

async def main() -> None:
    sink = new_sink(json.loads(sys.argv[1]))
    await sink.open()
    for points, sequence in cut(sink.newest(), int(sys.argv[2])):
        await sink.write(points, sequence=sequence)
        await sink.commit()
    await sink.close()

asyncio.run(main())
"""
REQUESTS = 12


def request(sequence: int) -> pa.Table:
    """Points of one request, which no other one has, on three days."""
    return table(
        Point(device=f"d{sequence}", time=index * DAY // 10, double=float(index))
        for index in range(30)
    )


def cut(after: int, size: int) -> list[tuple[pa.Table, int]]:
    """The rest of the requests, in writes of so many."""
    writes = []
    for first in range(after + 1, REQUESTS + 1, size):
        numbers = range(first, min(first + size, REQUESTS + 1))
        writes.append((pa.concat_tables(map(request, numbers)), numbers[-1]))
    return writes


def all_requests() -> list[dict[str, object]]:
    return columns_of(pa.concat_tables(map(request, range(1, REQUESTS + 1))))


async def test_every_reader_gets_what_was_written(s3: S3Server) -> None:
    points = table(EVERY_TYPE)
    sink = new_sink(s3.options)
    await sink.open()
    await store(sink, points, sequence=1)
    await sink.close()
    assert read(s3) == columns_of(points)
    names = [name for name in keys(s3) if name.endswith(".parquet")]
    assert [name.partition("/")[0] for name in names] == [
        "date=1970-01-01",
        "date=1970-01-02",
        "date=9999-12-31",
    ]
    assert {name.partition("/")[2][:25] for name in names} == {"live-0000000000000000001-"}
    assert [name for name in keys(s3) if name not in names] == [".pointgate/live.json"]
    frame = pl.scan_parquet(
        f"s3://{PLACE}/**/*.parquet", storage_options=s3.options, hive_partitioning=True
    ).collect()
    assert columns_of(frame.to_arrow()) == columns_of(points)
    assert "007" in frame["product"].to_list()
    footer = pq.read_metadata(f"{PLACE}/{names[0]}", filesystem=file_system(s3))
    assert footer.metadata[b"pointgate.format"] == b"2"
    assert len(duckdb.from_arrow(frame.to_arrow()).to_arrow_table()) == len(EVERY_TYPE)


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("count", [1, 2])
def test_a_writer_that_is_killed_leaves_each_point_once_however_the_rest_is_cut(
    s3: S3Server, place: str, count: int
) -> None:
    def run(size: int, **environ: str) -> int:
        command = [sys.executable, "-c", WRITER, json.dumps(s3.options), str(size)]
        return subprocess.run(
            command, cwd=ROOT, env=os.environ | environ, check=False, timeout=PATIENCE
        ).returncode

    assert run(5, POINTGATE_FAILPOINT=f"{place}:{count}") == -signal.SIGKILL
    commits = count - (place == "objects-before-record")
    commits = 1 if place == "objects-between-copies" else commits
    assert new_sink(s3.options).newest() == 5 * commits
    if names := [name for name in keys(s3) if name.endswith(".parquet")]:
        seen = read(s3)
        assert len(names) <= 3 * commits
        assert len(seen) == len({(row["device"], row["time"]) for row in seen})
    assert run(4) == 0
    assert read(s3) == all_requests()
    assert not [name for name in keys(s3) if "staged" in name]


async def test_points_are_there_once_after_an_outage(s3: S3Server) -> None:
    sink = new_sink(s3.options)
    assert sink.newest() == 0
    await sink.open()
    await store(sink, table([Point(time=1, double=1.0)]), sequence=1)
    s3.kill()
    await sink.write(table([Point(time=2, double=2.0)]), sequence=2)
    with pytest.raises(SinkUnavailableError, match=f"cannot write to {URL}: "):
        await sink.commit()
    assert [sink.pending] == [True]
    with pytest.raises(OSError, match="cannot read"):
        sink.newest()
    s3.start()
    await sink.commit()
    assert not sink.pending
    await sink.close()
    assert new_sink(s3.options).newest() == 2
    assert [row["value_double"] for row in read(s3)] == [1.0, 2.0]


@pytest.mark.parametrize("method", ["put", "replace", "copy", "delete"])
async def test_an_answer_that_is_lost_is_not_taken_for_a_failure(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    sink = new_sink(s3.options)
    await sink.open()
    await store(sink, request(1), sequence=1)
    call = getattr(ObjectStore, method)

    def lost(*arguments: Any) -> None:
        call(*arguments)
        raise StoreError(OSError("connection reset"))

    monkeypatch.setattr(ObjectStore, method, lost)
    await sink.write(request(2), sequence=2)
    if method == "delete":
        await sink.commit()
    else:
        with pytest.raises(SinkUnavailableError, match="connection reset"):
            await sink.commit()
        assert sink.pending
    monkeypatch.setattr(ObjectStore, method, call)
    await sink.commit()
    await store(sink, request(3), sequence=3)
    await sink.close()
    assert sink.newest() == 3
    assert read(s3) == columns_of(pa.concat_tables(map(request, (1, 2, 3))))


async def test_of_two_services_with_one_writer_the_earlier_one_is_refused(s3: S3Server) -> None:
    one, two = new_sink(s3.options), new_sink(s3.options)
    await one.open()
    await two.open()
    with pytest.raises(SinkUnavailableError, match="another process writes to s3://points/live"):
        await store(one, table([Point(time=1)]), sequence=10)
    await store(two, table([Point(time=2)]), sequence=4)
    with pytest.raises(SinkUnavailableError, match="a `writer` of its own"):
        await one.commit()
    await one.close()
    await two.close()
    assert [row["time"] for row in read(s3)] == [2]
    assert two.newest() == 4


async def test_a_decision_that_arrives_after_its_process_is_dead_decides_nothing(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    late: list[tuple[Any, ...]] = []
    one = new_sink(s3.options)
    await one.open()
    await store(one, request(1), sequence=1)
    replace = ObjectStore.replace

    def under_way(*arguments: Any) -> None:
        late.append(arguments)
        raise StoreError(OSError("killed"))

    monkeypatch.setattr(ObjectStore, "replace", under_way)
    with pytest.raises(SinkUnavailableError):
        await store(one, request(2), sequence=2)
    monkeypatch.setattr(ObjectStore, "replace", replace)
    await one.close()
    two = new_sink(s3.options)
    await two.open()
    assert two.newest() == 1
    assert replace(*late[0]) is None
    await store(two, request(2), sequence=2)
    await two.close()
    assert read(s3) == columns_of(pa.concat_tables(map(request, (1, 2))))


async def commit_with_retries(sink: ObjectSink) -> None:
    """Commit as the drain does: this server keeps folders, and removes an empty one under a put."""
    for _ in range(20):
        try:
            await sink.commit()
        except SinkUnavailableError:
            if not sink.pending:
                raise
            await asyncio.sleep(0.05)
        else:
            return
    await sink.commit()


async def test_several_writers_write_at_the_same_time(s3: S3Server) -> None:
    sinks = [new_sink(s3.options, writer=f"w{number}") for number in range(4)]

    async def run(number: int, sink: ObjectSink) -> None:
        await sink.open()
        for sequence in range(1, 6):
            point = Point(device=f"d{number}", time=sequence)
            await sink.write(table([point]), sequence=sequence)
            await commit_with_retries(sink)
        await sink.close()

    await asyncio.gather(*(run(number, sink) for number, sink in enumerate(sinks)))
    assert len(read(s3)) == 20
    assert [sink.newest() for sink in sinks] == [5] * 4


async def test_an_import_takes_no_sequence_of_the_service(s3: S3Server) -> None:
    settings = [ParquetSettings(path=URL, storage_options={}, writer="site_a")]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3.environment.items():
            patch.setenv(name, value)
        ((live, _),) = registry.build(settings)
        ((other, _),) = registry.build(settings, writer="import-7")
    for sink, sequence in ((live, 5), (other, 9)):
        await sink.open()
        await sink.write(table([Point(time=sequence)]), sequence=sequence)
        await sink.commit()
        await sink.close()
    assert (live.newest(), other.newest()) == (5, 9)
    assert {name.rpartition("/")[2].partition("-")[0] for name in keys(s3)} == {
        "import",
        "site_a",
        "site_a.json",
    }


@pytest.mark.parametrize("on_conflict", ["update", "ignore"])
async def test_the_last_accepted_value_has_the_greatest_arrival(
    s3: S3Server, on_conflict: str
) -> None:
    sink = new_sink(s3.options, on_conflict=on_conflict)
    await sink.open()
    for value in (1, 2):
        points = [Point(double=value + part / 10, received=10 * value + part) for part in (0, 1)]
        await store(sink, table(points), sequence=value)
    await sink.close()
    values = [row["value_double"] for row in sorted(read(s3), key=lambda row: str(row["received"]))]
    assert values == ([1.1, 2.1] if on_conflict == "update" else [1.0, 2.0])


async def test_objects_are_of_months_and_of_full_size(s3: S3Server) -> None:
    sink = new_sink(s3.options, partition="month", rotate_bytes=2**20)
    await sink.open()
    texts = (os.urandom(300).hex() for _ in range(6000))
    points = table(
        Point(time=number * DAY // 100, text=text, received=number)
        for number, text in enumerate(texts)
    )
    await sink.write(points, sequence=1)
    assert [sink.full] == [False]  # it is not encoded yet
    for sequence in range(2, 20):
        await sink.write(points, sequence=sequence)
    assert sink.full
    await sink.commit()
    await sink.close()
    names = [name for name in keys(s3) if name.endswith(".parquet")]
    months = [name.partition("/")[0] for name in names]
    assert months == ["month=1970-01", "month=1970-02", "month=1970-03"]
    wrong = new_sink(s3.options)
    expected = 'has folders month=…: expected partition = "month"'
    with pytest.raises(SinkUnavailableError, match=expected):
        await wrong.open()
    with pytest.raises(ConfigError, match=expected):
        wrong.examine(writes=True)
    await wrong.close()


async def test_old_days_are_deleted_and_nothing_of_others(s3: S3Server) -> None:
    now = int(time.time() * 1000)
    sink = new_sink(s3.options)
    await sink.open()
    points = [Point(time=now - age * DAY, received=age) for age in (0, 2, 9, 400)]
    await store(sink, table(points), sequence=1)
    await sink.close()
    system = file_system(s3)
    old = f"date={datetime.fromtimestamp((now - 400 * DAY) / 1000, UTC).date()}"
    with system.open_output_stream(f"{PLACE}/{old}/notes.txt") as file:
        file.write(b"mine")
    for keep, left in ((7 * 86_400, 2), (86_400 * 500, 2)):
        again = new_sink(s3.options, keep=keep)
        await again.open()
        assert await again.expire()
        await again.close()
        assert len(read_all(s3)) == left
    assert f"{old}/notes.txt" in keys(s3)


def read_all(server: S3Server) -> list[str]:
    return [name for name in keys(server) if name.endswith(".parquet")]


@pytest.mark.parametrize(
    ("options", "url", "words"),
    [
        ({"aws_secret_access_key": "wrongwrong"}, URL, "403 Forbidden: SignatureDoesNotMatch"),
        ({"aws_access_key_id": "wrongwrong"}, URL, "404 Not Found: XAdminUserNotFound: No user"),
        ({}, ObjectUrl("s3://nobucket/x"), "404 Not Found: NoSuchBucket: The specified bucket"),
    ],
)
async def test_wrong_keys_and_buckets_are_named_and_secrets_are_not(
    s3: S3Server, options: dict[str, str], url: ObjectUrl, words: str
) -> None:
    settings = ParquetSettings(path=url)
    sink = ObjectSink(settings, options=s3.options | options | QUICK)
    with pytest.raises(SinkUnavailableError, match=words) as raised:
        await sink.open()
    with pytest.raises(ConfigError, match=words) as found:
        sink.examine(writes=True)
    with pytest.raises(OSError, match=words):
        sink.newest()
    await sink.close()
    for error in (raised, found):
        assert "wrongwrong" not in str(error.value)
        assert "secretsecret" not in str(error.value)
        assert len(str(error.value)) < 300


async def test_a_store_that_ignores_conditions_is_refused(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = ObjectStore._put

    def unconditional(self: ObjectStore, key: str, content: Any, _mode: Any) -> Any:
        return put(self, key, content, "overwrite")

    monkeypatch.setattr(ObjectStore, "_put", unconditional)
    sink = new_sink(s3.options)
    with pytest.raises(SinkUnavailableError, match="expected a store with conditional puts"):
        await sink.open()
    await sink.close()


@pytest.mark.parametrize("content", [b"\xff", b"[]", b'{"id": "x", "format": 7}'])
async def test_a_record_of_something_else_is_not_overwritten(s3: S3Server, content: bytes) -> None:
    with file_system(s3).open_output_stream(f"{PLACE}/.pointgate/live.json") as file:
        file.write(content)
    sink = new_sink(s3.options)
    with pytest.raises(SinkUnavailableError, match=r"live\.json: expected"):
        await sink.open()
    await sink.close()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"nonsense": "x"}, "nonsense"),
        ({"max_retries": "x"}, "expected a number for max_retries"),
        ({"timeout": "x"}, "as Duration"),
        ({"aws_endpoint_url": "http://127.0.0.1:9"}, 'expected allow_http = "true"'),
    ],
)
def test_options_that_cannot_work_are_refused_by_name(options: dict[str, str], words: str) -> None:
    settings = ParquetSettings(path=URL, storage_options=options)
    with pytest.raises(ConfigError, match=words):
        registry.build([settings])
