"""The fixtures of the PostgreSQL sink's tests: a server for a module, a proxy, a schema for a test.

A test module takes them with `pytest_plugins = ("tests.support.postgres_fixtures",)`.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from tests.support.postgres_server import PostgresServer
from tests.support.tcp_proxy import TcpProxy

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as running:
        yield running


@pytest.fixture
def proxy(server: PostgresServer) -> Iterator[TcpProxy]:
    with TcpProxy(server.port) as running:
        yield running


_numbers = itertools.count()


@pytest.fixture
def schema() -> str:
    """A schema that no other test uses."""
    return f"points_{next(_numbers)}"
