"""A file of lines after a power cut: what was synced stays, what is damaged goes."""

from __future__ import annotations

import os
from random import Random
from typing import TYPE_CHECKING, Any, Final
from unittest.mock import patch

import pytest

from pointgate.sinks.ndjson import file as ndjson_file
from pointgate.sinks.ndjson.file import LineFile

if TYPE_CHECKING:
    from pathlib import Path

PAGE: Final = 4096


def line(number: int, size: int = 100) -> bytes:
    text = b'{"product":"solar","value":%d,"text":"' % number
    return text + b"x" * (size - len(text) - 3) + b'"}\n'


def append(file: LineFile, *texts: bytes) -> None:
    parts: Any = texts
    file.append(parts)


def begun(path: Path, *texts: bytes) -> None:
    """What a service has synced before its last write."""
    file = LineFile(path)
    file.recover()
    append(file, *texts)


@pytest.mark.parametrize(
    ("left", "kept"),
    [
        (b"", 0),
        (b"\0", 0),
        (b"\0" * 10_000, 0),
        (line(1)[:50], 0),
        (line(1)[:50] + b"\0" * 50, 0),
        (line(1)[:50] + b"\0" * 50 + b"\n", 0),
        (line(1) + b"\0" * 5000 + line(2) + line(3), 1),
        (line(1) + line(2)[:50] + b"\0" * 50 + line(3), 1),
        (b"\0" * 100 + line(2) + line(3), 0),
        (b"\0\n" + line(1), 0),
        (line(1) + line(2) + line(3)[:-1] + b"\0" + line(4), 2),
        (line(1) + line(2), 2),
        (line(1) + line(2) + line(3)[:-1], 2),
        (line(1) + line(2, 2 << 20) + b"\0" + line(3), 2),
        (line(1) + line(2, 1 << 20)[: 1 << 19] + b"\0" * (1 << 19) + b"\n" + line(3), 1),
    ],
)
@pytest.mark.parametrize("synced", [b"", line(0), line(0, 3 << 20), line(0) * 30_000])
def test_what_a_power_cut_damaged_is_cut_off(
    tmp_path: Path, synced: bytes, left: bytes, kept: int
) -> None:
    path = tmp_path / "points.ndjson"
    begun(path, synced)
    path.write_bytes(synced + left)
    LineFile(path).recover()
    lines = left.split(b"\n")
    wanted = synced + b"".join(one + b"\n" for one in lines[:kept])
    assert path.read_bytes() == wanted
    LineFile(path).recover()
    assert path.read_bytes() == wanted


@pytest.mark.parametrize("seed", range(30))
def test_any_pages_of_the_last_write_may_be_missing(tmp_path: Path, seed: int) -> None:
    draw = Random(seed)  # noqa: S311 - the same each time
    path = tmp_path / "points.ndjson"
    file = LineFile(path)
    synced = b""
    with patch.object(ndjson_file, "_STEP", 20_000):
        file.recover()
        for number in range(draw.randrange(12)):
            more = b"".join(line(number, draw.randint(60, 9000)) for _ in range(3))
            append(file, more)
            synced += more
    last = b"".join(line(number, draw.randint(60, 9000)) for number in range(20))
    whole = bytearray(synced + last)
    sectors = range(len(synced) // 512, -(-len(whole) // 512))
    for sector in draw.sample(sectors, draw.randint(1, len(sectors))):
        start, end = max(sector * 512, len(synced)), min(sector * 512 + 512, len(whole))
        whole[start:end] = bytes(end - start)
    path.write_bytes(whole[: draw.randint(len(synced), len(whole))])
    LineFile(path).recover()
    data = path.read_bytes()
    assert data.startswith(synced)
    assert (synced + last).startswith(data)
    assert not data or data.endswith(b"\n")


@pytest.mark.parametrize("foreign", [b"a\0b\n", b"\0" * 5000 + b"\n" + line(1), b"# header\n"])
def test_what_is_in_a_file_without_a_mark_stays(tmp_path: Path, foreign: bytes) -> None:
    path = tmp_path / "points.ndjson"
    path.write_bytes(foreign + line(2) + b"torn")
    LineFile(path).recover()
    assert path.read_bytes() == foreign + line(2)


def test_the_mark_of_another_file_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "points.ndjson"
    begun(path, line(1))
    other = tmp_path / "restored"
    other.write_bytes(line(1) + b"\0\n" + line(2))
    other.rename(path)
    LineFile(path).recover()
    assert path.read_bytes() == line(1) + b"\0\n" + line(2)


@pytest.mark.parametrize("mark", [b"", b"\0" * 42, b"7 8\n", b"x" * 42])
def test_a_mark_that_is_not_whole_does_not_count(tmp_path: Path, mark: bytes) -> None:
    path = tmp_path / "points.ndjson"
    begun(path, line(1))
    (tmp_path / ".points.ndjson.synced").write_bytes(mark)
    path.write_bytes(line(1) + line(2) + line(3)[:20])
    LineFile(path).recover()
    assert path.read_bytes() == line(1) + line(2)


@pytest.mark.parametrize("how", ["moved", "emptied", "added to", "removed"])
def test_a_file_that_somebody_changed_is_marked_before_the_next_write(
    tmp_path: Path, how: str
) -> None:
    path = tmp_path / "points.ndjson"
    file = LineFile(path)
    file.recover()
    append(file, line(1) * 50)
    if how == "moved":
        path.rename(tmp_path / "old")
    elif how == "emptied":
        os.truncate(path, 0)
    elif how == "removed":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes() + b"a\0b\n")
    before = path.read_bytes() if path.exists() else b""
    append(file, line(2) * 10)
    assert path.read_bytes() == before + line(2) * 10
    path.write_bytes(before + line(2) * 3 + b"\0" * 100 + line(2) * 6)
    LineFile(path).recover()
    assert path.read_bytes() == before + line(2) * 3


def test_a_write_that_cannot_be_cut_off_is_cut_off_before_the_next(tmp_path: Path) -> None:
    path = tmp_path / "points.ndjson"
    file = LineFile(path)
    file.recover()
    append(file, line(1))
    real = os.fsync
    with patch("os.fsync", side_effect=OSError("no")), pytest.raises(OSError, match="no"):
        append(file, line(2), line(3)[:30])
    path.write_bytes(line(1) + line(2) + line(3)[:30])  # as if the disk had not let it
    with patch("os.fsync", real):
        append(file, line(2))
    assert path.read_bytes() == line(1) + line(2)


def test_marks_are_seldom_written(tmp_path: Path) -> None:
    path = tmp_path / "points.ndjson"
    file = LineFile(path)
    with patch.object(ndjson_file, "_STEP", 10_000), patch("os.pwrite", wraps=os.pwrite) as mark:
        file.recover()
        for number in range(1000):
            append(file, line(number))
    assert 5 <= mark.call_count <= 12
