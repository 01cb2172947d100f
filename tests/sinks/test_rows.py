"""The rows of a Parquet file: bounded pieces of a table, and tables that are never cut."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointgate.sinks import tables
from pointgate.sinks.tables import TEXTS, one_batch, pieces, text_bytes
from tests.support.point_tables import Point, table

texts = st.none() | st.text(max_size=9)
points = st.tuples(texts, texts).map(lambda pair: Point(text=pair[0], json=pair[1]))


def _size(point: Point) -> int:
    return len((point.text or "").encode()) + len((point.json or "").encode())


def _cut(rows: pa.Table, *, encoded: bool) -> pa.Table:
    """The same rows in several chunks, as text or as dictionaries of it."""
    parts = [rows.slice(start, 3) for start in range(0, rows.num_rows, 3)]
    joined = pa.concat_tables(parts) if parts else rows
    for name in TEXTS if encoded else ():
        place = joined.schema.get_field_index(name)
        joined = joined.set_column(place, name, joined[name].dictionary_encode())
    return joined


@given(st.lists(points, max_size=20), st.integers(1, 6), st.integers(1, 20), st.booleans())
def test_pieces_are_all_rows_in_order_and_within_the_bounds(
    found: list[Point],
    most_rows: int,
    most_bytes: int,
    encoded: bool,  # noqa: FBT001
) -> None:
    rows = _cut(table(found), encoded=encoded)
    cut = list(pieces(rows, most_rows=most_rows, most_bytes=most_bytes))
    assert sum(map(text_bytes, cut)) == text_bytes(rows) == sum(map(_size, found))
    assert all(0 < piece.num_rows <= most_rows for piece in cut)
    assert all(piece.num_rows == 1 or text_bytes(piece) <= most_bytes for piece in cut)
    assert (pa.concat_tables(cut) if cut else rows.slice(0, 0)).equals(rows)


def test_what_does_not_fit_in_one_batch_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    class Chunked:
        """A table that stays in two chunks, as one of more than 2 GiB does."""

        num_rows = 2

        def unify_dictionaries(self) -> Chunked:
            return self

        def combine_chunks(self) -> Chunked:
            return self

        def to_batches(self) -> list[None]:
            return [None, None]

    monkeypatch.setattr(tables, "text_bytes", lambda _: 2**31)
    with pytest.raises(pa.lib.ArrowCapacityError, match="2147483648 bytes of text do not fit"):
        one_batch(Chunked())
