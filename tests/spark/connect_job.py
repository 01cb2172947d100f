"""Everything in `pointgate.spark` over Spark Connect; `test_connect.py` runs it.

A process has either sessions of this kind or others, so it is one of its own.

    python -m tests.spark.connect_job spark FOLDER     # a server of Spark, on the JVM
    python -m tests.spark.connect_job sail FOLDER      # Sail, in this process
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pointgate import Catalog, spark
from pointgate.spark import shipping
from tests.support.cases import CATALOG
from tests.support.engines import check_in_spark
from tests.support.processes import TOPIC

REQUEST = (
    b'{"id":"%d","version":"1.0","params":[{"deviceKey":"device1","measurepoints":{"temp":1.5}}],'
    b'"method":"integration.measurepoint.post"}'
)
COUNT = 400

SERVERS: list[Any] = []
"""One ends when nobody refers to it."""


def connected(kind: str) -> Any:
    """A session over Spark Connect."""
    from pyspark.sql import SparkSession  # noqa: PLC0415 - not in every environment

    builder: Any = SparkSession.builder
    if kind == "sail":
        from pysail.spark import SparkConnectServer  # noqa: PLC0415 - as above

        server = SparkConnectServer()
        server.start(background=True)
        SERVERS.append(server)
        return builder.remote("sc://localhost:{1}".format(*server.listening_address)).getOrCreate()
    return builder.remote("local[2]").getOrCreate()


def check_points(session: Any, folder: Path) -> None:
    """Points without `time`, of several partitions, from frames and in a dataset."""
    rows = [(TOPIC, bytearray(REQUEST % number)) for number in range(COUNT)] + [(TOPIC, None)]
    frame = session.createDataFrame(rows, "topic string, payload binary").repartition(4)
    assert spark.rejects(frame, CATALOG).select("verdict.code").collect()[0][0] == 1251
    for catalog in (CATALOG, Catalog.load(CATALOG)):
        points = spark.points(frame, catalog).select("time", "received").collect()
        assert len({row["time"] for row in points}) == len(points) == COUNT
    for repeated in (False, True):
        written = spark.write(frame, CATALOG, folder / "points", name="archive")
        assert written.repeated == repeated
        assert written.points == (0 if repeated else COUNT)
    files = f"{folder}/points/**/*.parquet"
    (found,) = duckdb.execute("SELECT count(*) FROM read_parquet($1)", [files]).fetchall()
    assert found == (COUNT,)


def check_mistakes(session: Any, folder: Path) -> None:
    """What Spark Connect does not have."""
    frame = session.createDataFrame([(TOPIC, None)], "topic string, payload binary")
    with pytest.raises(ValueError, match="expected a name with batch: Spark Connect"):
        spark.write(frame, CATALOG, folder / "points", batch=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shipping, "_CONNECT_BYTES", 100)
        with pytest.raises(ValueError, match="expected a catalog of at most 100 bytes"):
            spark.judge(frame, Catalog.load(CATALOG))


def main() -> None:
    kind, folder = sys.argv[1], Path(sys.argv[2])
    session = connected(kind)
    check_in_spark(session)
    check_points(session, folder)
    check_mistakes(session, folder)
    session.stop()


if __name__ == "__main__":
    main()
