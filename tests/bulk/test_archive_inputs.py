"""What `validate` is given: texts of any encoding, compressed, packed, damaged, and others."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import subprocess
import sys
import tarfile
import threading
import tracemalloc
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from pointgate.bulk.inputs import Inputs
from pointgate.bulk.jobs import DocumentFiles, RunOptions
from pointgate.bulk.judge import Judge
from pointgate.bulk.report import DescribedRequests, Totals
from pointgate.bulk.streams import MARGIN_BYTES
from tests.support.paths import CATALOG as CASES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TOPIC = "sys/protocol/integration/measurepoint/post"
KEEP = 100_000


def request(number: int = 0, temp: object = 1.5) -> bytes:
    entry = {"deviceKey": "device1", "measurepoints": {"temp": temp}, "time": number}
    document = {"id": str(number), "version": "1.0", "params": [entry]}
    return json.dumps(document | {"method": "integration.measurepoint.post"}).encode()


def pretty(number: int = 0) -> bytes:
    return json.dumps(json.loads(request(number)), indent=2).encode()


def lines(count: int, *, random: bool = False) -> bytes:
    """As many requests; with random ones a compressed file has something to be cut in."""
    return b"".join(
        request(n, "x" + os.urandom(30).hex() if random else 1.5) + b"\n" for n in range(count)
    )


class Judged:
    """What became of some inputs, judged in this process."""

    def __init__(self, *names: Path, whole: bool | None = None, topic: str | None = TOPIC) -> None:
        options = RunOptions(CASES, payload_bytes=KEEP, now_ms=0, topic=topic, describes=True)
        inputs = Inputs([str(name) for name in names], keep=KEEP + MARGIN_BYTES, whole=whole)
        judge, totals, described = Judge(options), Totals(), DescribedRequests()
        self.rejected: list[dict[str, Any]] = []
        self.documents = 0
        for job in inputs.jobs():
            result = judge.run(job)
            totals.add(result)
            self.rejected += map(json.loads, described.of(job, result))
            self.documents += len(job.paths) if isinstance(job, DocumentFiles) else 0
        totals.problems.update(inputs.problems)
        self.accepted, self.requests = totals.accepted, totals.requests
        self.problems = totals.problems
        self.files = inputs.files


def zstd(data: bytes) -> bytes:
    return pa.compress(data, codec="zstd", asbytes=True)  # type: ignore[no-any-return]


def lz4(data: bytes) -> bytes:
    out = pa.BufferOutputStream()
    with pa.CompressedOutputStream(out, "lz4") as stream:
        stream.write(data)
    return bytes(out.getvalue())


def alone(data: bytes) -> bytes:
    return lzma.compress(data, format=lzma.FORMAT_ALONE)


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "lzma": alone,
    "zstd": zstd,
    "lz4": lz4,
}


def zipped(*files: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return out.getvalue()


class _Pipe(io.BytesIO):
    """Where a writer cannot go back, as standard output."""

    def seekable(self) -> bool:
        return False

    def seek(self, *_: object) -> int:
        raise io.UnsupportedOperation

    def tell(self) -> int:
        raise io.UnsupportedOperation


def zipped_to_a_pipe(*files: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Sizes and checksums stand behind each file."""
    out = _Pipe()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return out.getvalue()


def zipped_for_any_size(*files: tuple[str, bytes], out: io.BytesIO | None = None) -> bytes:
    """Sizes have eight bytes."""
    out = out or io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files:
            if not name.endswith("/"):
                with archive.open(name, "w", force_zip64=True) as file:
                    file.write(data)
    return out.getvalue()


def tarred(*files: tuple[str, bytes], form: int = tarfile.GNU_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            if name.endswith("/"):
                info.type = tarfile.DIRTYPE
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


# Encodings

ENCODINGS = {
    "UTF-8 with a mark": "utf-8-sig",
    "UTF-16 of Windows": "utf-16",
    "UTF-16 without a mark": "utf-16-le",
    "UTF-16, big-endian, without a mark": "utf-16-be",
    "UTF-32": "utf-32",
}


@pytest.mark.parametrize("encoding", ENCODINGS.values(), ids=ENCODINGS)
@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
def test_lines_of_any_encoding_are_judged(tmp_path: Path, encoding: str, ending: bytes) -> None:
    data = ending.join([request(1), request(2, "ü"), request(3)])
    (tmp_path / "a.jsonl").write_bytes(data.decode().encode(encoding))
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress((tmp_path / "a.jsonl").read_bytes()))
    found = Judged(tmp_path)
    assert (found.accepted, found.requests, found.problems) == (4, 6, {})
    assert [one["line"] for one in found.rejected] == [2, 2]
    assert found.rejected[0]["payload"] == request(2, "ü").decode()


@pytest.mark.parametrize("encoding", ENCODINGS.values(), ids=ENCODINGS)
def test_documents_of_any_encoding_are_judged(tmp_path: Path, encoding: str) -> None:
    for name, data in (("a.json", pretty()), ("b.JSON", request()), ("c", pretty())):
        (tmp_path / name).write_bytes(data.decode().encode(encoding))
    found = Judged(tmp_path)
    assert (found.accepted, found.requests, found.problems) == (3, 3, {})


def test_utf16_that_is_cut_in_a_character_is_named(tmp_path: Path) -> None:
    data = (request(1) + b"\n" + request(2) + b"\n{").decode().encode("utf-16")
    (tmp_path / "a").write_bytes(data[:-1])
    found = Judged(tmp_path / "a")
    assert found.accepted == found.requests == 2
    assert found.problems == {
        str(tmp_path / "a"): f"truncated at byte {len(data) - 1}: expected more of UTF-16-LE"
    }


def test_a_mark_in_front_of_a_span_that_is_read_elsewhere(tmp_path: Path) -> None:
    data = lines(60_000)
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + data)
    found = Judged(tmp_path / "a.jsonl")
    assert (found.accepted, found.requests) == (60_000, 60_000)


# Compressed files


@pytest.mark.parametrize("codec", COMPRESS)
def test_compressed_files_are_known_by_their_content(tmp_path: Path, codec: str) -> None:
    compress = COMPRESS[codec]
    (tmp_path / "a.jsonl").write_bytes(compress(lines(500)))
    (tmp_path / "b.txt").write_bytes(compress(pretty()))
    (tmp_path / "c.JSON.GZ").write_bytes(compress(request()))
    (tmp_path / "d").write_bytes(compress(b""))
    found = Judged(tmp_path)
    assert (found.accepted, found.requests, found.problems) == (502, 502, {})
    assert found.files == 4


@pytest.mark.parametrize("codec", ["gzip", "bzip2", "xz", "lzma", "zstd"])
def test_members_in_a_row_are_one_text(tmp_path: Path, codec: str) -> None:
    data, compress = lines(300), COMPRESS[codec]
    (tmp_path / "a").write_bytes(
        compress(data[:999]) + compress(data[999:5000]) + compress(b"") + compress(data[5000:])
    )
    found = Judged(tmp_path / "a")
    assert (found.accepted, found.requests, found.problems) == (300, 300, {})


@pytest.mark.parametrize("codec", ["gzip", "bzip2", "xz"])
@pytest.mark.parametrize("zeros", [1, 512, 200_000])
def test_zeros_behind_a_member_are_passed_over(tmp_path: Path, codec: str, zeros: int) -> None:
    compress, padding = COMPRESS[codec], bytes(zeros)
    member = compress(lines(50)) + padding
    for number, data in enumerate([member, member + member, compress(b"") + padding + member]):
        (tmp_path / "a").write_bytes(data)
        found = Judged(tmp_path / "a")
        assert (found.accepted, found.problems) == ((50, 100, 50)[number], {})


def decodable(codec: str, data: bytes) -> bytes:
    """What a patient reader gets out of a cut file: byte by byte."""
    readers: dict[str, Callable[[], Any]] = {
        "gzip": lambda: zlib.decompressobj(wbits=31),
        "bzip2": bz2.BZ2Decompressor,
        "xz": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ),
        "lzma": lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE),
    }
    reader = readers[codec]()
    parts = []
    for place in range(len(data)):
        try:
            parts.append(reader.decompress(data[place : place + 1]))
        except (zlib.error, OSError, lzma.LZMAError):
            break
        if reader.eof:
            break
    return b"".join(parts)


@pytest.mark.parametrize("codec", ["gzip", "bzip2", "xz", "lzma"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.99])
def test_every_whole_line_before_a_cut_is_judged(tmp_path: Path, codec: str, share: float) -> None:
    data = lines(6_000, random=True)
    compressed = COMPRESS[codec](data)
    cut = compressed[: int(len(compressed) * share)]
    (tmp_path / "a").write_bytes(cut)
    found = Judged(tmp_path / "a")
    assert found.requests == decodable(codec, cut).count(b"\n")
    assert {one["code"] for one in found.rejected} <= {1204}
    reason = f"truncated at byte {len(cut)}: expected more of {codec}"
    assert found.problems == {str(tmp_path / "a"): reason}


@pytest.mark.parametrize("codec", ["gzip", "bzip2", "xz", "zstd", "lz4"])
def test_every_whole_line_before_damage_is_judged(tmp_path: Path, codec: str) -> None:
    first, second = lines(2000, random=True), lines(2000, random=True)
    compress = COMPRESS[codec]
    whole = compress(first)
    for damaged in (
        whole + b"garbage of another program",
        whole + compress(second)[:11],
        whole + b"\xff" * 70_000,
    ):
        (tmp_path / "a").write_bytes(damaged)
        found = Judged(tmp_path / "a")
        assert found.requests == 2000
        ((name, reason),) = found.problems.items()
        assert name == str(tmp_path / "a")
        assert "byte " in reason
        if codec in {"gzip", "bzip2", "xz"} and not damaged.startswith(whole + compress(b"")[:2]):
            assert (
                reason == f"byte {len(whole)}: expected more of {codec} or the end, got other bytes"
            )


@pytest.mark.parametrize("codec", ["gzip", "xz"])
def test_flipped_bits_lose_only_what_is_behind_them(tmp_path: Path, codec: str) -> None:
    compressed = bytearray(COMPRESS[codec](lines(6_000, random=True)))
    place = len(compressed) // 2
    compressed[place : place + 400] = bytes(400)
    (tmp_path / "a").write_bytes(compressed)
    found = Judged(tmp_path / "a")
    # The corrupt part of the output is arbitrary: a blank line in it is no request.
    *whole, _ = decodable(codec, bytes(compressed)).split(b"\n")
    assert found.requests >= sum(bool(line.strip()) for line in whole) > 1500
    ((_, reason),) = found.problems.items()
    behind = int(reason.removeprefix("damaged after byte ").partition(":")[0])
    assert place - 512 <= behind <= len(compressed)


@pytest.mark.parametrize("codec", ["gzip", "xz"])
def test_a_wrong_checksum_is_named_and_all_of_it_judged(tmp_path: Path, codec: str) -> None:
    compressed = bytearray(COMPRESS[codec](lines(100)))
    compressed[-8 if codec == "gzip" else -40] ^= 1
    (tmp_path / "a").write_bytes(compressed)
    found = Judged(tmp_path / "a")
    assert found.accepted == found.requests == 100
    assert "damaged after byte " in found.problems[str(tmp_path / "a")]


def test_the_last_line_before_a_cut_counts_where_it_is_whole(tmp_path: Path) -> None:
    for name, data, accepted in (
        ("a", request(1) + b"\n" + request(2), 2),
        ("b", request(1) + b"\n" + request(2)[:-1], 1),
        ("c.json", pretty(), 1),
        ("d.json", pretty()[:-1], 0),
    ):
        (tmp_path / name).write_bytes(gzip.compress(data)[:-8])
        found = Judged(tmp_path / name)
        assert (found.accepted, found.requests) == (accepted, accepted), name
        assert len(found.problems) == 1
    with_topic = TOPIC.encode() + b" " + request(1)
    (tmp_path / "e").write_bytes(gzip.compress(with_topic)[:-8])
    assert Judged(tmp_path / "e", topic=None, whole=False).accepted == 1


@pytest.mark.parametrize("codec", ["gzip", "bzip2", "xz", "zstd"])
def test_a_pipe_is_read_as_a_file_is(tmp_path: Path, codec: str) -> None:
    data = COMPRESS[codec](lines(5000))
    for content, accepted in ((data, 5000), (lines(50), 50), (pretty(), 1)):
        path = tmp_path / f"fifo-{accepted}"
        os.mkfifo(path)
        writer = threading.Thread(target=path.write_bytes, args=(content,))
        writer.start()
        found = Judged(path)
        writer.join()
        assert (found.accepted, found.requests, found.problems) == (accepted, accepted, {})


def test_a_pipe_in_a_folder_is_named_and_nobody_waits(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jsonl")
    (tmp_path / "b.jsonl").write_bytes(request())
    found = Judged(tmp_path)
    assert found.accepted == 1
    reason = "expected a file, got a pipe, a socket or a device"
    assert found.problems == {str(tmp_path / "a.jsonl"): reason}


# Archives of several files

FILES = (
    ("2026/a.jsonl", lines(50)),
    ("2026/", b""),
    ("b.json", pretty()),
    ("c.jsonl.gz", gzip.compress(lines(5))),
    ("d/" + "long" * 40 + ".jsonl", lines(3)),
    ("e.jsonl", b"\xef\xbb\xbf" + request() + b"\r\n"),
    (".DS_Store", b"\x00\x00\x00\x01Bud1"),
    ("__MACOSX/._a.jsonl", b"\x00\x05\x16\x07"),
    ("empty.jsonl", b""),
)
ARCHIVES: dict[str, Callable[[], bytes]] = {
    "zip": lambda: zipped(*FILES),
    "zip, stored": lambda: zipped(*FILES, method=zipfile.ZIP_STORED),
    "zip, bzip2": lambda: zipped(*FILES, method=zipfile.ZIP_BZIP2),
    "zip to a pipe": lambda: zipped_to_a_pipe(*FILES),
    "zip64": lambda: zipped_for_any_size(*FILES),
    "zip64 to a pipe": lambda: zipped_for_any_size(*FILES, out=_Pipe()),
    "tar, GNU": lambda: tarred(*FILES),
    "tar, POSIX": lambda: tarred(*FILES, form=tarfile.PAX_FORMAT),
    "tar.gz": lambda: gzip.compress(tarred(*FILES)),
    "tar.zst": lambda: zstd(tarred(*FILES)),
    "tar.xz": lambda: lzma.compress(tarred(*FILES)),
}


@pytest.mark.parametrize("archive", ARCHIVES)
def test_files_in_an_archive_are_files(tmp_path: Path, archive: str) -> None:
    (tmp_path / "a").write_bytes(ARCHIVES[archive]())
    found = Judged(tmp_path / "a")
    assert (found.accepted, found.requests, found.problems) == (60, 60, {})
    assert found.files == 6


def test_what_is_rejected_in_an_archive_has_its_name_and_line(tmp_path: Path) -> None:
    bad = request(1, "x")
    (tmp_path / "a.zip").write_bytes(
        zipped(("x/a.jsonl", request() + b"\n" + bad + b"\n"), ("b.json", bad))
    )
    found = Judged(tmp_path / "a.zip")
    assert [(one["file"], one["line"]) for one in found.rejected] == [
        (f"{tmp_path / 'a.zip'}/x/a.jsonl", 2),
        (f"{tmp_path / 'a.zip'}/b.json", None),
    ]


@pytest.mark.parametrize("archive", ["zip", "zip to a pipe", "tar, GNU", "tar.gz"])
def test_files_before_a_cut_are_judged(tmp_path: Path, archive: str) -> None:
    files = [(f"{n}.jsonl", lines(100, random=True)) for n in range(10)]
    make: dict[str, Callable[..., bytes]] = {
        "zip": zipped,
        "zip to a pipe": zipped_to_a_pipe,
        "tar, GNU": tarred,
        "tar.gz": lambda *some: gzip.compress(tarred(*some)),
    }
    whole = make[archive](*files)
    for size in (len(whole) // 2, len(whole) * 3 // 4):
        (tmp_path / "a").write_bytes(whole[:size])
        found = Judged(tmp_path / "a")
        assert 400 <= found.requests < 900
        assert {one["code"] for one in found.rejected} == {1204}
        assert any(f"truncated at byte {size}" in reason for reason in found.problems.values())


def test_a_zip_whose_directory_is_cut_is_judged_and_named(tmp_path: Path) -> None:
    whole = zipped(("a.jsonl", lines(5)), ("b.jsonl", lines(5)))
    directory = whole.index(b"PK\x01\x02")
    for size in (directory + 2, directory + 10, len(whole) - 30):
        (tmp_path / "a.zip").write_bytes(whole[:size])
        found = Judged(tmp_path / "a.zip")
        assert found.accepted == 10
        ((name, reason),) = found.problems.items()
        assert name == str(tmp_path / "a.zip")
        assert "directory of zip" in reason
    (tmp_path / "b.zip").write_bytes(zipped())
    found = Judged(tmp_path / "b.zip")
    assert (found.requests, found.problems) == (0, {})


def test_a_damaged_file_in_a_zip_costs_no_other(tmp_path: Path) -> None:
    data = zipped(*((f"{n}.jsonl", lines(100, random=True)) for n in range(3)))
    place = data.index(b"1.jsonl") + 2000
    (tmp_path / "a.zip").write_bytes(data[:place] + bytes(300) + data[place + 300 :])
    found = Judged(tmp_path / "a.zip")
    assert found.requests >= 200
    assert set(found.problems) == {f"{tmp_path / 'a.zip'}/1.jsonl"}
    data = zipped(("a.jsonl", lines(10)), ("b.jsonl", lines(10)), method=zipfile.ZIP_STORED)
    (tmp_path / "b.zip").write_bytes(data.replace(b'"time": 3}', b'"time": 4}', 1))
    found = Judged(tmp_path / "b.zip")
    assert found.accepted == 20
    ((name, reason),) = found.problems.items()
    assert name == f"{tmp_path / 'b.zip'}/a.jsonl"
    assert reason.endswith("checksum mismatch in zip")


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    data = bytearray(zipped(("a.jsonl", request()), ("b.jsonl", request())))
    data[6] |= 1  # encrypted, says the first header
    (tmp_path / "a.zip").write_bytes(data)
    found = Judged(tmp_path / "a.zip")
    assert found.accepted == 1
    assert found.problems == {
        f"{tmp_path / 'a.zip'}/a.jsonl": "expected a file that is not encrypted"
    }
    (tmp_path / "b.xlsx").write_bytes(zipped(("[Content_Types].xml", b"<x/>")))
    assert list(Judged(tmp_path / "b.xlsx").problems.values()) == [
        "expected requests, got an Office document"
    ]
    (tmp_path / "c.zip").write_bytes(zipped(("a.jsonl", request()), method=zipfile.ZIP_LZMA))
    ((_, reason),) = Judged(tmp_path / "c.zip").problems.items()
    assert "got its method 14" in reason


# Documents and lines

BY_CONTENT = {
    "lines called .json": ("a.json", lines(3), 3, False),
    "lines called .JSON.GZ": ("a.JSON.GZ", gzip.compress(lines(3)), 3, False),
    "lines with a blank one first": ("a.json", b"\n\r\n" + lines(2), 2, False),
    "lines of which the first is cut": ("a.json", request()[20:] + b"\n" + lines(2), 2, False),
    "a document in upper case": ("a.JSON", pretty(), 1, True),
    "a document without a name": ("a", pretty(), 1, True),
    "a document called .txt": ("a.txt", b"\n" + pretty() + b"\n", 1, True),
    "a document on one line": ("a.json", request() + b"\n", 1, True),
    "lines": ("a.ndjson", lines(3), 3, False),
    "one line": ("a.log", request(), 1, False),
}


@pytest.mark.parametrize("kind", BY_CONTENT)
def test_the_content_says_where_requests_end(tmp_path: Path, kind: str) -> None:
    name, data, accepted, is_document = BY_CONTENT[kind]
    (tmp_path / name).write_bytes(data)
    found = Judged(tmp_path / name)
    assert (found.accepted, found.documents == 1) == (accepted, is_document)


def test_a_document_with_mistakes_stays_one(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(pretty()[:-1])
    (tmp_path / "b.json").write_bytes(b"")
    found = Judged(tmp_path)
    assert [(one["line"], one["code"]) for one in found.rejected] == [(None, 1220), (None, 1251)]


# What holds no requests

FOREIGN = {
    "data.parquet": (b"PAR1\x15\x04\x15", "a Parquet file"),
    "Thumbs.db": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a Thumbs.db of Windows"),
    "_DS_Store": (b"\x00\x00\x00\x01Bud1\x00", "a .DS_Store of macOS"),
    "a.7z": (b"7z\xbc\xaf\x27\x1c\x00", "a 7z archive"),
    "a.rar": (b"Rar!\x1a\x07\x01\x00", "a RAR archive"),
    "a.jsonl.Z": (b"\x1f\x9d\x90", "a file of compress"),
    "spool.db": (b"SQLite format 3\x00\x10", "an SQLite database"),
    "a.jsonl": (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
    "b.jsonl": (bytes(4096), "NUL bytes"),
}


def test_stray_files_are_named_and_not_judged(tmp_path: Path) -> None:
    for name, (data, _) in FOREIGN.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "good.jsonl").write_bytes(request())
    (tmp_path / "gone.jsonl").symlink_to("nowhere")
    (tmp_path / "folder.json").mkdir()
    found = Judged(tmp_path)
    assert (found.accepted, found.requests) == (1, 1)
    for name, (_, words) in FOREIGN.items():
        assert f"got {words}" in found.problems.pop(str(tmp_path / name))
    assert found.problems == {str(tmp_path / "gone.jsonl"): "no such file or directory"}


@pytest.mark.parametrize("zeros", [1, 4096, 300_000])
def test_zeros_at_the_end_of_a_text_are_damage(tmp_path: Path, zeros: int) -> None:
    for data, name in ((lines(3), "a.jsonl"), (request(), "a.jsonl"), (pretty(), "b.json")):
        (tmp_path / name).write_bytes(data + bytes(zeros))
        found = Judged(tmp_path / name)
        assert found.accepted == found.requests == max(data.count(b"\n") if name < "b" else 1, 1)
        reason = "expected the rest of the text, got NUL bytes up to the end"
        assert found.problems == {str(tmp_path / name): f"damaged at byte {len(data)}: {reason}"}
    (tmp_path / "c.jsonl").write_bytes(lines(2) + request()[:50] + bytes(zeros))
    found = Judged(tmp_path / "c.jsonl")
    assert found.accepted == found.requests == 2
    assert f"damaged at byte {len(lines(2)) + 50}" in found.problems[str(tmp_path / "c.jsonl")]


# Bounds


def test_archives_that_hold_themselves_end(tmp_path: Path) -> None:
    data = request()
    for _ in range(3):
        data = gzip.compress(data)
    (tmp_path / "three").write_bytes(data)
    for _ in range(5):
        data = gzip.compress(data)
    (tmp_path / "eight").write_bytes(data)
    found = Judged(tmp_path)
    assert found.accepted == 1
    assert found.problems == {
        str(tmp_path / "eight"): "expected at most 4 nested archives, got more"
    }


def bomb(compress: Callable[[bytes], bytes], fill: bytes) -> bytes:
    """A line of 30 MB."""
    return compress(b'{"id":"' + fill * 30_000_000 + b'"}\n' + request() + b"\n")


@pytest.mark.parametrize("codec", ["gzip", "bzip2", "xz", "zip", "tar.gz"])
def test_bombs_do_not_fill_the_memory(tmp_path: Path, codec: str) -> None:
    compress: Callable[[bytes], bytes] = {
        **COMPRESS,
        "zip": lambda data: zipped(("a.jsonl", data)),
        "tar.gz": lambda data: gzip.compress(tarred(("a.jsonl", data)), 1),
    }[codec]
    (tmp_path / "a").write_bytes(bomb(compress, b"a"))
    tracemalloc.start()
    found = Judged(tmp_path / "a")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [one["code"] for one in found.rejected] == [1008]
    assert found.accepted == 1
    assert peak < 12_000_000


def test_a_header_that_wants_all_the_memory_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = b"x", 2**40
    (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT))
    assert list(Judged(tmp_path / "a.tar").problems.values()) == [
        "byte 0: expected a tar header of at most 1 MiB"
    ]
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 2**30}]
    compressor = lzma.LZMACompressor(lzma.FORMAT_XZ, filters=[{"id": lzma.FILTER_LZMA2}])
    data = compressor.compress(request()) + compressor.flush()
    # The dictionary's size stands in the header of the block, before its checksum.
    header = bytearray(data[12:24])
    assert filters[0]["dict_size"] == 2**30
    header[4] = 36  # 1 GiB
    header[8:12] = zlib.crc32(header[:8]).to_bytes(4, "little")
    (tmp_path / "a.xz").write_bytes(data[:12] + bytes(header) + data[24:])
    ((_, reason),) = Judged(tmp_path / "a.xz").problems.items()
    assert "emory usage limit" in reason


def test_the_command_names_damage_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines(100))[:-5])
    (tmp_path / "b.JSON").write_bytes(pretty())
    (tmp_path / "c.tar.bz2").write_bytes(bz2.compress(tarred(("x.jsonl", lines(10)))))
    (tmp_path / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    command = [sys.executable, "-m", "pointgate", "validate", str(tmp_path), "--json"]
    command += ["--product", "protocol", "--catalog", str(CASES)]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
    assert json.loads(done.stdout)["accepted"] == 111
    assert f"{tmp_path / 'a.jsonl.gz'}: truncated at byte ".encode() in done.stderr
    assert f"{tmp_path / 'Thumbs.db'}: expected requests, got a Thumbs.db".encode() in done.stderr


def test_standard_input_is_known_by_its_content() -> None:
    command = [sys.executable, "-m", "pointgate", "validate", "-", "--json"]
    command += ["--product", "protocol", "--catalog", str(CASES)]
    for data, accepted in (
        (lines(10).decode().encode("utf-16"), 10),
        (bz2.compress(lines(10)), 10),
        (zipped(("a.jsonl", lines(10))), 10),
        (pretty(), 1),
    ):
        done = subprocess.run(command, input=data, capture_output=True, check=False)
        assert (done.returncode, json.loads(done.stdout)["accepted"]) == (0, accepted)
