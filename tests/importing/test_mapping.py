"""What is said of a wrong mapping: the file, the key, what was expected and what came."""
# ruff: noqa: E501, ISC004 - a case a line

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pointgate.errors import ConfigError
from pointgate.importing.mapping import load_mapping
from tests.support.imports import configure, run

if TYPE_CHECKING:
    from pathlib import Path

GOOD = """
product = "solar"
device = "inverter-001"
[time]
column = "t"
[long]
identifier = "tag"
value = "v"
"""

WIDE = GOOD.replace('[long]\nidentifier = "tag"\nvalue = "v"\n', "[wide]\n")

CASES = [
    ("prodct = 'x'" + GOOD, "prodct: unknown key, did you mean product"),
    (GOOD.replace('product = "solar"', ""), "product: expected a product key, or a table, got nothing"),
    (GOOD.replace('"solar"', "7"), "product: expected a product key, or a table, got 7"),
    (GOOD.replace("[time]", "[tims]"), "time: expected a table, got nothing"),
    (GOOD.replace('column = "t"', ""), "time.column: expected either column or columns, got nothing"),
    (GOOD.replace('column = "t"', "column = 0"), "time.column: expected a column: its name, or its number from 1, got 0"),
    (GOOD.replace('column = "t"', "column = true"), "time.column: expected a column: its name, or its number from 1, got true"),
    (
        GOOD.replace('column = "t"', 'column = "t"\nformat = "dd.mm.yyyy"'),
        'time.format: expected "iso", "excel", "epoch_s", "epoch_ms", "epoch_us", "epoch_ns", '
        'or a pattern such as "%d.%m.%Y %H:%M:%S", got "dd.mm.yyyy"',
    ),
    (
        GOOD.replace('column = "t"', 'column = "t"\nformat = "%d.%q"'),
        'time.format: expected a pattern of strptime, got "%q" in it',
    ),
    (
        GOOD.replace('column = "t"', 'column = "t"\nzone = "CEST"'),
        'time.zone: expected an IANA time zone such as "Europe/Berlin" or "UTC", got "CEST"; '
        "where the system has no zones at all: pip install tzdata",
    ),
    (
        GOOD.replace('column = "t"', 'column = "t"\noverlap = "both"'),
        'time.overlap: expected "reject", "first", "second" or "order", for an hour that exists twice, '
        'got "both"',
    ),
    (GOOD.replace('value = "v"', ""), "long.value: expected a column: its name, or its number from 1, got nothing"),
    (GOOD + "[wide]\n", "long: expected either [long] or [wide], got both"),
    (WIDE, "points: expected a table of points beside [wide], got nothing"),
    (WIDE + '[points.a]\nfactor = "ten"', "points.a.identifier: expected an identifier of the model, got nothing"),
    (WIDE + '[points.a]\nidentifier = "b"\nfactor = "ten"', 'points.a.factor: expected a number, got "ten"'),
    (WIDE + "[points]\na = 7", "points.a: expected"),
    (
        GOOD.replace('device = "inverter-001"', 'device = { column = "d", value = "x" }'),
        "device: expected either column or value, got both",
    ),
    (
        GOOD.replace('device = "inverter-001"', 'device = { column = "d", template = "x" }'),
        'device.template: expected a text with {} in it, got "x"',
    ),
    (
        GOOD.replace('device = "inverter-001"', 'device = { column = "d", file = "none.csv" }'),
        "device.file: cannot read this file: no such file or directory",
    ),
    (GOOD + '[csv]\ndelimiter = ";;"', 'csv.delimiter: expected one character, such as ";" or "\\t", got ";;"'),
    (GOOD + '[csv]\nquote = ","', 'csv.quote: expected another character than delimiter, got ","'),
    (
        GOOD + '[csv]\nencoding = "klingon"',
        'csv.encoding: expected "auto" (UTF-8, or UTF-16 and UTF-32 as the file shows), or an '
        'encoding that extends ASCII, such as "cp1252", got "klingon"',
    ),
    (GOOD + "[csv]\nheader = false", 'csv.header: expected columns by number without a header, got "t"'),
    (GOOD + "[quality.names]\nGood = 12", "quality.names.Good: expected 0 to 9, got 12"),
    (GOOD + '[values]\nthousands = "."', 'values.thousands: expected another character than decimal, got "."'),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), CASES, ids=[message[:40] for _, message in CASES])
def test_a_wrong_mapping_is_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mapping.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_mapping(path)
    reasons = [str(problem) for problem in caught.value.problems]
    assert any(one.startswith(f"{path}: {message}") for one in reasons), reasons


def test_every_mistake_is_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "mapping.toml"
    path.write_text(GOOD.replace('"t"', "0").replace('"v"', "-1") + "[csv]\nquote = 'ab'")
    with pytest.raises(ConfigError) as caught:
        load_mapping(path)
    keys = {problem.location for problem in caught.value.problems}
    assert keys == {"time.column", "long.value", "csv.quote"}


def test_the_command_ends_with_78_and_the_table_with_2(tmp_path: Path) -> None:
    configure(tmp_path, "ndjson")
    (tmp_path / "a.csv").write_text("Time;tag;v\n2024-05-01;temp;1\n")
    path = tmp_path / "mapping.toml"
    path.write_text(GOOD.replace('"solar"', '"solr"'))
    done = run("a.csv", "--mapping", "mapping.toml", cwd=tmp_path)
    assert done.returncode == 78
    expected = (
        "mapping.toml: product: expected a product of the catalog, got solr, did you mean solar"
    )
    assert expected in done.stderr
    path.write_text(GOOD + '[csv]\ndelimiter = ";"')
    done = run("a.csv", "--mapping", "mapping.toml", cwd=tmp_path)
    assert done.returncode == 2
    assert 'a.csv: expected a column "t"; there are "Time", "tag", "v"' in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected FILES to import"),
        (["a.csv"], "expected either --mapping, or --product"),
        (["a.csv", "--product", "solar", "--out", "x", "--sink", "y"], "either --out or --sink"),
        (["a.csv", "--product", "solar", "--sink", "y"], "--sink: expected one of ndjson, got y"),
        (["a.csv", "--product", "solr"], "the catalog has no product solr, did you mean solar"),
        (["a.csv", "--product", "solar", "--memory", "1"], "--memory: expected at least 1MiB"),
    ],
)
def test_wrong_usage(arguments: list[str], message: str, tmp_path: Path) -> None:
    configure(tmp_path, "ndjson")
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())
