"""Random exports with random mappings: what is stored is what a naive reader finds in them."""

from __future__ import annotations

import struct
import tempfile
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointgate.catalog import Catalog
from pointgate.importing.inputs import Filter
from pointgate.importing.mapping import load_mapping
from pointgate.importing.plan import Plan
from pointgate.importing.session import Import
from pointgate.importing.state import StateFolder
from pointgate.sinks.ndjson.settings import NdjsonSettings
from tests.support.historian import FORMATS, Shape, expected, export, mapping
from tests.support.imports import CATALOG, points, rejected

ZONES = ("UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/St_Johns", "Asia/Kolkata")
STARTS = (
    datetime(2024, 3, 30, 20),  # noqa: DTZ001 - clocks of Berlin are set forward in the night
    datetime(2024, 10, 26, 20),  # noqa: DTZ001 - and back
    datetime(2024, 4, 6, 20),  # noqa: DTZ001 - those of Lord Howe, by half an hour
    datetime(2019, 12, 31, 23),  # noqa: DTZ001
)


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    """Any shape whose file can be told apart: no separator stands for two things."""
    decimal = draw(st.sampled_from(".,"))
    thousands = draw(st.sampled_from(["", " ", "'", "." if decimal == "," else ","]))
    delimiters = [one for one in ";\t,|" if one not in decimal + thousands]
    return Shape(
        seed=draw(st.integers(0, 2**32)),
        rows=draw(st.integers(0, 120)),
        wide=draw(st.booleans()),
        delimiter=draw(st.sampled_from(delimiters)),
        decimal=decimal,
        thousands=thousands,
        time=draw(st.sampled_from(FORMATS)),
        zone=draw(st.sampled_from(ZONES)),
        overlap=draw(st.sampled_from(["reject", "first", "second"])),
        gap=draw(st.sampled_from(["reject", "shift"])),
        mark=draw(st.booleans()),
        encoding="utf-8",
        by_device=draw(st.booleans()),
        start=draw(st.sampled_from(STARTS)),
        step_minutes=draw(st.sampled_from([1, 7, 30, 1440])),
        factor=draw(st.sampled_from(["1", "0.1", "3"])),
        offset=draw(st.sampled_from(["0", "-0.5"])),
    )


def imported(folder: Path, shape: Shape, data: bytes, *, memory: int = 2**20) -> Import:
    """Import a file into `points.ndjson`."""
    (folder / "mapping.toml").write_text(mapping(shape), "utf-8")
    (folder / "export.csv").write_bytes(data)
    plan = Plan(
        names=[str(folder / "export.csv")],
        filter=Filter(),
        mapping=load_mapping(folder / "mapping.toml"),
        product=None,
        digest="",
        catalog=Catalog.load(CATALOG),
        payload_bytes=8_388_608,
        memory=memory,
    )
    state = StateFolder(folder / "state")
    try:
        found = Import(plan, state, lambda *_: None)
        found.run([NdjsonSettings(type="ndjson", path=folder / "points.ndjson")])
    finally:
        state.close()
    return found


@given(shape=shapes())
@settings(max_examples=60)
def test_what_is_stored_is_what_a_naive_reader_finds(shape: Shape) -> None:
    data = export(shape)
    oracle = expected(shape, data)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = imported(folder, shape, data)
        assert not found.state.problems
        stored = points(folder / "points.ndjson")
        assert stored.keys() == oracle.points.keys()
        for key, value in oracle.points.items():
            exact = key[1] != "cabinetTemperature"
            assert stored[key] == pytest.approx(value, rel=0 if exact else 1e-6), key
        assert {one["line"] for one in rejected(folder / "state")} == oracle.bad_lines
        assert found.coverage.points == len(oracle.points)


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "iso8859-15"])
def test_encodings(encoding: str, tmp_path: Path) -> None:
    shape = Shape(seed=5, encoding="utf-8" if encoding == "utf-16" else encoding)
    data = export(shape)
    text = data.decode(shape.encoding)
    imported(tmp_path, shape, text.encode(encoding))
    assert points(tmp_path / "points.ndjson").keys() == expected(shape, data).points.keys()


def test_a_float_is_rounded_from_the_digits_that_came(tmp_path: Path) -> None:
    data = (
        b"Zeit;Ger\xc3\xa4t;Tag;Wert;Status\n2024-05-01;inverter-001;T.cabinetTemperature;21.1;\n"
    )
    imported(tmp_path, Shape(), data)
    (value,) = points(tmp_path / "points.ndjson").values()
    assert struct.pack("f", value) == struct.pack("f", 21.1)


def test_many_runs_and_chunks_give_the_same_points_in_any_order(tmp_path: Path) -> None:
    stores = []
    for by_device in (False, True):
        folder = tmp_path / str(by_device)
        folder.mkdir()
        shape = Shape(seed=3, rows=15_000, by_device=by_device, step_minutes=13, bad=0)
        data = export(shape)
        found = imported(folder, shape, data)
        assert len(found.state.chunks) > 2
        stored = points(folder / "points.ndjson")
        assert stored.keys() == expected(shape, data).points.keys()
        stores.append(stored)
    assert stores[0].keys() == stores[1].keys()
