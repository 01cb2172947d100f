"""`pointgate.spark`: two executors in processes of their own, and drivers that are killed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import duckdb
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest

from pointgate.errors import CatalogError, ConfigError
from pointgate.sinks.base import SinkUnavailableError
from pointgate.sinks.parquet.dataset import Dataset
from tests.support.cases import CATALOG
from tests.support.kafka_clients import make_topics, send
from tests.support.object_dataset import PLACE, URL, file_system
from tests.support.paths import ROOT
from tests.support.processes import TOPIC
from tests.support.spark_session import REASON, kafka_jars, python_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.s3_server import S3Server

pyspark = pytest.importorskip("pyspark", reason=REASON)

from pointgate import spark  # noqa: E402 - behind the skip

pytest_plugins = ("tests.support.spark_fixtures", "tests.support.kafka_fixtures")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.filterwarnings("default"),  # Spark's own libraries
]

COLUMNS: Final = "n int, topic string, payload binary"
DAY_MS: Final = 86_400_000


def request(number: int, temp: object = 1.5, *, timed: bool = True) -> bytes:
    """A request with one point, on one of three days."""
    entry: dict[str, Any] = {"deviceKey": "device1", "measurepoints": {"temp": temp}}
    if timed:
        entry["time"] = number % 3 * DAY_MS + number
    document = {"id": str(number), "version": "1.0", "params": [entry]}
    return json.dumps(document | {"method": "integration.measurepoint.post"}).encode()


def frame_of(session: Any, payloads: list[bytes | None], partitions: int = 4) -> Any:
    rows = [(n, TOPIC, None if one is None else bytearray(one)) for n, one in enumerate(payloads)]
    return session.createDataFrame(rows, COLUMNS).repartition(partitions)


def stored(folder: Path) -> list[tuple[Any, ...]]:
    """The rows of a dataset."""
    query = f"SELECT identifier, time::VARCHAR, value FROM read_parquet('{folder}/**/*.parquet')"  # noqa: S608
    with duckdb.connect() as database:
        database.execute("SET TimeZone = 'UTC'")
        return database.sql(f"{query} ORDER BY ALL").fetchall()


def in_table(folder: Path) -> list[tuple[Any, ...]]:
    """The rows of a Delta Lake table."""
    from deltalake import DeltaTable  # noqa: PLC0415 - as `pq`, but rarely

    rows = DeltaTable(folder).to_pyarrow_table(columns=["identifier", "time", "value"])
    return sorted(map(tuple, (row.values() for row in rows.to_pylist())))


def test_requests_keep_their_columns_and_get_a_verdict(session: Any) -> None:
    frame = frame_of(session, [request(0), request(1, "x"), None, b"\xff", request(4)])
    judged = spark.judge(frame, CATALOG)
    assert judged.columns == ["n", "topic", "payload", "verdict"]
    assert judged.schema.fields[:3] == frame.schema.fields
    assert spark.judge(frame, CATALOG, keep=["topic"]).columns == ["topic", "verdict"]
    assert spark.judge(frame, CATALOG, keep=[]).select("verdict.code").count() == 5
    named = spark.judge(frame.withColumnRenamed("n", "Partition"), CATALOG, keep=["Partition"])
    assert sorted(row["Partition"] for row in named.collect()) == [0, 1, 2, 3, 4]
    rows = judged.orderBy("n").select("n", "verdict.*").collect()
    assert [row["code"] for row in rows] == [200, 1204, 1251, 1220, 200]
    assert rows[1]["pointer"] == "/params/0/measurepoints/temp"
    rejected = spark.rejects(frame, CATALOG).orderBy("n").select("n", "payload").collect()
    assert [(row["n"], row["payload"]) for row in rejected][1:] == [(2, None), (3, b"\xff")]


def test_text_and_a_fixed_product_are_taken(session: Any) -> None:
    frame = frame_of(session, [request(0), request(1, "x")]).selectExpr(
        "CAST(payload AS STRING) AS line"
    )
    judged = spark.judge(frame, CATALOG, payload="line", product="protocol")
    counts = {row["code"]: row["count"] for row in judged.groupBy("verdict.code").count().collect()}
    assert counts == {200: 1, 1204: 1}


def test_points_without_time_have_instants_of_their_own(session: Any) -> None:
    payloads: list[bytes | None] = [request(n, timed=n % 2 == 0) for n in range(400)]
    found = spark.points(frame_of(session, payloads), CATALOG)
    assert found.columns == pq.read_schema(_a_file(session)).names
    rows = found.select("time", "received").collect()
    assert len({row["time"] for row in rows}) == len({row["received"] for row in rows}) == 400


def _a_file(session: Any) -> Path:
    folder = Path(session.conf.get("spark.local.dir")) / "a-dataset"
    if not folder.is_dir():
        spark.write(frame_of(session, [request(1)]), CATALOG, folder)
    return next(folder.rglob("*.parquet"))


@pytest.mark.parametrize("kind", ["parquet", "delta"])
def test_a_call_with_a_name_is_done_once(session: Any, tmp_path: Path, kind: Any) -> None:
    payloads: list[bytes | None] = [request(n, 1.5 if n % 10 else "x") for n in range(300)]
    frame = frame_of(session, payloads)
    path = tmp_path / "points"
    written = spark.write(frame, CATALOG, path, name="archive", format=kind)
    assert (written.requests, written.accepted, written.points) == (300, 270, 270)
    assert written.rejected == {(1204, "type"): 30}
    assert spark.write(frame, CATALOG, path, name="archive", format=kind).repeated
    rows_of = stored if kind == "parquet" else in_table
    rows = rows_of(path)
    assert len(rows) == len(set(rows)) == 270
    other = frame_of(session, [request(1000)])
    assert spark.write(other, CATALOG, path, name="another", format=kind).points == 1
    assert spark.write(other, CATALOG, path, format=kind).points == 1  # without one, each time
    assert len(rows_of(path)) == 272
    if kind == "delta":  # readers skip files by what the log says of them
        from deltalake import DeltaTable  # noqa: PLC0415 - rarely needed

        days = DeltaTable(path).to_pyarrow_table(filters=[("time", ">", _instant(2 * DAY_MS + 5))])
        assert days.num_rows == len([n for n in range(300) if n % 3 == 2 and n % 10 and n > 5])


def _instant(milliseconds: int) -> Any:
    return pa.scalar(milliseconds * 1000, pa.timestamp("us", "UTC")).as_py()


def test_tasks_that_fail_and_are_repeated_write_once(session: Any, tmp_path: Path) -> None:
    def fail_at_first(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from pyspark import TaskContext  # noqa: PLC0415 - in an executor

        yield from batches
        task = TaskContext.get()
        assert task is not None
        if task.attemptNumber() == 0:
            raise RuntimeError("planned")

    frame = frame_of(session, [request(n) for n in range(200)])
    path = tmp_path / "points"
    # What fails comes behind the files of the first attempt, in the same task.
    frame = frame.mapInArrow(fail_at_first, frame.schema)
    written = spark.write(frame, CATALOG, path, name="archive")
    assert written.requests == 200
    assert len(stored(path)) == 200
    with Dataset(path).locked("writer", wait=False):
        pass
    spark.write(frame_of(session, []), CATALOG, path)
    assert not list(Dataset(path).own.glob("*.tmp"))


def test_a_dataset_that_another_process_writes_is_refused(session: Any, tmp_path: Path) -> None:
    dataset = Dataset(tmp_path / "points")
    dataset.create()
    frame = frame_of(session, [request(1)])
    with (
        dataset.locked("writer", wait=False),
        pytest.raises(SinkUnavailableError, match="is written by another process"),
    ):
        spark.write(frame, CATALOG, dataset.path)
    assert spark.write(frame, CATALOG, dataset.path).points == 1


def test_mistakes_are_named(session: Any, tmp_path: Path) -> None:
    frame = frame_of(session, [request(1)])
    with pytest.raises(ValueError, match="expected a column line, got n, topic, payload"):
        spark.judge(frame, CATALOG, payload="line")
    with pytest.raises(ValueError, match="without a column verdict"):
        spark.judge(frame.withColumnRenamed("n", "verdict"), CATALOG)
    with pytest.raises(ValueError, match="expected a product key"):
        spark.points(frame, CATALOG, product="a/b")
    with pytest.raises(CatalogError):
        spark.judge(frame, tmp_path)
    with pytest.raises(ConfigError, match="partition"):
        spark.write(frame, CATALOG, tmp_path / "points", options={"partition": "year"})
    with pytest.raises(ValueError, match="expected a name with batch"):
        spark.write(frame, CATALOG, tmp_path / "points", batch=1)
    stream = session.readStream.schema(COLUMNS).parquet(str(tmp_path))
    with pytest.raises(ValueError, match="expected a batch, got a stream"):
        spark.write(stream, CATALOG, tmp_path / "points")


def test_a_changed_catalog_is_used_from_the_next_call_on(session: Any, tmp_path: Path) -> None:
    catalog = tmp_path / "catalog"
    shutil.copytree(CATALOG, catalog)
    frame = frame_of(session, [request(1).replace(b"device1", b"newcomer")])

    def code() -> int:
        return int(spark.judge(frame, catalog).select("verdict.code").collect()[0][0])

    assert code() == 1257
    with (catalog / "devices/protocol.txt").open("a") as file:
        file.write("newcomer\n")
    assert code() == 200
    document = (catalog / "catalog.toml").read_text()
    (catalog / "catalog.toml").write_text("[products")
    assert code() == 200  # the last good one
    (catalog / "catalog.toml").write_text(document)


def test_the_recipes_of_the_documentation_run(session: Any, tmp_path: Path) -> None:
    payloads = [request(0), request(1, "x"), b""]
    table = pa.table({"topic": [TOPIC] * 3, "payload": pa.array(payloads, pa.binary())})
    pq.write_table(table, tmp_path / "requests.parquet")
    (tmp_path / "incoming").mkdir()
    pq.write_table(table, tmp_path / "incoming/1.parquet")
    places = {"catalog": CATALOG, "requests.parquet": tmp_path / "requests.parquet"}
    places |= {name: tmp_path / name for name in ("points", "incoming", "checkpoint", "lake")}
    page = (ROOT / "docs/scaling.md").read_text("utf-8")
    names: dict[str, Any] = {"session": session}
    for block in re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE):
        for name, place in places.items():  # Spark's working directory is another one
            block = block.replace(f'"{name}"', f'"{place}"')  # noqa: PLW2901
        exec(compile(block, "docs/scaling.md", "exec"), names)  # noqa: S102 - our own page
    codes = {row["code"]: row["count"] for row in names["counts"].collect()}
    assert codes == {200: 1, 1204: 1, 1251: 1}
    assert names["rejected"].count() == 2
    assert names["points"].count() == 1
    assert names["written"].accepted == 1
    assert len(stored(tmp_path / "points")) == 2  # of the call, and of the stream
    records = names["requests"].selectExpr("topic AS key", "payload AS value")
    assert names["from_kafka"](records).columns == ["topic", "payload"]
    for _ in range(2):
        names["append"](names["requests"], 7)
    assert len(in_table(tmp_path / "lake")) == 1


def incoming(folder: Path, files: int, each: int) -> None:
    """Files of requests for a stream."""
    (folder / "incoming").mkdir()
    for number in range(files):
        payloads = [request(n) for n in range(number * each, (number + 1) * each)]
        table = pa.table({"topic": [TOPIC] * each, "payload": pa.array(payloads, pa.binary())})
        pq.write_table(table, folder / f"incoming/{number:03}.parquet")


def run_job(folder: Path, *arguments: str, jars: str = "", failpoint: str = "") -> tuple[int, str]:
    """Run the streaming query until it has caught up, or is killed."""
    environ = os.environ | {"PYTHONPATH": python_path(), "POINTGATE_FAILPOINT": failpoint}
    command = [sys.executable, "-m", "tests.spark.stream_job", str(folder), *arguments]
    done = subprocess.run(
        command, input=jars + "\n", capture_output=True, text=True, check=False, env=environ
    )
    return done.returncode, done.stdout + done.stderr[-3000:]


FAILPOINTS: Final = {
    "parquet": ("sink-before-record:2", "sink-before-forget"),
    "delta": ("delta-before-commit:2", "delta-after-commit"),
}
"""Before the second batch is decided; then after it is, and Spark does not know."""


@pytest.mark.parametrize("kind", ["parquet", "delta"])
def test_a_driver_that_is_killed_twice_stores_every_request_once(tmp_path: Path, kind: str) -> None:
    incoming(tmp_path, files=5, each=40)
    for failpoint in FAILPOINTS[kind]:
        status, said = run_job(tmp_path, kind, failpoint=failpoint)
        assert status == -signal.SIGKILL, said
    status, said = run_job(tmp_path, kind)
    assert status == 0, said
    assert "written 1 True" in said  # it was committed, and Spark gave it again
    rows = stored(tmp_path / "points") if kind == "parquet" else in_table(tmp_path / "points")
    assert len(rows) == len(set(rows)) == 200


def test_a_stream_from_kafka_stores_every_request_once(tmp_path: Path, kafka: str) -> None:
    topics = make_topics(kafka)
    send(kafka, topics.requests, [request(n) for n in range(150)], key=TOPIC.encode())
    arguments = ("parquet", kafka, topics.requests)
    jars = " ".join(kafka_jars())
    status, said = run_job(tmp_path, *arguments, jars=jars, failpoint="sink-before-forget:2")
    assert status == -signal.SIGKILL, said
    status, said = run_job(tmp_path, *arguments, jars=jars)
    assert status == 0, said
    rows = stored(tmp_path / "points")
    assert len(rows) == len(set(rows)) == 150


@pytest.mark.parametrize("kind", ["parquet", "delta"])
def test_in_an_object_store_it_is_written_once(
    session: Any, s3: S3Server, tmp_path: Path, kind: Any
) -> None:
    frame = frame_of(session, [request(n) for n in range(100)])
    name = "aws_secret_access_key"
    secret = tmp_path / "secret"
    secret.write_text(s3.options[name])
    plain = {key: value for key, value in s3.options.items() if key != name}
    options = {"storage_options": plain, "secret_files": {name: str(secret)}}
    for repeated in (False, True):
        found = spark.write(frame, CATALOG, URL, name="archive", options=options, format=kind)
        assert found.repeated == repeated
    if kind == "parquet":
        dataset = pads.dataset(PLACE, filesystem=file_system(s3), partitioning="hive")
        assert dataset.count_rows() == 100
    else:
        from deltalake import DeltaTable  # noqa: PLC0415 - rarely needed

        assert DeltaTable(URL, storage_options=s3.options).to_pyarrow_table().num_rows == 100


def test_a_stream_of_a_query_without_write_is_judged(session: Any, tmp_path: Path) -> None:
    incoming(tmp_path, files=2, each=10)
    requests = session.readStream.schema("topic string, payload binary").parquet(
        str(tmp_path / "incoming")
    )
    query = (
        spark.points(requests, CATALOG)
        .writeStream.format("parquet")
        .option("path", str(tmp_path / "points"))
        .option("checkpointLocation", str(tmp_path / "checkpoint"))
        .trigger(availableNow=True)
        .start()
    )
    query.awaitTermination()
    assert len(stored(tmp_path / "points")) == 20
