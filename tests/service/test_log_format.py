"""The log: each event one searchable line, with its priority in the journal."""

from __future__ import annotations

import json
import logging
import os
import re
from typing import TYPE_CHECKING

import pytest

from pointgate.service.log_format import JournalFormatter, JsonFormatter, TextFormatter, is_journal

if TYPE_CHECKING:
    from pathlib import Path

TIME = r"2023-11-14T22:13:20\.250Z"


def record(
    message: str, *args: object, level: int = logging.WARNING, error: bool = False
) -> logging.LogRecord:
    found = logging.LogRecord("pointgate.x", level, __file__, 1, message, args, None)
    found.created = 1_700_000_000.25
    if error:
        cause = ValueError("of two\nlines")
        found.exc_info = type(cause), cause, None
    return found


def test_text() -> None:
    text = TextFormatter().format(record("sink %s: away", "a"))
    assert re.fullmatch(f"{TIME} WARNING pointgate\\.x: sink a: away", text)


def test_text_is_one_line_without_control_characters() -> None:
    name = "a\x1b[31m\u202e\n2026-11-28T00:00:00Z INFO x: forged"
    text = TextFormatter().format(record("line 1 (%s): test failed", name))
    assert text.isprintable()
    assert r"line 1 (a\x1b[31m\u202e\n2026-11-28T00:00:00Z INFO x: forged)" in text


def test_json_is_one_line_with_a_traceback_in_it() -> None:
    line = JsonFormatter().format(
        record('quote " and\nbreak %d', 1, level=logging.ERROR, error=True)
    )
    assert "\n" not in line
    document = json.loads(line)
    assert re.fullmatch(TIME, document.pop("time"))
    assert document.pop("traceback").endswith("ValueError: of two\nlines")
    expected = {"level": "error", "logger": "pointgate.x", "message": 'quote " and\nbreak 1'}
    assert document == expected


def test_json_of_a_name_that_is_not_unicode() -> None:
    line = JsonFormatter().format(record("%s", os.fsdecode(b"a\xff.json")))
    assert json.loads(line)["message"] == "a\\xff.json"


@pytest.mark.parametrize(
    ("level", "priority"),
    [(logging.DEBUG, 7), (logging.INFO, 6), (logging.WARNING, 4), (logging.ERROR, 3), (25, 5)],
)
def test_every_line_in_the_journal_has_the_priority(level: int, priority: int) -> None:
    for inner in (TextFormatter(), JsonFormatter()):
        text = JournalFormatter(inner).format(record("a\nb", level=level, error=True))
        assert {line[:3] for line in text.splitlines()} == {f"<{priority}>"}


def test_the_journal_is_recognized_by_device_and_inode(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as file:
        status = os.fstat(file.fileno())
        right = f"{status.st_dev}:{status.st_ino}"
        assert is_journal(file.fileno(), {"JOURNAL_STREAM": right})
        for wrong in ("", "1:2", f"{status.st_dev}:", "x:y", right + "0"):
            assert not is_journal(file.fileno(), {"JOURNAL_STREAM": wrong})
    assert not is_journal(file.fileno() if not file.closed else 999, {"JOURNAL_STREAM": right})
    assert not is_journal(2, {})
