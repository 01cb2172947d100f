"""The tables that describe the points: what is in them, and that their readers never fail."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pointgate import Catalog, Devices, Model, Product
from pointgate.sinks.parquet import dimensions
from pointgate.sinks.parquet.settings import ParquetSettings
from tests.support.paths import ROOT

STATES = {"0": "off", "1": {"defaultValue": "on"}, "2": '{"i18nValue": {"en_US": "fault"}}'}


def catalog(**points: Any) -> Catalog:
    document = {"modelId": "m", "name": {"defaultValue": "A model"}, "measurepoints": points}
    model = Model.compile(json.dumps(document).encode())
    return Catalog({"b": Product(model, Devices(["d"])), "a": Product(model, Devices(["d"]))})


def rows(found: Catalog, table: str, product: str = "a") -> list[dict[str, Any]]:
    rows = dimensions.tables(found)[table].to_pylist()
    return [
        {name: value for name, value in row.items() if name not in {"product", "model_digest"}}
        for row in rows
        if row["product"] == product
    ]


def test_names_types_and_units_of_each_product() -> None:
    found = catalog(
        temp={"dataType": "float", "unit": {"unitId": "°C"}, "name": {"defaultValue": "Heat"}},
        flow={"dataType": "DOUBLE", "unit": "m3/h", "name": "Flow"},
        note={"dataType": "TEXT"},
    )
    expected = [
        {"identifier": "temp", "name": "Heat", "data_type": "FLOAT", "unit": "°C"},
        {"identifier": "flow", "name": "Flow", "data_type": "DOUBLE", "unit": "m3/h"},
        {"identifier": "note", "name": None, "data_type": "STRING", "unit": None},
    ]
    assert rows(found, "measurepoints") == rows(found, "measurepoints", "b") == expected
    assert rows(found, "products") == [{"model": "m", "model_name": "A model"}]


def test_texts_are_joined_by_value_or_by_text() -> None:
    found = catalog(
        state={"dataType": "ENUM", "dataDefinition": {"enumType": "INT", "enumDesc": STATES}},
        mode={
            "dataType": "ENUM",
            "dataDefinition": json.dumps({"enumType": "STRING", "enumDesc": {"A": "auto"}}),
        },
        on={"dataType": "BOOL", "boolDesc": {"true": "running", "false": "idle"}},
    )
    assert [tuple(row.values()) for row in rows(found, "enum_texts")] == [
        ("state", 0.0, None, "off"),
        ("state", 1.0, None, "on"),
        ("state", 2.0, None, "fault"),
        ("mode", None, "A", "auto"),
        ("on", 1.0, None, "running"),
        ("on", 0.0, None, "idle"),
    ]


def test_an_export_of_the_console_is_described() -> None:
    found = Catalog.load(ROOT / "python/pointgate/demo/catalog")
    types = {row["identifier"]: row["data_type"] for row in rows(found, "measurepoints", "wind")}
    assert (types["activePower"], types["state"], types["brakeOn"]) == ("DOUBLE", "ENUM", "BOOL")
    texts = {
        (row["identifier"], row["value"]): row["text"] for row in rows(found, "enum_texts", "wind")
    }
    assert texts["brakeOn", 1.0] == "on"
    assert texts["state", 2.0] == "producing"


@pytest.mark.parametrize("path", sorted((ROOT / "tests/data").rglob("models/**/*.json")), ids=str)
def test_every_model_has_a_row_for_each_point(path: Path) -> None:
    try:
        model = Model.compile(path.read_bytes())
    except ValueError:
        pytest.skip("not a valid model")
    found = Catalog({"a": Product(model, Devices(["d"]))})
    described = rows(found, "measurepoints")
    assert [row["identifier"] for row in described] == model.identifiers
    assert all(row["data_type"] for row in described)


def test_a_document_that_cannot_be_described_has_its_identifiers() -> None:
    model = Model.compile(
        b'\xef\xbb\xbf{"note":1e999,"measurepoints":{"t":{"dataType":"INT","unit":"K"}}}'
    )
    found = Catalog({"a": Product(model, Devices(["d"]))})
    assert rows(found, "measurepoints") == [
        {"identifier": "t", "name": None, "data_type": None, "unit": None}
    ]


def test_the_same_catalog_writes_nothing_and_another_one_what_differs(tmp_path: Path) -> None:
    folder = tmp_path / "dimensions"
    first = catalog(t={"dataType": "INT", "unit": "K"})
    assert dimensions.write(folder, first) == 3
    assert dimensions.write(folder, first) == 0
    assert dimensions.write(folder, catalog(t={"dataType": "INT", "unit": "°C"})) == 2
    found = pq.read_table(folder / "measurepoints.parquet")
    assert found["unit"].to_pylist() == ["°C", "°C"]
    assert sorted(path.name for path in folder.iterdir()) == [
        "enum_texts.parquet",
        "measurepoints.parquet",
        "products.parquet",
    ]


def test_who_has_the_old_footer_or_the_old_length_finds_the_old_rows(tmp_path: Path) -> None:
    path = tmp_path / "measurepoints.parquet"
    for number in range(3):
        dimensions.write(tmp_path, catalog(t={"dataType": "INT", "unit": f"K{number}"}))
        if number == 0:
            footer, length = pq.read_metadata(path), path.stat().st_size
    with path.open("rb") as file:
        old = pq.ParquetFile(file, metadata=footer).read()
        file.seek(0)
        cut = pq.read_table(io.BytesIO(file.read(length)))
    assert old["unit"].to_pylist() == cut["unit"].to_pylist() == ["K0", "K0"]
    assert pq.read_table(path)["unit"].to_pylist() == ["K2", "K2"]


def test_a_table_that_is_damaged_or_too_long_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "products.parquet"
    path.write_bytes(b"not Parquet")
    assert dimensions.write(tmp_path, catalog(t={"dataType": "INT"})) == 3
    assert pq.read_table(path).num_rows == 2
    size = path.stat().st_size
    monkeypatch.setattr(dimensions, "_LONGEST", 100)
    dimensions.write(tmp_path, catalog(u={"dataType": "INT"}))
    assert path.stat().st_size < size + 100


def test_the_folder_is_beside_the_points_unless_it_is_set(tmp_path: Path) -> None:
    assert ParquetSettings(path=tmp_path / "points").dimensions_folder == tmp_path / "dimensions"
    other = ParquetSettings(path=tmp_path / "points", dimensions=tmp_path / "other")
    assert other.dimensions_folder == tmp_path / "other"
    assert other.output is not None
    assert other.output.inner[-1] == tmp_path / "other"


@pytest.mark.parametrize(
    ("path", "folder"),
    [("points", "dimensions"), (".", "../dimensions"), ("dimensions", None)],
)
def test_any_path_of_points_is_accepted_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, folder: str | None
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    settings = ParquetSettings(path=Path(path))
    expected = None if folder is None else (work / folder).resolve()
    assert (settings.mistake, settings.dimensions_folder) == ("", expected)


@pytest.mark.parametrize("inside", [".", "dimensions", "a/b"])
def test_a_folder_inside_the_points_is_refused(tmp_path: Path, inside: str) -> None:
    settings = ParquetSettings(path=tmp_path / "points", dimensions=tmp_path / "points" / inside)
    assert settings.mistake.startswith("expected dimensions outside of ")
