"""A run of the load generator: nothing wrong is missed, and nothing right is reported."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import pointgate
from pointgate import Catalog, Validator
from pointgate.config import MqttSettings
from pointgate.errors import ConnectionLost
from pointgate.load.generator import Generator, Plan
from pointgate.load.requests import SHAPES, Requests, make_requests
from tests.support.patience import PATIENCE
from tests.support.processes import Broker, Service
from tests.support.stand_in_broker import StandInBroker

if TYPE_CHECKING:
    from collections.abc import Callable

    from pointgate._core import Burst
    from pointgate.load.outcome import Outcome

DEMO = Path(pointgate.__file__).parent / "demo/catalog"
PRODUCT = "example"


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog.load(DEMO)


@pytest.fixture(scope="module")
def requests(catalog: Catalog) -> Requests:
    return make_requests(catalog, PRODUCT, SHAPES["S"], payload_bytes=1 << 20)


def plan(**changes: object) -> Plan:
    """A short run."""
    return Plan(**({"product": PRODUCT, "requests": 1000, "timeout": 0.5} | changes))  # type: ignore[arg-type]


def run(
    catalog: Catalog, requests: Requests, alter: Callable[[Burst], None] | None, plan: Plan
) -> Outcome:
    with StandInBroker(Validator(catalog), alter) as broker:
        settings = MqttSettings(url=f"mqtt://127.0.0.1:{broker.port}")
        return Generator(settings, plan, requests).run()


@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize("rate", [None, 5000.0])
def test_each_request_gets_its_code(
    catalog: Catalog, requests: Requests, qos: int, rate: float | None
) -> None:
    outcome = run(catalog, requests, None, plan(qos=qos, rate=rate, bad=0.1))
    assert outcome.is_right
    assert (outcome.sent, outcome.answered, outcome.accepted) == (1000, 1000, 900)
    assert (outcome.repeated, outcome.foreign) == (0, 0)
    latency = outcome.latency_ms
    assert 0 < latency["p50"] <= latency["p99"] <= latency["p999"] <= latency["max"]


def test_lost_replies_are_counted(catalog: Catalog, requests: Requests) -> None:
    numbers = itertools.count()

    def lose(burst: Burst) -> None:
        burst.answer([None if next(numbers) % 100 == 7 else one for one in burst.replies])

    outcome = run(catalog, requests, lose, plan())
    assert not outcome.is_right
    assert (outcome.lost, outcome.answered) == (10, 990)


def test_wrong_codes_are_counted(catalog: Catalog, requests: Requests) -> None:
    """Both ways: an invalid request that is accepted, and a valid one that is rejected."""
    numbers = itertools.count()

    def err(burst: Burst) -> None:
        burst.answer([swapped(one) for one in burst.replies])

    def swapped(reply: bytes | None) -> bytes | None:
        if reply is None or next(numbers) % 100 != 9:
            return reply
        good = b'"code":200' in reply
        return (
            reply.replace(b'"code":200', b'"code":1204')
            if good
            else reply.replace(b'"code":1', b'"code":2')
        )

    outcome = run(catalog, requests, err, plan(bad=0.5))
    assert not outcome.is_right
    assert sum(outcome.mismatched.values()) == 10
    assert outcome.lost == 0


def test_a_reply_to_another_request_is_no_reply(catalog: Catalog, requests: Requests) -> None:
    def confuse(burst: Burst) -> None:
        replies = burst.replies
        burst.answer([replies[0]] * len(replies))

    outcome = run(catalog, requests, confuse, plan(requests=100, window=100))
    assert outcome.lost + outcome.answered == 100
    assert outcome.lost > 0
    assert outcome.repeated == outcome.lost


def test_latency_counts_from_the_due_instant(catalog: Catalog, requests: Requests) -> None:
    """A service that stops for a while delays all requests that are due meanwhile."""
    numbers = itertools.count()
    stop = threading.Event()

    def stall(_: Burst) -> None:
        if next(numbers) == 0:
            stop.wait(0.3)

    outcome = run(catalog, requests, stall, plan(rate=1000.0, requests=300, timeout=PATIENCE))
    assert outcome.is_right
    assert outcome.latency_ms["max"] > 250
    assert outcome.latency_ms["p50"] > 75, "half of the requests were due during the pause"


def test_an_open_loop_keeps_its_rate(catalog: Catalog, requests: Requests) -> None:
    outcome = run(catalog, requests, None, plan(rate=2000.0, requests=1000))
    assert 0.4 < outcome.seconds < 3.0


def test_sending_ends_with_its_time(catalog: Catalog, requests: Requests) -> None:
    outcome = run(catalog, requests, None, plan(requests=None, seconds=0.2))
    assert outcome.is_right
    assert outcome.sent > 0
    assert outcome.seconds < 2.0


def test_a_closed_connection_ends_the_run(catalog: Catalog, requests: Requests) -> None:
    with StandInBroker(Validator(catalog)) as broker:
        settings = MqttSettings(url=f"mqtt://127.0.0.1:{broker.port}")
        long = plan(requests=None, seconds=30.0)
        generator = Generator(settings, long, requests, show=lambda _: broker.hang_up())
        with pytest.raises(ConnectionLost):
            generator.run()


@pytest.mark.parametrize(
    ("connack", "suback", "reason"),
    [(5, 1, "refuses this client: Not authorized"), (0, 0x80, "refuses the subscription")],
)
def test_a_refusal_of_the_broker_is_reported(
    catalog: Catalog, requests: Requests, connack: int, suback: int, reason: str
) -> None:
    with StandInBroker(Validator(catalog), connack=connack, suback=suback) as broker:
        settings = MqttSettings(url=f"mqtt://127.0.0.1:{broker.port}")
        with pytest.raises(ConnectionLost, match=reason):
            Generator(settings, plan(), requests).run()


@pytest.mark.parametrize("ack", ["verdict", "spool"])
@pytest.mark.parametrize(("qos", "connections"), [(0, 1), (1, 1), (1, 7)])
def test_mosquitto_and_the_service_answer_everything(
    tmp_path: Path, requests: Requests, ack: str, qos: int, connections: int
) -> None:
    with (
        Broker(tmp_path) as broker,
        Service(tmp_path, broker.port, catalog=DEMO, ack=ack) as service,
    ):
        service.ready()
        settings = MqttSettings(url=f"mqtt://127.0.0.1:{broker.port}")
        some = plan(qos=qos, connections=connections, bad=0.2, requests=2000, timeout=PATIENCE)
        outcome = Generator(settings, some, requests).run()
        assert outcome.is_right
        assert (outcome.sent, outcome.accepted) == (2000, 1600)
        service.wait_for_metric('pointgate_requests_total{code="200"}', 1600.0)
