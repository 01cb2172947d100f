"""The Delta sink on a real S3 server: conditional puts, outages, wrong keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from deltalake import DeltaTable

from pointgate.sinks.base import SinkUnavailableError
from pointgate.sinks.delta.settings import DeltaSettings
from pointgate.sinks.delta.sink import DeltaSink
from pointgate.sinks.object_stores import ObjectUrl
from tests.support.point_tables import Point, columns_of, table

if TYPE_CHECKING:
    from tests.support.s3_server import S3Server

URL = ObjectUrl("s3://points/live")


def new_sink(options: dict[str, str]) -> DeltaSink:
    quick = {"max_retries": "0", "timeout": "5s"}
    return DeltaSink(DeltaSettings(type="delta", path=URL), options=options | quick)


async def test_points_are_there_once_after_an_outage(s3: S3Server) -> None:
    sink = new_sink(s3.options)
    assert sink.newest() == 0
    await sink.open()
    await sink.write(table([Point(time=1, double=1.0)]), sequence=1)
    await sink.commit()
    s3.kill()
    await sink.write(table([Point(time=2, double=2.0)]), sequence=2)
    with pytest.raises(SinkUnavailableError, match=URL):
        await sink.commit()
    assert sink.pending
    s3.start()
    await sink.commit()
    await sink.close()
    again = new_sink(s3.options)
    assert again.newest() == 2
    found = DeltaTable(URL, storage_options=s3.options).to_pyarrow_table()
    assert [row["value_double"] for row in columns_of(found)] == [1.0, 2.0]
    await again.close()


async def test_of_two_services_with_one_writer_one_is_refused(s3: S3Server) -> None:
    one, two = new_sink(s3.options), new_sink(s3.options)
    await one.open()
    await two.open()
    for sink, sequence in ((one, 1), (two, 7)):
        await sink.write(table([Point(time=sequence)]), sequence=sequence)
    await one.commit()
    with pytest.raises(SinkUnavailableError, match="another process"):
        await two.commit()
    await one.close()
    await two.close()
    assert DeltaTable(URL, storage_options=s3.options).to_pyarrow_table().num_rows == 1


async def test_wrong_keys_are_named_and_not_shown(s3: S3Server) -> None:
    sink = new_sink(s3.options | {"aws_secret_access_key": "wrongwrong"})
    with pytest.raises(
        SinkUnavailableError, match=r"SignatureDoesNotMatch|403|ermission"
    ) as raised:
        await sink.open()
    assert "wrongwrong" not in str(raised.value)
    await sink.close()
