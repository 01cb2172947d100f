"""Fixtures: each broker in turn, started once for the tests that leave nothing behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.brokers.servers import SERVERS, HiveMQ, Server
from tests.e2e.flood import Client
from tests.e2e.processes import Service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def _parameter(kind: type[Server]) -> object:
    marks = [pytest.mark.broker] + ([pytest.mark.brokers] if kind is HiveMQ else [])
    return pytest.param(kind, id=kind.name, marks=marks)


@pytest.fixture(scope="module", params=[_parameter(kind) for kind in SERVERS])
def kind(request: pytest.FixtureRequest) -> type[Server]:
    """A kind of broker that can be started here."""
    found: type[Server] = request.param
    if words := found.missing():
        pytest.skip(words)
    return found


@pytest.fixture(scope="module")
def server(kind: type[Server], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One such broker."""
    with kind(tmp_path_factory.mktemp(kind.name)) as server:
        yield server


@pytest.fixture(params=[5, 4], ids=["mqtt-5", "mqtt-3.1.1"])
def protocol(request: pytest.FixtureRequest, kind: type[Server]) -> int:
    """A version of MQTT that the broker speaks, for both sides."""
    found: int = request.param
    if found not in kind.protocols:
        pytest.skip(kind.lacks["mqtt5"])
    return found


@pytest.fixture
def serve(server: Server, tmp_path: Path, protocol: int) -> Iterator[Callable[..., Service]]:
    """Make services of the broker; no session of theirs is left for the next test."""
    names = set()

    def make(*extra: str, name: str = "service") -> Service:
        names.add(name)
        return Service(tmp_path, server.port, f"protocol = {protocol}", *extra, name=name)

    yield make
    for name in names:
        with Client(server.port, name, clean=True):
            pass
