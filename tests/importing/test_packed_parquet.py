"""Parquet in archives and compressed: read from a temporary copy, whose size is limited."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pointgate.cli.commands import app
from tests.support.imports import configure, points, run

if TYPE_CHECKING:
    from pathlib import Path

MAPPING = """
format = "parquet"
product = "solar"
device = "inverter-001"
[time]
column = "t"
format = "epoch_ms"
[wide]
[points]
dayEnergy = "dayEnergy"
"""
MIDNIGHT = 1714521600000


def table(first: int, count: int) -> bytes:
    """A Parquet file."""
    numbers = list(range(first, first + count))
    file = io.BytesIO()
    rows = pa.table({"t": [MIDNIGHT + n for n in numbers], "dayEnergy": numbers, "x": numbers})
    pq.write_table(rows, file, row_group_size=7)
    return file.getvalue()


def start(folder: Path) -> list[str]:
    configure(folder, "ndjson")
    (folder / "mapping.toml").write_text(MAPPING, "utf-8")
    return ["--mapping", "mapping.toml"]


def pack(folder: Path) -> None:
    """A zip, a tar.gz and a compressed file, of a table each, and what is none."""
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("one.parquet", table(0, 20))
        packed.writestr("two.parquet", table(20, 20))
        packed.writestr("read.me", b"hello")
    with tarfile.open(folder / "b.tar.gz", "w:gz") as tar:
        data = table(40, 20)
        info = tarfile.TarInfo("x/three.parquet")
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    (folder / "c.parquet.gz").write_bytes(gzip.compress(table(60, 20)))
    (folder / "d.parquet").write_bytes(table(80, 20))


@pytest.mark.parametrize("processes", ["1", "2"])
def test_packed_tables_of_all_kinds(processes: str, tmp_path: Path) -> None:
    arguments = start(tmp_path)
    pack(tmp_path)
    files = ["a.zip", "b.tar.gz", "c.parquet.gz", "d.parquet"]
    options = ["--processes", processes, "--include", "*.parquet*"]
    done = run(*files, *arguments, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(points(tmp_path / "points.ndjson").values()) == list(range(100))
    again = run(*files, *arguments, cwd=tmp_path)
    assert "read.me" not in again.stderr, "what has been read is not read again"


def test_a_table_from_standard_input(tmp_path: Path) -> None:
    done = run("-", *start(tmp_path), cwd=tmp_path, data=table(0, 20))
    assert done.returncode == 0, done.stderr
    assert len(points(tmp_path / "points.ndjson")) == 20


def test_what_is_no_table_and_what_is_damaged_is_named(tmp_path: Path) -> None:
    arguments = start(tmp_path)
    pack(tmp_path)
    packed = gzip.compress(table(0, 20))
    (tmp_path / "cut.gz").write_bytes(packed[: len(packed) // 2])
    (tmp_path / "cut.parquet").write_bytes(table(0, 20)[:-100])
    (tmp_path / "empty.parquet").write_bytes(b"")
    files = ["a.zip", "cut.gz", "cut.parquet", "empty.parquet"]
    done = run(*files, *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert 'a.zip/read.me: expected a Parquet file, got a text: format = "csv"' in done.stderr
    assert "cut.gz: truncated at byte" in done.stderr
    assert "cut.parquet: damaged: " in done.stderr
    assert "empty.parquet: expected a Parquet file, got an empty one" in done.stderr
    assert len(points(tmp_path / "points.ndjson")) == 40


def test_a_packed_table_that_is_too_large_is_refused_and_the_others_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = start(tmp_path)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("large.parquet", table(0, 2000))
        packed.writestr("small.parquet", table(0, 20))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pointgate.importing.opening.SPOOLED_BYTES", 10_000)
    done = CliRunner().invoke(app, ["import", "a.zip", *arguments])
    assert done.exit_code == 2
    assert (
        "a.zip/large.parquet: expected a packed Parquet file of at most 10000 bytes, got more"
    ) in done.stderr
    assert len(points(tmp_path / "points.ndjson")) == 20
