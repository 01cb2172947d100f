"""Servers that tests of several sinks use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.s3_server import S3MissingError, S3Server, binary

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[S3Server]:
    """An S3 server with an empty bucket, `points`."""
    try:
        binary()
    except S3MissingError as error:
        pytest.skip(str(error))
    with S3Server(tmp_path) as running:
        yield running
