"""Parts of messages: payloads and numbers as people read them."""

from __future__ import annotations

import pytest

from pointgate.diagnostics import numbered, shown_bytes


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b'{"a":1}', '{"a":1}'),
        (b"it's", "it's"),
        (b"\x00\n\x1b[31m", "\\x00\\n\\x1b[31m"),
        ("hé".encode(), "h\\xc3\\xa9"),
        (b"\xff" * 20, "\\xff" * 10),
        (b"", ""),
    ],
)
def test_the_beginning_of_a_payload_is_ascii_on_one_line(data: bytes, text: str) -> None:
    assert shown_bytes(data, 10) == text


def test_one_thing_is_no_plural() -> None:
    said = [numbered(number, "request") for number in (0, 1, 2, 1_000)]
    assert said == ["0 requests", "1 request", "2 requests", "1,000 requests"]
