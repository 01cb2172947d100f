"""What is said of a damaged archive, and how much of what stands before the damage is given."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
import zlib
from typing import TYPE_CHECKING

import pytest

from pointgate.bulk.extract import lines_in, parts_of
from pointgate.bulk.streams import DamagedError
from pointgate.diagnostics import os_reason

if TYPE_CHECKING:
    from pathlib import Path

LINES = [b'{"n":%d,"x":%d}\n' % (n, n * 7919 % 100_003) for n in range(40_000)]


def tar_gz() -> bytes:
    """The lines in a file in a tar."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        info = tarfile.TarInfo("a.jsonl")
        info.size = sum(map(len, LINES))
        tar.addfile(info, io.BytesIO(b"".join(LINES)))
    return out.getvalue()


def damaged_zip(lines: int) -> bytes:
    """A file in a zip that is damaged behind so many lines, where a block of deflate begins."""
    deflate = zlib.compressobj(wbits=-15)
    body = deflate.compress(b"".join(LINES[:lines])) + deflate.flush(zlib.Z_FULL_FLUSH)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        packed.writestr("a.jsonl", body + b"\x07" * 100)
    data = bytearray(out.getvalue())
    data[8] = zipfile.ZIP_DEFLATED  # the method, in the header before the file
    return bytes(data)


def read(path: Path) -> tuple[bytes, list[str]]:
    """Everything in a file, and what is said of it."""
    given, said = b"", []
    with path.open("rb") as file:
        for _, text in parts_of(path.name, file, file):
            if isinstance(text, str):
                said.append(text)
                continue
            try:
                for chunk in lines_in(text, 1_000_000):
                    given += chunk
            except DamagedError as error:
                said.append(str(error))
    return given, said


@pytest.mark.parametrize("data", [tar_gz(), gzip.compress(b"".join(LINES))], ids=["tar.gz", "gz"])
def test_a_wrong_checksum_is_noticed_and_named_in_words(data: bytes, tmp_path: Path) -> None:
    damaged = bytearray(data)
    damaged[-5] ^= 1  # of the checksum's four bytes, before the four of the length
    (tmp_path / "a").write_bytes(damaged)
    given, said = read(tmp_path / "a")
    assert given.rstrip() == b"".join(LINES).rstrip()
    assert len(said) == 1
    assert "gzip: checksum mismatch" in said[0]


@pytest.mark.parametrize("lines", [100, 10_000, 33_333])
def test_of_a_damaged_zip_no_more_than_4_kib_are_lost(lines: int, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(damaged_zip(lines))
    given, said = read(tmp_path / "a.zip")
    assert b"".join(LINES[:lines]).startswith(given)
    assert sum(map(len, LINES[:lines])) - len(given) <= 4096 + len(LINES[0]) + 10
    assert len(said) == 1
    assert "invalid block type" in said[0]
    assert "Error -" not in said[0]


def test_an_error_without_a_text_is_not_called_by_its_type() -> None:
    assert os_reason(OSError()) == "it gave no reason"
