"""Collected points as an Arrow stream: whoever reads it, as often as they like, nothing is lost."""

from __future__ import annotations

import gc
from array import array
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Final

import duckdb
import polars as pl
import pyarrow as pa
import pytest

from pointgate import Validator, _core
from pointgate.store.points import SCHEMA
from tests.oracle.points import rows, rows_of
from tests.support.collected import (
    ARRIVED,
    ARRIVED_US,
    collect,
    entry,
    one_product,
    request,
    topic,
    validator,
)
from tests.support.patience import PATIENCE
from tests.support.strategies import ORACLE_CATALOG

LARGEST_MODELS: Final = 210


def test_no_rows_have_the_columns_still() -> None:
    reports, points = validator().collect([], [], now_ms=ARRIVED)
    assert (reports, len(points)) == ([], 0)
    for requests in [[], [request("[]")], [b"{"], [b""], [request(entry('"int":"x"'))]]:
        _, points = validator().collect([topic("types")] * len(requests), requests)
        table = pa.table(points)
        assert len(points) == table.num_rows == 0
        assert table.schema.equals(SCHEMA, check_metadata=True)


def dictionary(table: pa.Table, name: str) -> list[str]:
    """The names of a dictionary column, which has one chunk and each name once."""
    [chunk] = table[name].chunks
    names: list[str] = chunk.dictionary.to_pylist()
    assert len(names) == len(set(names))
    return names


def test_names_are_held_once_whoever_has_them() -> None:
    both = [("protocol", "temp"), ("types", "int"), ("window", "temp"), ("types", "double")]
    requests = [
        (
            product,
            request(f'{{"deviceKey":"{device}","measurepoints":{{"{identifier}":{number}}}}}'),
        )
        for number in range(20)
        for device in ("device1", "device2")
        for product, identifier in both
    ]
    table = collect(requests)
    assert dictionary(table, "product") == ["protocol", "types", "window"]
    assert dictionary(table, "device") == ["device1", "device2"]
    assert dictionary(table, "identifier") == ["temp", "int", "double"]
    assert rows_of(table) == [
        row
        for place, (product, payload) in enumerate(requests)
        for row in rows(ORACLE_CATALOG, topic(product), payload, arrived_us=ARRIVED_US + place)
    ]


def test_thousands_of_devices_keep_their_points() -> None:
    devices = [f"site{number % 7}-设备{number}" for number in range(5000)]
    judge = one_product(
        {"measurepoints": {"a": {"dataType": "INT"}, "b": {"dataType": "STRING"}}}, devices
    )
    entries = [
        entry(
            f'"b":"{number}","a":{number}' if number % 3 else f'"a":{number}', device, str(number)
        )
        for number, device in enumerate(devices)
    ]
    payloads = [request(f"[{','.join(entries[at : at + 700])}]") for at in range(0, 5000, 700)]
    table = collect([("pk", payload) for payload in payloads], judge)
    assert dictionary(table, "device") == devices
    assert [row[1:6] for row in rows_of(table)] == [
        row
        for number, device in enumerate(devices)
        for row in (
            (device, "b", 1000 * number, "value_text", str(number)),
            (device, "a", 1000 * number, "value_long", number),
        )
        if number % 3 or row[1] == "a"
    ]


def many(count: int) -> list[tuple[str, bytes]]:
    """Requests of ten points each, so many points in all."""
    one = '"int":%d,"string":"s%d","double":%d.5,"bool":%s,"quality_int":{"value":%d,"quality":%d}'
    numbers = (
        (number, number, number, "true" if number % 3 else "false", number % 101, number % 10)
        for number in range(0, count // 5, 2)
    )
    return [("types", request(f"[{entry(one % n)},{entry(one % n)}]")) for n in numbers]


def points_of(requests: list[tuple[str, bytes]], judge: Validator | None = None) -> _core.Points:
    products, payloads = zip(*requests, strict=True)
    topics = [topic(product) for product in products]
    _, points = (judge or validator()).collect(topics, payloads, now_ms=ARRIVED)
    return points


EVERYTHING: Final = [
    ("types", request(entry('"double":-0.0,"float":0.1,"int":1,"timestamp":2,"enum_int":-3'))),
    ("types", b"{"),
    ("types", request(entry('"string":"","file":"温度📶","date":"2024-02-29","enum_string":"on"'))),
    ("lenient", request(entry('"bool":true,"x":1,"int":"7"', "lenient-2", "null"))),
    ("types", request(entry('"bool":0,"array_int":[ 1],"struct_optional":{},"int":4', "设备-1"))),
    ("types", request(entry('"quality_int":{"value":1,"quality":9},"quality_float":1'))),
    ("protocol", request('{"deviceKey":"device2","measurepoints":{"temp":5e-324}}')),
]


def test_points_can_be_read_any_number_of_times() -> None:
    points = points_of(EVERYTHING)
    first, second = pa.table(points), pa.table(points)
    with pa.RecordBatchReader.from_stream(points) as reader:
        third = reader.read_all()
    assert len(points) == 18
    assert rows_of(first) == rows_of(second) == rows_of(third)
    assert rows_of(first) == [
        row
        for place, (product, payload) in enumerate(EVERYTHING)
        if place != 1
        for row in rows(ORACLE_CATALOG, topic(product), payload, arrived_us=ARRIVED_US + place)
    ]


@pytest.mark.parametrize("requests", [EVERYTHING, EVERYTHING[1:2]], ids=["points", "none"])
def test_polars_reads_what_pyarrow_reads(requests: list[tuple[str, bytes]]) -> None:
    points = points_of(requests)
    expected = pa.table(points).to_pylist()
    frame = pl.DataFrame(points)
    assert frame.columns == SCHEMA.names
    assert frame.to_dicts() == expected
    assert frame["value_double"].dtype == pl.Float64
    assert frame["time"].dtype == pl.Datetime("us", "UTC")


@pytest.mark.parametrize("requests", [EVERYTHING, EVERYTHING[1:2]], ids=["points", "none"])
def test_duckdb_reads_what_pyarrow_reads(requests: list[tuple[str, bytes]]) -> None:
    points = points_of(requests)
    expected = pa.table(points).to_pylist()
    with duckdb.connect() as connection:
        assert connection.sql("FROM points").to_arrow_table().to_pylist() == expected
        assert connection.from_arrow(points).to_arrow_table().to_pylist() == expected
        connection.register("registered", points)
        for _ in range(2):
            found = connection.sql("FROM registered").to_arrow_table()
            assert found.to_pylist() == expected
        assert found.column_names == SCHEMA.names


def test_a_wished_for_schema_is_no_trouble() -> None:
    points = points_of(EVERYTHING)
    for wish in (SCHEMA, pa.schema([("nothing", pa.int8())])):
        capsule = points.__arrow_c_stream__(wish.__arrow_c_schema__())
        table = pa.RecordBatchReader._import_from_c_capsule(capsule).read_all()
        assert table.schema.equals(SCHEMA)
        assert rows_of(table) == rows_of(pa.table(points))
    assert pa.table(points, schema=SCHEMA).equals(pa.table(points))
    with pytest.raises(TypeError):
        points.__arrow_c_stream__(SCHEMA)


def test_points_outlive_everything_they_came_from() -> None:
    def short_lived() -> _core.Points:
        judge = one_product({"measurepoints": {"s": {"dataType": "STRING"}}}, ["device1"])
        payload = bytearray(request(entry('"s":"kept"')))
        return points_of([("pk", bytes(payload))], judge)

    points = short_lived()
    gc.collect()
    table = pa.table(points)
    del points
    gc.collect()
    assert [(row.device, row.value) for row in rows_of(table)] == [("device1", "kept")]


@pytest.mark.parametrize("count", [1_000, 101_000], ids=["holding the lock", "releasing the lock"])
def test_threads_export_the_same_points_at_once(count: int) -> None:
    points = points_of(many(count))
    assert len(points) == count
    barrier = Barrier(4)

    def export() -> pa.Table:
        barrier.wait(PATIENCE)
        return pa.table(points)

    with ThreadPoolExecutor(4) as threads:
        first, *others = [found.result() for found in [threads.submit(export) for _ in range(4)]]
    first.validate(full=True)
    assert first["value_long"].drop_null()[-1].as_py() == (count // 5 - 2) % 101
    assert all(other.equals(first) for other in others)


def test_threads_collect_with_one_validator_at_once() -> None:
    bursts = [EVERYTHING, many(1_000), [*many(10_000), *EVERYTHING], EVERYTHING[::-1]]
    expected = [pa.table(points_of(burst)) for burst in bursts]
    barrier = Barrier(len(bursts))

    def repeatedly(burst: list[tuple[str, bytes]]) -> list[pa.Table]:
        barrier.wait(PATIENCE)
        return [pa.table(points_of(burst)) for _ in range(5)]

    with ThreadPoolExecutor(len(bursts)) as threads:
        for table, found in zip(expected, threads.map(repeatedly, bursts), strict=True):
            assert all(other.equals(table) for other in found)


def resident_bytes() -> int:
    pages = Path("/proc/self/statm").read_text("ascii").split()[1]
    return int(pages) * 4096


@pytest.mark.parametrize("consumed", [False, True])
def test_a_stream_that_was_let_go_leaves_no_memory(*, consumed: bool) -> None:
    requests = many(10_000)
    grown = []
    for rounds in (20, 200):
        before = resident_bytes()
        for _ in range(rounds):
            points = points_of(requests)
            capsules = [points.__arrow_c_stream__() for _ in range(3)]
            if consumed:
                pa.RecordBatchReader._import_from_c_capsule(capsules[0]).read_all()
        grown.append(resident_bytes() - before)
    # Kept, the columns alone would be 100 MB; what is let go may stay with the allocator.
    assert grown[1] < 10_000_000


def test_more_identifiers_than_a_batch_numbers_are_more_batches() -> None:
    """A row has 20 bits for its identifier; nobody has so many, but nothing may break."""
    products = {}
    devices = _core.Devices.parse(b"device1", "txt")
    for number in range(LARGEST_MODELS):
        names = (f'"{number}_{index}":{{"dataType":"INT"}}' for index in range(5000))
        model = _core.Model.compile(f'{{"measurepoints":{{{",".join(names)}}}}}'.encode())
        products[f"pk{number}"] = _core.Product(model, devices)
    judge = Validator(_core.Catalog(products))
    payloads = [
        request(entry(",".join(f'"{number}_{index}":{index}' for index in range(5000))))
        for number in range(LARGEST_MODELS)
    ]
    topics = [topic(product) for product in products]
    _, points = judge.collect(topics, payloads, now_ms=ARRIVED)
    batches = pa.table(points).to_batches()
    assert [batch.num_rows for batch in batches] == [1_045_000, 5_000]
    for batch, first in zip(batches, (0, 209), strict=True):
        identifiers = batch["identifier"]
        numbers = array("i", identifiers.indices.buffers()[1].to_pybytes())
        assert numbers == array("i", range(batch.num_rows))
        assert identifiers.dictionary[-1].as_py().endswith("_4999")
        assert identifiers.dictionary[0].as_py() == f"{first}_0"
