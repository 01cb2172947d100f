"""The queries of docs/reading.md run, and give what they say."""

from __future__ import annotations

import importlib.util
import json
import re
from typing import TYPE_CHECKING, Any, Final

import duckdb
import pytest

from pointgate.sinks.delta.settings import DeltaSettings
from pointgate.sinks.delta.sink import DeltaSink
from tests.support.parquet_dataset import write
from tests.support.paths import ROOT
from tests.support.point_tables import Point, table

if TYPE_CHECKING:
    from pathlib import Path

PAGE: Final = (ROOT / "docs/reading.md").read_text("utf-8")

HOUR: Final = 3_600_000
START: Final = 1_795_392_000_000
"""2026-11-23T00:00:00Z."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two devices with a value an hour, one of which was posted again, and an array."""
    power = [
        Point(
            device=f"inverter-00{device}",
            identifier="activePower",
            time=START + hour * HOUR,
            double=float(hour),
            received=1,
        )
        for device in (1, 2)
        for hour in range(4)
    ]
    first = power[0]
    again = first._replace(double=10.0, received=2)
    state = first._replace(identifier="state", double=None, long=2)
    array = Point(identifier="stringCurrents", time=START, json="[1.5,2.5]", received=1)
    write(tmp_path / "points", table([*power, state, array]), table([again]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("dataset")
def test_sql_of_the_page_gives_what_it_says() -> None:
    view, newest, series, wide, array = blocks("sql")

    def rows(query: str) -> list[tuple[Any, ...]]:
        found = database.sql(query).to_arrow_table()  # its own rows would need pytz
        return [tuple(row.values()) for row in found.to_pylist()]

    with duckdb.connect() as database:
        database.execute("SET TimeZone = 'UTC'")
        database.execute(view)
        assert rows("SELECT count(*) FROM last") == [(10,)]
        assert [(row[1], row[2], row[4]) for row in rows(newest)] == [
            ("inv1", "stringCurrents", None),
            ("inverter-001", "activePower", 3.0),
            ("inverter-001", "state", 2.0),
            ("inverter-002", "activePower", 3.0),
        ]
        assert [row[1:] for row in rows(series)] == [(10.0, 1), (1.0, 1), (2.0, 1), (3.0, 1)]
        assert next(row for row in rows(wide) if row[0] == "inverter-001")[2:4] == (10.0, 2.0)
        assert [row[2] for row in rows(array)] == json.loads("[1.5, 2.5]")


@pytest.mark.usefixtures("dataset")
@pytest.mark.parametrize(
    ("library", "printed"), [("polars", "10.0"), ("pyarrow", "6"), ("pandas", "")]
)
def test_python_of_the_page_runs(
    capsys: pytest.CaptureFixture[str], library: str, printed: str
) -> None:
    (code,) = [block for block in blocks("python") if f"import {library}" in block]
    if library == "pandas" and not all(map(importlib.util.find_spec, ("pandas", "matplotlib"))):
        pytest.skip("pandas or matplotlib is not installed")
    exec(compile(code, f"reading.md, {library}", "exec"), {})  # noqa: S102 - our own example
    assert printed in capsys.readouterr().out


async def test_python_for_delta_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sink = DeltaSink(DeltaSettings(type="delta", path=str(tmp_path / "lake")))
    await sink.open()
    for sequence in (1, 2):
        await sink.write(table([Point(double=1.0, received=sequence)]), sequence=sequence)
        await sink.commit()
    await sink.close()
    monkeypatch.chdir(tmp_path)
    (code,) = [block for block in blocks("python") if "DeltaTable" in block]
    exec(compile(code, "reading.md, deltalake", "exec"), {"__name__": "page"})  # noqa: S102 - as above
    assert capsys.readouterr().out == "1\n"
