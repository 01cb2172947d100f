"""What a session is subscribed to is remembered over restarts, and never in the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pointgate.sources.mqtt.subscriptions import Subscriptions

if TYPE_CHECKING:
    from pathlib import Path


def test_what_was_written_is_read_by_the_same_client_id_only(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    assert Subscriptions(folder, "me").filters() == []
    Subscriptions(folder, "me").write(["b", "a", "a"])
    assert Subscriptions(folder, "me").filters() == ["a", "b"]
    assert Subscriptions(folder, "other").filters() == []
    Subscriptions(folder, "me").write(["c"])
    assert Subscriptions(folder, "me").filters() == ["c"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"client_id":"me"}',
        b'{"client_id":"me","filters":3}',
    ],
)
def test_a_record_that_is_damaged_is_reported_and_passed_over(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "subscriptions.json").write_bytes(content)
    record = Subscriptions(tmp_path, "me")
    assert record.filters() == []
    assert "subscriptions.json" in caplog.text
    record.write(["a"])
    assert record.filters() == ["a"]


def test_a_record_that_cannot_be_written_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    Subscriptions(tmp_path / "file", "me").write(["a"])
    assert "cannot write" in caplog.text
