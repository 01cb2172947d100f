"""A Spark of the tests' own: two executors in processes of their own, on loopback.

Spark is 400 MB and no part of the lock file; `make spark` installs it. Without it these tests are
skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.support.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

REASON: Final = "pyspark is not installed: make spark"

CLUSTER: Final = "local-cluster[2,1,1024]"
"""Two executors with a core and 1 GB each."""


def new_session(folder: Path, *, master: str = CLUSTER, jars: Sequence[str] = ()) -> Any:
    """Start a session.

    Args:
        folder: Where its warehouse and its scratch files are.
        master: Where it runs.
        jars: More jars, by path.
    """
    from pyspark.sql import SparkSession  # noqa: PLC0415 - not in every environment

    os.environ["PYSPARK_PYTHON"] = sys.executable
    settings = {
        "ui.enabled": "false",
        "driver.host": "127.0.0.1",
        "driver.bindAddress": "127.0.0.1",
        "executorEnv.SPARK_LOCAL_IP": "127.0.0.1",
        "executorEnv.PYTHONPATH": python_path(),
        "executor.memory": "512m",
        "sql.shuffle.partitions": "2",
        "sql.session.timeZone": "UTC",
        "sql.warehouse.dir": str(folder / "warehouse"),
        "local.dir": str(folder / "spark"),
        "network.timeout": "600s",
    }
    if jars:
        settings["jars"] = ",".join(jars)
    # Without its jar every function fails, because it is looked up in the catalog.
    if any("delta" in Path(jar).name for jar in jars):
        settings |= {
            "sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
            "sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        }
    builder: Any = SparkSession.builder.master(master).appName("tests")
    for name, value in settings.items():
        builder = builder.config(f"spark.{name}", value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    return session


def python_path() -> str:
    """The PYTHONPATH of executors and of jobs, which import pointgate and the tests."""
    path = [str(ROOT / "python"), str(ROOT), *filter(None, sys.path)]
    return os.pathsep.join(dict.fromkeys(path))


def delta_jars() -> list[str]:
    """The jars of Delta Lake, in the user's cache; Spark has what else they need."""
    pom = ROOT / "tests/readers/delta/pom.xml"
    return _jars(pom, "delta-4.4.0", "-DincludeGroupIds=io.delta,io.unitycatalog")


def kafka_jars() -> list[str]:
    """The jars with which Spark reads Kafka."""
    return _jars(ROOT / "tests/spark/kafka/pom.xml", "spark-kafka-4.2.0")


def _jars(pom: Path, name: str, *options: str) -> list[str]:
    """Jars that Maven copies into the user's cache at the first call."""
    if shutil.which("mvn") is None:
        pytest.skip("jars for Spark are not there: expected mvn on the PATH")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "pointgate" / name
    if not folder.is_dir():
        fresh = folder.with_suffix(f".{os.getpid()}")
        command = ["mvn", "-q", "-B", "-f", str(pom), f"-DoutputDirectory={fresh}", *options]
        command += ["-DincludeScope=runtime", "dependency:copy-dependencies"]
        subprocess.run(command, check=True, timeout=600)
        fresh.rename(folder)
    return [str(path) for path in folder.glob("*.jar")]
