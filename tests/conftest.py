"""What every test shares: Hypothesis profiles, chosen by HYPOTHESIS_PROFILE; an S3 server."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.support.s3_server import S3MissingError, S3Server, binary

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# A request is a large example and is cheap to judge: its size is no sign of a bad strategy, and a
# shared machine's pauses are no sign of slow code.
_QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large]

settings.register_profile("dev", max_examples=100, deadline=None, suppress_health_check=_QUIET)
settings.register_profile(
    "ci", max_examples=200, deadline=None, suppress_health_check=_QUIET, derandomize=True
)
settings.register_profile("deep", max_examples=50_000, deadline=None, suppress_health_check=_QUIET)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[S3Server]:
    """An S3 server with an empty bucket, `points`."""
    try:
        binary()
    except S3MissingError as error:
        pytest.skip(str(error))
    with S3Server(tmp_path) as running:
        yield running
