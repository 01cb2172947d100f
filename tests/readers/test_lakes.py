"""Readers that are too large for every run: Spark with Delta Lake, DuckDB with its extensions.

`make spark` fetches them: Spark and the extensions from PyPI, Delta's jars by Maven. DuckDB is of
the extensions' version there.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from pointgate.sinks.delta.settings import DeltaSettings
from pointgate.sinks.delta.sink import DeltaSink
from tests.readers.test_reading import blocks
from tests.support.object_dataset import PLACE, new_sink
from tests.support.point_tables import DAY, Point, table
from tests.support.s3_server import SECRET
from tests.support.spark_session import delta_jars

if TYPE_CHECKING:
    import pyarrow as pa

    from pointgate.sinks.base import Sink
    from tests.support.s3_server import S3Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

WRITES: Final = [
    [Point(double=1.5, received=1), Point(product="007", time=DAY, long=7, received=1)],
    [Point(double=2.5, received=2), Point(time=5, text="ü", received=3)],
]
LAST: Final = [("007", 1, 7.0, None), ("solar", 0, 2.5, None), ("solar", 0, None, "ü")]
"""The last accepted values: product, days since 1970, value, text."""


async def written(sink: Sink) -> None:
    """Two commits, of which the second one has another value of the first one's point."""
    await sink.open()
    for sequence, points in enumerate(WRITES, 1):
        await sink.write(rows(points), sequence=sequence)
        await sink.commit()
    await sink.close()


def rows(points: list[Point]) -> pa.Table:
    return table(points)


def last(points: str) -> str:
    """The query of docs/reading.md, in the SQL of both."""
    return f"""
        SELECT product, CAST(datediff('day', DATE '1970-01-01', date) AS INTEGER), value, value_text
        FROM (SELECT *, row_number() OVER (PARTITION BY product, device, identifier, time
                                           ORDER BY received DESC) AS place FROM {points}) AS all_
        WHERE place = 1 ORDER BY product, time
    """  # noqa: S608 - our own names


def extension(name: str) -> str:
    """The path of an extension of DuckDB that PyPI has brought."""
    spec = importlib.util.find_spec(f"duckdb_extension_{name}")
    if spec is None or spec.origin is None:
        pytest.skip(f"DuckDB's extension {name} is not there: make spark")
    return str(next(Path(spec.origin).parent.rglob(f"{name}.duckdb_extension")))


async def test_spark_reads_the_delta_table(tmp_path: Path) -> None:
    spark_sql = pytest.importorskip("pyspark.sql")
    jars = delta_jars()
    await written(DeltaSink(DeltaSettings(type="delta", path=tmp_path / "lake")))
    builder = spark_sql.SparkSession.builder.master("local[1]")
    settings = {
        "ui.enabled": "false",
        "driver.host": "127.0.0.1",
        "driver.bindAddress": "127.0.0.1",
        "jars": ",".join(jars),
        "sql.shuffle.partitions": "1",
        "sql.session.timeZone": "UTC",
        "sql.warehouse.dir": str(tmp_path / "warehouse"),
        "sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    }
    for name, value in settings.items():
        builder = builder.config(f"spark.{name}", value)
    with builder.getOrCreate() as spark:
        spark.sql(f"CREATE TABLE points USING delta LOCATION '{tmp_path / 'lake'}'")
        assert spark.sql("SELECT count(*) FROM points").collect()[0][0] == 4
        query = last("points").replace("datediff('day',", "datediff(DAY,")
        assert [tuple(row) for row in spark.sql(query).collect()] == LAST
        names = [row.col_name for row in spark.sql("DESCRIBE points").collect()]
        assert names[:5] == ["product", "device", "identifier", "time", "value"]


def connected(*extensions: str) -> Any:
    """DuckDB with extensions."""
    paths = [extension(name) for name in extensions]
    import duckdb  # noqa: PLC0415 - that of the extensions

    database = duckdb.connect()
    for path in paths:
        database.execute(f"LOAD '{path}'")
    return database


async def test_duckdb_reads_the_delta_table_with_its_extension(tmp_path: Path) -> None:
    with connected("delta") as database:
        await written(DeltaSink(DeltaSettings(type="delta", path=tmp_path / "lake")))
        found = f"delta_scan('{tmp_path / 'lake'}')"
        assert database.execute(last(found)).fetchall() == LAST


async def test_duckdb_reads_the_objects_with_its_extension(s3: S3Server) -> None:
    with connected("httpfs") as database:
        await written(new_sink(s3.options))
        database.execute(f"""
            CREATE SECRET (TYPE s3, KEY_ID 'accessacc', SECRET '{SECRET}', REGION 'us-east-1',
                           ENDPOINT '127.0.0.1:{s3.port}', URL_STYLE 'path', USE_SSL false)
        """)
        found = f"read_parquet('s3://{PLACE}/**/*.parquet', hive_partitioning = true)"
        assert database.execute(last(found)).fetchall() == LAST
        (view,) = blocks("sql s3")
        database.execute(view.replace("bucket/points", PLACE))
        assert database.execute("SELECT count(*) FROM last").fetchone() == (3,)
        days = database.execute(f"SELECT DISTINCT date FROM {found} ORDER BY 1").fetchall()  # noqa: S608
        assert len(days) == 2
