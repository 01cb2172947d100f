"""An import that is stopped at any moment continues, and stores every point once."""

from __future__ import annotations

import errno
import gzip
import json
import os
import random
import shutil
import signal
import subprocess
import time
import zipfile
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.dataset as pads
import pytest
from typer.testing import CliRunner

from pointgate.cli.commands import app
from pointgate.importing.runs import spill
from pointgate.sinks.base import SinkUnavailableError
from pointgate.sinks.parquet.sink import ParquetSink
from tests.support.historian import Shape, expected, export, mapping
from tests.support.imports import CATALOG, command, configure, points, rejected, run
from tests.support.patience import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = Shape(seed=11, rows=12_000, step_minutes=11, by_device=True)
SHORT = Shape(seed=11, rows=3_000, step_minutes=31, by_device=True)
MORE = b"Zeit;Ger\xc3\xa4t;Tag;Wert;Status\n2025-05-01;inverter-001;T.activePower;21.5;\n"
FAILPOINTS = [
    "import-after-run:1",
    "import-after-run:3",
    "import-before-commit:1",
    "import-before-commit:4",
    "import-after-chunk:2",
    "sink-before-record:2",
    "sink-before-rename:2",
    "sink-after-rename:3",
    "sink-before-forget:2",
]


def prepare(folder: Path, *sinks: str, shape: Shape = SHAPE) -> list[object]:
    """A configuration, a mapping and an export; the arguments that import it."""
    configure(folder, *sinks)
    (folder / "mapping.toml").write_text(mapping(shape), "utf-8")
    (folder / "export.csv").write_bytes(export(shape))
    processes = "1" if shape == SHORT else "2"
    return ["export.csv", "--mapping", "mapping.toml", "--memory", "1MiB", "--processes", processes]


def parquet(folder: Path) -> list[tuple[str, str, int]]:
    """The keys in the sink's Parquet dataset, as often as they are there."""
    rows = pads.dataset(folder / "points", partitioning="hive", exclude_invalid_files=False)
    table = rows.to_table(["device", "identifier", "time"])
    milliseconds = table.column("time").cast(pa.timestamp("ms", "UTC")).cast("int64").to_pylist()
    names = [table.column(name).to_pylist() for name in ("device", "identifier")]
    return sorted(zip(*names, milliseconds, strict=True))


def check(folder: Path, shape: Shape = SHAPE) -> None:
    """Everything is stored once, and every bad line was reported once."""
    oracle = expected(shape, (folder / "export.csv").read_bytes())
    assert points(folder / "points.ndjson").keys() == oracle.points.keys()
    assert parquet(folder) == sorted(oracle.points)
    found = rejected(folder / "import-state")
    assert {one["line"] for one in found} == oracle.bad_lines
    assert len({json.dumps(one) for one in found}) == len(found)


@pytest.mark.slow
@pytest.mark.parametrize("place", FAILPOINTS)
def test_a_kill_at_a_named_place(place: str, tmp_path: Path) -> None:
    arguments = prepare(tmp_path, "ndjson", "parquet")
    killed = run(*arguments, cwd=tmp_path, POINTGATE_FAILPOINT=place)
    assert killed.returncode == -signal.SIGKILL
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    check(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_kills_at_random_moments(number: signal.Signals, tmp_path: Path) -> None:
    dice = random.Random(int(number))  # noqa: S311 - a seed
    whole = tmp_path / "whole"
    whole.mkdir()
    begun = time.monotonic()
    assert run(*prepare(whole, "ndjson", "parquet"), cwd=whole).returncode == 1
    lasts = time.monotonic() - begun
    folder = tmp_path / "killed"
    folder.mkdir()
    arguments = prepare(folder, "ndjson", "parquet")
    for _ in range(8):
        with subprocess.Popen(
            command(*arguments), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            try:
                process.wait(dice.uniform(0.2, 0.9) * lasts)
            except subprocess.TimeoutExpired:
                process.send_signal(number)
            process.communicate()
        # -SIGINT where the signal came before the interpreter has got to us.
        assert process.returncode in {-signal.SIGKILL, -signal.SIGINT, 128 + signal.SIGINT, 1}
    assert run(*arguments, cwd=folder).returncode == 1
    check(folder)


def test_an_import_that_has_ended_imports_only_what_is_new(tmp_path: Path) -> None:
    arguments = prepare(tmp_path, "ndjson", "parquet")
    assert run(*arguments, cwd=tmp_path).returncode == 1
    before = (tmp_path / "points.ndjson").read_bytes()
    again = run(*arguments, "--json", cwd=tmp_path)
    assert again.returncode == 1
    report = json.loads(again.stdout)
    assert report["points"] == len(before.splitlines())
    assert sum(one["points"] for one in report["series"]) == report["points"]
    assert (tmp_path / "points.ndjson").read_bytes() == before
    (tmp_path / "more.csv").write_bytes(MORE)
    done = run(*arguments, "more.csv", "--json", cwd=tmp_path)
    more_report = json.loads(done.stdout)
    assert more_report["points"] == report["points"] + 1
    assert sum(one["points"] for one in more_report["series"]) == more_report["points"]
    assert sum(more_report["products"].values()) == more_report["points"]
    for one in more_report["devices"]:
        assert one["points"] == sum(one["days"].values())
    assert {"2025-05-01": 1}.items() <= more_report["devices"][0]["days"].items()
    assert more_report["duplicates"] == report["duplicates"]
    assert len((tmp_path / "points.ndjson").read_bytes().splitlines()) == (
        len(before.splitlines()) + 1
    ), done.stderr


def test_the_report_of_an_import_that_had_ended_is_called_so(tmp_path: Path) -> None:
    arguments = prepare(tmp_path, "ndjson", shape=SHORT)
    assert "no input is new" not in run(*arguments, cwd=tmp_path).stderr
    said = "no input is new: this is the report of the import that had ended before"
    assert said in run(*arguments, cwd=tmp_path).stderr
    mistyped = run("exprot.csv", *arguments[1:], cwd=tmp_path)
    assert mistyped.returncode == 2
    assert said in mistyped.stderr
    assert "whose state is in import-state" in mistyped.stderr
    assert "exprot.csv: no such file" in mistyped.stderr


def test_a_damaged_input_that_was_replaced_is_no_problem_any_more(tmp_path: Path) -> None:
    arguments = prepare(tmp_path, "parquet", shape=SHORT)
    whole = (tmp_path / "export.csv").read_bytes()
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    (inputs / "a.csv.gz").write_bytes(gzip.compress(whole)[:-1000])
    damaged = run("inputs", *arguments[1:], cwd=tmp_path)
    assert damaged.returncode == 2
    assert "inputs/a.csv.gz: truncated" in damaged.stderr
    # As long as the command names it, that is so.
    assert run("inputs", *arguments[1:], cwd=tmp_path).returncode == 2
    (inputs / "a.csv.gz").rename(tmp_path / "damaged")
    (inputs / "b.csv.gz").write_bytes(gzip.compress(whole))
    done = run("inputs", *arguments[1:], "--json", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["problems"] == []
    assert {*parquet(tmp_path)} == expected(SHORT, whole).points.keys()


def test_a_changed_input_is_refused_by_name(tmp_path: Path) -> None:
    arguments = prepare(tmp_path, "ndjson")
    killed = run(*arguments, cwd=tmp_path, POINTGATE_FAILPOINT="import-after-run:2")
    assert killed.returncode == -signal.SIGKILL
    with (tmp_path / "export.csv").open("ab") as file:
        file.write(b"\n")
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "export.csv: has changed since its import began: its size was" in done.stderr
    os.truncate(tmp_path / "export.csv", (tmp_path / "export.csv").stat().st_size - 1)
    os.utime(tmp_path / "export.csv", ns=(1, 1))
    assert "its time of modification is another" in run(*arguments, cwd=tmp_path).stderr


def test_a_changed_mapping_is_refused(tmp_path: Path) -> None:
    arguments = prepare(tmp_path, "ndjson")
    assert run(*arguments, cwd=tmp_path).returncode == 1
    (tmp_path / "mapping.toml").write_text(mapping(Shape(factor="2")), "utf-8")
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "import-state: begun with another mapping" in done.stderr


def test_a_sink_that_is_away_ends_the_command_and_not_the_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = prepare(tmp_path, "ndjson", "parquet")
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patched:

        async def away(_: ParquetSink, *__: object, **___: object) -> None:
            raise SinkUnavailableError("it is away")

        patched.setattr(ParquetSink, "write", away)
        done = CliRunner().invoke(app, ["import", *map(str, arguments)])
        assert done.exit_code == 74, done.output
        assert "it is away; the same command continues, and stores nothing twice" in done.stderr
    assert run(*arguments, cwd=tmp_path).returncode == 1
    check(tmp_path)


def test_a_disk_that_is_full_for_a_moment_costs_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = prepare(tmp_path, "ndjson", "parquet", shape=SHORT)
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patched:
        failing = iter([OSError(errno.ENOSPC, "full")])

        def spill_later(*rest: object) -> None:
            if error := next(failing, None):
                raise error
            spill(*rest)  # type: ignore[arg-type]

        patched.setattr("pointgate.importing.read_phase.spill", spill_later)
        done = CliRunner().invoke(app, ["import", *map(str, arguments)])
        assert done.exit_code == 74, done.output
        assert "the same command continues, and stores nothing twice" in done.stderr
    assert run(*arguments, cwd=tmp_path).returncode == 1
    check(tmp_path, SHORT)


def limit_memory(patched: pytest.MonkeyPatch, rows: int, writes: int) -> None:
    """Let the Parquet sink fail for more rows, and after so many writes."""
    write, left = ParquetSink.write, iter(range(writes))

    async def limited(self: ParquetSink, points: pa.Table, *, sequence: int) -> None:
        if points.num_rows > rows:
            raise pa.ArrowMemoryError("malloc of size 64 failed")
        if next(left, None) is None:
            raise RuntimeError("ends here")
        await write(self, points, sequence=sequence)

    patched.setattr(ParquetSink, "write", limited)


def test_a_chunk_that_memory_does_not_suffice_for_is_written_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = list(map(str, prepare(tmp_path, "ndjson", "parquet", shape=SHORT)))
    monkeypatch.chdir(tmp_path)
    for writes in (5, 11):
        with monkeypatch.context() as patched:
            limit_memory(patched, 300, writes)
            done = CliRunner().invoke(app, ["import", *arguments])
            assert isinstance(done.exception, RuntimeError)
    with monkeypatch.context() as patched:
        limit_memory(patched, 300, 10_000)
        done = CliRunner().invoke(app, ["import", *arguments])
        assert done.exit_code == 1, done.output
    check(tmp_path, SHORT)


def test_without_any_memory_the_import_ends_and_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = list(map(str, prepare(tmp_path, "ndjson", "parquet", shape=SHORT)))
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patched:
        limit_memory(patched, 0, 10_000)
        done = CliRunner().invoke(app, ["import", *arguments])
        assert done.exit_code == 74, done.output
        assert "out of memory: expected a smaller --memory" in done.stderr
    assert CliRunner().invoke(app, ["import", *arguments]).exit_code == 1
    check(tmp_path, SHORT)


def test_an_import_that_has_ended_says_so_to_another_destination(tmp_path: Path) -> None:
    arguments = prepare(tmp_path, "ndjson", "parquet", shape=SHORT)
    assert run(*arguments, "--sink", "ndjson", cwd=tmp_path).returncode == 1
    done = run(*arguments, "--sink", "parquet", cwd=tmp_path)
    assert done.returncode == 2
    assert "this import has ended, and was not written into the sink parquet" in done.stderr


@pytest.mark.parametrize(
    "change", [["--sink", "ndjson"], ["--out", "elsewhere"], ["place"], ["type"]]
)
def test_another_destination_is_refused_until_the_import_has_ended(
    change: list[str], tmp_path: Path
) -> None:
    arguments = prepare(tmp_path, "ndjson", "parquet", shape=SHORT)
    killed = run(*arguments, cwd=tmp_path, POINTGATE_FAILPOINT="import-after-chunk:1")
    assert killed.returncode == -signal.SIGKILL
    config = tmp_path / "pointgate.toml"
    before = config.read_text()
    if change == ["place"]:
        config.write_text(before.replace('"points"', '"others"'))
        change = []
    if change == ["type"]:
        config.write_text(before.replace('type = "parquet"', 'type = "delta"\nname = "parquet"'))
        change = []
    other = run(*arguments, *change, "--state", "import-state", cwd=tmp_path)
    assert other.returncode == 2
    assert "import into that, or with another --state" in other.stderr
    config.write_text(before)
    assert run(*arguments, cwd=tmp_path).returncode == 1
    check(tmp_path, SHORT)


def test_a_sink_that_has_lost_what_it_had_is_refused(tmp_path: Path) -> None:
    arguments = prepare(tmp_path, "ndjson", "parquet", shape=SHORT)
    killed = run(*arguments, cwd=tmp_path, POINTGATE_FAILPOINT="import-after-chunk:1")
    assert killed.returncode == -signal.SIGKILL
    for name in ("points", "points.ndjson"):
        (tmp_path / name).rename(tmp_path / "away")
        done = run(*arguments, cwd=tmp_path)
        assert done.returncode == 2
        assert f"{name}: has " in done.stderr
        assert "restore it, or import with another --state" in done.stderr
        if name == "points":
            shutil.rmtree(tmp_path / name)
        (tmp_path / "away").rename(tmp_path / name)
    assert run(*arguments, cwd=tmp_path).returncode == 1
    check(tmp_path, SHORT)


def test_it_goes_on_from_another_folder_and_through_another_link(tmp_path: Path) -> None:
    arguments = prepare(tmp_path, "parquet", shape=SHORT)[1:]
    arguments += ["--state", "state", "--catalog", CATALOG]
    killed = run(
        "export.csv",
        *arguments,
        *("--out", "points"),
        cwd=tmp_path,
        POINTGATE_FAILPOINT="import-after-run:2",
    )
    assert killed.returncode == -signal.SIGKILL
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner/link").symlink_to(tmp_path)
    for name in ("mapping.toml", "state"):
        (tmp_path / "inner" / name).symlink_to(tmp_path / name)
    done = run(tmp_path / "export.csv", *arguments, "--out", "link/points", cwd=tmp_path / "inner")
    assert done.returncode == 1, done.stderr
    (tmp_path / "export.csv").rename(tmp_path / "renamed.csv")
    again = run("renamed.csv", *arguments, "--out", "points", cwd=tmp_path)
    assert "no input is new" in again.stderr
    (tmp_path / "renamed.csv").rename(tmp_path / "export.csv")
    oracle = expected(SHORT, (tmp_path / "export.csv").read_bytes())
    assert parquet(tmp_path) == sorted(oracle.points)


def test_files_of_one_name_in_two_folders_are_two(tmp_path: Path) -> None:
    arguments = prepare(tmp_path, "parquet", shape=SHORT)[1:]
    arguments += ["--state", tmp_path / "state", "--catalog", CATALOG, "--out", tmp_path / "points"]
    arguments[1] = tmp_path / "mapping.toml"
    for name in "xy":
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.csv").write_bytes(
            MORE.replace(b"001", b"002" if name == "y" else b"001")
        )
        os.utime(tmp_path / name / "a.csv", ns=(0, 0))
    assert run("a.csv", *arguments, cwd=tmp_path / "x").returncode == 0
    for inputs in (["a.csv"], ["a.csv", "../x/a.csv"]):
        done = run(*inputs, *arguments, "--json", cwd=tmp_path / "y")
        assert json.loads(done.stdout)["points"] == 2, done.stderr
    assert len(parquet(tmp_path)) == 2


def test_rotated_files_are_read_once_each(tmp_path: Path) -> None:
    arguments = prepare(tmp_path, "parquet", shape=SHORT)[1:]
    folder = tmp_path / "logs"
    folder.mkdir()
    header, row = MORE.splitlines(keepends=True)
    keys = set()
    for day in range(1, 5):
        for number in range(day - 1, 0, -1):  # a.csv is the newest one
            source = folder / (f"a.csv.{number - 1}" if number > 1 else "a.csv")
            source.rename(folder / f"a.csv.{number}")
        (folder / "a.csv").write_bytes(header + row.replace(b"2025-05-01", b"2025-05-%02d" % day))
        done = run("logs", *arguments, "--json", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["points"] == day
        assert run("logs", *arguments, cwd=tmp_path).stderr.startswith("no input is new")
        keys |= {*parquet(tmp_path)}
        assert len(parquet(tmp_path)) == len(keys) == day


def test_an_archive_is_read_with_the_patterns_of_its_beginning(tmp_path: Path) -> None:
    arguments = prepare(tmp_path, "parquet", shape=SHORT)[1:]
    with zipfile.ZipFile(tmp_path / "a.dat", "w") as packed:  # by any name
        packed.write(tmp_path / "export.csv", "jan.csv")
        packed.writestr("feb.csv", MORE)
    assert run("a.dat", *arguments, "--exclude", "feb*", cwd=tmp_path).returncode == 1
    done = run("a.dat", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "a.dat: was begun with other patterns of --include and --exclude" in done.stderr


def test_added_inputs_go_where_the_first_ones_went(tmp_path: Path) -> None:
    arguments = prepare(tmp_path, "ndjson", "parquet", shape=SHORT)
    assert run(*arguments, "--sink", "ndjson", cwd=tmp_path).returncode == 1
    (tmp_path / "more.csv").write_bytes(MORE)
    done = run(*arguments, "more.csv", "--sink", "parquet", cwd=tmp_path)
    assert done.returncode == 2
    expected = "expected what this import was begun with (ndjson), got parquet: import into that"
    assert expected in done.stderr
    assert run(*arguments, "more.csv", cwd=tmp_path).returncode == 2
    done = run(*arguments, "more.csv", "--sink", "ndjson", cwd=tmp_path)
    assert done.returncode == 0, done.stderr  # what was rejected before is no news
    assert "export.csv: line" not in done.stderr


def test_a_file_is_read_once_by_whatever_name(tmp_path: Path) -> None:
    arguments = prepare(tmp_path, "parquet", shape=SHORT)
    rest = arguments[1:]
    first = run("export.csv", tmp_path / "export.csv", "./*.csv", *rest, "--json", cwd=tmp_path)
    rows = (tmp_path / "export.csv").read_bytes().count(b"\n") - 1
    assert json.loads(first.stdout)["rows"] == rows
    again = run(tmp_path / "export.csv", *rest, cwd=tmp_path)
    assert "no input is new" in again.stderr
    assert parquet(tmp_path) == sorted({*parquet(tmp_path)})


def test_a_damaged_input_stays_a_problem_while_it_is_named(tmp_path: Path) -> None:
    arguments = prepare(tmp_path, "parquet", shape=SHORT)
    (tmp_path / "d.csv.gz").write_bytes(gzip.compress(MORE * 100)[:-20])
    (tmp_path / "more.csv").write_bytes(MORE)
    assert run("d.csv.gz", *arguments, cwd=tmp_path).returncode == 2
    assert run(*arguments, "more.csv", cwd=tmp_path).returncode == 0
    done = run("d.csv.gz", *arguments, "more.csv", cwd=tmp_path)
    assert done.returncode == 2
    assert "d.csv.gz: truncated" in done.stderr


def test_a_report_without_what_was_stored_before_says_so(tmp_path: Path) -> None:
    arguments = prepare(tmp_path, "parquet", shape=SHORT)
    assert run(*arguments, cwd=tmp_path).returncode == 1
    (file,) = (tmp_path / "import-state").glob("*.coverage")
    data = file.read_bytes()
    file.write_bytes(data[:500] + bytes([data[500] ^ 1]) + data[501:])
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert f"{file.name}: damaged: remove it, and the import goes on" in done.stderr
    file.unlink()
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert "what was stored before is not known any more" in done.stderr


def test_two_imports_do_not_share_a_state(tmp_path: Path) -> None:
    arguments = prepare(tmp_path, "ndjson")
    with subprocess.Popen(
        command("-", *arguments[1:]), cwd=tmp_path, stdin=subprocess.PIPE
    ) as first:
        deadline = time.monotonic() + PATIENCE
        while not (tmp_path / "import-state/lock").exists():
            assert time.monotonic() < deadline
        done = run(*arguments, cwd=tmp_path)
        first.kill()
    assert done.returncode == 75
    assert "another process imports with this state" in done.stderr
