"""The NDJSON sink: lines that any JSON parser reads, none torn, none lost."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final
from unittest.mock import patch

import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointgate.sinks.base import SinkUnavailableError
from pointgate.sinks.ndjson import sink as ndjson
from pointgate.sinks.ndjson.sink import NdjsonSink, lines
from pointgate.store.points import SCHEMA
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE
from tests.support.point_tables import Point, table

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


WRITER: Final = """
import asyncio, sys
from pathlib import Path
from pointgate.sinks.base import SinkUnavailableError
from pointgate.sinks.ndjson.sink import NdjsonSink
from tests.support.point_tables import Point, table

async def main() -> None:
    path = Path(sys.argv[1]) if sys.argv[1] != "-" else None
    sink = NdjsonSink(name="ndjson", path=path)
    await sink.open()
    try:
        for sequence in range(int(sys.argv[2])):
            points = table(Point(time=time, long=sequence) for time in range(1000))
            await asyncio.wait_for(sink.write(points, sequence=sequence), 0.5)
            print(sequence, file=sys.stderr, flush=True)
    except (SinkUnavailableError, TimeoutError) as error:
        print(repr(error), file=sys.stderr)
    await sink.close()

asyncio.run(main())
"""
"""A process that writes to a file or to standard output, and says on stderr what it has written."""

TEXT: Final = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES: Final = st.one_of(
    st.builds(lambda value: {"double": value}, st.floats(allow_nan=False, allow_infinity=False)),
    st.builds(lambda value: {"long": value}, st.integers(-(2**63), 2**63 - 1)),
    st.builds(lambda value: {"boolean": value}, st.booleans()),
    st.builds(lambda value: {"text": value}, TEXT),
    st.builds(
        lambda value, indent: {"json": json.dumps(value, indent=indent)},
        st.lists(st.one_of(st.integers(), TEXT)) | st.dictionaries(TEXT, TEXT),
        st.sampled_from([None, 1, "\t"]),
    ),
)
POINTS: Final = st.lists(
    st.builds(
        lambda key, value, quality: Point(**key, quality=quality, **value),
        st.fixed_dictionaries(
            {
                "product": TEXT,
                "device": TEXT,
                "identifier": TEXT,
                "time": st.integers(0, 253402300799999),
            }
        ),
        VALUES,
        st.none() | st.integers(0, 9),
    ),
    min_size=1,
    max_size=10,
)


def run_writer(target: Path | str, writes: int, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, target, str(writes)], cwd=ROOT, text=True, **options
    )


def value_of(point: Point) -> object:
    if point.json is not None:
        return json.loads(point.json)
    given = (point.double, point.long, point.boolean, point.text)
    return next(value for value in given if value is not None)


def parsed(path: Path) -> list[Any]:
    data = path.read_bytes()
    assert not data or data.endswith(b"\n")
    return [orjson.loads(line) for line in data.splitlines()]


@contextlib.asynccontextmanager
async def opened(path: Path) -> AsyncIterator[NdjsonSink]:
    sink = NdjsonSink(name="ndjson", path=path)
    try:
        await sink.open()
        yield sink
    finally:
        await sink.close()


def test_a_line_has_the_documented_members() -> None:
    points = [
        Point(time=1714521600000, double=21.5, quality=0, received=1714521600123),
        Point(time=5, json='{"a":\n [1.50, "\\n"]}'),
    ]
    text = b"".join(map(bytes, lines(table(points)))).decode()
    assert text == (
        '{"product":"solar","device":"inv1","identifier":"temp","time":1714521600000,"value":21.5,'
        '"quality":0,"received":1714521600123}\n'
        '{"product":"solar","device":"inv1","identifier":"temp","time":5,'
        '"value":{"a":  [1.50, "\\n"]},"received":0}\n'
    )


@pytest.mark.parametrize(
    ("instant", "text"),
    [
        *((0, "0"), (1, "0.001"), (999, "0.999"), (1000, "1"), (1050, "1.050")),
        *((1714521600123456, "1714521600123.456"), (1714521600123000, "1714521600123")),
        *((1714521600000007, "1714521600000.007"), (253402300799999000, "253402300799999")),
    ],
)
def test_times_are_milliseconds_with_three_decimals_where_they_are_not_whole(
    instant: int, text: str
) -> None:
    received = pa.array([1_000, instant, 0], SCHEMA.field("received").type)
    points = table([Point(time=time, long=1) for time in range(3)])
    points = points.set_column(SCHEMA.get_field_index("received"), "received", received)
    first, line, last = b"".join(map(bytes, lines(points))).splitlines()
    assert line.endswith(f',"received":{text}}}'.encode())
    assert round(json.loads(line)["received"] * 1000) == instant
    assert first.endswith(b',"received":1}')
    assert last.endswith(b',"received":0}')


@given(points=POINTS)
def test_every_line_is_the_point_in_json(points: list[Point]) -> None:
    data = b"".join(map(bytes, lines(table(points))))
    got = data.split(b"\n")
    assert got.pop() == b""
    for line, point in zip(got, points, strict=True):
        parsed = json.loads(line)
        assert parsed.pop("value") == value_of(point)
        assert parsed.pop("quality", None) == point.quality
        assert parsed == {
            "product": point.product,
            "device": point.device,
            "identifier": point.identifier,
            "time": point.time,
            "received": point.received,
        }


@pytest.mark.parametrize("rows", [1, 2, 3, 7])
def test_long_writes_are_made_in_pieces(rows: int) -> None:
    parts = [
        table([Point(device=f"d{n}", time=n, long=n) for n in range(m, m + 3)]) for m in (0, 3)
    ]
    points = pa.concat_tables(parts)
    whole = b"".join(map(bytes, lines(points)))
    with patch.object(ndjson, "_ROWS", rows):
        assert b"".join(map(bytes, lines(points))) == whole
    assert [json.loads(line)["value"] for line in whole.splitlines()] == list(range(6))


async def test_writes_are_appended(tmp_path: Path) -> None:
    path = tmp_path / "points.ndjson"
    async with opened(path) as sink:
        await sink.write(table([Point(long=1)]), sequence=1)
        await sink.write(table([]), sequence=1)
    async with opened(path) as sink:
        await sink.write(table([Point(long=2)]), sequence=2)
    assert [line["value"] for line in parsed(path)] == [1, 2]


async def test_a_file_that_was_moved_away_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "points.ndjson"
    async with opened(path) as sink:
        await sink.write(table([Point(long=1)]), sequence=1)
        path.rename(tmp_path / "old.ndjson")
        await sink.write(table([Point(long=2)]), sequence=2)
    assert [line["value"] for line in parsed(path)] == [2]
    assert [line["value"] for line in parsed(tmp_path / "old.ndjson")] == [1]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", b""),
        (b'{"a":1}\n', b'{"a":1}\n'),
        (b'{"a":1}\n{"a', b'{"a":1}\n'),
        (b'{"a', b""),
        (b"\n" + b"x" * 300_000, b"\n"),
        (b"x" * 300_000, b""),
        (b"x" * (64 * 1024 - 1) + b"\n" + b"y" * 64 * 1024, b"x" * (64 * 1024 - 1) + b"\n"),
    ],
)
async def test_a_torn_last_line_is_cut_off(tmp_path: Path, before: bytes, after: bytes) -> None:
    path = tmp_path / "points.ndjson"
    path.write_bytes(before)
    async with opened(path):
        assert path.read_bytes() == after


@pytest.mark.parametrize("call", ["fsync", "write"])
async def test_a_failed_write_is_cut_off_again(tmp_path: Path, call: str) -> None:
    path = tmp_path / "points.ndjson"
    full = OSError(errno.ENOSPC, "No space left on device")
    real = ndjson.lines

    def half(points: pa.Table) -> Iterator[pa.Buffer]:
        yield next(real(points)).slice(0, 50)
        raise full

    async with opened(path) as sink:
        await sink.write(table([Point(long=1)]), sequence=1)
        broken = (
            patch("os.fsync", side_effect=full)
            if call == "fsync"
            else patch.object(ndjson, "lines", half)
        )
        with broken, pytest.raises(SinkUnavailableError, match=r"ndjson: no space left"):
            await sink.write(table([Point(long=2)]), sequence=2)
        assert [line["value"] for line in parsed(path)] == [1]
        await sink.write(table([Point(long=2)]), sequence=2)
    assert [line["value"] for line in parsed(path)] == [1, 2]


async def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    sink = NdjsonSink(name="ndjson", path=tmp_path / "no/points.ndjson")
    with pytest.raises(
        SinkUnavailableError, match=f"cannot write to {tmp_path}/no/points.ndjson: "
    ):
        await sink.open()
    await sink.close()


async def test_a_crash_tears_no_line_that_stays(tmp_path: Path) -> None:
    path = tmp_path / "points.ndjson"
    with run_writer(path, 10_000, stderr=subprocess.PIPE) as writer:
        assert writer.stderr is not None
        for line in writer.stderr:
            if int(line) == 20:
                writer.kill()
                break
        written = [20, *map(int, writer.stderr)][-1]
    assert writer.returncode == -signal.SIGKILL
    async with opened(path):
        pass
    values = [line["value"] for line in parsed(path)]
    assert values[: (written + 1) * 1000] == [n for n in range(written + 1) for _ in range(1000)]
    assert set(values[(written + 1) * 1000 :]) <= {written + 1}


def test_standard_output_takes_lines(tmp_path: Path) -> None:
    with run_writer("-", 3, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as writer:
        output, _ = writer.communicate()
    assert [json.loads(line)["value"] for line in output.splitlines()][::1000] == [0, 1, 2]
    path = tmp_path / "points.ndjson"
    with path.open("wb") as file, run_writer("-", 3, stdout=file, stderr=subprocess.DEVNULL):
        pass
    assert path.read_text() == output


def test_a_pipe_that_nobody_reads_any_more_makes_it_unavailable() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    with run_writer("-", 3, stdout=write_end, stderr=subprocess.PIPE) as writer:
        os.close(write_end)
        _, errors = writer.communicate()
    assert errors == "SinkUnavailableError('broken pipe: no process reads standard output')\n"
    assert writer.returncode == 0


def test_a_reader_that_does_not_read_does_not_keep_it_from_ending() -> None:
    read_end, write_end = os.pipe()
    with run_writer("-", 100, stdout=write_end, stderr=subprocess.PIPE) as writer:
        os.close(write_end)
        _, errors = writer.communicate(timeout=PATIENCE)
    os.close(read_end)
    assert errors.splitlines()[-1].startswith("TimeoutError")
    assert writer.returncode == 0
