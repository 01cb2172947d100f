"""A service under a memory limit: the largest requests, three sinks, an outage, a crash."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

from pointgate.config import LimitSettings
from tests.limits import largest
from tests.limits.sinks import Sinks
from tests.support.cgroup import MIB, MemoryLimit
from tests.support.processes import Broker, Sender

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.postgres_server import PostgresServer

pytest_plugins = ("tests.support.postgres_fixtures",)

pytestmark = [pytest.mark.broker, pytest.mark.slow]

LIMIT: Final = 1024 * MIB
"""The shipped unit's `MemoryMax`."""

DOCUMENTED: Final = 1.1 * (
    90_000_000 + 2 * LimitSettings().in_flight_bytes + (56 + 2 * 12) * LimitSettings().payload_bytes
)
"""The formula of docs/operations.md for three sinks, and a tenth."""

WINDOW: Final = 8
"""Requests that wait for their replies at a time."""


def post(sender: Sender, payloads: Iterator[bytes]) -> int:
    """Post all, some at a time; returns how many there were, all of them answered 200."""
    waiting = sent = 0
    for payload in payloads:
        if waiting == WINDOW:
            assert b'"code":200' in sender.reply().payload
            waiting -= 1
        sender.send(payload, largest.TOPIC)
        sent += 1
        waiting += 1
    assert all(b'"code":200' in reply.payload for reply in sender.take(waiting))
    return sent


def texts(first: int, last: int) -> Iterator[bytes]:
    return (largest.texts(number) for number in range(first, last))


def numbers(first: int, last: int) -> Iterator[bytes]:
    return (largest.numbers(number)[0] for number in range(first, last))


class Case(NamedTuple):
    """What is posted: so many requests, each of so many points."""

    make: Callable[[int, int], Iterator[bytes]]
    points: int
    requests: int


TEXTS = functools.partial(Case, texts, largest.TEXTS)
NUMBERS = functools.partial(Case, numbers, largest.numbers(0)[1])
SHORT = pytest.mark.timeout(900)
FULL = [pytest.mark.limits, pytest.mark.timeout(3600)]


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(TEXTS(12), id="texts", marks=SHORT),
        pytest.param(NUMBERS(2), id="numbers", marks=SHORT),
        pytest.param(TEXTS(340), id="2.5 GiB of texts", marks=FULL),
        pytest.param(NUMBERS(20), id="24 million points", marks=FULL),
    ],
)
def test_the_largest_requests_stay_within_the_memory_of_the_unit(
    tmp_path: Path, server: PostgresServer, schema: str, case: Case
) -> None:
    make, points, requests = case
    with (
        MemoryLimit(LIMIT) as limit,
        Broker(tmp_path) as broker,
        Sender(broker.port) as sender,
        Sinks(
            tmp_path,
            broker=broker,
            server=server,
            schema=schema,
            limit=limit,
            catalog=largest.catalog(tmp_path / "catalog"),
        ) as sinks,
    ):
        with sinks.held_back():
            with sinks.service() as service:
                service.ready()
                post(sender, make(0, requests // 2))
            with sinks.service() as service:  # after a kill, with all of it in the spool
                service.ready()
                post(sender, make(requests // 2, requests - requests // 4))
        with sinks.service() as service:
            service.ready()
            post(sender, make(requests - requests // 4, requests))
            sinks.wait(service)
            assert service.end() == 0
        assert limit.kills == 0
        assert sinks.stored() == dict.fromkeys(sinks.names, requests * points)
        assert sinks.most_memory < DOCUMENTED
