"""Device files as spreadsheets, databases and editors leave them: read, doubted or refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from pointgate import Catalog, CatalogError
from pointgate.toml import document

if TYPE_CHECKING:
    from pathlib import Path

PRODUCT = "[products.pk]\nmodel = 'model.json'\ndevices = '{}'\n"
MODEL = json.dumps({"measurepoints": {"temp": {"dataType": "DOUBLE"}}})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A catalog without its device file."""
    (tmp_path / "model.json").write_text(MODEL)
    return tmp_path


def load(folder: Path, name: str, data: bytes | str) -> Catalog:
    content = data.encode() if isinstance(data, str) else data
    (folder / name).write_bytes(content)
    (folder / "catalog.toml").write_text(PRODUCT.format(name))
    return Catalog.load(folder)


def problems(folder: Path, name: str, data: bytes | str) -> list[str]:
    with pytest.raises(CatalogError) as caught:
        load(folder, name, data)
    assert {one.file for one in caught.value.problems} == {str(folder / name)}
    return [f"{one.location}: {one.reason}".removeprefix(": ") for one in caught.value.problems]


def holds(catalog: Catalog, *keys: str) -> bool:
    devices = catalog.products["pk"].devices
    return len(devices) == len(keys) and all(key in devices for key in keys)


UTF16 = "utf-16"  # little-endian here, with a byte-order mark

WRITTEN_BY_PROGRAMS: dict[str, tuple[str, bytes | str]] = {
    "Excel, CSV UTF-8": (
        "a.csv",
        "\ufeffdeviceKey,name\r\ninv-1,A\r\n inv-2,B\r\ninv-3\u00a0,C\r\n,\r\n",
    ),
    "Excel with a semicolon": (
        "a.csv",
        "sep=;\r\ndeviceKey;name\r\ninv-1;A\r\ninv-2;B\r\ninv-3;C\r\n",
    ),
    "Excel, Unicode text": (
        "a.csv",
        "Device Key\tname\r\ninv-1\tA\r\ninv-2\tB\r\ninv-3\tC\r\n".encode(UTF16),
    ),
    "Excel of a Macintosh": ("a.csv", "deviceKey,name\rinv-1,A\rinv-2,B\rinv-3,C"),
    "Excel, one column to a list": ("a.txt", "deviceKey\rinv-1\rinv-2\rinv-3\r"),
    "Google Sheets": ("a.csv", '"device_key","name"\n"inv-1","A"\n" inv-2 ","B"\ninv-3,'),
    "LibreOffice, all quoted, UTF-16": (
        "a.csv",
        '"name"|"deviceKey"\n"A"|"inv-1"\n"B"|"inv-2"\n"C"|"inv-3"\n'.encode(UTF16),
    ),
    "PowerShell, Export-Csv": (
        "a.csv",
        '\ufeff"deviceKey","Name"\r\n"inv-1","A"\r\n"inv-2","B"\r\n"inv-3",""\r\n',
    ),
    "PowerShell, Out-File": ("a.txt", "inv-1\r\ninv-2\r\ninv-3\r\n".encode(UTF16)),
    "PowerShell, JSON": (
        "a.jsonl",
        '{"deviceKey":"inv-1"}\r\n{"deviceKey":"inv-2"}\r\n{"deviceKey":" inv-3"}\r\n'.encode(
            UTF16
        ),
    ),
    "Java, big-endian": ("a.txt", "\ufeffinv-1\ninv-2\ninv-3".encode("utf-16-be")),
    "SQL, a list for IN": ("a.txt", "'inv-1',\n'inv-2',\n'inv-3'\n"),
    "SQL client, quoted list": ("a.txt", '"deviceKey"\n"inv-1"\n"inv-2"\n"inv-3"\n'),
    "mysqldump --tab": (
        "a.csv",
        "# dump of devices\ndeviceKey\tname\ninv-1\tA\ninv-2\t\\N\ninv-3\tC\n",
    ),
    "formula that keeps text": ("a.csv", 'deviceKey,name\n="inv-1",A\n"=""inv-2""",B\n"inv-3",C\n'),
    "a list with notes": ("a.txt", "# plant A\ninv-1\n#inv-9\n\ninv-2,\n\u200binv-3\t\n"),
    "a copied column": ("a.txt", "Device Key\ninv-1 \ninv-2\u3000\n\u2060inv-3\n"),
}


@pytest.mark.parametrize("writer", WRITTEN_BY_PROGRAMS)
def test_what_programs_write_is_read(folder: Path, writer: str) -> None:
    assert holds(load(folder, *WRITTEN_BY_PROGRAMS[writer]), "inv-1", "inv-2", "inv-3")


def test_endings_are_known_in_any_case(folder: Path) -> None:
    assert holds(load(folder, "DEVICES.CSV", "deviceKey;name\ninv-1;A\n"), "inv-1")
    assert holds(load(folder, "Devices.Txt", "inv-1\n"), "inv-1")
    assert holds(load(folder, "a.JSONL", '{"deviceKey":"inv-1"}\n'), "inv-1")


REFUSED: dict[str, tuple[str, bytes | str, str]] = {
    "an Excel workbook": ("a.csv", b"PK\x03\x04\x14\x00\x06\x00", "got an Excel workbook"),
    "an old Excel workbook": ("a.csv", b"\xd0\xcf\x11\xe0\xa1\xb1", "got an old Excel workbook"),
    "gzip": ("a.txt", b"\x1f\x8b\x08\x00", "got gzip"),
    "UTF-16 without a mark": (
        "a.txt",
        "inv-1\ninv-2\n".encode("utf-16-le"),
        "UTF-16 without a byte-order mark",
    ),
    "UTF-16, big-endian": (
        "a.csv",
        "deviceKey\nx\n".encode("utf-16-be"),
        "UTF-16 without a byte-order mark",
    ),
    "UTF-32": ("a.txt", "inv-1".encode("utf-32"), "got UTF-32"),
    "UTF-16, cut": (
        "a.txt",
        "inv-1\ninv-2\n".encode(UTF16)[:-1],
        "line 2: expected UTF-16, got half of a character",
    ),
    "a login page": ("a.txt", "<!DOCTYPE html>\n<html>", "got a page of HTML"),
    "zeros after a crash": ("a.txt", bytes(4096), "got NUL bytes"),
    "a swap file": ("a.txt", b"b0VIM 9.0\x00\x00", "a swap file of vim"),
    "columns in a list": (
        "a.txt",
        "deviceKey;name\ninv-1;A\n",
        "line 1: expected a key a line in a .txt file, got a heading",
    ),
    "JSON in a list": ("a.txt", '{"deviceKey":"inv-1"}\n', "name a file of JSON lines .jsonl"),
    "no heading": (
        "a.csv",
        "inv-1,A\ninv-2,B\n",
        'expected a column deviceKey (or Device Key, device_key, DEVICE-KEY), got "inv-1", "A"',
    ),
    "a title above": (
        "a.csv",
        "Devices of plant A;\n\ndeviceKey;name\n",
        'got "Devices of plant A", ""; the heading is in line 3: begin every line above it with #',
    ),
    "a merge conflict": (
        "a.txt",
        "inv-1\n<<<<<<< HEAD\ninv-2\n",
        "line 2: expected a deviceKey, got the marker of a merge conflict",
    ),
    "a summary row": (
        "a.csv",
        "deviceKey;n\ninv-1;1\n;1\n",
        'line 3: expected a deviceKey in each row, got none in "", "1": begin the row with # if',
    ),
    "Latin-1": (
        "a.txt",
        "inv-1\nanlage-\xfc\n".encode("latin-1"),
        "line 2: expected UTF-8, got an invalid byte in column 8",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_something_else_is_refused_by_name(folder: Path, kind: str) -> None:
    name, data, words = REFUSED[kind]
    (problem, *_) = problems(folder, name, data)
    assert words in problem


@pytest.mark.parametrize(
    ("name", "data", "line"),
    [
        ("a.csv", "deviceKey,name\r\n8.61234E+14,A\r\n8.61234E+14,B\r\n1.23E+15,C\r\n", 3),
        ("a.csv", 'deviceKey;name\n"8,6E+14";A\ninv-1;B\n"8,6E+14";C\n', 4),
        ("a.txt", "8.6e14\n8.6e14\n", 2),
        ("a.jsonl", '{"deviceKey":"1E+15"}\n{"deviceKey":"1E+15"}\n', 2),
        ("a.csv", "deviceKey\n89860012345678900\n1\n89860012345678900\n", 4),
    ],
)
def test_keys_that_became_one_number_are_refused(
    folder: Path, name: str, data: str, line: int
) -> None:
    (problem,) = problems(folder, name, data)
    assert problem.startswith(f"line {line}: expected every device key as text, got ")


@pytest.mark.parametrize(
    ("data", "line", "words"),
    [
        ("inv-1\n8.61234E+14\n", 2, "a number that a spreadsheet rewrote"),
        ("inv-1\n\n#N/A\n", 3, '"#N/A" looks like no device key'),
        ("inv-1\ninv-2\nTotal\n", 3, '"Total" looks like no device key'),
        ("inv-1\nNULL\n", 2, '"NULL" looks like no device key'),
        ("  devicekey  \n-----------\n inv-1\n(1 row)\n", 2, "no letter and no digit"),
        ("  devicekey  \n-----------\n inv-1\n(1 row)\n", 4, '"(1 row)" has "("'),
        ("inv-1\ninv 2\n", 2, '"inv 2" has " " (U+0020), expected letters, digits and - _ . :'),
        ("inv\u20131\n", 1, "(U+2013)"),
        ("inv\u200b1\n", 1, "(U+200B)"),
        ("a\ninv-1,Name\n", 2, 'has "," (U+002C)'),
        ("\u00a0inv-1 \n", 1, 'was read as "inv-1"'),
    ],
)
def test_what_is_suspicious_is_a_warning_with_its_line(
    folder: Path, data: str, line: int, words: str
) -> None:
    warnings = load(folder, "a.txt", data).warnings
    assert any(one.location == f"line {line}" and words in one.reason for one in warnings), warnings
    assert {one.file for one in warnings} == {str(folder / "a.txt")}


def test_keys_as_they_should_be_give_no_warning(folder: Path) -> None:
    assert load(folder, "a.txt", "inv-1\nA_b.c:d\n0007\n12E5\n861234000000000\n").warnings == ()


def test_numbers_with_and_without_leading_zeros_are_a_warning(folder: Path) -> None:
    catalog = load(folder, "a.csv", 'deviceKey\n="0007"\n7\n')
    assert holds(catalog, "0007", "7")
    assert any('"0007" and "7"' in one.reason for one in catalog.warnings)


def test_check_prints_the_warnings_and_refuses_what_serve_refuses(folder: Path) -> None:
    (folder / "pointgate.toml").write_text("[catalog]\npath = '.'\n")
    command = [sys.executable, "-m", "pointgate", "check", "-c", str(folder / "pointgate.toml")]
    load(folder, "a.csv", "deviceKey\ninv 1\n")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f'warning: {folder / "a.csv"}: line 2: "inv 1" has' in done.stdout
    load(folder, "a.csv", "deviceKey\n")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "the device table is empty" in done.stdout) == (0, True)
    (folder / "a.csv").write_text("Device ID\ninv-1\n")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "line 1: expected a column deviceKey (or Device Key" in done.stdout


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.jsonl"])
@pytest.mark.parametrize("data", ["", "\ufeff", "\n \r\n"])
def test_a_file_without_text_is_an_empty_table_with_a_warning(
    folder: Path, name: str, data: str
) -> None:
    (warning,) = load(folder, name, data).warnings
    assert "the device table is empty" in warning.reason


def test_warnings_of_a_million_lines_are_bounded(folder: Path) -> None:
    data = "".join(f" inv {number}\n" for number in range(1_000_000)).encode()
    (folder / "a.txt").write_bytes(data)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    catalog = load(folder, "a.txt", data)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(catalog.warnings) <= 50
    assert sum("and 999990 more lines like it" in one.reason for one in catalog.warnings) == 2
    assert after - before < 1_000_000


def test_a_file_that_is_written_while_it_is_read_is_read_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "a.txt"
    path.write_text("inv-1\n")
    read_once = document._read_once
    reads: list[bool] = []

    def write_meanwhile(name: Path) -> tuple[bytes, bool]:
        fstat = os.fstat

        def fstat_and_write(descriptor: int) -> os.stat_result:
            status = fstat(descriptor)
            if len(reads) < 2:
                with path.open("a") as file:
                    file.write(f"inv-{len(reads) + 2}\n")
            return status

        with monkeypatch.context() as patch:
            patch.setattr(os, "fstat", fstat_and_write)
            data, is_whole = read_once(name)
        reads.append(is_whole)
        return data, is_whole

    monkeypatch.setattr(document, "_read_once", write_meanwhile)
    data, reason = document.read_file(path)
    assert (reads, reason) == ([False, False, True], "")
    assert data == path.read_bytes()


def test_a_file_that_is_written_all_the_time_is_refused(folder: Path) -> None:
    path = folder / "a.txt"
    path.write_text("inv-1\n")
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            with path.open("a") as file:
                file.write("inv-1\n" * 1000)
            time.sleep(0)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        # Which it is depends on the writer; never is a part of a line put in force.
        try:
            assert holds(load(folder, "b.txt", "inv-1\n"), "inv-1")
            data, reason = document.read_file(path)
            assert reason.startswith("the file is being written") or data.endswith(b"\n")
        finally:
            stop.set()
    finally:
        writer.join()


def test_a_file_that_was_replaced_while_it_was_read_is_whole(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, newer = folder / "a.txt", folder / "newer"
    path.write_text("inv-1\n")
    newer.write_text("inv-2\n")
    fstat, count = os.fstat, [0]

    def fstat_and_replace(descriptor: int) -> os.stat_result:
        count[0] += 1
        if count[0] == 2:
            newer.replace(path)
        return fstat(descriptor)

    monkeypatch.setattr(os, "fstat", fstat_and_replace)
    assert document.read_file(path) == (b"inv-1\n", "")
