"""A Parquet dataset in an S3 server of the tests: writing it, reading it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pyarrow.dataset as pads
from pyarrow import fs

from pointgate.sinks.base import LIVE
from pointgate.sinks.object_stores import ObjectUrl
from pointgate.sinks.parquet.object_sink import ObjectSink
from pointgate.sinks.parquet.settings import ParquetSettings
from tests.support.point_tables import columns_of
from tests.support.s3_server import SECRET

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from tests.support.s3_server import S3Server

PLACE: Final = "points/live"
URL: Final = ObjectUrl(f"s3://{PLACE}")
"""A prefix in the bucket of the server."""

QUICK: Final = {"max_retries": "0", "timeout": "5s", "connect_timeout": "1s"}


def new_sink(options: Mapping[str, str], *, writer: str = LIVE, **settings: Any) -> ObjectSink:
    """A sink that does not wait for long."""
    return ObjectSink(
        ParquetSettings(path=URL, **settings), writer=writer, options={**options, **QUICK}
    )


async def store(sink: ObjectSink, points: pa.Table, *, sequence: int) -> None:
    """Write and commit."""
    if not sink.pending:
        await sink.write(points, sequence=sequence)
    await sink.commit()


def file_system(server: S3Server) -> fs.S3FileSystem:
    """The store as pyarrow sees it."""
    return fs.S3FileSystem(
        access_key="accessacc",
        secret_key=SECRET,
        endpoint_override=f"127.0.0.1:{server.port}",
        scheme="http",
        region="us-east-1",
    )


def read(server: S3Server) -> list[dict[str, object]]:
    """All points, as a reader gets them."""
    dataset = pads.dataset(PLACE, filesystem=file_system(server), partitioning="hive")
    return columns_of(dataset.to_table())


def keys(server: S3Server) -> list[str]:
    """All keys below the prefix."""
    found = file_system(server).get_file_info(
        fs.FileSelector(PLACE, recursive=True, allow_not_found=True)
    )
    return sorted(one.path.removeprefix(f"{PLACE}/") for one in found if one.is_file)
