"""The fixture of tests that need Kafka: one server for the whole run.

A test module takes it with `pytest_plugins = ("tests.support.kafka_fixtures",)`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.support import kafka_server
from tests.support.kafka_clients import Topics, make_topics

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def kafka_addresses(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[kafka_server.Addresses]:
    """The addresses of a cluster of one node that all tests share."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # the workers' own are in it
    with kafka_server.shared(folder) as addresses:
        yield addresses


@pytest.fixture
def kafka(kafka_addresses: kafka_server.Addresses) -> str:
    """The address of the cluster."""
    return kafka_addresses.open


@pytest.fixture
def topics(kafka: str) -> Topics:
    """Topics that no other test uses."""
    return make_topics(kafka)
