"""The contract's cases through `pointgate.Validator`, and what holds for every reply."""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import pytest

from pointgate import Catalog, Validator
from tests.oracle.json_reader import Array, Object, Value, read
from tests.support.cases import CATALOG, Case, load_cases

if TYPE_CHECKING:
    from pointgate import Report

CASES: Final = load_cases()
Detail: TypeAlias = Literal["full", "none"]

REPLY_BYTES: Final = 1024
SHOWN_CHARACTERS: Final = 64

DOCUMENTED: Final = {
    1008: "Msg size is too large, discard the message",
    1251: "Payload is empty",
    1220: "Payload format error",
    1260: "Methods not consistent",
    1257: "Device not found",
    1204: "Model validate failed",
}
# The reasons whose pointer may be the path of a member that is missing (2.7).
REASONS_OF_MISSING_MEMBERS: Final = frozenset(["missing_member", "envelope", "device", "format"])


@functools.cache
def _validator(payload_bytes: int, reply_detail: Detail = "full") -> Validator:
    return Validator(Catalog.load(CATALOG), payload_bytes=payload_bytes, reply_detail=reply_detail)


def _validate(case: Case, reply_detail: Detail = "full") -> Report:
    validator = _validator(case.payload_bytes, reply_detail)
    [report] = validator.validate([case.topic], [case.payload], now_ms=case.now_ms)
    return report


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_validator_gives_the_verdict_of_the_case(case: Case) -> None:
    report = _validate(case)
    assert (report.code, report.points) == (case.code, case.points)
    if report.fault is None:
        assert case.reason is None
        return
    assert (
        report.fault.reason,
        report.fault.pointer,
        report.fault.index,
        report.fault.device_key,
        report.fault.identifier,
    ) == (case.reason, case.pointer, case.index, case.device_key, case.identifier)
    if case.offset is not None:
        assert report.fault.offset == case.offset


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_reply_holds_what_the_contract_promises(case: Case) -> None:
    reply = _validate(case).reply
    if case.code == 0:
        assert reply is None
        return
    assert reply is not None
    token = read(reply).id_token or b""
    assert len(reply) <= REPLY_BYTES + len(token)
    if case.reply_id is not None:
        assert token.decode("utf-8") == case.reply_id
    if case.reply is not None:
        assert reply.decode("utf-8") == case.reply
    body = json.loads(reply)
    assert body["code"] == case.code
    assert isinstance(body["data"], dict)
    if case.code != 200:
        _check_failure(case, body)


def _check_failure(case: Case, body: dict[str, object]) -> None:
    message, data = body["message"], body["data"]
    assert isinstance(message, str)
    assert message.startswith(DOCUMENTED[case.code])
    assert isinstance(data, dict)
    assert data["reason"] == case.reason
    assert data.get("index") == case.index
    if case.did_you_mean is not None:
        assert data["didYouMean"] == case.did_you_mean
    shown = {"deviceKey": case.device_key, "identifier": case.identifier, "pointer": case.pointer}
    present = {name: value for name, value in shown.items() if value is not None}
    # Long and odd values are cut, escaped, or left out to make the reply fit (2.5, 2.6).
    if all(len(value) <= SHOWN_CHARACTERS and value.isprintable() for value in present.values()):
        assert {name: data[name] for name in shown if name in data} == present


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_reply_without_detail_is_the_documented_text(case: Case) -> None:
    full, bare = _validate(case), _validate(case, reply_detail="none")
    assert (bare.code, bare.points) == (full.code, full.points)
    if case.code in {0, 200}:
        assert bare.reply == full.reply
        return
    assert full.reply is not None
    token = read(full.reply).id_token
    echoed = b'"id":' + token + b"," if token else b""
    rest = f'"code":{case.code},"message":"{DOCUMENTED[case.code]}","data":{{}}'
    assert bare.reply == b"{" + echoed + rest.encode("ascii") + b"}"


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.pointer is not None], ids=lambda case: case.id
)
def test_pointer_resolves_in_the_document(case: Case) -> None:
    fault = _validate(case).fault
    assert fault is not None
    assert fault.pointer is not None
    names = [name.replace("~1", "/").replace("~0", "~") for name in fault.pointer.split("/")[1:]]
    value: Value | None = read(case.payload).root
    for name in names[:-1]:
        value = _child(value, name)
        assert value is not None
    if names and _child(value, names[-1]) is None:
        # Missing: its pointer is the path that it would have, its offset the closing brace.
        assert fault.reason in REASONS_OF_MISSING_MEMBERS
        assert case.payload[fault.offset : fault.offset + 1] == b"}"


def _child(value: Value | None, name: str) -> Value | None:
    if isinstance(value, Array):
        return value.items[int(name)]
    return value.first(name) if isinstance(value, Object) else None
