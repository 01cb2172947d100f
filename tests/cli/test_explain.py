"""`explain`: the line with the caret, whatever the payload is."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from typer.testing import CliRunner, Result

from pointgate.cli.commands import app
from pointgate.cli.excerpt import excerpt
from tests.support.paths import CATALOG as CASES


def explain(payload: str | bytes, *options: str, product: str = "protocol") -> Result:
    arguments = ["explain", "-", "--product", product, "--catalog", str(CASES), *options]
    return CliRunner(env={"COLUMNS": "80"}).invoke(app, arguments, input=payload)


def envelope(entry: str) -> str:
    return (
        f'{{"id":"1","version":"1.0","method":"integration.measurepoint.post","params":[{entry}]}}'
    )


def at_caret(output: str) -> str:
    """What stands above the caret, to the end of its line."""
    lines = output.splitlines()
    (row,) = [number for number, line in enumerate(lines) if line.lstrip(" |").startswith("^")]
    cells, left = lines[row - 1], lines[row].index("^")
    while left > 0:
        left -= cell_len(cells[0])
        cells = cells[1:]
    return cells


def test_a_fault_in_a_payload_of_one_line() -> None:
    payload = envelope('{"deviceKey":"device1","measurepoints":{"temp":"abc"},"time":1}')
    done = explain(payload)
    assert done.exit_code == 1
    assert at_caret(done.stdout).startswith('"abc"')
    assert done.stdout.startswith(
        "rejected: 1204 Model validate failed: params[0].measurepoints.temp: "
        'expected DOUBLE, got string "abc"\n --> line 1, column '
    )
    for line in (
        "  pointer       /params/0/measurepoints/temp\n",
        "  device key    device1\n",
        "  identifier    temp\n",
        "  reason        type\n",
        "  expected      DOUBLE\n",
        "  got           string\n",
        '  {"id":"1","code":1204,"message":"Model validate failed: ',
    ):
        assert line in done.stdout


def test_a_fault_in_a_pretty_printed_payload() -> None:
    entry = {"deviceKey": "device1", "measurepoints": {"temmp": 1.0}}
    payload = json.dumps(json.loads(envelope(json.dumps(entry))), indent=4)
    done = explain(payload.replace("\n", "\r\n"))
    number = payload[: payload.index('"temmp"')].count("\n") + 1
    assert f"--> line {number}, column 17 (byte " in done.stdout
    assert f'\n{number} |                 "temmp": 1.0\n' in done.stdout
    assert at_caret(done.stdout).startswith('"temmp"')
    assert "  did you mean  temp\n" in done.stdout


@pytest.mark.parametrize(
    "text",
    ["界界界", "\\u0001", "é", "e\u0301", "😀", "\u202e", "\ufeff", "\u00a0", "\u200d", "<b>[red]"],
)
def test_the_caret_is_right_behind_any_text(text: str) -> None:
    entry = '{"deviceKey":"device1","measurepoints":{"branchCurr":["%s"],"temp":null}}'
    done = explain(envelope(entry % text).encode())
    assert done.exit_code == 1
    assert at_caret(done.stdout).startswith("null")


def test_control_bytes_and_broken_text_are_escaped() -> None:
    payload = envelope('{"deviceKey":"\x1b[31m').encode()[:-2] + b"\xff\xfe"
    done = explain(payload)
    assert done.exit_code == 1
    assert "\x1b" not in done.stdout
    assert at_caret(done.stdout).startswith("\\x1b[31m\\xff\\xfe")


def test_a_sudden_end_is_shown_behind_the_last_character() -> None:
    done = explain('{"id":1,\n\n')
    assert '\n1 | {"id":1,\n  |         ^' in done.stdout


@pytest.mark.parametrize("payload", ["", " ", "\n"])
def test_a_payload_without_text_has_no_line(payload: str) -> None:
    done = explain(payload)
    assert done.exit_code == 1
    assert "^" not in done.stdout
    assert "-->" not in done.stdout


def test_a_payload_that_is_too_large(tmp_path: Path) -> None:
    config = tmp_path / "pointgate.toml"
    config.write_text(f"catalog.path = {json.dumps(str(CASES))}\nlimits.payload_bytes = 10")
    done = explain(" " * 11, "-c", str(config))
    assert done.exit_code == 1
    assert done.stdout.startswith("rejected: 1008 Msg size is too large, discard the message: ")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no /dev/zero")
def test_a_payload_without_an_end_is_too_large() -> None:
    arguments = ["explain", "/dev/zero", "--product", "protocol", "--catalog", str(CASES)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 1
    assert done.stdout.startswith("rejected: 1008 Msg size is too large, discard the message: ")
    assert done.stderr == "note: only the first 9437184 bytes were read\n"


@pytest.mark.parametrize("columns", ["0", "1"])
def test_a_terminal_without_any_width(columns: str) -> None:
    arguments = ["explain", "-", "--product", "protocol", "--catalog", str(CASES)]
    done = CliRunner(env={"COLUMNS": columns}).invoke(app, arguments, input='{"id":x}')
    assert done.stdout.startswith("rejected: 1220 Payload format error")
    assert at_caret(done.stdout).startswith("x}")


def test_a_topic_that_is_not_served() -> None:
    arguments = ["explain", "-", "--topic", "a/b", "--catalog", str(CASES)]
    done = CliRunner().invoke(app, arguments, input="{}")
    assert done.exit_code == 1
    assert done.stdout.startswith("rejected: Bad topic: ")
    assert done.stdout.endswith("no reply is sent\n")


def test_the_other_slash_form_is_answered_in_kind() -> None:
    topic = "/sys/protocol/integration/measurepoint/post"
    arguments = ["explain", "-", "--topic", topic, "--catalog", str(CASES)]
    done = CliRunner().invoke(app, arguments, input=envelope(""))
    assert (done.exit_code, f"reply to {topic}_reply" in done.stdout) == (0, True)


def test_a_product_that_the_catalog_lacks_is_noted() -> None:
    done = explain(envelope(""), product="protocl")
    assert done.exit_code == 1
    assert done.stderr == "note: the catalog has no product protocl, did you mean protocol\n"
    assert "-->" not in done.stdout  # nothing is wrong with the payload


@pytest.mark.parametrize(
    ("product", "entry", "note"),
    [
        ("types", '"int":1', "times before 1971: 1; seconds instead of milliseconds?"),
        ("types", '"timestamp":1762999999', "times before 1971: 2; seconds instead of"),
        ("gaps", '"int":null', "points without a value, ignored: 1"),
    ],
)
def test_what_is_accepted_and_hardly_meant_is_noted(product: str, entry: str, note: str) -> None:
    done = explain(
        envelope(f'{{"deviceKey":"device1","measurepoints":{{{entry}}},"time":1762999999}}'),
        product=product,
    )
    assert done.exit_code == 0
    assert f"note: {note}" in done.stderr


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        *((name, "time") for name in ("timestamp", "Time", "ts", "tiem", "time_stamp")),
        *((name, "deviceKey") for name in ("devicekey", "assetId", "device_key", "devicKey")),
        *((name, "measurepoints") for name in ("measurepoint", "points", "MeasurePoints")),
    ],
)
def test_a_member_that_is_ignored_and_hardly_meant_so_is_noted(name: str, meant: str) -> None:
    entry = {"deviceKey": "device1", "measurepoints": {}, "time": 1}
    entry[name] = entry.pop(meant)
    entries = ",".join([json.dumps(entry)] * 2)
    done = explain(envelope(entries))
    assert done.exit_code == (0 if meant == "time" else 1)
    assert done.stderr.startswith(
        f'note: unknown member "{name}" in 2 entries, did you mean {meant}?'
    )


@pytest.mark.parametrize(
    "entry",
    [
        '{"deviceKey":"device1","measurepoints":{},"time":1700000000000,"timestamp":2,"assetId":3}',
        '{"deviceKey":"device1","measurepoints":{},"comment":"x","model":null,"":0}',
        '{"deviceKey":"device1","measurepoints":{"ts":1,"timestamp":1},"time":null}',
        '{"deviceKey":"device1","measurepoints":{},"t":%s}' % ("1" * 1000),
        "7",
    ],
)
def test_other_members_are_not_noted(entry: str) -> None:
    done = explain(envelope(entry))
    assert ("unknown member" in done.stderr) is ('"t":' in entry)


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (
            gzip.compress(b"{}", mtime=0),
            "gzip-compressed data, such as the Java SDK's GZIP mode sends",
        ),
        (zlib.compress(b'{"id":"1"}'), "zlib-compressed data"),
        ('{"id":"1"}'.encode("utf-16"), "UTF-16 text, little-endian"),
        (b"{}\0", "a NUL byte, such as ends a string in C"),
        (b"{'id':'1'}", "a single quote: JSON has double ones"),
        (b'"{\\"id\\":\\"1\\"}"', "string that holds JSON: it was encoded twice"),
    ],
)
def test_what_is_no_json_document_is_named(payload: bytes, words: str) -> None:
    done = explain(payload)
    assert done.exit_code == 1
    assert done.stdout.startswith("rejected: 1220 Payload format error: ")
    assert f", got {words}" in done.stdout


def test_the_clock_is_an_option() -> None:
    payload = envelope('{"deviceKey":"device1","measurepoints":{},"time":1700000000000}')
    assert explain(payload, "--now-ms", "1700000000000", product="window").exit_code == 0
    assert explain(payload, "--now-ms", "1800000000000", product="window").exit_code == 1
    assert explain(payload, "--now-ms", "9" * 30, product="window").exit_code == 2


def test_a_catalog_that_cannot_be_used_is_not_a_verdict(tmp_path: Path) -> None:
    arguments = ["explain", "-", "--product", "x", "--catalog", str(tmp_path)]
    done = CliRunner().invoke(app, arguments, input="{}")
    assert (done.exit_code, done.stdout) == (78, "")
    assert "catalog.toml: no such file" in done.stderr


def test_the_verdict_as_json() -> None:
    payload = envelope('{"deviceKey":"device1","measurepoints":{"temmp":1}}')
    done = explain(payload, "--json")
    document: dict[str, Any] = json.loads(done.stdout)
    assert (done.exit_code, document["code"], document["points"]) == (1, 1204, 0)
    offset = payload.index('"temmp"')
    assert document["fault"]["offset"] == offset
    assert (document["fault"]["line"], document["fault"]["column"]) == (1, offset + 1)
    assert document["fault"]["didYouMean"] == "temp"
    assert json.loads(document["reply"])["code"] == 1204
    document = json.loads(explain(envelope(""), "--json").stdout)
    assert (document["code"], document["fault"]) == (200, None)


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=4),
            st.text(max_size=4).map(str.encode),
            st.sampled_from(["\n", "界", "\x1b", "\t", "e\u0301", "a" * 40]).map(str.encode),
        ),
        max_size=30,
    ).map(b"".join),
    st.integers(0, 200),
    st.integers(20, 60),
)
def test_any_byte_of_any_payload_can_be_shown(payload: bytes, offset: int, width: int) -> None:
    offset = min(offset, len(payload))
    found = excerpt(payload, offset, width=width)
    assert cell_len(found.text) <= width
    assert found.text.isprintable()
    assert 0 <= found.caret <= cell_len(found.text)
    place = len(payload.rstrip()) if offset == len(payload) else offset
    assert found.line == payload.count(b"\n", 0, place) + 1
    line = payload.split(b"\n")[found.line - 1]
    assert 1 <= found.column <= len(line.decode("utf-8", "surrogateescape")) + 1


@given(st.text(max_size=300).filter(lambda text: "\n" not in text), st.integers(0, 300))
def test_the_column_counts_characters(text: str, index: int) -> None:
    index = min(index, max(len(text) - 1, 0))
    if not text:
        return
    for inside in range(len(text[index].encode())):
        offset = len(text[:index].encode()) + inside
        found = excerpt(text.encode(), offset, width=60)
        assert (found.line, found.column) == (1, index + 1)


def test_a_long_line_is_cut_around_the_fault() -> None:
    payload = b"a" * 5_000_000 + b"X" + b"b" * 5_000_000
    found = excerpt(payload, 5_000_000, width=60)
    assert found.text[found.caret] == "X"
    assert (found.text[0], found.text[-1], len(found.text)) == ("…", "…", 60)
    assert found.caret > 30
    found = excerpt(payload, 0, width=60)
    assert (found.caret, found.text[0], found.text[-1]) == (0, "a", "…")
