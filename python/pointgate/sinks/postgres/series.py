"""A cache of series ids: (product, device, identifier) to `series_id`.

Names are Arrow dictionaries, so Python handles a name once for each write, not for each point. Each
name gets a code of 21 bits, the three codes of a series make a key of 63 bits, and Arrow computes
the keys of all rows at once:

    product "solar" -> 0, device "inv1" -> 1, identifier "temp" -> 2
    key = 0 << 42 | 1 << 21 | 2 = 0x200002

Only the distinct keys of a write are looked up in the cache, and only the missing ones in the
database.

The cache is valid until a series is deleted. A trigger counts deletions (`tables.py`), and a schema
that was dropped and created again has another table id. `check` compares both at the start of each
transaction; its read lock prevents `series` from being dropped or truncated before the end. An id
is never reused, so if another session deletes a series at that moment, the points of this write are
deleted with it, as if they had been written earlier.

Unknown series are inserted in the order of their names, so two sinks that insert the same new
series cannot deadlock. The cache is bounded: it is cleared when it is full. One thread uses it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql

from pointgate.sinks.base import SinkRefusedError, SinkUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from psycopg import Connection

_Series: TypeAlias = tuple[str, ...]

_NAMES: Final = ("product", "device", "identifier")

_CODE_BITS: Final = 21
"""Three codes fit a signed 64-bit key; the cache can hold two million different names."""

_REMEMBERED: Final = 500_000
"""The limit on cached series, some 60 MB: 10,000 devices with 50 points each."""

_LOOKED_UP: Final = 20_000
"""The limit on series in a query, whose parameters are Python objects."""

_CHECK: Final = """
SELECT series_removals, {table}::regclass::oid::bigint, EXISTS (SELECT FROM {schema}.series),
    set_config('statement_timeout', %s, true)
FROM {schema}.pointgate_version
"""

_FIND: Final = """
SELECT place, series_id
FROM unnest(%s::text[], %s::text[], %s::text[])
    WITH ORDINALITY AS asked (product, device, identifier, place)
JOIN {schema}.series USING (product, device, identifier)
"""

_INSERT: Final = """
INSERT INTO {schema}.series (product, device, identifier)
SELECT product, device, identifier
FROM unnest(%s::text[], %s::text[], %s::text[])
    WITH ORDINALITY AS asked (product, device, identifier, place)
ORDER BY place
ON CONFLICT DO NOTHING
"""


class SeriesIds:
    """The cache of one session."""

    def __init__(self, *, schema: str) -> None:
        # In a statement with parameters, psycopg interprets each %, even in a quoted name.
        escaped = schema.replace("%", "%%")
        name, table = sql.Identifier(escaped), sql.Identifier(escaped, "series").as_string()
        self._check = sql.SQL(_CHECK).format(schema=name, table=table)
        self._find = sql.SQL(_FIND).format(schema=name)
        self._insert = sql.SQL(_INSERT).format(schema=name)
        self._state: tuple[Any, ...] = ()
        self._codes: dict[str, int] = {}
        self._ids: dict[int, int] = {}

    def forget(self) -> None:
        """Clear the cache, after a transaction that was not committed, or for another session."""
        self._state = ()
        self._clear()

    def check(self, connection: Connection[Any], *, seconds: float) -> None:
        """Begin a transaction, and clear the cache if it is no longer valid.

        Args:
            connection: A connection without a transaction.
            seconds: The statement timeout for this transaction, which is set here to save a round
                trip.

        Raises:
            psycopg.Error: The server returned an error.
        """
        milliseconds = str(round(seconds * 1000))
        state = (connection.execute(self._check, (milliseconds,)).fetchone() or ())[:2]
        if state != self._state:
            self._clear()
            self._state = state

    def resolve(self, connection: Connection[Any], points: pa.Table) -> pa.Array:
        """The series id of each row; unknown series are inserted.

        Args:
            connection: In the transaction that `check` began.
            points: Rows of `store.points.SCHEMA`.

        Raises:
            SinkRefusedError: The write has too many different names.
            SinkUnavailableError: Another session is deleting series.
            psycopg.Error: The server returned an error.
        """
        keys = self._keys(points.select(_NAMES).unify_dictionaries().combine_chunks())
        wanted = keys.dictionary.to_pylist()
        ids = list(map(self._ids.get, wanted))
        if missing := [key for key, known in zip(wanted, ids, strict=True) if known is None]:
            found = self._look_up(connection, missing)
            ids = [found.get(key, known) for key, known in zip(wanted, ids, strict=True)]
            if len(self._ids) + len(found) > _REMEMBERED:
                self._clear()
            else:
                self._ids |= found
        return pa.array(ids, pa.int64()).take(keys.indices)

    def _keys(self, names: pa.Table) -> Any:
        """The key of each row, its three codes in one number, as an Arrow dictionary."""
        columns = [names[name].combine_chunks() for name in _NAMES]
        texts = [column.dictionary.to_pylist() for column in columns]
        coming = sum(map(len, texts))
        if len(self._codes) + coming > 1 << _CODE_BITS:
            self._clear()
        if coming > 1 << _CODE_BITS:
            raise SinkRefusedError(
                f"expected at most {1 << _CODE_BITS} different names in one write, got {coming}"
            )
        keys = pa.scalar(0)
        for column, known in zip(columns, texts, strict=True):
            codes = [self._codes.setdefault(text, len(self._codes)) for text in known]
            code = pa.array(codes, pa.int64()).take(column.indices)
            keys = pc.bit_wise_or(pc.shift_left(keys, _CODE_BITS), code)
        return keys.dictionary_encode()

    def _look_up(self, connection: Connection[Any], keys: Iterable[int]) -> dict[int, int]:
        """The ids of series from the database, which assigns new ones to new series."""
        texts, mask = list(self._codes), (1 << _CODE_BITS) - 1
        shifts = (2 * _CODE_BITS, _CODE_BITS, 0)
        names = {tuple(texts[key >> shift & mask] for shift in shifts): key for key in keys}
        asked = sorted(names)
        found: dict[int, int] = {}
        for start in range(0, len(asked), _LOOKED_UP):
            part = asked[start : start + _LOOKED_UP]
            ids = self._found(connection, part)
            if new := [series for series in part if series not in ids]:
                connection.execute(self._insert, _columns(new))
                ids |= self._found(connection, new)
                if len(ids) < len(part):
                    raise SinkUnavailableError("series were deleted while they were looked up")
            found |= {names[series]: ids[series] for series in part}
        return found

    def _found(self, connection: Connection[Any], asked: Sequence[_Series]) -> dict[_Series, int]:
        rows = connection.execute(self._find, _columns(asked)).fetchall()
        return {asked[place - 1]: series_id for place, series_id in rows}

    def _clear(self) -> None:
        self._codes.clear()
        self._ids.clear()


def _columns(asked: Sequence[_Series]) -> list[list[str]]:
    return [list(column) for column in zip(*asked, strict=True)]
