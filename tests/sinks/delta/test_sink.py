"""The Delta sink: each point once, whatever happens to its writer."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from pointgate.sinks import registry
from pointgate.sinks.base import LIVE, SinkUnavailableError
from pointgate.sinks.delta.settings import DeltaSettings
from pointgate.sinks.delta.sink import DeltaSink
from pointgate.sinks.object_stores import ObjectUrl
from pointgate.toml.document import check
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE
from tests.support.point_tables import DAY, EVERY_TYPE, Point, columns_of, table

if TYPE_CHECKING:
    from pathlib import Path

WRITER = """
import asyncio, sys
from pathlib import Path
from tests.sinks.delta.test_sink import new_sink, store, series

async def main() -> None:
    sink = new_sink(Path(sys.argv[1]))
    await sink.open()
    for sequence in range(sink.newest() + 1, 6):
        await store(sink, series(sequence), sequence=sequence)
    await sink.close()

asyncio.run(main())
"""


def series(sequence: int) -> pa.Table:
    """Points of one write, which no other one has, on three days."""
    return table(
        Point(device=f"d{sequence}", time=index * DAY // 100, double=float(index))
        for index in range(300)
    )


def new_sink(path: Path, *, writer: str = LIVE, **options: Any) -> DeltaSink:
    return DeltaSink(DeltaSettings(type="delta", path=path, **options), writer=writer)


async def store(sink: DeltaSink, points: pa.Table, *, sequence: int) -> None:
    await sink.write(points, sequence=sequence)
    await sink.commit()


def arrow(path: Path) -> pa.Table:
    return pa.table(DeltaTable(path).to_pyarrow_table())


async def test_every_reader_gets_what_was_written(tmp_path: Path) -> None:
    points = table(EVERY_TYPE)
    sink = new_sink(tmp_path / "points")
    await sink.open()
    await store(sink, points, sequence=1)
    await sink.close()
    got = arrow(tmp_path / "points")
    assert columns_of(got) == columns_of(points)
    assert {str(day) for day in got["date"].to_pylist()} == {
        "1970-01-01",
        "1970-01-02",
        "9999-12-31",
    }
    by_polars = pl.read_delta(str(tmp_path / "points")).to_arrow()
    assert columns_of(by_polars) == columns_of(points)
    assert len(duckdb.from_arrow(got).to_arrow_table()) == len(EVERY_TYPE)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["delta-before-commit", "delta-after-commit"])
@pytest.mark.parametrize("count", [1, 3])
def test_a_writer_that_is_killed_leaves_each_point_once(
    tmp_path: Path, place: str, count: int
) -> None:
    def run(**environ: str) -> int:
        command = [sys.executable, "-c", WRITER, str(tmp_path / "points")]
        return subprocess.run(
            command, cwd=ROOT, env=os.environ | environ, check=False, timeout=PATIENCE
        ).returncode

    assert run(POINTGATE_FAILPOINT=f"{place}:{count}") == -signal.SIGKILL
    assert new_sink(tmp_path / "points").newest() == count - (place == "delta-before-commit")
    assert run() == 0
    expected = pa.concat_tables([series(number) for number in range(1, 6)])
    assert columns_of(arrow(tmp_path / "points")) == columns_of(expected)


async def test_a_commit_whose_answer_was_lost_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = new_sink(tmp_path)
    await sink.open()
    append = DeltaSink._append

    def lost(*arguments: Any) -> None:
        append(*arguments)
        raise OSError("connection reset")

    monkeypatch.setattr(DeltaSink, "_append", lost)
    with pytest.raises(SinkUnavailableError, match="connection reset"):
        await store(sink, table([Point()]), sequence=3)
    monkeypatch.setattr(DeltaSink, "_append", append)
    await sink.commit()
    await store(sink, table([Point(time=1)]), sequence=4)
    await sink.close()
    assert len(arrow(tmp_path)) == 2
    assert sink.newest() == 4


async def test_two_services_with_one_writer_are_refused_and_lose_nothing(tmp_path: Path) -> None:
    one, two = new_sink(tmp_path), new_sink(tmp_path)
    await one.open()
    await two.open()
    await store(one, table([Point(time=1)]), sequence=10)
    with pytest.raises(SinkUnavailableError, match="a `writer` of its own"):
        await store(two, table([Point(time=2)]), sequence=4)
    await one.close()
    await two.close()
    assert len(arrow(tmp_path)) == 1


async def test_several_writers_append_at_the_same_time(tmp_path: Path) -> None:
    sinks = [new_sink(tmp_path, writer=f"w{number}") for number in range(4)]

    async def run(number: int, sink: DeltaSink) -> None:
        await sink.open()
        for sequence in range(1, 6):
            point = Point(device=f"d{number}", time=sequence)
            await store(sink, table([point]), sequence=sequence)
        await sink.close()

    await asyncio.gather(*(run(number, sink) for number, sink in enumerate(sinks)))
    assert len(arrow(tmp_path)) == 20
    assert [sink.newest() for sink in sinks] == [5] * 4


async def test_an_import_takes_no_sequence_of_the_service(tmp_path: Path) -> None:
    settings = [DeltaSettings(type="delta", path=tmp_path)]
    ((live, _),) = registry.build(settings)
    ((other, _),) = registry.build(settings, writer="import-7")
    for sink, sequence in ((live, 5), (other, 9)):
        await sink.open()
        await sink.write(table([Point(time=sequence)]), sequence=sequence)
        await sink.commit()
        await sink.close()
    assert (live.newest(), other.newest()) == (5, 9)


async def test_a_table_of_something_else_is_not_written(tmp_path: Path) -> None:
    DeltaTable.create(tmp_path, pa.schema([pa.field("a", pa.int64())]))
    sink = new_sink(tmp_path)
    with pytest.raises(SinkUnavailableError, match="is not a table of points: it lacks product"):
        await sink.open()
    await sink.close()


async def test_a_store_that_is_away_is_temporary() -> None:
    options = {
        "aws_endpoint_url": "http://127.0.0.1:9",
        "aws_allow_http": "true",
        "aws_region": "us-east-1",
        "aws_access_key_id": "a",
        "max_retries": "0",
    }
    settings = DeltaSettings(type="delta", path=ObjectUrl("s3://bucket/points"))
    sink = DeltaSink(settings, options=options | {"aws_secret_access_key": "hidden"})
    with pytest.raises(SinkUnavailableError, match="cannot write to s3://bucket/points") as raised:
        await sink.open()
    assert "hidden" not in str(raised.value)
    assert "\x1b" not in str(raised.value)
    with pytest.raises(OSError, match="s3://bucket/points"):
        sink.newest()
    await sink.close()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"path": "ftp://host/x"}, "expected a path or a url with s3://"),
        ({"path": "s3://"}, "expected a url such as s3://bucket/points"),
        ({"path": ""}, "expected a path or a url"),
        (
            {"path": "s3://bucket/x", "storage_options": {"AWS_SECRET_ACCESS_KEY": "x"}},
            "expected no secret here, got AWS_SECRET_ACCESS_KEY: use secret_files",
        ),
    ],
)
def test_what_cannot_work_is_refused_by_name(
    tmp_path: Path, given: dict[str, Any], said: str
) -> None:
    problems = check(DeltaSettings, {"type": "delta", **given}, file="x", base=tmp_path)
    assert isinstance(problems, list)
    (problem,) = problems
    assert said in problem.reason


def test_a_secret_comes_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("hidden\n")
    given = {
        "type": "delta",
        "path": "s3://bucket/x",
        "storage_options": {"aws_region": "eu-1"},
        "secret_files": {"aws_secret_access_key": str(tmp_path / "key")},
    }
    settings = check(DeltaSettings, given, file="x", base=tmp_path)
    assert isinstance(settings, DeltaSettings)
    assert settings.options() == {"aws_region": "eu-1", "aws_secret_access_key": "hidden"}
