"""A streaming query as a program, which tests kill: `stream_job.py FOLDER FORMAT [SERVERS TOPIC]`.

It stores what is in FOLDER/incoming, or in a topic of Kafka, in FOLDER/points, and ends when it has
caught up.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal

from pointgate import spark
from tests.support.cases import CATALOG
from tests.support.spark_session import new_session


def main(folder: Path, kind: str, *kafka: str) -> None:
    """Run the query."""
    form: Literal["parquet", "delta"] = "delta" if kind == "delta" else "parquet"
    jars = sys.stdin.readline().split()
    # The executors of a driver that was killed would hold two cores for some time.
    session = new_session(folder, master="local[2]", jars=jars)

    def store(batch: Any, number: int) -> None:
        written = spark.write(batch, CATALOG, folder / "points", batch=number, format=form)
        sys.stdout.write(f"written {number} {written.repeated} {written.requests}\n")
        sys.stdout.flush()

    if kafka:
        servers, topic = kafka
        records = (
            session.readStream.format("kafka")
            .option("kafka.bootstrap.servers", servers)
            .option("subscribe", topic)
            .option("startingOffsets", "earliest")
            .option("maxOffsetsPerTrigger", 50)
            .load()
        )
        requests = records.selectExpr("CAST(key AS STRING) AS topic", "value AS payload")
    else:
        files = session.readStream.schema("topic string, payload binary")
        requests = files.option("maxFilesPerTrigger", 1).parquet(str(folder / "incoming"))
    query = (
        requests.writeStream.foreachBatch(store)
        .option("checkpointLocation", str(folder / "checkpoint"))
        .trigger(availableNow=True)
        .start()
    )
    query.awaitTermination()
    session.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
