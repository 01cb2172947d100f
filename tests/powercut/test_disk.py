"""The model of a disk keeps what was synced, and leaves everything else open."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from random import Random
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.powercut.disk import DATA, NAMES, PAGE, Cut, content, leave
from tests.powercut.trace import ROOT, Name, Reply, Size, Sync, Trace, Write, strace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DRAWS: Final = range(12)

A: Final = b"a" * 3 * PAGE
B: Final = b"b" * 3 * PAGE


def draw(seed: int) -> Random:
    return Random(seed)  # noqa: S311 - to be had again


def outcomes(path: Path, operations: list[Any], line: int = 100) -> Iterator[dict[str, bytes]]:
    """What may be left, over all ways and some draws: paths of files and what is in them."""
    trace = Trace(path, operations, folders={ROOT, 9})
    for seed in DRAWS:
        for names in NAMES:
            for data in ("", *DATA):
                folder = path / "left"
                leave(trace, Cut(line, names, data), draw(seed), folder)
                yield {
                    str(file.relative_to(folder)): file.read_bytes()
                    for file in folder.rglob("*")
                    if file.is_file()
                }
                shutil.rmtree(folder)


def test_what_was_synced_is_there(tmp_path: Path) -> None:
    operations = [
        Name(1, 1, ROOT, "file", 1),
        Write(2, 2, 1, 0, A),
        Sync(3, 3, 1),
        Sync(4, 4, ROOT),
    ]
    assert all(left == {"file": A} for left in outcomes(tmp_path, operations))


def test_what_was_not_synced_may_be_there_in_any_part() -> None:
    found = {
        content([], [Write(1, 1, 1, 0, A)], how, draw(seed)) for how in DATA for seed in range(300)
    }
    assert {b"", A, bytes(len(A)), A[:PAGE], A[:512]} <= found
    assert any(data.startswith(bytes(PAGE)) and data.endswith(b"a") for data in found)
    assert any(0 < data.count(b"\0") <= 1024 for data in found)


def test_a_name_lasts_when_its_folder_was_synced(tmp_path: Path) -> None:
    operations = [Name(1, 1, ROOT, "file", 1), Write(2, 2, 1, 0, A), Sync(3, 3, 1)]
    found = [left.get("file") for left in outcomes(tmp_path, operations)]
    assert set(found) == {None, A}


def test_a_folder_without_a_name_takes_all_that_is_in_it(tmp_path: Path) -> None:
    inside = [Name(2, 2, 9, "file", 1), Write(3, 3, 1, 0, A), Sync(4, 4, 1), Sync(5, 5, 9)]
    operations = [Name(1, 1, ROOT, "folder", 9), *inside]
    assert {"folder/file" in left for left in outcomes(tmp_path, operations)} == {True, False}
    operations.append(Sync(6, 6, ROOT))
    assert all(left == {"folder/file": A} for left in outcomes(tmp_path, operations))


def test_a_rename_is_there_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    both = [Name(1, 1, ROOT, "old", 1), Name(1, 1, ROOT, "new", 2), Sync(2, 2, ROOT)]
    filled = [Write(3, 3, 1, 0, A), Write(3, 3, 2, 0, B), Sync(4, 4, 1), Sync(4, 4, 2)]
    operations = [*both, *filled, Name(5, 5, ROOT, "new", 1, (ROOT, "old"))]
    found = list(outcomes(tmp_path, operations))
    assert {tuple(sorted(left.items())) for left in found} == {
        (("new", B), ("old", A)),
        (("new", A),),
    }


@pytest.mark.parametrize(
    ("sync", "line"),
    [(Sync(2, 5, 1), 100), (Sync(3, 5, 1), 100), (Sync(5, 8, 1), 7)],
    ids=["before the write ended", "while it ended", "not returned"],
)
def test_a_sync_covers_only_what_had_ended(tmp_path: Path, sync: Sync, line: int) -> None:
    operations = [Name(0, 0, ROOT, "file", 1), Sync(1, 1, ROOT), Write(2, 3, 1, 0, A), sync]
    assert {left["file"] for left in outcomes(tmp_path, operations, line)} > {b"", A}


def test_what_had_not_begun_has_not_happened(tmp_path: Path) -> None:
    operations = [Name(0, 0, ROOT, "file", 1), Sync(1, 1, ROOT), Write(8, 8, 1, 0, A)]
    assert all(left == {"file": b""} for left in outcomes(tmp_path, operations, 7))


@pytest.mark.parametrize("how", DATA)
def test_pages_are_as_they_were_after_any_write(how: str) -> None:
    writes = [Write(n, n, 1, 0, bytes([65 + n]) * 2 * PAGE) for n in range(1, 4)]
    for seed in DRAWS:
        left = content([Write(0, 0, 1, 0, b"A" * 2 * PAGE)], writes, how, draw(seed))
        assert len(left) == 2 * PAGE
        assert set(left) <= set(b"ABCD")
        unit = {"pages": PAGE, "sectors": 512, "writes": 512}.get(how, 2 * PAGE)
        assert all(len(set(left[at : at + unit])) == 1 for at in range(0, 2 * PAGE, unit))


def test_nothing_of_before_shows_in_a_file_that_was_emptied_and_grew() -> None:
    rest: list[Write | Size] = [Size(1, 1, 1, 0), Write(2, 2, 1, 0, B)]
    for how in DATA:
        for seed in DRAWS:
            left = content([Write(0, 0, 1, 0, A)], rest, how, draw(seed))
            assert left == A or b"a" not in left


SCRIPT: Final = """
import os, sqlite3, sys, threading
os.chdir("/")
root = sys.argv[1]
os.mkdir(root + "/folder")
def files(number):
    for turn in range(20):
        path = f"{root}/folder/{number}"
        with open(path + ".tmp", "wb", buffering=0) as file:
            file.write(b'a\\\\"\\x00\\xff\\n' * turn)
            os.writev(file.fileno(), [b"one", b"two"])
            os.ftruncate(file.fileno(), 10)
            os.fsync(file.fileno())
        os.rename(path + ".tmp", f"{path}-{turn % 3}")
        with open(path, "ab") as file:
            file.write(b"line\\n" * turn)
    os.truncate(path, 7)
    os.unlink(f"{path}-1")
threads = [threading.Thread(target=files, args=(number,)) for number in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
database = sqlite3.connect(root + "/db")
database.execute("PRAGMA journal_mode = WAL")
database.execute("CREATE TABLE t (x)")
database.executemany("INSERT INTO t VALUES (?)", [(b"x" * 1000,)] * 100)
database.commit()
os.open(root, os.O_RDONLY)
"""


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_a_trace_is_what_happened(tmp_path: Path) -> None:
    root, log = tmp_path / "root", tmp_path / "log"
    root.mkdir()
    command = [part for part in strace(log) if part != "-D"]
    subprocess.run([*command, sys.executable, "-c", SCRIPT, root], check=True)
    trace = Trace(root)
    trace.read(log)
    assert trace.check() == []
    folder = tmp_path / "left"
    leave(trace, Cut(trace.lines, "all", "all"), draw(1), folder)
    paths = [path for path in root.rglob("*") if path.is_file() and path.suffix != ".db-shm"]
    assert len(paths) > 8
    for path in paths:
        if not path.name.endswith("-shm"):
            assert (folder / path.relative_to(root)).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    "line",
    [
        '7 sendto(9, "2\\0{\\"id\\":\\"5\\",\\"code\\":200,", 20, 0, NULL, 0) = 20',
        '7 sendto(9, "2\\0{\\"id\\":\\"5\\",\\"code\\":200,", 20, 0, NULL, 0 <unfinished ...>',
        '1234567 sendmsg(9, {msg_iov=[{iov_base="{\\"id\\":\\"5\\",\\"code\\":200,"}]}, 0) = 20',
    ],
)
def test_a_reply_counts_from_its_first_moment(tmp_path: Path, line: str) -> None:
    (tmp_path / "log").write_text(f"7 +++ exited +++\n{line}\n7 <... sendto resumed>) = 20\n")
    trace = Trace(tmp_path)
    trace.read(tmp_path / "log")
    assert trace.replies == [Reply(2, 5, 200)]


def test_a_descriptor_may_be_taken_again_before_its_close_has_returned(tmp_path: Path) -> None:
    root = os.fspath(tmp_path)
    (tmp_path / "log").write_text(
        f'1 openat(AT_FDCWD, "{root}/a", O_WRONLY|O_CREAT, 0666) = 3\n'
        "1 close(3 <unfinished ...>\n"
        f'2 openat(AT_FDCWD, "{root}/b", O_WRONLY|O_CREAT, 0666) = 3\n'
        "1 <... close resumed>) = 0\n"
        '2 write(3, "text", 4) = 4\n'
    )
    trace = Trace(tmp_path)
    trace.read(tmp_path / "log")
    assert trace.operations[-1] == Write(5, 5, 2, 0, b"text")


@pytest.mark.parametrize(
    "line", ['link("ROOT/a", "ROOT/b") = 0', "dup(3) = 4", "sendfile(3, 9, NULL, 10) = 10"]
)
def test_a_call_that_is_not_followed_is_an_error(tmp_path: Path, line: str) -> None:
    text = f'1 openat(AT_FDCWD, "ROOT/a", O_WRONLY|O_CREAT, 0666) = 3\n1 {line}\n'
    (tmp_path / "log").write_text(text.replace("ROOT", os.fspath(tmp_path)))
    with pytest.raises(ValueError, match="whose effect is not known"):
        Trace(tmp_path).read(tmp_path / "log")
