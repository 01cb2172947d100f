"""Wrong inputs of an import: a message names the file, the place and what was expected."""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pointgate.importing.judging import MOST_NAMES, Counts
from tests.support.imports import configure, points, run

if TYPE_CHECKING:
    from pathlib import Path

MAPPING = """
product = "solar"
device = { column = "d" }
[time]
column = "t"
[long]
identifier = "i"
value = "v"
"""
HEAD = b"t,d,i,v\n"
ROW = b"2024-05-01,inverter-001,dayEnergy,1\n"
LONG = b"x" * 3_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    configure(tmp_path, "ndjson")
    (tmp_path / "mapping.toml").write_text(MAPPING, "utf-8")
    with zipfile.ZipFile(tmp_path / "book.xlsx", "w") as book:
        book.writestr("[Content_Types].xml", "<Types/>")
        book.writestr("xl/workbook.xml", "<workbook/>")
    pq.write_table(pa.table({"t": [1]}), tmp_path / "table.csv")
    return tmp_path


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x00\x01\xffELF\x02\n\x00\xf3", "expected a CSV file, got binary data"),
        (b"", "expected a header, got an empty file"),
        (LONG, "line 1: expected a line of less than 1 MiB, got a longer one"),
        (
            b"t,d\xfc,i,v\n",
            "line 1: expected UTF-8, got byte 0xFC at 4; if the file has another encoding, set",
        ),
    ],
)
def test_a_file_that_is_no_table(data: bytes, message: str, folder: Path) -> None:
    (folder / "a.csv").write_bytes(data)
    done = run("a.csv", "--mapping", "mapping.toml", cwd=folder)
    assert done.returncode == 2
    assert f"a.csv: {message}" in done.stderr


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "book.xlsx",
            "book.xlsx/[Content_Types].xml: expected a table, got an Office document: save its",
        ),
        ("table.csv", 'table.csv: expected a table, got a Parquet file: format = "parquet"'),
    ],
)
def test_a_file_of_another_kind(name: str, message: str, folder: Path) -> None:
    done = run(name, "--mapping", "mapping.toml", cwd=folder)
    assert done.returncode == 2
    assert done.stderr.startswith(message), done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("section", "options", "status", "message"),
    [
        (
            'type = "ndjson"\npath = "no/p.ndjson"',
            [],
            78,
            "pointgate.toml: sinks.ndjson.path: cannot use",
        ),
        (
            'type = "parquet"\npath = "a.csv"',
            [],
            78,
            "pointgate.toml: sinks.parquet.path: cannot use",
        ),
        (
            'type = "ndjson"\npath = "p.ndjson"',
            ["--state", "a.csv"],
            2,
            "--state: cannot use a.csv:",
        ),
    ],
)
def test_a_place_that_cannot_be_written_to_is_refused_by_its_setting(
    section: str, options: list[str], status: int, message: str, folder: Path
) -> None:
    text = (folder / "pointgate.toml").read_text()
    (folder / "pointgate.toml").write_text(
        text[: text.index("[[sinks]]")] + f"[[sinks]]\n{section}"
    )
    (folder / "a.csv").write_bytes(HEAD + ROW)
    done = run("a.csv", "--mapping", "mapping.toml", *options, cwd=folder)
    assert done.returncode == status
    assert message in " ".join(done.stderr.split())


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_name_of_the_mapping_that_no_row_has_is_told_with_what_was_skipped(
    processes: str, folder: Path
) -> None:
    (folder / "mapping.toml").write_text(
        MAPPING + 'unlisted = "skip"\n[points]\n"E-Day" = "dayEnergy"\n"E-Tot" = "activePower"\n'
    )
    rows = ROW.replace(b"dayEnergy", b"E-Day") + ROW.replace(b"dayEnergy", b"E-Tott") * 3
    rows += b"".join(ROW.replace(b"dayEnergy", b"other-%d" % number) for number in range(9))
    (folder / "a.csv").write_bytes(HEAD + rows)
    options = ["--mapping", "mapping.toml", "--processes", processes]
    done = run("a.csv", *options, "--dry-run", cwd=folder)
    assert done.returncode == 0
    assert done.stderr == (
        'mapping.toml: [points]: expected names of the input, but no row has "E-Tot", '
        "did you mean E-Tott\n"
    )
    assert "skipped                              12\n  E-Tott                              3\n" in (
        done.stdout
    )
    assert "  and other names: --json\n" in done.stdout
    found = json.loads(run("a.csv", *options, "--json", cwd=folder).stdout)
    assert found["skipped_names"]["E-Tott"] == 3
    assert len(found["skipped_names"]) == 10
    # Every name that has rows, in whatever part of the input, is no news.
    (folder / "b.csv").write_bytes(HEAD + ROW.replace(b"dayEnergy", b"E-Tot"))
    assert run("a.csv", "b.csv", *options, cwd=folder).stderr == ""


@pytest.mark.parametrize("processes", ["1", "2"])
def test_an_input_with_a_header_alone_is_told(processes: str, folder: Path) -> None:
    (folder / "a.csv").write_bytes(HEAD + ROW)
    (folder / "b.csv").write_bytes(HEAD)
    with zipfile.ZipFile(folder / "c.zip", "w") as packed:
        packed.writestr("one.csv", HEAD)
        packed.writestr("two.csv", HEAD + ROW)
    options = ["--mapping", "mapping.toml", "--processes", processes]
    done = run("a.csv", "b.csv", "c.zip", *options, cwd=folder)
    assert done.returncode == 0
    assert done.stderr == "b.csv: has no rows\nc.zip/one.csv: has no rows\n"


def test_patterns_choose_archives_and_what_is_in_them(folder: Path) -> None:
    (folder / "a.csv").write_bytes(HEAD + ROW)
    with zipfile.ZipFile(folder / "b.zip", "w") as packed:
        packed.writestr("one.csv", HEAD + ROW)
        packed.writestr("two.txt", HEAD + ROW + ROW)
    with zipfile.ZipFile(folder / "empty.zip", "w"):
        pass
    everything = ["a.csv", "b.zip", "empty.zip", "--mapping", "mapping.toml", "--dry-run", "--json"]
    for patterns, rows, said in (
        ([], 4, "empty.zip: has no file\n"),
        (["--exclude", "*.zip"], 1, ""),
        (["--exclude", "b.zip"], 1, "empty.zip: has no file\n"),
        (["--include", "b.zip"], 3, "empty.zip: has no file\n"),
        (["--include", "*.csv"], 2, "empty.zip: has no file\n"),
        (["--include", "b.zip", "--exclude", "*.txt"], 1, "empty.zip: has no file\n"),
        (
            ["--include", "a.csv"],
            1,
            "b.zip: has no file that the patterns choose\nempty.zip: has no file\n",
        ),
    ):
        done = run(*everything, *patterns, cwd=folder)
        assert (json.loads(done.stdout)["rows"], done.stderr) == (rows, said), patterns


def test_patterns_choose_archives_in_archives(folder: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as packed:
        packed.writestr("one.csv", HEAD + ROW)
        packed.writestr("two.txt", HEAD + ROW)
    with zipfile.ZipFile(folder / "a.zip", "w") as packed:
        packed.writestr("inner.zip", inner.getvalue())
        packed.writestr("old/three.csv", HEAD + ROW)
    for patterns, rows in (
        (["--exclude", "inner.zip"], 1),
        (["--include", "inner.zip"], 2),
        (["--include", "inner.zip", "--exclude", "*.txt"], 1),
        (["--exclude", "old"], 2),
        (["--include", "*.csv"], 2),
    ):
        options = ["--mapping", "mapping.toml", "--dry-run", "--json", *patterns]
        done = run("a.zip", *options, cwd=folder)
        assert json.loads(done.stdout)["rows"] == rows, patterns


def test_a_parquet_file_without_columns(folder: Path) -> None:
    (folder / "mapping.toml").write_text('format = "parquet"\n' + MAPPING)
    pq.write_table(pa.table({}), folder / "a.parquet")
    done = run("a.parquet", "--mapping", "mapping.toml", cwd=folder)
    assert done.returncode == 2
    assert done.stderr == 'a.parquet: expected a column "d"; there are none\n'


def test_skipped_names_are_bounded_in_number_and_in_bytes() -> None:
    counts = Counts()
    for number in range(MOST_NAMES + 10):
        counts.skip({f"{number}" + "x" * 100_000: 2}, 2)
    assert counts.skipped == 2 * (MOST_NAMES + 10)
    assert len(counts.skipped_names) == MOST_NAMES
    assert max(map(len, counts.skipped_names)) == 1000


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_long_line_is_rejected_alone_and_is_not_repeated(processes: str, folder: Path) -> None:
    (folder / "a.csv").write_bytes(HEAD + ROW + LONG + b"\n" + ROW.replace(b"01,", b"02,"))
    options = ["--mapping", "mapping.toml", "--rejects", "r.ndjson", "--processes", processes]
    done = run("a.csv", *options, cwd=folder)
    assert done.returncode == 1
    assert "a.csv: line 3: expected a line of less than 1 MiB, got a longer one" in done.stderr
    assert len(points(folder / "points.ndjson")) == 2
    (found,) = (folder / "r.ndjson").read_bytes().splitlines()
    assert json.loads(found)["line"] == 3
    assert len(found) < 2000


def test_the_first_of_each_reason_is_shown(folder: Path) -> None:
    bad = ROW.replace(b"2024-05-01", b"yesterday")
    (folder / "a.csv").write_bytes(HEAD + ROW + bad + bad + ROW.replace(b"001", b"999"))
    done = run("a.csv", "--mapping", "mapping.toml", cwd=folder)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[0].startswith('a.csv: line 3: column "t": expected ')
    assert lines[1].startswith("a.csv: line 5: Device not found: ")
    assert len(lines) == 3


def test_patterns_that_leave_no_file_are_named(folder: Path) -> None:
    (folder / "a.csv").write_bytes(HEAD + ROW)
    options = ["--mapping", "mapping.toml", "--include", "*.cvs"]
    done = run("a.csv", *options, cwd=folder)
    assert done.returncode == 2
    assert "--include *.cvs: expected a file to be left, got none of 1" in done.stderr


def test_outputs_that_cannot_be_written_are_named_before_anything_is_read(folder: Path) -> None:
    (folder / "a.csv").write_bytes(HEAD + ROW)
    for out, message in (
        ("a.csv", "--out: expected a folder, got the file a.csv"),
        ("a.csv/points", "--out: cannot use a.csv/points: "),
        ("ftp://bucket/points", "expected a path or a url with s3://"),
    ):
        done = run("a.csv", "--mapping", "mapping.toml", "--out", out, cwd=folder)
        assert done.returncode == 2
        assert message in " ".join(done.stderr.split())


def test_a_mapping_that_accepted_nothing_can_be_corrected(folder: Path) -> None:
    (folder / "a.csv").write_bytes(HEAD + ROW)
    for wrong in (MAPPING.replace('"v"', '"w"'), MAPPING.replace('"d"', '"i"')):
        (folder / "mapping.toml").write_text(wrong, "utf-8")
        assert run("a.csv", "--mapping", "mapping.toml", cwd=folder).returncode in {1, 2}
    (folder / "mapping.toml").write_text(MAPPING, "utf-8")
    done = run("a.csv", "--mapping", "mapping.toml", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert len(points(folder / "points.ndjson")) == 1
    assert (folder / "import-state/rejects.ndjson").read_bytes() == b""


def test_a_sample_without_a_table_and_with_days_of_a_spreadsheet(folder: Path) -> None:
    (folder / "plain.csv").write_bytes(b"a;b\nx;y\n")
    for name, message in (
        ("table.csv", "table.csv: expected a CSV file, got a Parquet file"),
        ("plain.csv", 'plain.csv: expected a column of times, got "a", "b": write [time] by hand'),
    ):
        done = run("--sample", name, cwd=folder)
        assert done.returncode == 2
        assert done.stderr.startswith(message), done.stderr
    (folder / "a.csv").write_bytes(b"ts;power\n45413,5;1,5\n45413,75;2,5\n")
    done = run("--sample", "a.csv", cwd=folder)
    assert 'column = "ts"\nformat = "excel"\n' in done.stdout
