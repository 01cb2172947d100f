"""Fixtures of the tests with a real broker; each has the marker `broker`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.processes import Broker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/e2e/" in item.path.as_posix():
            item.add_marker(pytest.mark.broker)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A Mosquitto that forgets everything when it dies."""
    with Broker(tmp_path) as broker:
        yield broker
