"""`Validator.judge_arrow`: what goes in and out.

The whole case table goes through it in `tests/tiers`.
"""

from __future__ import annotations

import importlib.util
import json
import re
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pointgate import Devices, Model, Product, Validator, _core
from pointgate.store.points import SCHEMA
from tests.support.engines import groups, validator
from tests.support.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path

TOPIC: Final = "sys/pk/integration/measurepoint/post"


def test_points_are_those_of_collect_with_the_row_of_their_request() -> None:
    for payload_bytes, now_ms, cases in groups():
        topics, payloads = [case.topic for case in cases], [case.payload for case in cases]
        judge = validator(payload_bytes)
        reports, collected = judge.collect(topics, payloads, now_ms=now_ms)
        arrays = (pa.array(payloads, pa.large_binary()), pa.array(topics))
        for plain in (False, True):
            _, points = judge.judge_arrow(*arrays, now_ms=now_ms, plain=plain)
            table = pa.table(points)
            rows = [n for number, one in enumerate(reports) for n in repeat(number, one.points)]
            assert table["request"].to_pylist() == rows
            assert table.drop(["request"]).to_pylist() == pa.table(collected).to_pylist()
            assert plain or table.drop(["request"]).schema == SCHEMA
            assert not plain or not any(map(pa.types.is_dictionary, table.schema.types))


def small() -> Validator:
    model = Model.compile(json.dumps({"measurepoints": {"t": {"dataType": "INT"}}}).encode())
    return Validator(_core.Catalog({"pk": Product(model, Devices(["d"]))}))


def request(value: object) -> bytes:
    entry = {"deviceKey": "d", "measurepoints": {"t": value}}
    method = "integration.measurepoint.post"
    return json.dumps({"id": 1, "version": "1", "method": method, "params": [entry]}).encode()


@pytest.mark.parametrize(
    "payloads",
    [
        pa.array([b"no", request(1), None, request("x")], pa.binary())[1:],
        pa.chunked_array([[request(1)], [], [None, request("x")]], pa.large_binary()),
        pa.chunked_array([[request(1), None], [request("x")]], pa.binary()).dictionary_encode(),
        pa.array([request(1).decode(), None, request("x").decode()], pa.string_view()),
        pl.Series([request(1), None, request("x")], dtype=pl.Binary),
        pl.Series([request(1).decode(), None, request("x").decode()], dtype=pl.Categorical),
    ],
    ids=["sliced", "chunked", "dictionaries", "views", "polars", "categories"],
)
def test_every_form_of_bytes_and_text_is_read(payloads: object) -> None:
    verdicts, points = small().judge_arrow(payloads, TOPIC, arrived_us=1_000_000)
    assert (len(verdicts), len(points)) == (3, 1)
    assert pa.table(verdicts)["code"].to_pylist() == [200, 1251, 1204]
    assert pa.table(points)["received"].cast(pa.int64()).to_pylist() == [1_000_000]
    assert pa.table(verdicts) == pa.table(verdicts)


def test_nothing_but_nulls_and_nothing_at_all_are_judged() -> None:
    for count in (0, 3):
        verdicts, points = small().judge_arrow(pa.nulls(count), TOPIC)
        assert pa.table(verdicts)["code"].to_pylist() == [1251] * count
        assert pa.table(points).num_rows == 0
    empty = pa.array([None, None], pa.dictionary(pa.int8(), pa.binary()))
    assert pa.table(small().judge_arrow(empty, TOPIC)[0])["code"].to_pylist() == [1251] * 2
    topics = pa.array([None, TOPIC], pa.string())
    verdicts, _ = small().judge_arrow(pa.array([request(1)] * 2), topics)
    assert pa.table(verdicts)["code"].to_pylist() == [0, 200]


def test_text_that_is_not_utf8_is_a_fault_of_its_request() -> None:
    data = pa.array([b"\xff", request(1)], pa.binary())
    text = pa.Array.from_buffers(pa.string(), 2, data.buffers())  # as Spark hands it over
    verdicts, _ = small().judge_arrow(text, TOPIC)
    assert pa.table(verdicts)["code"].to_pylist() == [1220, 200]


def test_broken_arrays_are_refused_and_not_read() -> None:
    offsets = pa.array([0, 2_000_000_000, 5], pa.int32()).buffers()[1]
    broken = pa.Array.from_buffers(pa.binary(), 2, [None, offsets, pa.py_buffer(b"abcde")])
    with pytest.raises(ValueError, match="expected a valid Arrow array as payloads"):
        small().judge_arrow(broken, TOPIC)


@pytest.mark.parametrize("payloads", [5, "abc", [b"x"], None])
def test_what_is_no_arrow_array_is_named(payloads: object) -> None:
    with pytest.raises(TypeError, match=f"got {type(payloads).__name__}"):
        small().judge_arrow(payloads, TOPIC)


def test_other_types_and_lengths_are_named() -> None:
    with pytest.raises(
        TypeError, match="payloads as an Arrow array of binary or string, got Int64"
    ):
        small().judge_arrow(pa.array([1]), TOPIC)
    with pytest.raises(ValueError, match="got 2 payloads and 1 topics"):
        small().judge_arrow(pa.array([b"", b""]), pa.array([TOPIC]))


NEEDS: Final = {"create_function": "numpy", "datafusion": "datafusion"}
"""What a block of the page needs besides the packages of the tests."""


def test_the_recipes_of_the_documentation_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "catalog").mkdir()
    model = {"measurepoints": {"t": {"dataType": "INT"}}}
    (tmp_path / "catalog/model.json").write_text(json.dumps(model))
    (tmp_path / "catalog/devices.txt").write_text("d\n")
    document = "[products.pk]\nmodel = 'model.json'\ndevices = 'devices.txt'\n"
    (tmp_path / "catalog/catalog.toml").write_text(document)
    payloads = [request(1), request("x"), request(2), b"", None]
    table = pa.table({"topic": [TOPIC] * 5, "payload": pa.array(payloads, pa.binary())})
    pq.write_table(table, tmp_path / "requests.parquet")
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs/engines.md").read_text("utf-8")
    names: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE):
        needed = {package for word, package in NEEDS.items() if word in block}
        if all(map(importlib.util.find_spec, needed)):
            exec(compile(block, "docs/engines.md", "exec"), names)  # noqa: S102 - our own page
    counts = [(200, 2), (1204, 1), (1251, 2)]
    assert names["rejected"].height == 3
    assert names["mean"].height == 1
    assert sorted(names["codes"].rows()) == counts
    assert sorted(names.get("counts", counts)) == counts
    assert len(names["latest"]) == 1
    if "found" in names:
        found = names["found"].to_arrow_table().to_pydict()
        assert sorted(zip(*found.values(), strict=True)) == counts
    assert names["accepted"] == 2
