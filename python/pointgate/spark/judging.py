"""Verdicts and points as columns of Spark: what a task does with the batches that it gets.

    for each Arrow batch of the partition, in pieces:
        verdicts, points = validator.judge_arrow(piece)      # no Python object for a request

A batch is judged in pieces of at most `_PIECE_BYTES`, because a request of 8 MB may have a million
points. Points without `time` get an instant that no other request of the call has: partitions have
blocks of 2**20 microseconds, one after the other, and a partition that needs more takes its next
block behind those of all other partitions.

    instant = begin + (row / 2**20 * 2**16 + partition) * 2**20 + row % 2**20

The begin is fixed by the driver, and so is `now`: a task that is repeated gives the same rows. In a
streaming query without `write` there is no call of the driver for a batch, so each task takes the
clock when it begins.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from pointgate import Validator
from pointgate.sinks.parquet.rows import numbers
from pointgate.spark.shipping import sent
from pointgate.topics import product_key, request_topic

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from pyspark.sql import DataFrame

    from pointgate.catalog import Catalog

_PIECE_BYTES: Final = 32 * 1024 * 1024
"""Of payloads in a call. A single request may be larger."""

_BLOCK: Final = 1 << 20
"""Instants in a block of a partition."""

_PARTITIONS: Final = 1 << 16

VERDICT: Final = "verdict"
"""The column that `judge` adds."""

_VERDICT_TYPE: Final = (
    "struct<code: int, points: int, reason: string, pointer: string, message: string, "
    "device: string, identifier: string, index: int, offset: bigint, id: string>"
)

_POINT_TYPES: Final = {
    "product": "string",
    "device": "string",
    "identifier": "string",
    "time": "timestamp",
    "value": "double",
    "value_double": "double",
    "value_long": "bigint",
    "value_bool": "boolean",
    "value_text": "string",
    "value_json": "string",
    "quality": "tinyint",
    "received": "timestamp",
}
"""The columns of a dataset (`sinks.parquet.rows.ROWS`) as types of Spark."""

PAYLOAD_BYTES: Final = 8_388_608
"""The default of `limits.payload_bytes`."""


def judge(
    frame: DataFrame,
    catalog: Catalog | str | Path,
    *,
    payload: str = "payload",
    topic: str = "topic",
    product: str | None = None,
    payload_bytes: int = PAYLOAD_BYTES,
    now_ms: int | None = None,
    keep: Sequence[str] | None = None,
) -> DataFrame:
    """Judge requests: the rows of a frame, each with its verdict.

    Args:
        frame: Requests, in a batch or a stream.
        catalog: The catalog, or its folder on the driver.
        payload: The column with the payloads, binary or string; null is an empty payload.
        topic: The column with the topics, string.
        product: The product of every request, in place of topics.
        payload_bytes: Larger payloads get code 1008.
        now_ms: The present, for time windows, UTC milliseconds; by default when this is called, in
            a stream when a task begins.
        keep: The columns of the frame that stay; all by default. A payload that comes back from
            Python costs as much as the verdict on it.

    Returns:
        The frame with a column `verdict`: a struct with the columns of docs/engines.md.

    Raises:
        CatalogError: The catalog is invalid.
        ValueError: The frame lacks a column, keeps one called `verdict`, or no topic can have such
            a product.
    """
    kept = frame.columns if keep is None else list(keep)
    if VERDICT in kept:
        raise ValueError(f"expected a frame without a column {VERDICT}: rename it")
    judging = prepare(
        frame,
        catalog,
        payload=payload,
        topic=topic,
        product=product,
        payload_bytes=payload_bytes,
        now_ms=now_ms,
    )
    from pyspark.sql.types import DataType, StructField, StructType  # noqa: PLC0415 - see the package

    schema = StructType([frame.schema[name] for name in kept])
    schema.add(StructField(VERDICT, DataType.fromDDL(_VERDICT_TYPE)))
    needed = judging.needed(frame, *kept)
    return needed.mapInArrow(partial(judging.verdicts, kept), schema)


def rejects(
    frame: DataFrame,
    catalog: Catalog | str | Path,
    *,
    payload: str = "payload",
    topic: str = "topic",
    product: str | None = None,
    payload_bytes: int = PAYLOAD_BYTES,
    now_ms: int | None = None,
) -> DataFrame:
    """The requests that are not accepted, each with its verdict; see `judge`."""
    judged = judge(
        frame,
        catalog,
        payload=payload,
        topic=topic,
        product=product,
        payload_bytes=payload_bytes,
        now_ms=now_ms,
    )
    return judged.where(f"{VERDICT}.code <> 200")


def points(
    frame: DataFrame,
    catalog: Catalog | str | Path,
    *,
    payload: str = "payload",
    topic: str = "topic",
    product: str | None = None,
    payload_bytes: int = PAYLOAD_BYTES,
    now_ms: int | None = None,
) -> DataFrame:
    """The points of accepted requests, with the columns of a dataset; arguments as for `judge`.

    Points without `time` get an instant that no other request of this call has. In a stream two
    batches may give the same one: use `write`, or requests that carry their times.
    """
    judging = prepare(
        frame,
        catalog,
        payload=payload,
        topic=topic,
        product=product,
        payload_bytes=payload_bytes,
        now_ms=now_ms,
    )
    columns = ", ".join(f"{name} {kind}" for name, kind in _POINT_TYPES.items())
    return judging.needed(frame).mapInArrow(judging.points, columns)


def prepare(
    frame: DataFrame,
    catalog: Catalog | str | Path,
    *,
    payload: str,
    topic: str,
    product: str | None,
    payload_bytes: int,
    now_ms: int | None,
) -> Judging:
    """What the tasks of a call have in common; arguments and errors as of `judge`."""
    for column in [payload] if product else [payload, topic]:
        if column not in frame.columns:
            raise ValueError(f"expected a column {column}, got {', '.join(frame.columns)}")
    session = frame.sparkSession
    begin_us = None if frame.isStreaming else time.time_ns() // 1000
    if now_ms is None and begin_us is not None:
        now_ms = begin_us // 1000
    return Judging(
        catalog=sent(session, catalog),
        payload=payload,
        topic=topic,
        fixed_topic=request_topic(product_key(product)) if product else "",
        payload_bytes=payload_bytes,
        now_ms=now_ms,
        begin_us=begin_us,
    )


@dataclass(frozen=True)
class Judging:
    """What a task needs to judge its partition.

    Attributes:
        catalog: What `shipping.sent` gives.
        payload: The column of payloads.
        topic: The column of topics.
        fixed_topic: The topic of every request; empty if they have their own.
        payload_bytes: The limit on a payload.
        now_ms: The present; None for the clock of the task.
        begin_us: From when on instants of arrival are given; None for the clock of the task.
    """

    catalog: Any
    payload: str
    topic: str
    fixed_topic: str
    payload_bytes: int
    now_ms: int | None
    begin_us: int | None

    def needed(self, frame: DataFrame, *kept: str) -> DataFrame:
        """What a task gets of a frame: the columns that it needs, each of which costs its copy.

        The last one has the number of the partition: not every engine has a `TaskContext`.
        """
        from pyspark.sql.functions import spark_partition_id  # noqa: PLC0415 - see the package

        needed = {self.payload, *kept} if self.fixed_topic else {self.payload, self.topic, *kept}
        number = "partition"
        while number in map(str.lower, frame.columns):  # names that Spark takes for the same
            number += "_"
        others = [name for name in frame.columns if name not in needed]
        return frame.drop(*others).withColumn(number, spark_partition_id())

    def verdicts(
        self, kept: Sequence[str], batches: Iterable[pa.RecordBatch]
    ) -> Iterator[pa.RecordBatch]:
        """Columns of the batches, and one for the verdicts."""
        for piece, verdicts, _ in self.judged(batches, plain=True):
            columns = [*map(piece.column, kept), verdicts.to_struct_array()]
            yield pa.RecordBatch.from_arrays(columns, names=[*kept, VERDICT])

    def points(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The accepted points."""
        for _, _, found in self.judged(batches, plain=True):
            for rows in pa.RecordBatchReader.from_stream(found):
                columns = {name: rows[name] for name in _POINT_TYPES if name != "value"}
                columns["value"] = numbers(rows)
                yield pa.RecordBatch.from_pydict({name: columns[name] for name in _POINT_TYPES})

    def judged(
        self, batches: Iterable[pa.RecordBatch], *, plain: bool
    ) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch, Any]]:
        """Pieces of the batches, each with its verdicts and its points."""
        validator = Validator(self.catalog.value, payload_bytes=self.payload_bytes)
        begin_us = time.time_ns() // 1000 if self.begin_us is None else self.begin_us
        now_ms = begin_us // 1000 if self.now_ms is None else self.now_ms
        row = 0
        for batch in batches:
            partition = batch.column(batch.num_columns - 1)[0].as_py() if len(batch) else 0
            for piece in _pieces(batch, self.payload, row):
                verdicts, found = validator.judge_arrow(
                    piece[self.payload],
                    self.fixed_topic or piece[self.topic],
                    now_ms=now_ms,
                    arrived_us=begin_us + _place(row, partition),
                    plain=plain,
                )
                (rows,) = pa.RecordBatchReader.from_stream(verdicts)
                yield piece, rows, found
                row += len(piece)


def _place(row: int, partition: int) -> int:
    """Which instant a request of a partition gets, counted from the first one of the call."""
    block, within = divmod(row, _BLOCK)
    return (block * _PARTITIONS + partition % _PARTITIONS) * _BLOCK + within


def _pieces(batch: pa.RecordBatch, payload: str, first: int) -> Iterator[pa.RecordBatch]:
    """Parts of a batch that are not too large, and do not cross the end of a block of instants.

    Args:
        batch: The batch.
        payload: The column whose bytes count.
        first: The number of its first row in the partition.
    """
    count = len(batch)
    fitting = min(count, _BLOCK - first % _BLOCK)
    if fitting == count and (count <= 1 or batch[payload].nbytes <= _PIECE_BYTES):
        if count:
            yield batch
        return
    cut = fitting if fitting < count else count // 2
    yield from _pieces(batch.slice(0, cut), payload, first)
    yield from _pieces(batch.slice(cut), payload, first + cut)
