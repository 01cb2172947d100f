"""`validate`: archives of any kind are judged as the service would, in order, on all cores."""

from __future__ import annotations

import gzip
import json
import os
import pty
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from base64 import b64decode
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pointgate
from pointgate.bulk import blocks as bulk_blocks
from pointgate.bulk import inputs as bulk_inputs
from pointgate.bulk.blocks import blocks_of_range, lines_of, whole_lines
from pointgate.bulk.jobs import FileRange, RunOptions
from pointgate.bulk.judge import judging
from pointgate.bulk.pool import Pool, WorkerLostError
from tests.support.paths import CATALOG as CASES
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE

TOPIC = "sys/protocol/integration/measurepoint/post"
OPTIONS = RunOptions(CASES, payload_bytes=1000, now_ms=0, topic=TOPIC, describes=True)


def request(temp: object = 1.5, *, device: str = "device1", request_id: int = 1) -> bytes:
    entry = {"deviceKey": device, "measurepoints": {"temp": temp}, "time": 1}
    document = {"id": str(request_id), "version": "1.0", "params": [entry]}
    return json.dumps(document | {"method": "integration.measurepoint.post"}).encode()


GOOD, BAD, STRANGER = request(), request("x"), request(device="nobody")


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "pointgate", "validate", *map(str, arguments)]


def validate(
    *arguments: str | Path, stdin: bytes | None = None, config: bool = False, product: bool = True
) -> subprocess.CompletedProcess[bytes]:
    options: list[str | Path] = [] if config else ["--catalog", CASES]
    options += ["--product", "protocol"] if product else []
    done = subprocess.run(
        command(*arguments, *options),
        input=stdin if stdin is not None else b"",
        capture_output=True,
        check=False,
        timeout=PATIENCE,
    )
    assert b"Traceback" not in done.stderr
    return done


def summary(
    *arguments: str | Path, stdin: bytes | None = None, product: bool = True
) -> dict[str, Any]:
    done = validate(*arguments, "--json", stdin=stdin, product=product)
    document: dict[str, Any] = json.loads(done.stdout)
    expected = 2 if document["problems"] else int(document["rejected"] > 0)
    assert done.returncode == expected, done.stderr
    return document


def rejected(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_the_summary_counts_by_code_and_reason(tmp_path: Path) -> None:
    archive = tmp_path / "a.ndjson"
    archive.write_bytes(b"\n".join([GOOD, BAD, GOOD, b"", STRANGER, b" \r", BAD, b"{", GOOD]))
    done = validate(archive)
    assert done.returncode == 1
    lines = [line.split() for line in done.stdout.decode().splitlines()]
    assert lines[:8] == [
        ["requests", "7"],
        ["accepted", "3", "42.8", "%"],
        ["rejected", "4"],
        ["1204", "type", "2"],
        ["1220", "syntax", "1"],
        ["1257", "device", "1"],
        ["points", "3"],
        ["bytes", str(archive.stat().st_size)],
    ]
    assert done.stderr == b""
    document = summary(archive)
    assert document["faults"][0] == {"code": 1204, "reason": "type", "requests": 2}
    assert (document["requests"], document["points"], document["files"]) == (7, 3, 1)


def test_all_accepted_is_0(tmp_path: Path) -> None:
    (tmp_path / "a.ndjson").write_bytes(GOOD + b"\n")
    assert b"100.0 %" in validate(tmp_path / "a.ndjson").stdout
    assert summary(tmp_path / "a.ndjson")["accepted"] == 1
    (tmp_path / "empty").touch()
    assert summary(tmp_path / "empty")["requests"] == 0


def test_rejects_have_the_place_the_fault_and_the_text(tmp_path: Path) -> None:
    (tmp_path / "a.ndjson").write_bytes(b"\n".join([GOOD, b"", BAD + b"\r", GOOD]))
    (tmp_path / "b.ndjson").write_bytes(b'{"\xff\n' + GOOD + b"\n" + BAD)
    out = tmp_path / "out.ndjson"
    summary(tmp_path / "a.ndjson", tmp_path / "b.ndjson", "--rejects", out)
    first, second, third = rejected(out)
    assert first == {
        "file": str(tmp_path / "a.ndjson"),
        "line": 3,
        "topic": TOPIC,
        "code": 1204,
        "reason": "type",
        "message": "Model validate failed: params[0].measurepoints.temp: "
        'expected DOUBLE, got string "x"',
        "pointer": "/params/0/measurepoints/temp",
        "offset": BAD.index(b'"x"'),
        "index": 0,
        "deviceKey": "device1",
        "identifier": "temp",
        "expected": "DOUBLE",
        "got": "string",
        "didYouMean": None,
        "payload": BAD.decode(),
    }
    assert (second["file"], second["line"]) == (str(tmp_path / "b.ndjson"), 1)
    assert (second["code"], second["offset"]) == (1220, 2)
    assert b64decode(second["payloadBase64"]) == b'{"\xff'
    assert (third["line"], third["payload"]) == (3, BAD.decode())


@pytest.mark.parametrize(
    "codec", ["plain", "gzip", "two gzips", "zstd", "plain stdin", "gzip stdin"]
)
def test_compressed_or_not_it_is_the_same(tmp_path: Path, codec: str) -> None:
    data = b"".join(request("x" if n % 7 == 0 else n, request_id=n) + b"\n" for n in range(20000))
    archive, out = tmp_path / "archive", tmp_path / "out.ndjson"
    contents = {
        "plain": data,
        "gzip": gzip.compress(data, 1),
        "two gzips": gzip.compress(data[:999], 1) + gzip.compress(data[999:], 1),
        "zstd": pa.compress(data, codec="zstd", asbytes=True),
    }
    content = contents[codec.removesuffix(" stdin")]
    archive.write_bytes(content)
    name = "-" if "stdin" in codec else archive
    document = summary(name, "--rejects", out, stdin=content if name == "-" else None)
    assert (document["requests"], document["rejected"]) == (20000, 2858)
    assert document["bytes"] == len(data)
    assert [one["line"] for one in rejected(out)] == list(range(1, 20001, 7))
    assert {one["file"] for one in rejected(out)} == {str(name)}


def test_the_number_of_processes_changes_nothing(tmp_path: Path) -> None:
    lines = [request("x" * (n % 50) if n % 11 == 0 else n, request_id=n) for n in range(60000)]
    (tmp_path / "a").write_bytes(b"\n".join(lines))
    assert (tmp_path / "a").stat().st_size > 2 * bulk_inputs._RANGE_BYTES
    outs = []
    for processes in "1", "3":
        outs.append(tmp_path / processes)
        summary(tmp_path / "a", "--rejects", outs[-1], "--processes", processes)
    assert outs[0].read_bytes() == outs[1].read_bytes()
    assert [one["line"] for one in rejected(outs[0])] == list(range(1, 60001, 11))


def test_one_document_a_file_by_its_content_or_by_option(tmp_path: Path) -> None:
    pretty = json.dumps(json.loads(GOOD), indent=4).encode()
    (tmp_path / "a.json").write_bytes(pretty)
    (tmp_path / "b.json.gz").write_bytes(gzip.compress(pretty))
    (tmp_path / "c.json").touch()
    (tmp_path / "d.txt").write_bytes(pretty)
    (tmp_path / ".hidden").write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "e.json").write_bytes(pretty.replace(b"1.5", b"null"))
    out = tmp_path.with_suffix(".out")
    document = summary(tmp_path, "--one-per-file", "--rejects", out)
    assert (document["requests"], document["accepted"], document["files"]) == (5, 3, 5)
    assert [(one["file"], one["line"], one["code"]) for one in rejected(out)] == [
        (str(tmp_path / "c.json"), None, 1251),
        (str(tmp_path / "folder" / "e.json"), None, 1204),
    ]
    assert summary(tmp_path / "a.json", tmp_path / "b.json.gz")["accepted"] == 2
    assert summary(tmp_path / "d.txt")["accepted"] == 1
    assert summary(tmp_path / "a.json", "--one-per-line")["requests"] == pretty.count(b"\n") + 1
    assert summary("-", "--one-per-file", stdin=pretty)["accepted"] == 1


def test_many_small_files_stay_in_order(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(300):
        (folder / f"{number:03}.json").write_bytes(BAD if number % 100 == 99 else GOOD)
    out = tmp_path / "out"
    assert summary(folder, "--rejects", out)["requests"] == 300
    assert [Path(one["file"]).name for one in rejected(out)] == ["099.json", "199.json", "299.json"]


def test_lines_with_topics(tmp_path: Path) -> None:
    other = f"/{TOPIC}"
    lines = [
        TOPIC.encode() + b" " + GOOD,
        other.encode() + b"\t" + GOOD,
        b"a/b " + GOOD,
        TOPIC.encode() + b" ",
        b"",
        b"nonsense",
        b"\xff " + GOOD,
    ]
    out = tmp_path / "out"
    archive = b"\r\n".join(lines)
    document = summary("-", "--topics", "--rejects", out, stdin=archive, product=False)
    assert (document["requests"], document["accepted"]) == (6, 2)
    found = [(one["line"], one["topic"], one["code"], one["payload"]) for one in rejected(out)]
    assert found == [
        (3, "a/b", 0, GOOD.decode()),
        (4, TOPIC, 1251, ""),
        (6, "nonsense", 0, ""),
        (7, "\ufffd", 0, GOOD.decode()),
    ]


def test_payloads_over_the_limit(tmp_path: Path) -> None:
    limit = len(GOOD)
    config = tmp_path / "pointgate.toml"
    config.write_text(f"catalog.path = {json.dumps(str(CASES))}\nlimits.payload_bytes = {limit}")
    huge = b'{"id":"7",' + b" " * 3_000_000 + b"}"
    out = tmp_path / "out"
    for ending in b"\n", b"\r\n":
        data = ending.join([GOOD, GOOD + b" ", huge, GOOD, huge])
        for compress in bytes, gzip.compress:
            (tmp_path / "a").write_bytes(compress(data))
            arguments = (tmp_path / "a", "-c", config, "--rejects", out, "--json")
            done = validate(*arguments, config=True)
            assert json.loads(done.stdout)["accepted"] == 2
            assert [(one["line"], one["code"]) for one in rejected(out)] == [
                (2, 1008),
                (3, 1008),
                (5, 1008),
            ]
            assert "payload" not in rejected(out)[0]
            assert rejected(out)[0]["got"] == f"{limit + 1} bytes"


def test_the_clock_is_an_option() -> None:
    entry = {"deviceKey": "device1", "measurepoints": {}, "time": 1700000000000}
    document = json.loads(GOOD) | {"params": [entry]}
    line = b"/sys/window/integration/measurepoint/post " + json.dumps(document).encode()
    for now, accepted in (("1700000000000", 1), ("1800000000000", 0)):
        found = summary("-", "--topics", "--now-ms", now, stdin=line, product=False)
        assert found["accepted"] == accepted
    assert validate("-", "--now-ms", "-1").returncode == 2


def test_wrong_usage(tmp_path: Path) -> None:
    archive = tmp_path / "a.ndjson"
    archive.write_bytes(GOOD)
    for arguments, words in (
        ([tmp_path / "gone"], "gone: no such file"),
        ([archive, "--rejects", archive], "expected a path outside of the inputs"),
        ([tmp_path, "--out", tmp_path / "x"], "expected a path outside of the inputs"),
        ([archive, "--rejects", tmp_path / "no" / "x"], "no such file"),
        ([archive, "--topics"], "expected either --product or --topics"),
        ([], "FILES"),
    ):
        done = validate(*arguments)
        assert (done.returncode, done.stdout) == (2, b"")
        text = " ".join(done.stderr.decode().replace("│", " ").split())
        assert words in text
    assert archive.read_bytes() == GOOD
    done = validate(archive, "--product", "protocl", product=False)
    assert done.returncode == 2
    assert b"did you mean protocol" in done.stderr
    done = validate(archive, "-c", tmp_path / "gone.toml", config=True)
    assert (done.returncode, done.stdout) == (78, b"")
    assert validate(archive, "--catalog", tmp_path, config=True).returncode == 78


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_a_damaged_file_is_named_and_the_others_go_on(tmp_path: Path, codec: str) -> None:
    data = b"".join(request(os.urandom(20).hex(), request_id=n) + b"\n" for n in range(20000))
    compress = gzip.compress if codec == "gzip" else lambda d: pa.compress(d, "zstd", asbytes=True)
    whole = compress(data)
    for number, damaged in enumerate([whole[:-1000], whole[:-3], whole + b"garbage"]):
        (tmp_path / "a").write_bytes(damaged)
        (tmp_path / "b.json").write_bytes(GOOD)
        (tmp_path / "c.json").write_bytes(compress(GOOD)[:-3])
        names = [tmp_path / name for name in ("a", "c.json", "b.json")]
        document = summary(*names)
        # Of c.json gzip gives all but its checksum, zstd nothing, since its only block is cut.
        assert document["accepted"] == (2 if codec == "gzip" else 1)
        assert document["rejected"] > 5000
        # No request that was cut in two is judged.
        assert {fault["code"] for fault in document["faults"]} == {1204}
        assert [one["file"] for one in document["problems"]] == [
            str(tmp_path / "a"),
            str(tmp_path / "c.json"),
        ], number
    done = validate(*names)
    assert done.returncode == 2
    assert f"{tmp_path / 'a'}: " in done.stderr.decode()


def test_a_pipe_that_nobody_reads_is_silent(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\n".join([BAD] * 20000))
    for arguments in ([], ["--rejects", "/dev/stdout"]):
        readable, writable = os.pipe()
        os.close(readable)
        done = subprocess.run(
            command(tmp_path / "a", "--product", "protocol", "--catalog", CASES, *arguments),
            stdout=writable,
            stderr=subprocess.PIPE,
            check=False,
            timeout=PATIENCE,
        )
        os.close(writable)
        assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_rejects_on_a_full_disk(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(BAD)
    done = validate(tmp_path / "a", "--rejects", "/dev/full")
    assert (done.returncode, done.stderr) == (74, b"cannot write: no space left on device\n")


def rows(sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        return connection.execute(sql).fetchall()


@pytest.mark.parametrize("processes", ["1", "2"])
def test_accepted_points_are_written(tmp_path: Path, processes: str) -> None:
    def dated(number: int, time: int | None) -> bytes:
        entry = {"deviceKey": "device1", "measurepoints": {"temp": number}, "time": time}
        return json.dumps(json.loads(GOOD) | {"params": [entry]}).encode()

    lines = [BAD if n % 5 == 0 else dated(n, n * 10_000_000) for n in range(1000)]
    lines[501] = dated(501, None)
    (tmp_path / "a").write_bytes(b"\n".join(lines))
    (tmp_path / "b.json").write_bytes(dated(-1, 10_000_000))
    out = tmp_path / "out"
    arguments: list[str | Path] = ["--out", out, "--now-ms", "777", "--processes", processes]
    document = summary(tmp_path / "a", tmp_path / "b.json", *arguments)
    assert (document["accepted"], document["points"], document["rejected"]) == (801, 801, 200)
    times = {n: 777_501 if n == 501 else n * 10_000_000_000 for n in range(1000) if n % 5}
    times[-1] = times.pop(1)  # the last value of the same time counts
    arrivals = {n: 777_000 + (1000 if n == -1 else n) for n in times}
    expected = [("device1", "temp", time, float(n), arrivals[n]) for n, time in times.items()]
    columns = "device, identifier, epoch_us(time), value_double, epoch_us(received)"
    found = rows(f"SELECT {columns} FROM read_parquet('{out}/**/*.parquet')")  # noqa: S608
    assert sorted(found) == sorted(expected)
    # A second run arrives later: its points count.
    (tmp_path / "b.json").write_bytes(dated(-2, 10_000_000))
    summary(tmp_path / "b.json", "--out", out, "--now-ms", "7777")
    files = [path.name for path in out.rglob("date=1970-01-01/*.parquet")]
    assert [name.split("-")[0] for name in files] == ["import", "import"]
    newest = rows(
        "SELECT arg_max(value, received) "  # noqa: S608
        f"FROM read_parquet('{out}/**/*.parquet') WHERE epoch_ms(time) = 10000000"
    )
    assert newest == [(-2.0,)]


@pytest.mark.parametrize("processes", ["1", "3"])
def test_each_request_of_a_run_arrives_at_an_instant_of_its_own(
    tmp_path: Path, processes: str
) -> None:
    def timeless(number: int, padding: int = 0) -> bytes:
        entry = {"deviceKey": "device1", "measurepoints": {"temp": number}}
        document = json.loads(GOOD) | {"params": [entry], "padding": "x" * padding}
        return json.dumps(document).encode()

    # Spans, blocks that the main process reads, files of one document, one of them unreadable.
    plain = [BAD if n % 7 == 0 else timeless(n, 1500) for n in range(6000)]
    packed = [timeless(n) for n in range(6000, 7000)]
    inputs = tmp_path / "in"
    inputs.mkdir()
    (inputs / "a").write_bytes(b"\n".join(plain) + b"\n")
    (inputs / "b.gz").write_bytes(gzip.compress(b"\r\n".join(packed)))
    for number in range(7000, 7100):
        (inputs / f"c{number}.json").write_bytes(timeless(number))
    (inputs / "d.json.gz").write_bytes(gzip.compress(timeless(7100)))
    (inputs / "e").write_bytes(timeless(7101))
    assert (inputs / "a").stat().st_size > 2 * 4_194_304
    out = tmp_path / "out"
    document = summary(inputs, "--out", out, "--now-ms", "777", "--processes", processes)
    expected = [(n, 777_000 + n) for n in range(7102) if n >= 6000 or n % 7]
    assert document["accepted"] == len(expected)
    query = "SELECT value_double::bigint, epoch_us(time), epoch_us(received)"
    found = rows(f"{query} FROM read_parquet('{out}/**/*.parquet')")
    assert sorted(found) == [(number, instant, instant) for number, instant in expected]


def test_a_folder_that_cannot_take_points(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(GOOD)
    (tmp_path / "file").touch()
    done = validate(tmp_path / "a", "--out", tmp_path / "file")
    assert (done.returncode, done.stdout) == (74, b"")
    assert b"--out: " in done.stderr


def test_an_archive_as_the_readme_has_it(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    block = readme.partition("## Import an archive\n")[2].partition("```sh\n")[2]
    judging, query = block.partition("```")[0].splitlines()
    assert judging.startswith("pointgate validate ")
    package = Path(pointgate.__file__).parent
    (tmp_path / "catalog").symlink_to(package / "demo" / "catalog")
    (tmp_path / "archive").mkdir()
    shutil.copy(package / "demo" / "example.json", tmp_path / "archive")
    arguments = shlex.split(judging)[1:]
    done = subprocess.run(
        [sys.executable, "-m", "pointgate", *arguments],
        cwd=tmp_path,
        capture_output=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    sql = shlex.split(query)[-1].replace("imported/", f"{tmp_path}/imported/")
    assert rows(f"SELECT count(*) FROM ({sql})") == [(6,)]  # noqa: S608


def _feed(stdin: IO[bytes]) -> None:
    with suppress(BrokenPipeError):
        while True:
            stdin.write((BAD + b"\n") * 1000)
    with suppress(BrokenPipeError):
        stdin.close()  # what is left in its buffer has nowhere to go


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_all_processes(number: signal.Signals, status: int) -> None:
    process = subprocess.Popen(
        command("-", "--product", "protocol", "--catalog", CASES, "--rejects", "/dev/stdout"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    with process:
        assert process.stdin
        assert process.stdout
        feeder = threading.Thread(target=_feed, args=(process.stdin,))
        feeder.start()
        assert process.stdout.read(1)  # it is at work
        drainer = threading.Thread(target=process.stdout.read)
        drainer.start()
        os.killpg(process.pid, number)  # as a terminal does
        assert process.wait(PATIENCE) == status
        feeder.join(PATIENCE)
        drainer.join(PATIENCE)
        # Everybody who had its stderr has ended.
        assert process.stderr
        assert process.stderr.read() == b""


def test_progress_shows_on_a_terminal_only(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\n".join([GOOD] * 100))
    ours, theirs = pty.openpty()
    done = subprocess.run(
        command(tmp_path / "a", "--product", "protocol", "--catalog", CASES),
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "120"},
        check=False,
        timeout=PATIENCE,
    )
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert done.returncode == 0
    assert "100 requests, 0 rejected" in shown


def test_a_lost_process_is_said(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(GOOD)
    with Pool(judging, OPTIONS, processes=1) as pool:
        pool._workers[0].process.kill()
        pool._workers[0].process.join()
        with pytest.raises(WorkerLostError, match="ended by SIGKILL"):
            list(pool.run(iter([FileRange("a", tmp_path / "a", 0, 1)])))


_pieces = st.lists(st.sampled_from([b"\n", b"\n", b"a", b"bc", b"\r\n", b"defghijkl"]), max_size=30)
_sizes = st.lists(st.integers(1, 9), min_size=1, max_size=9)


def blocks_in(data: bytes, sizes: list[int]) -> list[bytes]:
    blocks: list[bytes] = []
    place = 0
    while place < len(data):
        blocks.append(data[place : place + sizes[len(blocks) % len(sizes)]])
        place += len(blocks[-1])
    return blocks


def lines_in(data: bytes) -> list[bytes]:
    *lines, last = data.split(b"\n")
    return [line + b"\n" for line in lines] + [last] * bool(last)


@given(_pieces.map(b"".join), _sizes)
def test_lines_are_the_same_however_they_are_read(data: bytes, sizes: list[int]) -> None:
    blocks = blocks_in(data, sizes)
    assert [line for lines in lines_of(blocks, 100) for line in lines] == lines_in(data)
    chunks = list(whole_lines(blocks, 100))
    assert b"".join(chunks) == data
    assert all(chunk.endswith(b"\n") for chunk in chunks[:-1])


@given(_pieces.map(b"".join), _sizes, st.integers(9, 12))
def test_no_more_than_a_part_of_a_long_line_is_held(
    data: bytes, sizes: list[int], keep: int
) -> None:
    blocks = blocks_in(data, sizes)
    for line, found in zip(
        lines_in(data), lines_in(b"".join(whole_lines(blocks, keep))), strict=True
    ):
        assert found == line or (found.rstrip(b"\n") == line[:keep].rstrip(b"\n"))
    for line, found in zip(
        lines_in(data), [line for lines in lines_of(blocks, keep) for line in lines], strict=True
    ):
        assert found in (line, line[:keep])


@given(_pieces.map(b"".join), st.integers(1, 20), st.integers(1, 9))
def test_every_line_is_in_one_span(data: bytes, span: int, block: int) -> None:
    with tempfile.NamedTemporaryFile() as file, pytest.MonkeyPatch.context() as patch:
        patch.setattr(bulk_blocks, "BLOCK_BYTES", block)
        file.write(data)
        file.flush()
        found = [
            b"".join(blocks_of_range(Path(file.name), start, min(start + span, len(data))))
            for start in range(0, len(data), span)
        ]
    assert b"".join(found) == data
    place = 0
    for number, lines in enumerate(found):
        if lines:
            assert place == 0 or data[place - 1 : place] == b"\n"
            assert number * span <= place < (number + 1) * span
        place += len(lines)
