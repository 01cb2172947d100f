"""Names of codes and topics against the core, which knows them, too."""

from __future__ import annotations

from pointgate import Validator, _core
from pointgate.codes import Code
from pointgate.topics import REPLY_FILTERS, REPLY_SUFFIX, REQUEST_FILTERS, request_topic


def test_the_codes_are_those_of_the_core() -> None:
    assert tuple(Code) == tuple(code for code in _core.codes if code)


def test_a_request_topic_is_one_for_the_core_in_either_form() -> None:
    validator = Validator(_core.Catalog({}))
    topic = request_topic("solar")
    reports = validator.validate([topic, f"/{topic}", f"x/{topic}"], [b"", b"", b""])
    assert [report.fault.reason for report in reports if report.fault] == [
        *("empty", "empty", "bad_topic")
    ]


def test_filters_are_of_both_forms() -> None:
    assert REQUEST_FILTERS == (
        "sys/+/integration/measurepoint/post",
        "/sys/+/integration/measurepoint/post",
    )
    assert tuple(name + REPLY_SUFFIX for name in REQUEST_FILTERS) == REPLY_FILTERS
