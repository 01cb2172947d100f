"""Fixtures: each broker in turn, started once for the tests that leave nothing behind."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.brokers.servers import SERVERS, Nats, Server
from tests.e2e.flood import Client
from tests.support.patience import PATIENCE
from tests.support.processes import Service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each kind of broker, with each version of MQTT that it speaks where a test takes one."""
    if "kind" not in metafunc.fixturenames:
        return
    names = ["kind", "protocol"] if "protocol" in metafunc.fixturenames else ["kind"]
    parameters = []
    for kind in SERVERS:
        marks = [pytest.mark.broker] + ([] if kind is Nats else [pytest.mark.brokers])
        for version in kind.protocols if len(names) > 1 else ("",):
            values = [kind, version][: len(names)]
            name = f"{kind.name}-mqtt-{version}" if version else kind.name
            parameters.append(pytest.param(*values, id=name, marks=marks))
    metafunc.parametrize(names, parameters, indirect=["kind"], scope="module")


@pytest.fixture(scope="module")
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


@pytest.fixture
def serve(server: Server, tmp_path: Path, protocol: int) -> Iterator[Callable[..., Service]]:
    """Make services of the broker; no session of theirs is left for the next test."""
    names = set()

    def make(*extra: str, name: str = "service") -> Service:
        names.add(name)
        return Service(tmp_path, server.port, f"protocol = {protocol}", *extra, name=name)

    yield make
    for name in names:
        _forget_session(server.port, name)


def _forget_session(port: int, name: str) -> None:
    """Connect once with a clean session. NATS refuses a client id for a second after takeovers."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            with Client(port, name, clean=True):
                return
        except (AssertionError, OSError):
            if time.monotonic() > end:
                raise
            time.sleep(0.2)
