"""The numbers of series: (product, device, identifier) to `series_id`, looked up and remembered.

Names come as Arrow dictionaries, so Python sees a name once a write, not once a point: a name gets
a code, three codes make a key of 63 bits, and Arrow makes the keys of all rows at once. Only the
different keys of a write are looked up here, and only the unknown ones of those in the database.

What is remembered is right as long as no series goes away. A trigger counts whenever some do
(`tables.py`), and a schema that was dropped and made again has another table: `check` compares both
at the start of each transaction, and keeps `series` from being dropped or truncated until its end.
A number is never given twice, so a series that someone else deletes at that very moment takes the
points of this write with it, as if they had come before.

Unknown series are inserted in the order of their names, so two sinks that meet the same new series
never wait for each other in a circle. It is bounded: when it holds too much, it starts anew. One
thread uses it.
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
"""Three codes fit a signed 64-bit key: two million different names at a time."""

_REMEMBERED: Final = 500_000
"""Series; some 60 MB. It is 10,000 devices with 50 points each."""

_LOOKED_UP: Final = 20_000
"""Series a query: the parameters of a statement are built as Python objects."""

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
    """What is known of the table `series` in one session."""

    def __init__(self, *, schema: str) -> None:
        # Beside parameters psycopg takes each % for one, even in a quoted name.
        escaped = schema.replace("%", "%%")
        name, table = sql.Identifier(escaped), sql.Identifier(escaped, "series").as_string()
        self._check = sql.SQL(_CHECK).format(schema=name, table=table)
        self._find = sql.SQL(_FIND).format(schema=name)
        self._insert = sql.SQL(_INSERT).format(schema=name)
        self._state: tuple[Any, ...] = ()
        self._codes: dict[str, int] = {}
        self._ids: dict[int, int] = {}

    def forget(self) -> None:
        """Know nothing: after a transaction that was not committed, or in another session."""
        self._state = ()
        self._clear()

    def check(self, connection: Connection[Any], *, seconds: float) -> None:
        """Begin a transaction: forget what is no longer so, and keep the rest true until its end.

        Args:
            connection: In no transaction.
            seconds: How long the server may take for each statement of this transaction; it is
                told so here, because that saves a round trip.

        Raises:
            psycopg.Error: The server says no.
        """
        milliseconds = str(round(seconds * 1000))
        state = (connection.execute(self._check, (milliseconds,)).fetchone() or ())[:2]
        if state != self._state:
            self._clear()
            self._state = state

    def resolve(self, connection: Connection[Any], points: pa.Table) -> pa.Array:
        """The number of each row's series; unknown series are inserted.

        Args:
            connection: In the transaction that `check` began.
            points: Rows of `store.points.SCHEMA`.

        Raises:
            SinkRefusedError: There are too many different names for one write.
            SinkUnavailableError: Someone takes series away at this moment.
            psycopg.Error: The server says no.
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
        """Each row's three codes in one number, as an Arrow dictionary."""
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
        """Numbers from the database, new ones for new series."""
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
                    raise SinkUnavailableError("series went away while they were looked up")
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
