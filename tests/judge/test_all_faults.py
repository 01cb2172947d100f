"""All faults of a request: the contract's order, by hand, and the first one is the verdict's."""

from __future__ import annotations

import json
from typing import Final

import pytest

from pointgate import Catalog, Validator, _core
from tests.support.cases import CATALOG, Case, load_cases

TOPIC: Final = "sys/pk/integration/measurepoint/post"
STRUCT: Final = [
    {"identifier": "x", "dataType": "INT", "required": True},
    {"identifier": "y", "dataType": "DOUBLE", "required": True},
    {"identifier": "z", "dataType": "ARRAY", "dataDefinition": {"itemType": "INT"}},
]
POINTS: Final = {
    "a": {"dataType": "DOUBLE", "maximum": 5},
    "q": {"dataType": "INT", "hasQuality": True},
    "s": {"dataType": "STRUCT", "dataDefinition": {"items": STRUCT}},
    "r": {"dataType": "ARRAY", "dataDefinition": {"itemType": "INT", "maxSize": 2}},
}
HEAD: Final = '{"version":"1","method":"integration.measurepoint.post","params":'

TABLE: Final[dict[str, tuple[str, list[str]]]] = {
    "accepted": (HEAD + '[{"deviceKey":"d","measurepoints":{"a":1}}]}', []),
    "syntax ends it": (HEAD + '[{"deviceKey":"x","measurepoints":{"a":9}}]', ["syntax None"]),
    "envelope, method, entries": (
        '{"id":[],"params":[{"deviceKey":"x","measurepoints":{}}],"method":"other","id":1}',
        [
            "envelope /id",
            "envelope /id",
            "envelope /version",
            "method /method",
            "device /params/0/deviceKey",
        ],
    ),
    "members of an entry, whatever their order in the text": (
        HEAD + '[{"time":-1,"measurepoints":{"a":9,"b":1,"a":2},"deviceKey":"x","time":1}]}',
        [
            "duplicate /params/0/time",
            "device /params/0/deviceKey",
            "range /params/0/measurepoints/a",
            "unknown_point /params/0/measurepoints/b",
            "duplicate /params/0/measurepoints/a",
            "time /params/0/time",
        ],
    ),
    "entries in order": (
        HEAD + '[1,{"deviceKey":"d"},{"measurepoints":{"a":null}}]}',
        [
            "format /params/0",
            "format /params/1/measurepoints",
            "device /params/2/deviceKey",
            "type /params/2/measurepoints/a",
        ],
    ),
    "a point with quality": (
        HEAD
        + '{"deviceKey":"d","measurepoints":{"q":{"quality":10,"value":"x","v":1,"value":2}}}}',
        [
            "quality /params/measurepoints/q/quality",
            "type /params/measurepoints/q/value",
            "unknown_member /params/measurepoints/q/v",
            "duplicate /params/measurepoints/q/value",
        ],
    ),
    "a point without value": (
        HEAD + '{"deviceKey":"d","measurepoints":{"q":{"quality":"x"},"a":7}}}',
        [
            "quality /params/measurepoints/q/quality",
            "missing_member /params/measurepoints/q/value",
            "range /params/measurepoints/a",
        ],
    ),
    "inside a struct": (
        HEAD + '{"deviceKey":"d","measurepoints":{"s":{"w":1,"z":[1,"a",null],"x":1.5,"x":2}}}}',
        [
            "unknown_member /params/measurepoints/s/w",
            "type /params/measurepoints/s/z/1",
            "type /params/measurepoints/s/z/2",
            "type /params/measurepoints/s/x",
            "duplicate /params/measurepoints/s/x",
            "missing_member /params/measurepoints/s/y",
        ],
    ),
    "missing members in the order of the model": (
        HEAD + '{"deviceKey":"d","measurepoints":{"s":{}}}}',
        ["missing_member /params/measurepoints/s/x", "missing_member /params/measurepoints/s/y"],
    ),
    "an array that is too long": (
        HEAD + '{"deviceKey":"d","measurepoints":{"r":["x",{"value":1},3,"y"],"a":"x"}}}',
        [
            "type /params/measurepoints/r/0",
            "type /params/measurepoints/r/1",
            "length /params/measurepoints/r",
            "type /params/measurepoints/a",
        ],
    ),
}


def validator(detail: str = "full") -> Validator:
    model = _core.Model.compile(json.dumps({"measurepoints": POINTS}).encode())
    catalog = _core.Catalog({"pk": _core.Product(model, _core.Devices(["d"]))})
    return Validator(catalog, reply_detail=detail)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", TABLE)
def test_all_faults_in_the_order_of_the_contract(name: str) -> None:
    payload, expected = TABLE[name]
    faults, more = validator().all_faults(TOPIC, payload.encode())
    assert [f"{fault.reason} {fault.pointer}" for fault in faults] == expected
    assert not more
    (report,) = validator().validate([TOPIC], [payload.encode()])
    assert faults[:1] == ([report.fault] if report.fault else [])


def test_of_many_faults_the_first_ones_are_returned() -> None:
    entry = '{"measurepoints":{"a":9,"r":["x","y"]},"deviceKey":"no"}'
    payload = f"{HEAD}[{','.join([entry] * 100)}]}}".encode()
    all_of_them, more = validator().all_faults(TOPIC, payload, most=10_000)
    assert (len(all_of_them), more) == (400, False)
    for most in (1, 2, 3, 7, 100, 399):
        assert validator().all_faults(TOPIC, payload, most=most) == (all_of_them[:most], True)
    assert validator().all_faults(TOPIC, payload, most=400)[1] is False


@pytest.mark.parametrize("case", load_cases(), ids=lambda case: case.id)
def test_the_first_one_is_that_of_the_case(case: Case) -> None:
    judge = Validator(Catalog.load(CATALOG), payload_bytes=case.payload_bytes)
    (report,) = judge.validate([case.topic], [case.payload], now_ms=case.now_ms)
    faults, _ = judge.all_faults(case.topic, case.payload, now_ms=case.now_ms)
    assert faults[:1] == ([report.fault] if report.fault else [])


@pytest.mark.parametrize("name", TABLE)
def test_a_reply_with_all_faults_is_that_with_the_first_and_more(name: str) -> None:
    payload, expected = TABLE[name]
    for repeated in (1, 40):
        text = payload.replace(
            '"params":[', '"params":[' + '{"measurepoints":{}},' * (repeated - 1)
        )
        (full,) = validator().validate([TOPIC], [text.encode()])
        (every,) = validator("all").validate([TOPIC], [text.encode()])
        assert full.reply
        assert every.reply
        assert len(every.reply) <= 1024 + 4
        document, short = json.loads(every.reply), json.loads(full.reply)
        further = document["data"].pop("faults", [])
        more = document["data"].pop("moreFaults", False)
        assert document == short
        if repeated == 1:
            shown = [f"{one['reason']} {one.get('pointer')}" for one in further]
            assert shown == expected[1 : len(shown) + 1]
            assert more == (len(shown) < len(expected[1:]))
