"""How long the session waits before it connects again, and what it says meanwhile."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from pointgate import Validator, _core
from pointgate.config import MqttSettings, Settings, SpoolSettings
from pointgate.errors import ConnectionLost, SessionTakenOver
from pointgate.service.gate import Gate
from pointgate.sources.mqtt.connection import AiomqttConnection
from pointgate.sources.mqtt.errors import BrokerRefused, ClosedByBroker
from pointgate.sources.mqtt.session import Backoff, Session
from pointgate.sources.mqtt.statistics import MqttStatistics
from pointgate.store.none import NullStore
from tests.support.scripted_broker import DISCONNECT, ScriptedBroker, frame, request, until

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


def test_a_broker_that_restarts_twice_within_seconds_is_met_at_once() -> None:
    backoff = Backoff()
    backoff.wait(ClosedByBroker(), 3600.0)
    for _ in range(20):
        backoff.wait(ConnectionLost(), None)  # refused
    for lasted in (2.0, 0.5, 4.0):
        assert backoff.wait(ClosedByBroker(), lasted) <= 0.4
        assert all(backoff.wait(ConnectionLost(), None) <= 5.0 for _ in range(20))


@pytest.mark.parametrize("error", [ClosedByBroker(), ConnectionLost()])
def test_connections_that_work_for_seconds_only_are_no_hot_loop_and_are_never_left_for_long(
    error: ConnectionLost,
) -> None:
    backoff = Backoff()
    waits = [backoff.wait(error, 1.0) for _ in range(100)]
    assert waits[0] <= 0.1
    assert min(waits[10:]) >= 2.5
    assert max(waits) <= 5.0
    assert sum(wait < 1.0 for wait in waits) <= 6
    assert backoff.wait(error, 60.0) <= 0.1


def test_attempts_that_reach_the_broker_and_no_further_are_failures() -> None:
    backoff = Backoff()
    assert min([backoff.wait(ClosedByBroker(), None) for _ in range(100)][10:]) >= 2.5
    assert not backoff.suspects_takeover


_CLOSED = (ClosedByBroker(), 1.0)


@pytest.mark.parametrize(
    ("ends", "suspects_takeover"),
    [
        pytest.param([_CLOSED] * 3, True, id="closed, taken, closed, taken, closed"),
        pytest.param([_CLOSED] * 2, False, id="twice is a restart"),
        pytest.param([_CLOSED] * 2 + [(ConnectionLost(), None), _CLOSED], False, id="refused once"),
        pytest.param([(ClosedByBroker(), 60.0)] * 9, False, id="long-lived"),
        pytest.param([(ConnectionLost("pings"), 1.0)] * 9, False, id="ended by us"),
        pytest.param([(ClosedByBroker(), None)] * 9, False, id="never worked"),
        pytest.param([(ConnectionLost("busy"), 1.0)] * 9, False, id="with a reason"),
    ],
)
def test_a_fight_over_the_client_id_is_suspected_by_its_own_signs_only(
    ends: list[tuple[ConnectionLost, float | None]], *, suspects_takeover: bool
) -> None:
    backoff = Backoff()
    for error, lasted in ends:
        backoff.wait(error, lasted)
    assert backoff.suspects_takeover is suspects_takeover


def test_a_client_id_that_was_taken_is_left_to_the_other_for_longer_each_time() -> None:
    backoff = Backoff()
    waits = [backoff.wait(SessionTakenOver(), 60.0) for _ in range(6)]
    assert waits == [60, 120, 240, 480, 900, 900]
    assert backoff.wait(SessionTakenOver(), 3600.0) == 60


def test_a_broker_that_refuses_is_not_asked_in_haste() -> None:
    assert Backoff().wait(BrokerRefused(), None) == 5.0


def _session(
    port: int, protocol: Literal[5, 4, "auto"] = 5, **mqtt_settings: Any
) -> tuple[Session, MqttStatistics]:
    url = f"mqtt://127.0.0.1:{port}"
    mqtt = MqttSettings(url=url, client_id="me", protocol=protocol, **mqtt_settings)
    statistics = MqttStatistics()
    gate = Gate(
        validator=Validator(_core.Catalog({})), store=NullStore(), counters=_core.Counters()
    )
    settings = Settings(mqtt=mqtt, spool=SpoolSettings(path=Path(tempfile.mkdtemp())))
    return Session(settings, gate=gate, statistics=statistics), statistics


@asynccontextmanager
async def _running_session(
    broker: ScriptedBroker, protocol: Literal[5, 4, "auto"] = 5, **mqtt: Any
) -> AsyncIterator[tuple[Session, MqttStatistics]]:
    session, statistics = _session(broker.port, protocol, **mqtt)
    running = asyncio.create_task(session.run())
    try:
        async with asyncio.timeout(10):
            yield session, statistics
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _until_subscribed(session: Session) -> None:
    await until(lambda: not session.trouble)


async def test_a_client_id_that_was_taken_is_said_and_not_fought_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with ScriptedBroker() as broker, _running_session(broker) as (session, statistics):
        await broker.accept()
        await _until_subscribed(session)
        assert (statistics.connected, statistics.subscribed) == (True, True)
        broker.send(frame(DISCONNECT, b"\x8e\0"))
        await until(lambda: statistics.takeovers)
        assert session.trouble == "session taken over: another client uses the same client id"
        assert (statistics.connected, statistics.subscribed) == (False, False)
        assert "; reconnecting in 60 s" in caplog.text


async def test_a_session_that_the_broker_forgot_is_counted_and_one_it_kept_is_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with ScriptedBroker() as broker, _running_session(broker) as (session, statistics):
        for present in (False, True, False):
            await broker.accept(session=present)
            await _until_subscribed(session)
            broker.hang_up()
            await until(lambda: session.trouble)
        assert (statistics.reconnects, statistics.sessions_lost) == (2, 1)
        assert caplog.text.count("new session") == 2
        assert caplog.text.count("session resumed") == 1


async def test_connections_that_come_and_go_in_a_loop_fill_no_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Backoff, "wait", lambda *_: 0.0)
    caplog.set_level(logging.INFO)
    async with ScriptedBroker() as broker, _running_session(broker) as (session, statistics):
        for _ in range(100):
            await broker.accept()
            await _until_subscribed(session)
            broker.hang_up()
            await until(lambda: session.trouble)
        assert statistics.connections_lost == 100
        assert 10 <= len(caplog.records) <= 50


@pytest.mark.parametrize("reasons", [["a"], ["a", "b"], [str(number) for number in range(50)]])
async def test_attempts_that_fail_in_turns_fill_no_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, reasons: list[str]
) -> None:
    failed = 0

    async def fail(_self: Session) -> None:
        nonlocal failed
        failed += 1
        raise ConnectionLost(reasons[failed % len(reasons)])

    monkeypatch.setattr(Backoff, "wait", lambda *_: 0.0)
    monkeypatch.setattr(Session, "_run_connection", fail)
    session, _ = _session(1)
    running = asyncio.create_task(session.run())
    await until(lambda: failed > 500)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert len(caplog.records) <= 20


async def test_a_link_that_drains_ends_and_says_goodbye() -> None:
    async with ScriptedBroker() as broker, _running_session(broker) as (session, _):
        await broker.accept()
        await _until_subscribed(session)
        session.drain()
        assert await broker.packet() == (DISCONNECT, b"")


@pytest.mark.parametrize("turns", range(5))
async def test_a_link_that_is_cancelled_while_it_waits_ends_as_cancelled(
    turns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def absent(_self: Session) -> None:
        raise ConnectionLost

    monkeypatch.setattr(Session, "_run_connection", absent)
    session, _ = _session(1)
    running = asyncio.create_task(session.run())
    for _ in range(5):
        await asyncio.sleep(0)
    session.drain()
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
        session, _ = _session(broker.port)
        running = asyncio.create_task(session.run())
        await broker.accept()
        await asyncio.wait({running}, timeout=2)
        assert running.cancelled()


_LEVEL = 6  # where CONNECT has it


@pytest.mark.parametrize("five", [True, False])
async def test_auto_falls_back_to_mqtt_3_when_5_is_refused(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, *, five: bool
) -> None:
    monkeypatch.setattr(Backoff, "wait", lambda *_: 0.0)
    async with ScriptedBroker() as broker, _running_session(broker, "auto") as (session, _):
        await broker.accept(reason=0x84 if five else 1, five=five)
        assert broker.connect[_LEVEL] == 5
        await broker.accept(five=False)
        assert broker.connect[_LEVEL] == 4
        await _until_subscribed(session)
        assert 'mqtt.protocol = "auto": trying MQTT 3.1.1' in caplog.text
        broker.hang_up()
        await broker.accept(five=False)  # and stays there
        assert broker.connect[_LEVEL] == 4


async def test_auto_tries_the_other_version_when_one_is_not_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Backoff, "wait", lambda *_: 0.0)
    async with ScriptedBroker() as broker, _running_session(broker, "auto") as (session, _):
        for _ in range(2):
            await broker.take()
            broker.hang_up()
        await broker.accept(five=False)
        assert broker.connect[_LEVEL] == 4
        await _until_subscribed(session)


@pytest.mark.parametrize("protocol", [5, 4])
async def test_a_version_that_is_set_is_kept_and_the_other_one_hinted_at(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, protocol: Literal[5, 4]
) -> None:
    monkeypatch.setattr(Backoff, "wait", lambda *_: 0.0)
    async with ScriptedBroker() as broker, _running_session(broker, protocol) as (session, _):
        for _ in range(3):
            await broker.take()
            broker.hang_up()
        await broker.accept(five=protocol == 5)
        assert broker.connect[_LEVEL] == protocol
        await _until_subscribed(session)
        assert "no answer to CONNECT" in caplog.text
        assert ("MQTT 3.1.1 only?" in caplog.text) == (protocol == 5)


@pytest.mark.parametrize(
    ("protocol", "group", "unproven"), [(4, "gate", True), (5, "gate", False), (4, None, False)]
)
async def test_a_share_group_that_mqtt_3_cannot_prove_is_named_until_a_request_arrives(
    caplog: pytest.LogCaptureFixture,
    protocol: Literal[5, 4],
    group: str | None,
    *,
    unproven: bool,
) -> None:
    async with (
        ScriptedBroker() as broker,
        _running_session(broker, protocol, share_group=group) as (session, statistics),
    ):
        await broker.accept(five=protocol == 5)
        await _until_subscribed(session)
        await asyncio.sleep(0)
        assert ("no request has arrived" in "".join(session.shortfalls)) is unproven
        assert ("no request has arrived" in caplog.text) is unproven
        broker.send(request(b"{}", packet_id=1, five=protocol == 5))
        await broker.packet()
        await until(lambda: not session.shortfalls)
        assert statistics.shortfalls == 0


async def test_what_is_granted_less_is_logged_once_counted_and_gone_when_it_is_granted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with ScriptedBroker() as broker, _running_session(broker) as (session, statistics):
        broker.grants = 0
        for _ in range(3):
            await broker.accept()
            await _until_subscribed(session)
            assert len(session.shortfalls) == statistics.shortfalls == 2
            broker.hang_up()
            await until(lambda: session.trouble)
        assert caplog.text.count("grants less than requested") == 2
        broker.grants = 1
        await broker.accept()
        await _until_subscribed(session)
        assert (session.shortfalls, statistics.shortfalls) == ([], 0)
