"""A record as points to be judged: in `[long]` one, in `[wide]` one for each column of the mapping.

    2024-05-01 00:00;inv-1;temp;21,5       {"deviceKey":"inv-1","measurepoints":{"temp":21.5},
                                            "time":1714514400000}

A point is rejected alone: the others of its row, and the rows beside it, are judged without it.
"""

from __future__ import annotations

import re
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

import orjson

from pointgate.diagnostics import did_you_mean, shown
from pointgate.errors import PointgateError
from pointgate.importing.mapping import column_name
from pointgate.importing.times import TimeError, Times, TwiceError
from pointgate.importing.value_kinds import ValueKind, ValueKinds
from pointgate.importing.values import Values

if TYPE_CHECKING:
    from collections.abc import Mapping as MappingOf
    from collections.abc import Sequence

    from pointgate._core import Product
    from pointgate.importing.mapping import Mapping, NameMapping, PointMapping
    from pointgate.importing.records import Record, Table


_WHOLE: Final = re.compile("0|[1-9][0-9]{0,8}")
_OVERLAP_US: Final = 4 * 3_600_000_000
"""An hour that exists twice is shorter, and the next one is months away."""

_MOST_SERIES: Final = 1_000_000


class RowError(PointgateError):
    """A row, or a point of it, that cannot be read; the text says why."""


class Entry(NamedTuple):
    """Points of one device at one time, as one entry of a request.

    Attributes:
        product: Its product.
        record: The row.
        head: `{"deviceKey":…,"measurepoints":{`.
        members: Each point as a member, and the column that it came from.
        tail: `},"time":…}`.
    """

    product: str
    record: Record
    head: str
    members: Sequence[tuple[str, str]]
    tail: str

    def json(self) -> str:
        """All of it."""
        if len(self.members) == 1:
            return self.head + self.members[0][0] + self.tail
        return self.head + ",".join([text for text, _ in self.members]) + self.tail


class _Names:
    """Keys of products or devices, each made once."""

    def __init__(self, mapping: NameMapping, table: Table, what: str) -> None:
        self._mapping = mapping
        self._known = mapping.known()
        self._made: dict[object, str] = {}
        self._what = what
        self.fixed = mapping.template.replace("{}", mapping.value or "")
        self.place = None if mapping.column is None else table.place(mapping.column)

    def of(self, record: Record) -> str:
        """The key of a row."""
        if self.place is None:
            return self.fixed
        name = record.fields[self.place]
        try:
            return self._made[name]
        except (KeyError, TypeError):
            made = self._make(name)
            if len(self._made) < 1_000_000:  # noqa: PLR2004 - devices are not that many
                self._made[name] = made
            return made

    def _make(self, name: object) -> str:
        text = "" if name is None else str(name).strip()
        if not text:
            where = column_name(self._mapping.column)
            raise RowError(f"{where}: expected a {self._what}, got nothing")
        if self._known or self._mapping.file:
            if text not in self._known and self._mapping.unlisted == "reject":
                near = did_you_mean(text, self._known)
                reason = f"expected a {self._what} of the mapping's table, got {shown(text)}{near}"
                raise RowError(f"{column_name(self._mapping.column)}: {reason}")
            text = self._known.get(text, text)
        return self._mapping.template.replace("{}", text)


Overlaps = dict[str, tuple[int, bool, list[str]]]
"""Of each series the last time that exists twice, as the clock shows it in microseconds; whether it
is the second one; and the columns that a row of that time had."""


def _in_order(overlaps: Overlaps, series: str, columns: Sequence[str], found: TwiceError) -> int:
    """Which of two instants a time is: the second one if the series goes back, or repeats one."""
    now = found.local_us
    last, is_second, before = overlaps.get(series, (now - _OVERLAP_US, False, []))
    if abs(now - last) >= _OVERLAP_US:
        is_second = False
    elif now < last or (now == last and not set(before).isdisjoint(columns)):
        is_second = True
    elif now == last:  # the other columns of a time
        columns = [*before, *columns]
    if series not in overlaps and len(overlaps) >= _MOST_SERIES:
        raise TimeError(f"exists twice, and so do times of {_MOST_SERIES:,} other series")
    overlaps[series] = now, is_second, [*columns]
    return found.second if is_second else found.first


class _Reader(NamedTuple):
    """How a point is read."""

    values: Values
    kind: ValueKind
    has_quality: bool
    member: str
    quality: int | None


class _Seen(NamedTuple):
    """What came before, by the fields as they are; of tables with one product.

    Attributes:
        heads: Entries' beginnings by device.
        readers: By identifier.
    """

    heads: dict[object, str]
    readers: dict[object, _Reader]


class Layout:
    """Reads the rows of one table.

    Args:
        mapping: What the columns mean.
        table: The table.
        products: The catalog's.
        kinds: The kinds of each product's points, shared by all tables.

    Attributes:
        overlaps: What `time.overlap = "order"` has to know of the rows before.

    Raises:
        TableError: A column is missing.
    """

    def __init__(
        self,
        mapping: Mapping,
        table: Table,
        products: MappingOf[str, Product],
        kinds: dict[str, ValueKinds],
    ) -> None:
        self._mapping = mapping
        self._table = table
        self._products = products
        self._kinds = kinds
        self._product = _Names(mapping.product, table, "product")
        self._device = _Names(mapping.device, table, "device")
        self._heads: dict[str, str] = {}
        self._times = Times(mapping.time, mapping.values.decimal)
        self._time_places = [table.place(one) for one in mapping.time.all_columns]
        self._readers: dict[tuple[str, str], _Reader | None] = {}
        self.nulls = 0
        self.skipped: Counter[str] = Counter()
        self.listed: set[str] = set()
        self._seen = _Seen({}, {})
        self.overlaps: Overlaps = {}
        self._in_order = mapping.time.overlap == "order"
        self._is_plain = False
        if mapping.long:
            columns = mapping.time.all_columns
            self._is_plain = mapping.product.column is None and len(columns) == 1
            self._identifier = table.place(mapping.long.identifier)
            self._value = table.place(mapping.long.value)
            quality = mapping.long.quality
            self._quality = None if quality is None else table.place(quality)
        else:
            self._columns = self._wide_columns()

    def entry(self, record: Record) -> Entry | None:
        """The points of a row; None where it has none.

        Raises:
            RowError: It cannot be read.
        """
        if self._is_plain:
            _, fields, fault = record
            try:
                if not fault:
                    return self._seen_before(record, fields)
            except (KeyError, TypeError, TimeError, OverflowError):
                pass  # of another kind, or not seen yet
        return self._entry(record)

    def _seen_before(self, record: Record, fields: Sequence[object]) -> Entry | None:
        """The same in half the time, for a device and an identifier that came before.

        Raises:
            KeyError: One of them did not, or a row without a value may say which hour it is.
        """
        place = self._device.place
        head = self._seen.heads[None if place is None else fields[place]]
        reader = self._seen.readers[fields[self._identifier]]
        member = self._member(reader, fields, self._value, self._quality)
        if not member:
            if self._in_order:
                raise KeyError
            self.nulls += 1
            return None
        milliseconds = self._times.milliseconds(fields[self._time_places[0]])
        tail = '},"time":' + str(milliseconds) + "}"
        return Entry(self._product.fixed, record, head, ((member, ""),), tail)

    def _entry(self, record: Record) -> Entry | None:
        if record.fault:
            raise RowError(record.fault)
        product = self._product.of(record)
        device = self._device.of(record)
        members = self._long(product, record) if self._mapping.long else self._wide(product, record)
        if not members:
            if self._in_order:
                columns = (
                    [("", "")] if self._mapping.long else [("", name) for name, _ in self._columns]
                )
                with suppress(RowError):  # a row of nothing is a row of its time
                    self._time(record, product, device, columns)
            return None
        head = self._heads.get(device)
        if head is None:
            head = '{"deviceKey":' + orjson.dumps(device).decode() + ',"measurepoints":{'
            if len(self._heads) < 1_000_000:  # noqa: PLR2004 - as above
                self._heads[device] = head
        if self._is_plain:
            place = self._device.place
            self._seen.heads[None if place is None else record.fields[place]] = head
        tail = '},"time":' + str(self._time(record, product, device, members)) + "}"
        return Entry(product, record, head, members, tail)

    def _time(
        self, record: Record, product: str, device: str, members: Sequence[tuple[str, str]]
    ) -> int:
        places = self._time_places
        value = record.fields[places[0]]
        if len(places) > 1:
            value = " ".join(str(record.fields[place] or "").strip() for place in places)
        try:
            try:
                return self._times.milliseconds(value)
            except TwiceError as found:
                name = str(record.fields[self._identifier]).strip() if self._mapping.long else ""
                series = f"{product}\0{device}\0{name}"
                columns = [column for _, column in members]
                return _in_order(self.overlaps, series, columns, found)
        except TimeError as error:
            names = [column_name(one) for one in self._mapping.time.all_columns]
            raise RowError(f"{' and '.join(names)}: {error}") from None
        except OverflowError:
            raise RowError("expected a time of the years 1 to 9999") from None

    def _long(self, product: str, record: Record) -> list[tuple[str, str]]:
        field = record.fields[self._identifier]
        name = "" if field is None else str(field).strip()
        if not name:
            where = column_name(self._mapping.long.identifier) if self._mapping.long else ""
            raise RowError(f"{where}: expected an identifier, got nothing")
        reader = self._reader(product, name)
        if reader is None:
            self.skipped[name] += 1
            return []
        if self._is_plain and isinstance(field, str):
            self._seen.readers[field] = reader
        member = self._member(reader, record.fields, self._value, self._quality)
        self.nulls += not member
        return [(member, "")] if member else []

    def _wide(self, product: str, record: Record) -> list[tuple[str, str]]:
        members = []
        for name, place in self._columns:
            reader = self._reader(product, name)
            member = self._member(reader, record.fields, place, None) if reader else ""
            if member:
                members.append((member, name))
            else:
                self.nulls += 1
        return members

    def _member(
        self, reader: _Reader, fields: Sequence[object], value: int, quality: int | None
    ) -> str:
        """A point as a member; empty where it has no value."""
        token = reader.values.token(fields[value], reader.kind)
        if token is None:
            return ""
        place = reader.quality if reader.quality is not None else quality
        if place is not None and reader.has_quality:
            found = self._quality_of(fields[place])
            if found is not None:
                token = '{"value":' + token + ',"quality":' + found + "}"
        return reader.member + token

    def _quality_of(self, value: object) -> str | None:
        text = "" if value is None else str(value).strip()
        known = self._mapping.quality.names.get(text)
        if known is not None:
            return str(known)
        if not text:
            return None
        return text if _WHOLE.fullmatch(text) else orjson.dumps(text).decode()

    def _reader(self, product: str, name: str) -> _Reader | None:
        try:
            return self._readers[product, name]
        except KeyError:
            reader = self._make_reader(product, name)
            if len(self._readers) < 1_000_000:  # noqa: PLR2004 - as above
                self._readers[product, name] = reader
            return reader

    def _make_reader(self, product: str, name: str) -> _Reader | None:
        point = self._mapping.points.get(name)
        if point is not None:
            self.listed.add(name)
        if point is None and self._mapping.long and self._mapping.long.unlisted != "keep":
            if self._mapping.long.unlisted == "skip":
                return None
            near = did_you_mean(name, self._mapping.points)
            where = column_name(self._mapping.long.identifier)
            raise RowError(f"{where}: expected a name of [points], got {shown(name)}{near}")
        identifier = point.identifier if point else name
        kinds = self._kinds.get(product)
        if kinds is None:
            kinds = self._kinds[product] = ValueKinds(product, self._products.get(product))
        kind, has_quality = kinds.of(identifier)
        return _Reader(
            Values(self._mapping.values, point),
            kind,
            has_quality,
            orjson.dumps(identifier).decode() + ":",
            self._quality_place(point),
        )

    def _quality_place(self, point: PointMapping | None) -> int | None:
        if point is None or point.quality is None:
            return None
        return self._table.place(point.quality)

    def _wide_columns(self) -> list[tuple[str, int]]:
        """The columns that are points, by the names that the mapping has for them."""
        listed = [
            (name, self._table.place(_column(name, self._table))) for name in self._mapping.points
        ]
        for point in self._mapping.points.values():
            self._quality_place(point)  # which may be missing
        wide = self._mapping.wide
        if wide is None or wide.unlisted == "skip" or self._table.columns is None:
            return listed
        taken = {place for _, place in listed} | set(self._time_places)
        for other in self._mapping.columns():
            if other not in self._mapping.points:
                taken.add(self._table.place(other))
        names = enumerate(self._table.columns)
        return listed + [(name, place) for place, name in names if place not in taken and name]


def _column(name: str, table: Table) -> str | int:
    """A column as a key of [points] names it: by its number where there is no header."""
    return int(name) if table.columns is None and name.isdigit() and int(name) else name
