"""`diff`: exactly the requests whose verdict changes, whatever the archive and the processes."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from pointgate import Catalog, Validator
from pointgate.quarantine.database import QuarantineDatabase, Rejected
from tests.support.paths import CATALOG as CASES
from tests.support.patience import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

TOPIC = "sys/protocol/integration/measurepoint/post"


def request(temp: object = 1.5, *, device: str = "device1") -> bytes:
    entry = {"deviceKey": device, "measurepoints": {"temp": temp}, "time": 1}
    document = {"id": "1", "version": "1.0", "params": [entry]}
    return json.dumps(document | {"method": "integration.measurepoint.post"}).encode()


GOOD, TEXT, STRANGER = request(), request("x"), request(device="nobody")


@pytest.fixture
def new(tmp_path: Path) -> Path:
    """The catalog of the cases, but `temp` of `protocol` is a STRING, and `device2` is gone."""
    folder = tmp_path / "new"
    shutil.copytree(CASES, folder)
    model = {"measurepoints": {"temp": {"dataType": "STRING"}}}
    (folder / "new.json").write_text(json.dumps(model))
    (folder / "new.txt").write_text("device1\n")
    (folder / "catalog.toml").write_text(
        "[products.protocol]\nmodel = 'new.json'\ndevices = 'new.txt'\n"
    )
    return folder


def diff(*arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("POINTGATE_")}
    done = subprocess.run(
        [sys.executable, "-m", "pointgate", "diff", *map(str, arguments)],
        input=stdin,
        env=clean,
        capture_output=True,
        check=False,
        timeout=PATIENCE,
    )
    assert b"Traceback" not in done.stderr, done.stderr
    return done


def document(*arguments: str | Path, stdin: bytes = b"") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(diff(*arguments, "--json", stdin=stdin).stdout)
    return found


def counts(found: dict[str, Any]) -> dict[tuple[str, str], int]:
    return {(_words(one["old"]), _words(one["new"])): one["requests"] for one in found["changes"]}


def _words(verdict: dict[str, Any]) -> str:
    return f"{verdict['code']} {verdict['reason']}".strip()


def test_the_same_catalog_changes_nothing(tmp_path: Path) -> None:
    archive = tmp_path / "a.ndjson"
    archive.write_bytes(b"\n".join([GOOD, TEXT, b"", STRANGER, b"{"]) * 3)
    done = diff(CASES, CASES, archive, "--product", "protocol")
    assert done.returncode == 0
    found = document(CASES, CASES, archive, "--product", "protocol")
    assert (found["changed"], found["changes"], found["problems"]) == (0, [], [])
    both = Validator(Catalog.load(CASES))
    lines = [line for line in archive.read_bytes().split(b"\n") if line.strip()]
    assert found["requests"] == len(lines) == len(both.validate([TOPIC] * len(lines), lines))


@pytest.mark.parametrize("processes", [1, 3])
@pytest.mark.parametrize("form", ["plain", "gzip", "stdin", "topics", "files"])
def test_changes_are_counted_by_verdict(
    tmp_path: Path, new: Path, form: str, processes: int
) -> None:
    gone = request("y", device="device2")
    requests = [GOOD] * 5 + [TEXT] * 3 + [STRANGER, gone, b"{"]
    lines = b"\r\n".join([*requests, b"", b"  "])
    traffic: list[str | Path] = [tmp_path / "a.ndjson", "--product", "protocol"]
    stdin = b""
    match form:
        case "plain":
            (tmp_path / "a.ndjson").write_bytes(lines)
        case "gzip":
            traffic[0] = tmp_path / "a.ndjson.gz"
            (tmp_path / "a.ndjson.gz").write_bytes(gzip.compress(lines))
        case "stdin":
            traffic[0], stdin = "-", lines
        case "topics":
            traffic = ["-", "--topics"]
            stdin = b"".join(TOPIC.encode() + b" " + one + b"\n" for one in requests)
        case "files":
            traffic[0] = tmp_path / "folder"
            (tmp_path / "folder").mkdir()
            for number, one in enumerate(requests):
                (tmp_path / "folder" / f"{number:02}.json").write_bytes(one)
    found = document(CASES, new, *traffic, "--processes", str(processes), stdin=stdin)
    assert (found["requests"], found["changed"], found["problems"]) == (11, 9, [])
    assert counts(found) == {
        ("200", "1204 type"): 5,
        ("1204 type", "200"): 3,
        ("1204 type", "1257 device"): 1,
    }
    worst = found["changes"][0]["examples"][0]
    assert worst["old"] == {"code": 200}
    assert worst["new"]["message"].endswith("expected STRING, got number 1.5")
    assert worst["payload"].encode() == GOOD
    if form != "files":
        assert worst["line"] == 1


def test_changed_requests_are_written_with_their_places(tmp_path: Path, new: Path) -> None:
    archive, out = tmp_path / "a.ndjson", tmp_path / "changed.ndjson"
    archive.write_bytes(b"\n".join([STRANGER, GOOD, TEXT] * 40))
    done = diff(CASES, new, archive, "--product", "protocol", "--changed", out)
    assert done.returncode == 1
    written = [json.loads(line) for line in out.read_bytes().splitlines()]
    assert [one["line"] for one in written] == [n + 1 for n in range(120) if n % 3]
    text = done.stdout.decode().splitlines()
    assert text[:2] == ["requests                120", "changed                  80"]
    assert text[3].strip() == "40  accepted -> 1204 type"
    assert text[4].strip().startswith(f"{archive}:2  Model validate failed: params[0]")
    assert not [line for line in text if line.startswith("Traceback")]


def test_the_quarantine_is_judged_as_it_arrived(tmp_path: Path, new: Path) -> None:
    settings = tmp_path / "pointgate.toml"
    settings.write_text(f"quarantine.path = {json.dumps(str(tmp_path / 'q'))}\n")
    done = diff(CASES, new, "--quarantine", "-c", settings)
    assert (done.returncode, done.stderr) == (0, b"no requests in the quarantine\n")
    store = QuarantineDatabase(tmp_path / "q")
    for number, payload in enumerate([TEXT, TEXT, STRANGER, None]):
        store.insert(
            [
                Rejected(
                    number=0,
                    received_us=1_700_000_000_000_000 + number,
                    product="protocol",
                    topic=TOPIC,
                    code=1204,
                    reason="type",
                    message="",
                    pointer=None,
                    fault_offset=0,
                    entry=None,
                    device=None,
                    identifier=None,
                    expected=None,
                    got=None,
                    did_you_mean=None,
                    payload=payload,
                )
            ]
        )
    store.close()
    found = document(CASES, new, "--quarantine", "-c", settings)
    assert (found["requests"], counts(found)) == (3, {("1204 type", "200"): 2})
    assert found["skipped"] == 1
    assert found["changes"][0]["examples"][0]["number"] == 1
    done = diff(CASES, new, "--quarantine", "-c", settings)
    assert b"quarantine:1" in done.stdout
    assert b"not judged                1" in done.stdout
    note, skipped = done.stderr.splitlines()
    assert note.startswith(
        b"note: only requests that were rejected; accepted ones that NEW rejects"
    )
    assert skipped == b"not judged: 1 request: the payload was too large to be kept"


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        ([CASES, CASES], 2, b"expected either TRAFFIC or --quarantine"),
        (
            [CASES, CASES, "-", "--topics", "--product", "protocol"],
            2,
            b"expected either --product or --topics",
        ),
        ([CASES, CASES, "-", "--product", "protocoll"], 2, b"did you mean protocol"),
        ([CASES, CASES, "nowhere", "--product", "protocol"], 2, b"nowhere: no such file"),
        (
            [CASES, "nowhere", "-", "--product", "protocol"],
            78,
            b"nowhere: expected a folder with a catalog",
        ),
        (["s3://x", CASES, "-", "--topics"], 2, b"expected a path on this machine"),
        ([CASES, CASES, "--quarantine", "--topics"], 2, b"with --quarantine"),
        ([CASES, CASES, "--quarantine", "-c", "none.toml"], 78, b"none.toml: no such file"),
        ([CASES, CASES, "-", "--topics", "--changed", "/proc/x/y"], 2, b"--changed: /proc/x/y"),
    ],
)
def test_wrong_input(arguments: list[str | Path], status: int, says: bytes) -> None:
    done = diff(*arguments)
    assert (done.returncode, done.stdout) == (status, b"")
    assert says in b" ".join(done.stderr.split())


def test_a_new_catalog_that_fails_a_test_is_invalid(tmp_path: Path, new: Path) -> None:
    (tmp_path / "a.ndjson").write_bytes(GOOD)
    (new / "tests").mkdir(exist_ok=True)
    test = '{"product":"protocol","code":200,"points":1,"payload":{}}\n'
    (new / "tests/more.jsonl").write_text(test)
    done = diff(CASES, new, tmp_path / "a.ndjson", "--product", "protocol")
    assert (done.returncode, done.stdout) == (78, b"")
    assert b"tests/more.jsonl: line 1: test failed: expected 200, 1 point" in done.stderr


def test_a_damaged_input_is_named_and_the_rest_judged(tmp_path: Path, new: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"\n".join([GOOD] * 50))[:-9])
    done = diff(CASES, new, tmp_path / "a.gz", "--product", "protocol")
    assert done.returncode == 2
    assert b"a.gz: truncated" in done.stderr


def test_lines_of_a_tap_have_their_topics(tmp_path: Path, new: Path) -> None:
    lines = [
        {"topic": TOPIC, "code": 200, "payload": GOOD.decode()},
        {"topic": TOPIC, "code": 1204, "payload": TEXT.decode(), "dropped": 7},
        {"topic": TOPIC, "code": 1008, "size": 9_000_000},  # too large to be shown
        {"topic": TOPIC, "code": 1220, "payloadBase64": "/w=="},
    ]
    traffic = b"\n".join(json.dumps(line).encode() for line in lines) + b"\n\n"
    found = document(CASES, new, "-", stdin=traffic)
    assert (found["requests"], found["changed"], found["problems"]) == (3, 2, [])
    assert counts(found) == {("200", "1204 type"): 1, ("1204 type", "200"): 1}
    archive = tmp_path / "tapped.ndjson"
    archive.write_bytes(traffic)
    found = document(CASES, new, archive)
    assert [one["examples"][0]["line"] for one in found["changes"]] == [1, 2]


@pytest.mark.parametrize(
    "line",
    [
        GOOD,
        b"x",
        b"[1]",
        b'{"topic":"t"}',
        b'{"topic":"t","excerpt":"{","size":1}',
        b'{"topic":"t","payload":1}',
    ],
)
def test_other_lines_without_a_topic_are_a_problem(line: bytes) -> None:
    done = diff(CASES, CASES, "-", stdin=line)
    assert done.returncode == 2
    assert b"expected objects with topic and payload" in done.stderr
    assert b"--product or --topics" in done.stderr
