"""Splits points into the partitions of a dataset, a UTC day or month each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from pointgate.sinks.key_order import key_order, keyed, take
from pointgate.sinks.parquet.dataset import partition_name
from pointgate.store.points import DAY_US

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pointgate.sinks.parquet.settings import Partition
    from pointgate.sinks.settings import OnConflict


def split(
    batch: pa.RecordBatch, *, partition: Partition, on_conflict: OnConflict | None
) -> Iterator[tuple[str, pa.RecordBatch]]:
    """The name of each partition and its rows, one a key, in the order of their keys.

    Args:
        batch: Rows, later ones behind earlier ones.
        partition: What a folder stands for.
        on_conflict: Whether the last or the first one of a key stays; None for all rows, as they
            are, in a third of the time.
    """
    times = batch["time"]
    # Mostly there is but one group: without them the sort takes half the time.
    bounds = pa.array(pc.min_max(times).values(), times.type)
    first, last = _numbers(bounds, partition).to_pylist()
    if first == last:
        rows = keyed(batch, on_conflict=on_conflict) if on_conflict else batch
        yield partition_name(partition, first), rows
        return
    groups = _numbers(times, partition)
    if on_conflict:
        order = key_order(batch, on_conflict=on_conflict, groups=groups)
    else:
        order = pc.sort_indices(groups)  # stable
    rows = take(batch, order)
    runs = pc.run_end_encode(groups.take(order))
    start = 0
    for group, end in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
        yield partition_name(partition, group), rows.slice(start, end - start)
        start = end


def _numbers(times: pa.Array, partition: Partition) -> pa.Array:
    """For each time the number of its partition since 1970."""
    if partition == "day":
        return pc.divide(times.view(pa.int64()), DAY_US)
    years = pc.subtract(pc.year(times), 1970)
    return pc.add(pc.multiply(years, 12), pc.subtract(pc.month(times), 1))
