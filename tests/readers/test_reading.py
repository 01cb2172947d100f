"""The queries of docs/reading.md run, and give what they say."""

from __future__ import annotations

import importlib.util
import json
import re
from typing import TYPE_CHECKING, Any, Final

import duckdb
import pytest

from pointgate import Catalog
from pointgate.sinks.delta.settings import DeltaSettings
from pointgate.sinks.delta.sink import DeltaSink
from pointgate.sinks.parquet import dimensions
from tests.support.object_dataset import PLACE, new_sink, store
from tests.support.parquet_dataset import write
from tests.support.paths import ROOT
from tests.support.point_tables import Point, table
from tests.support.postgres_points import ask, sink

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.postgres_server import PostgresServer
    from tests.support.s3_server import S3Server

pytest_plugins = ("tests.support.postgres_fixtures",)

PAGE: Final = (ROOT / "docs/reading.md").read_text("utf-8")

HOUR: Final = 3_600_000
START: Final = 1_795_392_000_000
"""2026-11-23T00:00:00Z."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two devices with a value an hour, one of which was posted again, and an array."""
    power = [
        Point(
            device=f"inverter-00{device}",
            identifier="activePower",
            time=START + hour * HOUR,
            double=float(hour),
            received=1,
        )
        for device in (1, 2)
        for hour in range(4)
    ]
    first = power[0]
    again = first._replace(double=10.0, received=2)
    state = first._replace(identifier="state", double=None, long=2)
    array = Point(identifier="stringCurrents", time=START, json="[1.5,2.5]", received=1)
    write(tmp_path / "points", table([*power, state, array]), table([again]))
    dimensions.write(tmp_path / "dimensions", Catalog.load(ROOT / "python/pointgate/demo/catalog"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("dataset")
def test_sql_of_the_page_gives_what_it_says() -> None:
    view, newest, series, wide, array, described = blocks("sql")

    def rows(query: str) -> list[tuple[Any, ...]]:
        found = database.sql(query).to_arrow_table()  # its own rows would need pytz
        return [tuple(row.values()) for row in found.to_pylist()]

    with duckdb.connect() as database:
        database.execute("SET TimeZone = 'UTC'")
        database.execute(view)
        assert rows("SELECT count(*) FROM last") == [(10,)]
        assert [(row[1], row[2], row[4]) for row in rows(newest)] == [
            ("inv1", "stringCurrents", "[1.5,2.5]"),
            ("inverter-001", "activePower", "3.0"),
            ("inverter-001", "state", "2.0"),
            ("inverter-002", "activePower", "3.0"),
        ]
        assert [row[1:] for row in rows(series)] == [(10.0, 1), (1.0, 1), (2.0, 1), (3.0, 1)]
        assert next(row for row in rows(wide) if row[0] == "inverter-001")[2:4] == (10.0, 2.0)
        assert [row[2] for row in rows(array)] == json.loads("[1.5, 2.5]")
        found = rows(described)
        assert len(found) == 10
        assert {row[4:] for row in found if row[2] == "activePower"} == {("kW", None)}
        assert [row[3:] for row in found if row[2] == "state"] == [(2.0, None, "running")]


@pytest.mark.usefixtures("dataset")
@pytest.mark.parametrize(
    ("library", "printed"),
    [("polars", "10.0"), ("pyarrow", "[10.0, 1.0, 2.0, 3.0, 2.0]"), ("pandas", "")],
)
def test_python_of_the_page_runs(
    capsys: pytest.CaptureFixture[str], library: str, printed: str
) -> None:
    (code,) = [block for block in blocks("python") if f"import {library}" in block]
    if library == "pandas":
        pytest.importorskip("pandas")
        if not importlib.util.find_spec("matplotlib"):
            assert ".plot()" in code
            code = code.replace(".plot()", "")
    names: dict[str, Any] = {}
    exec(compile(code, f"reading.md, {library}", "exec"), names)  # noqa: S102 - our own example
    assert printed in capsys.readouterr().out
    if library == "pandas":
        series = names["last"].sort_values(["device", "time"])
        assert series["value"].tolist() == [10.0, 1.0, 2.0, 3.0, 0.0, 1.0, 2.0, 3.0]


@pytest.mark.slow
def test_spark_of_the_page_gives_what_it_says(dataset: Path) -> None:
    """Run by `make spark`, which installs it."""
    spark_sql = pytest.importorskip("pyspark.sql")
    builder = spark_sql.SparkSession.builder.master("local[1]")
    settings = {"ui.enabled": "false", "sql.shuffle.partitions": "1", "driver.host": "127.0.0.1"}
    for name, value in {**settings, "sql.session.timeZone": "UTC"}.items():
        builder = builder.config(f"spark.{name}", value)
    (page,) = blocks("spark")
    page = page.replace("'points'", f"'{dataset}/points'")  # a JVM that runs is somewhere else
    with builder.getOrCreate() as spark:
        *views, query = page.split(";\n")
        for view in views:
            spark.sql(view)
        assert [tuple(row) for row in spark.sql(query).collect()] == [
            ("inv1", "stringCurrents", 1, None),
            ("inverter-001", "activePower", 4, 3.0),
            ("inverter-001", "state", 1, 2.0),
            ("inverter-002", "activePower", 4, 3.0),
        ]


async def test_postgresql_of_the_page_gives_what_it_says(server: PostgresServer) -> None:
    first, state = Point(device="inverter-001", identifier="activePower", received=1), 2
    power = [first._replace(time=START + n * HOUR // 2, double=float(n)) for n in range(3)]
    states = power[0]._replace(identifier="state", double=None, long=state)
    async with sink(server, "pointgate") as postgres:
        await postgres.write(table([*power, states]), sequence=1)
        await postgres.write(table([power[0]._replace(double=10.0)]), sequence=2)
    newest, series, wide = blocks("postgresql")
    rows = [(row[1], row[3]) for row in ask(server, newest)]
    assert rows == [("activePower", 2.0), ("state", 2.0)]
    assert [row[1:] for row in ask(server, series)] == [(5.5, 2), (2.0, 1)]
    assert [row[2:] for row in ask(server, wide)] == [(10.0, 2), (1.0, None), (2.0, None)]


async def test_python_for_objects_of_the_page_runs(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = new_sink(s3.options)
    await sink.open()
    for sequence in (1, 2):
        points = [Point(double=float(sequence), received=sequence), Point(time=sequence)]
        await store(sink, table(points), sequence=sequence)
    await sink.close()
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    (code,) = blocks("python s3")
    names: dict[str, Any] = {}
    exec(compile(code.replace("bucket/points", PLACE), "reading.md, S3", "exec"), names)  # noqa: S102 - as above
    assert names["last"]["value"].drop_nulls().to_list() == [2.0]
    assert len(names["last"]) == 3


async def test_python_for_delta_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sink = DeltaSink(DeltaSettings(type="delta", path=tmp_path / "lake"))
    await sink.open()
    for sequence in (1, 2):
        await sink.write(table([Point(double=1.0, received=sequence)]), sequence=sequence)
        await sink.commit()
    await sink.close()
    monkeypatch.chdir(tmp_path)
    (code,) = [block for block in blocks("python") if "DeltaTable" in block]
    exec(compile(code, "reading.md, deltalake", "exec"), {"__name__": "page"})  # noqa: S102 - as above
    assert capsys.readouterr().out == "1\n"
