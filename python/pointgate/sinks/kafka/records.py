"""Points as Kafka records.

`json`: a record for each entry, with the key `product/device`:

    {"product":"solar","device":"inv1","time":1714521600000,
     "points":{"temp":21.5,"on":true},"quality":{"temp":9},
     "received":1714521600123.456}                                          (on one line)

Values and times are those of the `ndjson` sink; `quality` is there if a point has one. An entry
whose identifiers repeat, which only two entries of one device and time can make, is two records.

`request`: a request for each entry, as the protocol has it, so that another pointgate, or whatever
reads requests, takes it. The key is the same, the header `topic` has the topic of the request, `id`
is the instant of arrival in microseconds:

    {"id":"1714521600123456","version":"1.0","method":"integration.measurepoint.post",
     "params":[{"deviceKey":"inv1","time":1714521600000,
      "measurepoints":{"temp":{"value":21.5,"quality":9},"on":true}}]}         (on one line)

It has the values that were accepted, not the bytes that were sent; a time is in whole milliseconds,
also that of an entry that was sent without one.

`arrow`: an Arrow IPC stream with the columns of `store.points.SCHEMA`, for as many points as stay
below `_RECORD_BYTES`. All points of a device are in one partition, in the order of arrival, by a
hash of its key: so a record has the points of many devices, but of one partition.

Arrow makes the texts column by column: no Python object for a point, and one for each record,
which is what the client library takes.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import ipc

from pointgate.sinks.ndjson.sink import milliseconds, names, values
from pointgate.sinks.tables import one_batch, pieces
from pointgate.topics import METHOD, request_topic

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROWS: Final = 50_000
_TEXT_BYTES: Final = 8 * 1024 * 1024
"""Rows and bytes of texts of which JSON is made at a time."""

_RECORD_ROWS: Final = 4_000
_RECORD_BYTES: Final = 400_000
"""Rows and bytes of texts in one Arrow record: below the 1 MB that a topic takes by default."""

_NAMES_KEPT: Final = 256
"""A dictionary of so many names is not worth being made again for fewer."""

_NAMES: Final = ("product", "device", "identifier")


class Record(NamedTuple):
    """A record.

    Attributes:
        value: Its value.
        key: Its key; None for Arrow.
        partition: Its partition; -1 if the key decides.
        headers: Its headers.
    """

    value: str | bytes
    key: str | None = None
    partition: int = -1
    headers: dict[str, str | bytes | None] | None = None


class _Entries(NamedTuple):
    """Some points, in entries.

    Attributes:
        points: The points.
        ends: Where each entry begins, and the end of the last one.
        first: The first point of each.
    """

    points: pa.RecordBatch
    ends: pa.Array
    first: pa.RecordBatch

    def joined(self, values: pa.Array) -> pa.Array:
        """The members of an object for each entry, with these values of the points."""
        member = pc.binary_join_element_wise(names(self.points["identifier"]), values, ":")
        return pc.binary_join(pa.ListArray.from_arrays(self.ends, member), ",")

    def keys(self) -> pa.Array:
        """The key of each entry's record."""
        product, device = (self.first[name].dictionary_decode() for name in ("product", "device"))
        return pc.binary_join_element_wise(product, device, "/")


def _entries(points: pa.Table) -> Iterator[_Entries]:
    for piece in pieces(points, most_rows=_ROWS, most_bytes=_TEXT_BYTES):
        batch = one_batch(piece)
        starts = _starts(batch)
        ends = pa.concat_arrays([starts, pa.array([batch.num_rows], pa.int32())])
        yield _Entries(batch, ends, batch.take(starts))


def json_records(points: pa.Table) -> Iterator[Record]:
    """A record for each entry, in order."""
    for entries in _entries(points):
        first = entries.first
        text = pc.binary_join_element_wise(
            '{"product":',
            names(first["product"]),
            ',"device":',
            names(first["device"]),
            ',"time":',
            milliseconds(first["time"]),
            ',"points":{',
            entries.joined(values(entries.points)),
            "}",
            _qualities(entries.points, entries.ends),
            ',"received":',
            milliseconds(first["received"]),
            "}",
            "",
        )
        for value, key in zip(text.to_pylist(), entries.keys().to_pylist(), strict=True):
            yield Record(value, key)


def request_records(points: pa.Table) -> Iterator[Record]:
    """A request for each entry, in order."""
    for entries in _entries(points):
        first = entries.first
        time = pc.divide(first["time"].cast(pa.int64()), 1000).cast(pa.string())
        text = pc.binary_join_element_wise(
            '{"id":"',
            first["received"].cast(pa.int64()).cast(pa.string()),
            f'","version":"1.0","method":"{METHOD}","params":[{{"deviceKey":',
            names(first["device"]),
            ',"time":',
            time,
            ',"measurepoints":{',
            entries.joined(_with_quality(entries.points)),
            "}}]}",
            "",
        )
        texts, keys = text.to_pylist(), entries.keys().to_pylist()
        for value, key, product in zip(texts, keys, first["product"].to_pylist(), strict=True):
            yield Record(value, key, headers={"topic": request_topic(product)})


def _with_quality(points: pa.RecordBatch) -> pa.Array:
    """The value of each point as JSON, as an object with its quality if it has one."""
    value, quality = values(points), points["quality"]
    if quality.null_count == len(quality):
        return value
    both = pc.binary_join_element_wise(
        '{"value":', value, ',"quality":', quality.cast(pa.string()), "}", ""
    )
    return pc.if_else(quality.is_valid(), both, value)


def _starts(batch: pa.RecordBatch) -> pa.Array:
    """The first row of each entry."""
    rows = batch.num_rows
    changes = pa.array([True] + [False] * (rows - 1)) if rows else pa.array([], pa.bool_())
    for column in (
        batch["product"].indices,
        batch["device"].indices,
        batch["time"],
        batch["received"],
    ):
        differs = pc.not_equal(column.slice(1), column.slice(0, rows - 1))
        changes = pc.or_(changes, pa.concat_arrays([pa.array([True]), differs]))
    identifiers = batch["identifier"]
    entry = pc.cumulative_sum(changes.cast(pa.int64()))
    pairs = pc.add(
        pc.multiply(entry, len(identifiers.dictionary)), identifiers.indices.cast(pa.int64())
    )
    if pc.count_distinct(pairs).as_py() != rows:
        changes = _without_repeats(pairs.to_pylist(), changes.to_pylist())
    return pc.indices_nonzero(changes).cast(pa.int32())


def _without_repeats(pairs: list[int], changes: list[bool]) -> pa.Array:
    """Begin another entry where an identifier occurs again."""
    seen: set[int] = set()
    for row, pair in enumerate(pairs):
        if changes[row] or pair in seen:
            changes[row] = True
            seen.clear()
        seen.add(pair)
    return pa.array(changes)


def _qualities(batch: pa.RecordBatch, ends: pa.Array) -> pa.Array:
    """The member `quality` of each entry; empty where no point has one."""
    quality = batch["quality"]
    has = quality.is_valid()
    if not pc.any(has).as_py():
        return pa.scalar("")
    member = pc.binary_join_element_wise(
        names(batch["identifier"]).filter(has), quality.drop_null().cast(pa.string()), ":"
    )
    before = pa.concat_arrays([pa.array([0], pa.int64()), pc.cumulative_sum(has.cast(pa.int64()))])
    offsets = before.take(ends).cast(pa.int32())
    joined = pc.binary_join(pa.ListArray.from_arrays(offsets, member), ",")
    whole = pc.binary_join_element_wise(',"quality":{', joined, "}", "")
    return pc.if_else(pc.equal(joined, ""), "", whole)


def arrow_records(points: pa.Table, partitions: int) -> Iterator[Record]:
    """Arrow streams, each for one partition."""
    for partition, rows in _by_partition(points, partitions):
        for piece in pieces(rows, most_rows=_RECORD_ROWS, most_bytes=_RECORD_BYTES):
            yield Record(_stream(piece), partition=partition)


def _by_partition(points: pa.Table, partitions: int) -> Iterator[tuple[int, pa.Table]]:
    if partitions == 1:
        yield 0, points
        return
    batch = one_batch(points)
    devices = batch["device"]
    hashes = [zlib.crc32(name.encode()) % partitions for name in devices.dictionary.to_pylist()]
    own = pa.array(hashes, pa.int32()).take(devices.indices)
    order = pc.sort_indices(own)  # stable: the points of a device stay in their order
    table = pa.Table.from_batches([batch.take(order)])
    runs = pc.run_end_encode(own.take(order))
    start = 0
    for partition, end in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
        yield partition, table.slice(start, end - start)
        start = end


def _stream(rows: pa.Table) -> bytes:
    """The rows, without long dictionaries that have the names of other rows, too."""
    batch: Any = one_batch(rows)
    for name in _NAMES:
        if len(batch[name].dictionary) > _NAMES_KEPT:
            place = batch.schema.get_field_index(name)
            column = batch[name].dictionary_decode().dictionary_encode()
            batch = batch.set_column(place, batch.schema.field(name), column)
    stream = pa.BufferOutputStream()
    with ipc.new_stream(stream, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(stream.getvalue())
