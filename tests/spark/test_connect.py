"""`pointgate.spark` over Spark Connect: the servers of Spark and of Sail."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.spark_session import REASON, python_path

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

pytest.importorskip("pyspark", reason=REASON)


@pytest.mark.parametrize("kind", ["spark", "sail"])
def test_over_spark_connect(tmp_path: Path, kind: str) -> None:
    pytest.importorskip("pysail" if kind == "sail" else "grpc", reason=REASON)
    environ = {"PYTHONPATH": python_path(), "PYSPARK_PYTHON": sys.executable}
    done = subprocess.run(
        [sys.executable, "-m", "tests.spark.connect_job", kind, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=os.environ | environ | {"SPARK_LOCAL_IP": "127.0.0.1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr[-5000:]
