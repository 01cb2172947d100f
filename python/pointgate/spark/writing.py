"""`write`: requests of a frame, judged by the executors, into a dataset or a Delta Lake table.

    each task      judges its partition, sorts the accepted points by day and key, encodes them as
                   Parquet and puts the files where no reader looks for them
    the driver     commits all files of the batch in one step, with the sequence of the batch

Executors write the files themselves, with the writer of the sinks, because Spark's own takes most
of the time of such a job: 24 to 26 MB of requests a second and core, where verdicts take 115.

Each batch of a streaming query has a number that stays the same when the batch is repeated after a
crash. It is the sequence of its commit, so each request is stored once, whatever crashes:

    def store(batch, number):
        spark.write(batch, "catalog", "/mnt/points", batch=number)

    query = requests.writeStream.foreachBatch(store).option("checkpointLocation", place).start()

The name of the writer is by default the id of the query, which its checkpoint keeps. A query with
another checkpoint counts from 0 again, and so must have another name.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import pyarrow as pa

from pointgate.codes import Code
from pointgate.errors import ConfigError
from pointgate.sinks.object_options import check_access
from pointgate.sinks.object_stores import ObjectUrl
from pointgate.sinks.parquet.object_files import ObjectFiles
from pointgate.sinks.parquet.partitions import split
from pointgate.sinks.parquet.row_buffer import RowBuffer
from pointgate.sinks.parquet.settings import ParquetSettings
from pointgate.sinks.tables import one_batch
from pointgate.spark.destinations import Folder, Store
from pointgate.spark.judging import PAYLOAD_BYTES, prepare
from pointgate.spark.shipping import context_of
from pointgate.toml.document import check

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pyspark.sql import DataFrame

    from pointgate.catalog import Catalog
    from pointgate.spark.destinations import Destination
    from pointgate.spark.judging import Judging

_QUERY: Final = "sql.streaming.queryId"
"""The property in which Spark tells the code of a batch which query it belongs to."""

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


@dataclass(frozen=True)
class Written:
    """What a call of `write` has done.

    Attributes:
        repeated: Whether the batch had been committed before; then everything else is 0.
        requests: The number of requests.
        accepted: How many of them were accepted.
        points: The number of points in them.
        rejected: The number of other requests by code and reason.
        files: The number of files that were committed.
    """

    repeated: bool = False
    requests: int = 0
    accepted: int = 0
    points: int = 0
    rejected: Mapping[tuple[int, str], int] | None = None
    files: int = 0


def write(
    frame: DataFrame,
    catalog: Catalog | str | Path,
    path: str | Path,
    *,
    format: Literal["parquet", "delta"] = "parquet",  # noqa: A002 - Spark's own word
    name: str | None = None,
    batch: int | None = None,
    options: Mapping[str, Any] | None = None,
    payload: str = "payload",
    topic: str = "topic",
    product: str | None = None,
    payload_bytes: int = PAYLOAD_BYTES,
    now_ms: int | None = None,
) -> Written:
    """Store the points of accepted requests.

    Args:
        frame: Requests; of a stream one batch, as `foreachBatch` gives it.
        catalog: The catalog, or its folder on the driver.
        path: A folder that driver and executors share, or a url such as s3://bucket/points.
        format: A dataset as the sink `parquet` writes it, or a Delta Lake table.
        name: The writer, for a call that must be done once however often it is repeated: of a-z,
            0-9, - and _. By default the id of the streaming query; without one, each call writes.
        batch: The number of the batch, from `foreachBatch`.
        options: More settings of the sink, such as `partition` or `storage_options`.
        payload: See `judge`.
        topic: See `judge`.
        product: See `judge`.
        payload_bytes: See `judge`.
        now_ms: See `judge`.

    Raises:
        CatalogError: The catalog is invalid.
        ConfigError: `path` or `options` are.
        ModuleNotFoundError: The extra for Delta Lake or object stores is not installed.
        SinkUnavailableError: The place cannot be used, or another process writes to it.
        ValueError: The frame lacks a column, is a stream, or `name` is missing or no name.
    """
    if frame.isStreaming:
        raise ValueError(
            "expected a batch, got a stream: "
            "call write in the function that foreachBatch of its writeStream gets"
        )
    writer = _writer(frame, name, batch)
    destination = _destination(format, path, options or {}, writer)
    sequence = 0 if writer == _ANONYMOUS else (batch or 0) + 1
    judging = prepare(
        frame,
        catalog,
        payload=payload,
        topic=topic,
        product=product,
        payload_bytes=payload_bytes,
        now_ms=now_ms,
    )
    with destination.opened() as place:
        if sequence and place.newest() >= sequence:
            return Written(repeated=True)
        task = _Task(judging, destination)
        rows = judging.needed(frame).mapInArrow(task.run, "r string").collect()
        results = [json.loads(row[0]) for row in rows]
        files = [file for result in results for file in result["files"]]
        if files or sequence:
            place.commit(sequence, files)
    return _summary(results, len(files))


_ANONYMOUS: Final = "import"
"""The writer of calls that count for themselves."""


def _writer(frame: DataFrame, name: str | None, batch: int | None) -> str:
    if name is not None and not _NAME.fullmatch(name):
        raise ValueError(f"expected a name of a-z, 0-9, - and _, 64 at most, got {name!r}")
    if name is None and batch is not None:
        context = context_of(frame.sparkSession)
        if context is None:
            raise ValueError("expected a name with batch: Spark Connect does not tell the query's")
        name = context.getLocalProperty(_QUERY)
        if name is None:
            raise ValueError("expected a name with batch, outside of a streaming query")
    return _ANONYMOUS if name is None else f"{_ANONYMOUS}-{name}"


def _destination(
    kind: str, path: str | Path, options: Mapping[str, Any], writer: str
) -> Destination:
    if isinstance(path, Path) or "://" not in path:
        path = os.path.abspath(path)  # noqa: PTH100 - tasks have other working directories
    fields = {**options, "type": kind, "name": "spark", "path": path}
    if kind == "delta":
        from pointgate.sinks.delta.settings import DeltaSettings  # noqa: PLC0415 - rarely needed
        from pointgate.spark.delta import Delta  # noqa: PLC0415 - needs the extra

        delta = _checked(DeltaSettings, fields)
        stored = delta.options()
        check_access(str(delta.path), stored, profiles=True)
        return Delta(delta, writer, stored)
    settings = _checked(ParquetSettings, fields)
    if isinstance(settings.path, ObjectUrl):
        return Store(settings, writer, settings.options())
    return Folder(settings, writer)


def _checked(kind: type[Any], fields: Mapping[str, Any]) -> Any:
    found = check(kind, dict(fields), file="")
    if isinstance(found, list):
        raise ConfigError(found)
    return found


def _summary(results: list[dict[str, Any]], files: int) -> Written:
    codes: Counter[tuple[int, str]] = Counter()
    for result in results:
        codes.update({(code, reason): count for code, reason, count in result["codes"]})
    accepted = codes.pop((Code.OK, ""), 0)
    return Written(
        requests=accepted + codes.total(),
        accepted=accepted,
        points=sum(result["points"] for result in results),
        rejected=dict(codes),
        files=files,
    )


@dataclass(frozen=True)
class _Task:
    """What an executor does with a partition.

    Attributes:
        judging: How requests are judged.
        destination: Where files are put.
    """

    judging: Judging
    destination: Destination

    def run(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Put the points of a partition; gives one row that says what was done, as JSON."""
        codes: Counter[tuple[int, str]] = Counter()
        output = _Output(self.destination)
        for _, verdicts, points in self.judging.judged(batches, plain=False):
            pairs = pa.Table.from_batches([verdicts.select(["code", "reason"])])
            for pair in (
                pairs.group_by(["code", "reason"]).aggregate([([], "count_all")]).to_pylist()
            ):
                codes[pair["code"], pair["reason"] or ""] += pair["count_all"]
            if len(points):
                output.add(pa.table(points).drop_columns(["request"]))
        files = output.finish()
        counts = [[code, reason, count] for (code, reason), count in codes.items()]
        result = {"codes": counts, "points": output.points, "files": files}
        yield pa.RecordBatch.from_pydict({"r": [json.dumps(result)]})


class _Output:
    """Collects points, and puts files when they are large enough."""

    def __init__(self, destination: Destination) -> None:
        self.points = 0
        self._destination = destination
        self._layout = destination.layout
        self._rows = RowBuffer()
        self._files: ObjectFiles | None = None
        self._put: list[dict[str, Any]] = []

    def add(self, table: pa.Table) -> None:
        """Take the points of a call of the judge."""
        self.points += table.num_rows
        batch = one_batch(table)
        if not self._rows.has_room_for(batch):
            self._flush()
        self._rows.append(batch)

    def finish(self) -> list[dict[str, Any]]:
        """Put what is left; returns what the commit must know of all files."""
        self._flush()
        self._put_files()
        return self._put

    def _flush(self) -> None:
        batch = self._rows.take()
        if batch is None:
            return
        if self._files is None:
            metadata = {"pointgate.on_conflict": self._layout.on_conflict}
            self._files = ObjectFiles(self._destination.prefix(), metadata)
        for partition, rows in split(
            batch, partition=self._layout.partition, on_conflict=self._layout.on_conflict
        ):
            self._files.write(partition, rows)
        if self._files.bytes >= self._layout.file_bytes:
            self._put_files()

    def _put_files(self) -> None:
        if self._files is not None:
            self._put += self._destination.put(self._files.finish())
            self._files = None
