"""How long the link waits before it connects again, and what it says meanwhile."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from pointgate import Validator, _core
from pointgate.config import MqttSettings, Settings
from pointgate.errors import ConnectionLost, SessionTakenOver
from pointgate.gate import Gate
from pointgate.link import Backoff, Link
from pointgate.metrics import Metrics
from pointgate.mqtt.aiomqtt import AiomqttConnection
from pointgate.mqtt.base import BrokerRefused
from pointgate.store.verdict import VerdictStore
from tests.scripted_broker import DISCONNECT, ScriptedBroker, frame, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def test_an_absent_broker_is_tried_at_once_first_and_every_five_seconds_at_last() -> None:
    backoff = Backoff()
    waits = [backoff.wait(ConnectionLost(), None) for _ in range(2000)]
    assert waits[0] <= 0.1
    assert max(waits) <= 5.0
    assert min(waits[10:]) >= 2.5


def test_after_a_good_connection_the_wait_is_short_again() -> None:
    backoff = Backoff()
    for _ in range(20):
        backoff.wait(ConnectionLost(), None)
    assert backoff.wait(ConnectionLost(), 3600.0) <= 0.1


def test_connections_that_last_for_seconds_only_may_be_a_fight_and_make_the_waits_long() -> None:
    backoff = Backoff()
    waits = []
    for _ in range(30):
        waits.append(backoff.wait(ConnectionLost(), 1.0))
        assert backoff.suspicious == (len(waits) >= 3)
    assert waits[0] <= 0.1
    assert 30 <= max(waits) <= 60


def test_a_client_id_that_was_taken_is_left_to_the_other_for_longer_each_time() -> None:
    backoff = Backoff()
    waits = [backoff.wait(SessionTakenOver(), 60.0) for _ in range(6)]
    assert waits == [60, 120, 240, 480, 900, 900]
    assert backoff.wait(SessionTakenOver(), 3600.0) == 60


def test_a_broker_that_refuses_is_not_asked_in_haste() -> None:
    assert Backoff().wait(BrokerRefused(), None) == 5.0


def _link(port: int) -> tuple[Link, Metrics]:
    mqtt = MqttSettings(url=f"mqtt://127.0.0.1:{port}", client_id="me")
    metrics = Metrics()
    gate = Gate(
        validator=Validator(_core.Catalog({})), store=VerdictStore(), counters=metrics.counters
    )
    return Link(Settings(mqtt=mqtt), gate=gate, metrics=metrics), metrics


@asynccontextmanager
async def _linked(broker: ScriptedBroker) -> AsyncIterator[tuple[Link, Metrics]]:
    link, metrics = _link(broker.port)
    running = asyncio.create_task(link.run())
    try:
        async with asyncio.timeout(10):
            yield link, metrics
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _until_subscribed(link: Link) -> None:
    await until(lambda: not link.trouble)


async def test_a_client_id_that_was_taken_is_said_and_not_fought_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with ScriptedBroker() as broker, _linked(broker) as (link, metrics):
        await broker.accept()
        await _until_subscribed(link)
        assert (metrics.mqtt_connected, metrics.subscribed) == (True, True)
        broker.send(frame(DISCONNECT, b"\x8e\0"))
        await until(lambda: metrics.takeovers)
        assert link.trouble == "another client has taken the client id"
        assert (metrics.mqtt_connected, metrics.subscribed) == (False, False)
        assert "standing aside for 60 s" in caplog.text


async def test_a_session_that_the_broker_forgot_is_counted_and_one_it_kept_is_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with ScriptedBroker() as broker, _linked(broker) as (link, metrics):
        for session in (False, True, False):
            await broker.accept(session=session)
            await _until_subscribed(link)
            broker.hang_up()
            await until(lambda: link.trouble)
        assert (metrics.reconnects, metrics.sessions_lost) == (2, 1)
        assert caplog.text.count("new session") == 2
        assert caplog.text.count("session resumed") == 1


async def test_a_link_that_drains_ends_and_says_goodbye() -> None:
    async with ScriptedBroker() as broker, _linked(broker) as (link, _):
        await broker.accept()
        await _until_subscribed(link)
        link.drain()
        assert await broker.packet() == (DISCONNECT, b"")


@pytest.mark.parametrize("turns", range(5))
async def test_a_link_that_is_cancelled_while_it_waits_ends_as_cancelled(
    turns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def absent(_self: Link) -> None:
        raise ConnectionLost

    monkeypatch.setattr(Link, "_hold", absent)
    link, _ = _link(1)
    running = asyncio.create_task(link.run())
    for _ in range(5):
        await asyncio.sleep(0)
    link.drain()
    for _ in range(turns):
        await asyncio.sleep(0)
    cancelled = running.cancel()  # false when it has ended already
    await asyncio.wait({running})
    assert running.cancelled() == cancelled


async def test_a_link_that_is_cancelled_while_it_loses_its_connection_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def cancelled_and_lost(_self: AiomqttConnection) -> None:
        running.cancel()
        raise ConnectionLost("cut")

    monkeypatch.setattr(AiomqttConnection, "subscribe", cancelled_and_lost)
    async with ScriptedBroker() as broker, asyncio.timeout(10):
        link, _ = _link(broker.port)
        running = asyncio.create_task(link.run())
        await broker.accept()
        await asyncio.wait({running}, timeout=2)
        assert running.cancelled()
