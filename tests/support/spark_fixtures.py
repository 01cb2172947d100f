"""The fixture of tests that need Spark: one session for the whole run.

A test module takes it with `pytest_plugins = ("tests.support.spark_fixtures",)`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.spark_session import REASON, delta_jars, new_session

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A session on two executors that all tests of the run share."""
    pytest.importorskip("pyspark", reason=REASON)
    found = new_session(tmp_path_factory.mktemp("spark"), jars=delta_jars())
    yield found
    found.stop()
