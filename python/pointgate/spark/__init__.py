"""The judge inside Apache Spark, in batches and in streams; needs the extra `pointgate[spark]`.

    from pointgate import spark

    requests = session.read.parquet("s3a://archive/requests")     # columns topic and payload
    verdicts = spark.judge(requests, "catalog")                   # and a column `verdict`
    rejected = spark.rejects(requests, "catalog")                 # those that are not accepted
    points = spark.points(requests, "catalog")                    # rows of accepted points
    written = spark.write(requests, "catalog", "/mnt/points")     # a dataset, each request once

Verdicts are those of the service (docs/engines.md). Every worker calls `Validator.judge_arrow` on
the batches that Spark hands it (`mapInArrow`), so a request is no Python object. The catalog is
loaded by the driver and sent to the executors as a broadcast variable, from which each Python
worker loads it once.

Executors need pointgate of the driver's version, with pyarrow. No module here imports pyspark
before a function is called.
"""

from __future__ import annotations

from pointgate.spark.judging import judge, points, rejects
from pointgate.spark.writing import Written, write

__all__ = ["Written", "judge", "points", "rejects", "write"]
