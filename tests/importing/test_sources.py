"""Inputs of every kind: CSV as it is found, NDJSON, Parquet, archived requests; packed, damaged."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import tarfile
import zipfile
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.imports import configure, points, rejected, run, stored

if TYPE_CHECKING:
    from pathlib import Path

LONG = """
product = "solar"
device = { column = "d" }
[time]
column = "t"
[long]
identifier = "i"
value = "v"
"""
ROW = b"2024-05-01,inverter-001,dayEnergy,%d\n"
HEAD = b"t,d,i,v\n"
MIDNIGHT = 1714521600000


def start(folder: Path, mapping: str = LONG) -> list[object]:
    configure(folder, "ndjson")
    (folder / "mapping.toml").write_text(mapping, "utf-8")
    return ["--mapping", "mapping.toml"]


def values(folder: Path) -> list[float]:
    return sorted(points(folder / "points.ndjson").values())


def csv(count: int, first: int = 0) -> bytes:
    rows = [
        b"%d,inverter-001,dayEnergy,%d\n" % (MIDNIGHT + 1000 * n, n)
        for n in range(first, first + count)
    ]
    return HEAD + b"".join(rows)


EPOCH = LONG.replace('column = "t"', 'column = "t"\nformat = "epoch_ms"')


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("a.csv", bytes),
        ("a.csv.gz", gzip.compress),
        ("a.csv.bz2", bz2.compress),
        ("a.csv.xz", lzma.compress),
        ("a.csv.zst", lambda data: pa.compress(data, codec="zstd", asbytes=True)),
    ],
)
def test_compressed_files(name: str, pack: object, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(pack(csv(5)))  # type: ignore[operator]
    done = run(name, *start(tmp_path, EPOCH), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert values(tmp_path) == [0, 1, 2, 3, 4]


def test_archives_folders_patterns_and_what_is_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "history"
    folder.mkdir()
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("one.csv", csv(1, 1))
        packed.writestr("notes.txt", b"hello")
    with tarfile.open(folder / "b.tar.gz", "w:gz") as tar:
        for name, data in (("x/two.csv", csv(1, 2)), ("x/old.csv", csv(1, 90))):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    (folder / "three.csv").write_bytes(csv(1, 3))
    (folder / ".hidden.csv").write_bytes(csv(1, 91))
    (tmp_path / "four-1.csv").write_bytes(csv(1, 4))
    arguments = [*start(tmp_path, EPOCH), "--include", "*.csv", "--exclude", "*old*"]
    done = run("history", "four-*.csv", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert values(tmp_path) == [1, 2, 3, 4]


def test_a_pipe_in_a_folder_is_named_and_passed_over(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    os.mkfifo(tmp_path / "in/pipe")
    (tmp_path / "in/a.csv").write_bytes(csv(1))
    done = run("in", *start(tmp_path, EPOCH), cwd=tmp_path)
    assert done.returncode == 2
    assert "in/pipe: expected a file, got a pipe" in done.stderr
    assert values(tmp_path) == [0]


def test_standard_input(tmp_path: Path) -> None:
    done = run("-", *start(tmp_path, EPOCH), cwd=tmp_path, data=gzip.compress(csv(3)))
    assert done.returncode == 0, done.stderr
    assert values(tmp_path) == [0, 1, 2]


def test_what_stands_before_the_damage_is_imported(tmp_path: Path) -> None:
    packed = gzip.compress(csv(20_000))
    (tmp_path / "a.csv.gz").write_bytes(packed[: len(packed) // 2])
    (tmp_path / "b.csv").write_bytes(csv(1, 50_000))
    done = run("a.csv.gz", "b.csv", *start(tmp_path, EPOCH), cwd=tmp_path)
    assert done.returncode == 2
    assert "a.csv.gz: truncated at byte" in done.stderr
    found = values(tmp_path)
    assert found[-1] == 50_000
    assert 5_000 < len(found) < 20_000
    assert found[:-1] == list(range(len(found) - 1))


def test_a_bad_line_is_rejected_alone(tmp_path: Path) -> None:
    lines = [
        b"t,d,i,v\n",
        b"2024-05-01,inverter-001,dayEnergy,1\n",
        b'2024-05-02,"inverter-001,dayEnergy,2\n',
        b"2024-05-03,inverter-001,dayEnergy,3\r\n",
        b"2024-05-04,inverter-001,dayEnergy\n",
        b"\n",
        b"2024-05-05,inverter-001,dayEnergy,\xff\n",
        b"2024-05-06,inverter-001,dayEnergy,6,,\n",
        b"2024-05-07,nobody,dayEnergy,7\n",
        b"2024-05-08,inverter-001,dayEnergy,-8\n",
        b"2024-05-09,inverter-001,nothing,9\n",
        b"2024-05-10,inverter-001,dayEnergy,10",
    ]
    (tmp_path / "a.csv").write_bytes(b"".join(lines))
    arguments = start(tmp_path)
    done = run("a.csv", *arguments, "--rejects", "r.ndjson", "--json", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert values(tmp_path) == [1, 3, 6, 10]
    found = [json.loads(line) for line in (tmp_path / "r.ndjson").read_bytes().splitlines()]
    reasons = {one["line"]: (one["reason"], one["message"]) for one in found}
    assert reasons[3][1].startswith("not CSV: ")
    assert reasons[5] == ("unreadable", "expected 4 columns, got 3")
    assert reasons[7][1].startswith("expected UTF-8, got byte 0xFF at 35")
    assert reasons[9][0] == "device"
    assert reasons[10][0] == "range"
    assert reasons[11][0] == "unknown_point"
    assert len(reasons) == 6
    assert json.loads(done.stdout)["rejected"] == 6


def test_line_breaks_inside_of_quotes(tmp_path: Path) -> None:
    arguments = start(tmp_path, LONG + "[csv]\nline_breaks = true\n")
    data = b't,d,i,v\n2024-05-01,inverter-001,firmware,"a\nb ""c"""\n'
    data += b"2024-05-02,inverter-001,dayEnergy,2\n"
    (tmp_path / "a.csv").write_bytes(data)
    assert run("a.csv", *arguments, cwd=tmp_path).returncode == 0
    assert [one["value"] for one in stored(tmp_path / "points.ndjson")] == [2, 'a\nb "c"']


WIDE = """
product = "solar"
[device]
column = 2
names = { "WR 1" = "inverter-001" }
[time]
columns = [1, 3]
format = "%d.%m.%Y %H:%M"
[csv]
header = false
delimiter = "\\t"
skip_lines = 1
[wide]
[points]
4 = "state"
5 = { identifier = "activePower", factor = 0.001, quality = 8 }
6 = "gridConnected"
7 = "stringCurrents"
"""


def test_wide_without_a_header_with_types_of_all_kinds(tmp_path: Path) -> None:
    arguments = start(tmp_path, WIDE)
    data = (
        "exported by hand\n"
        "01.05.2024\tWR 1\t00:00\t2\t1500\tTRUE\t[1.5,2]\t9\n"
        "01.05.2024\tWR 1\t00:01\t7\t1500\t\tx\t0\n"
        "01.05.2024\tWR 2\t00:01\t2\t1500\t\t\t0\n"
    )
    (tmp_path / "a.csv").write_text(data)
    assert run("a.csv", *arguments, cwd=tmp_path).returncode == 1
    found = {
        (one["identifier"], one["time"]): (one["value"], one.get("quality"))
        for one in stored(tmp_path / "points.ndjson")
    }
    assert found == {
        ("state", MIDNIGHT): (2, None),
        ("activePower", MIDNIGHT): (1.5, 9),
        ("gridConnected", MIDNIGHT): (True, None),
        ("stringCurrents", MIDNIGHT): ([1.5, 2], None),
        ("activePower", MIDNIGHT + 60_000): (1.5, 0),
    }
    reasons = sorted((one["line"], one["reason"]) for one in rejected(tmp_path / "import-state"))
    assert reasons == [(3, "enum"), (3, "type"), (4, "unreadable")]


def test_ndjson_of_another_shape(tmp_path: Path) -> None:
    mapping = EPOCH.replace('product = "solar"', 'format = "ndjson"\nproduct = "solar"')
    mapping = mapping.replace('"d"', '"meta.device"')
    lines = [
        {"t": MIDNIGHT, "meta": {"device": "inverter-001"}, "i": "dayEnergy", "v": 50.01},
        {"t": MIDNIGHT, "meta": {}, "i": "dayEnergy", "v": 1},
        [1],
        {"t": MIDNIGHT, "meta": {"device": "inverter-001"}, "i": "firmware", "v": "1.0"},
    ]
    (tmp_path / "a.json").write_text("\n".join([*map(json.dumps, lines), "{"]))
    assert run("a.json", *start(tmp_path, mapping), cwd=tmp_path).returncode == 1
    assert {one["value"] for one in stored(tmp_path / "points.ndjson")} == {50.01, "1.0"}
    assert [one["line"] for one in rejected(tmp_path / "import-state")] == [2, 3, 5]


def test_parquet_of_another_shape(tmp_path: Path) -> None:
    table = pa.table(
        {
            "t": [datetime(2024, 5, 1, tzinfo=UTC), datetime(2024, 5, 2, tzinfo=UTC)],
            "d": ["inverter-001", "inverter-001"],
            "dayEnergy": [50.01, None],
            "other": [1, 2],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    mapping = LONG.replace('product = "solar"', 'format = "parquet"\nproduct = "solar"')
    mapping = mapping.partition("[long]")[0] + '[wide]\n[points]\ndayEnergy = "dayEnergy"\n'
    done = run("a.parquet", *start(tmp_path, mapping), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert values(tmp_path) == [50.01]


def request(number: int) -> bytes:
    entry = {"deviceKey": "inverter-001", "measurepoints": {"dayEnergy": number}}
    document = {"version": "1.0", "method": "integration.measurepoint.post", "params": [entry]}
    return json.dumps(document).encode()


def test_archived_requests_with_and_without_time(tmp_path: Path) -> None:
    start(tmp_path)
    (tmp_path / "a.ndjson").write_bytes(b"\n".join([request(1), request(2), b"{", request(-1)]))
    done = run("a.ndjson", "--product", "solar", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert values(tmp_path) == [1, 2]
    found = [(one["line"], one["reason"]) for one in rejected(tmp_path / "import-state")]
    assert found == [(3, "syntax"), (4, "range")]


def test_a_trial_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(csv(3))
    arguments = start(tmp_path, EPOCH)
    before = sorted(tmp_path.iterdir())
    done = run("a.csv", *arguments, "--dry-run", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["points"] == 3
    assert sorted(tmp_path.iterdir()) == before


def test_the_tables_that_describe_the_points_are_beside_them(tmp_path: Path) -> None:
    arguments = start(tmp_path, EPOCH)
    (tmp_path / "a.csv").write_bytes(csv(3))
    done = run("a.csv", *arguments, "--out", "import/points", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    names = {"enum_texts", "measurepoints", "products"}
    assert {path.stem for path in (tmp_path / "import/dimensions").glob("*.parquet")} == names
    units = pq.read_table(tmp_path / "import/dimensions/measurepoints.parquet").to_pylist()
    found = {(one["product"], one["identifier"]): one["unit"] for one in units}
    assert found["solar", "activePower"] == "kW"
    (tmp_path / "other").mkdir()
    (tmp_path / "other/dimensions").write_text("a file in the place of the folder")
    options = [*arguments, "--out", "other/points", "--state", "other-state"]
    done = run("a.csv", *options, cwd=tmp_path)
    assert done.returncode == 0
    assert "other/dimensions: dimensions not written: " in done.stderr


def test_the_report_counts_by_series_and_day_and_draws(tmp_path: Path) -> None:
    rows = [b"2024-05-0%d,inverter-001,dayEnergy,%d\n" % (day, day) for day in (1, 2, 2, 5)]
    (tmp_path / "a.csv").write_bytes(HEAD + b"".join(rows))
    arguments = start(tmp_path)
    done = run("a.csv", *arguments, "--coverage", "c.svg", "--json", cwd=tmp_path)
    report = json.loads(done.stdout)
    assert report["duplicates"] == 1
    assert report["products"] == {"solar": 3}
    assert report["series"][0] | {"first": "", "last": ""} == {
        "product": "solar", "device": "inverter-001", "identifier": "dayEnergy",
        "points": 3, "days": 3, "first": "", "last": "",
    }  # fmt: skip
    (device,) = report["devices"]
    assert device["days"] == {"2024-05-01": 1, "2024-05-02": 1, "2024-05-05": 1}
    assert device["gaps"] == [{"from": "2024-05-03", "to": "2024-05-04"}]
    assert "solar/inverter-001" in (tmp_path / "c.svg").read_text()


def test_the_report_fits_80_columns(tmp_path: Path) -> None:
    days = (1, 2, 5, 9, 20, 21, 28)
    rows = [b"2024-05-%02d,inverter-001,dayEnergy,%d\n" % (day, day) for day in days]
    (tmp_path / "a.csv").write_bytes(HEAD + b"".join(rows))
    done = run("a.csv", *start(tmp_path), cwd=tmp_path)
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    device, points, gaps = lines[-3:]
    assert device.startswith("solar/inverter-001 ")
    assert points == "  7 points, 2024-05-01 to 2024-05-28"
    assert gaps == "  no points: 2024-05-03 to 2024-05-04, 2024-05-06 to 2024-05-08, …"


def test_a_mapping_is_proposed_that_imports_the_sample(tmp_path: Path) -> None:
    configure(tmp_path, "ndjson")
    data = "Zeit;Gerät;Tag;Wert\n01.05.2024 00:00:00;inverter-001;dayEnergy;1,5\n"
    (tmp_path / "a.csv").write_text(data, "utf-8")
    proposed = run("--sample", "a.csv", "--product", "solar", cwd=tmp_path)
    assert proposed.returncode == 0, proposed.stderr
    (tmp_path / "mapping.toml").write_text(proposed.stdout, "utf-8")
    done = run("a.csv", "--mapping", "mapping.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert values(tmp_path) == [1.5]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "Datum;Uhrzeit;Messstelle;Messwert;Status\n31.12.2024;23:55:00;WR.P;1,5;OK\n",
            (
                'columns = ["Datum", "Uhrzeit"]\nformat = "%d.%m.%Y %H:%M:%S"\n'
                '[values]\ndecimal = ","\n[device]\nvalue = "CHANGE-ME"\n'
                '[long]\nidentifier = "Messstelle"\nvalue = "Messwert"\nquality = "Status"\n'
            ),
        ),
        (
            "DeviceName,TagName,Value,Date,Time\nd,t,1.5,2024-12-31,1:05\nd,t,2,2024-12-31,13:05\n",
            (
                'columns = ["Date", "Time"]\nformat = "%Y-%m-%d %H:%M"\n[device]\n'
                'column = "DeviceName"\n[long]\nidentifier = "TagName"\nvalue = "Value"\n'
            ),
        ),
        (
            "Date,Time,Power\n01/05/2024,1:05 PM,2\n",
            (
                'columns = ["Date", "Time"]\n'
                'format = "%m/%d/%Y %I:%M %p"    # or "%d/%m/%Y %I:%M %p"\n'
                '[device]\nvalue = "CHANGE-ME"\n[wide]\n[points]\n'
            ),
        ),
        (
            "Zeitstempel;Gerätename;Tagesertrag\n31/12/2024 23:55;WR 1;1,5\n",
            (
                'column = "Zeitstempel"\nformat = "%d/%m/%Y %H:%M"\n'
                '[values]\ndecimal = ","\n[device]\ncolumn = "Gerätename"\n[wide]\n[points]\n'
            ),
        ),
        (
            "timestamp,sensor_id,parameter,n\n1714573800,A,x,3\n1714573860,A,x,\n",
            (
                'column = "timestamp"\nformat = "epoch_s"\n[device]\ncolumn = "sensor_id"\n'
                '[long]\nidentifier = "parameter"\nvalue = "n"\n'
            ),
        ),
    ],
)
def test_a_proposal_finds_the_columns_by_their_titles_and_contents(
    tmp_path: Path, text: str, expected: str
) -> None:
    (tmp_path / "a.csv").write_text(text, "utf-8")
    done = run("--sample", "a.csv", cwd=tmp_path)
    lines = [one for one in done.stdout.splitlines() if one and not one.startswith(("zone", "#"))]
    assert expected in "\n".join(lines), done.stdout


LOCAL = "Zeit;Gerät;Tag;Wert\n" + "".join(
    f"01.05.2024 00:{minute:02}:00;inverter-001;dayEnergy;1.000,{minute}\n"
    for minute in range(1, 30)
)


def test_a_sample_with_a_bad_row_in_another_encoding(tmp_path: Path) -> None:
    configure(tmp_path, "ndjson")
    text = LOCAL + "yesterday;inverter-001;dayEnergy;1,5\n"
    (tmp_path / "a.csv").write_text(text, "cp1252")
    proposed = run("--sample", "a.csv", "--product", "solar", cwd=tmp_path)
    assert proposed.returncode == 0, proposed.stderr
    (tmp_path / "mapping.toml").write_text(proposed.stdout, "utf-8")
    done = run("a.csv", "--mapping", "mapping.toml", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "import-state/rejects.ndjson has the rejected points" in done.stderr
    assert len(values(tmp_path)) == 29
    assert [one["line"] for one in rejected(tmp_path / "import-state")] == [31]


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        (('"d"', '"d"\n[csv]\ndelimiter = ";"'), 2, 'csv.delimiter = "," would have it'),
        (('column = "t"', 'column = "T"'), 2, 'expected a column "T"; there are "t", "d"'),
        (('product = "solar"', 'product = "solr"'), 78, "did you mean solar"),
        (
            ("[long]", '[points]\nE = "dayEnergi"\n[long]'),
            78,
            'points.E: expected an identifier of the model of solar, got "dayEnergi"',
        ),
    ],
)
def test_a_mapping_that_is_wrong_says_what_is_right(
    change: tuple[str, str], status: int, message: str, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_bytes(csv(1))
    mapping = EPOCH.replace("device = { column = ", "[device]\ncolumn = ").replace('"d" }', '"d"')
    arguments = start(tmp_path, mapping.replace(*change))
    done = run("a.csv", *arguments, cwd=tmp_path)
    assert done.returncode == status
    assert message in done.stderr


def test_an_empty_folder_and_outputs_without_a_folder_are_named(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    arguments = start(tmp_path, EPOCH)
    done = run("in", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "in: expected a folder with files, got none that is not hidden" in done.stderr
    for option in ("--rejects", "--coverage"):
        done = run("in", *arguments, option, "no/file", cwd=tmp_path)
        assert done.returncode == 2
        assert f"{option}: expected a file in a folder that exists, got no/file" in done.stderr
    os.mkfifo(tmp_path / "pipe")
    done = run("--sample", "pipe", cwd=tmp_path)
    assert "--sample: expected a file, got pipe" in done.stderr


@pytest.mark.skipif(not find_spec("pandas"), reason="pandas is not installed")
def test_a_command_imports_nothing_that_pyarrow_can_do_without(tmp_path: Path) -> None:
    arguments = [*start(tmp_path), "--out", "out"]
    (tmp_path / "a.csv").write_bytes(HEAD + ROW % 5)
    done = run("a.csv", *arguments, cwd=tmp_path, PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0, done.stderr
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "pyarrow.parquet" in imported
    assert not [name for name in imported if name.startswith(("numpy.", "pandas."))]
