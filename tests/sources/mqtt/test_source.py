"""The MQTT source loses its connection, reconnects, and logs what happened."""

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
from pointgate.errors import ConnectionLost
from pointgate.service.gate import Gate
from pointgate.sources.mqtt.backoff import Backoff
from pointgate.sources.mqtt.connection import AiomqttConnection
from pointgate.sources.mqtt.source import MqttSource
from pointgate.sources.mqtt.statistics import MqttStatistics
from pointgate.store.none import NullStore
from tests.support.patience import PATIENCE
from tests.support.scripted_broker import DISCONNECT, ScriptedBroker, frame, request, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def _source(
    port: int, protocol: Literal[5, 4, "auto"] = 5, **mqtt_settings: Any
) -> tuple[MqttSource, MqttStatistics]:
    url = f"mqtt://127.0.0.1:{port}"
    mqtt = MqttSettings(url=url, client_id="me", protocol=protocol, **mqtt_settings)
    statistics = MqttStatistics()
    gate = Gate(
        validator=Validator(_core.Catalog({})), store=NullStore(), counters=_core.Counters()
    )
    settings = Settings(mqtt=mqtt, spool=SpoolSettings(path=Path(tempfile.mkdtemp())))
    return MqttSource(settings, gate=gate, statistics=statistics), statistics


@asynccontextmanager
async def _running(
    broker: ScriptedBroker, protocol: Literal[5, 4, "auto"] = 5, **mqtt: Any
) -> AsyncIterator[tuple[MqttSource, MqttStatistics]]:
    source, statistics = _source(broker.port, protocol, **mqtt)
    running = asyncio.create_task(source.run())
    try:
        async with asyncio.timeout(PATIENCE):
            yield source, statistics
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _until_subscribed(source: MqttSource) -> None:
    await until(lambda: not source.trouble)


async def test_a_client_id_that_was_taken_is_said_and_not_fought_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with ScriptedBroker() as broker, _running(broker) as (source, statistics):
        await broker.accept()
        await _until_subscribed(source)
        assert (statistics.connected, statistics.subscribed) == (True, True)
        broker.send(frame(DISCONNECT, b"\x8e\0"))
        await until(lambda: statistics.takeovers)
        assert source.trouble == "session taken over: another client uses the same client id"
        assert (statistics.connected, statistics.subscribed) == (False, False)
        assert "; reconnecting in 60 s" in caplog.text


async def test_a_session_that_the_broker_forgot_is_counted_and_one_it_kept_is_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with ScriptedBroker() as broker, _running(broker) as (source, statistics):
        for present in (False, True, False):
            await broker.accept(session=present)
            await _until_subscribed(source)
            broker.hang_up()
            await until(lambda: source.trouble)
        assert (statistics.reconnects, statistics.sessions_lost) == (2, 1)
        assert caplog.text.count("new session") == 2
        assert caplog.text.count("session resumed") == 1


async def test_connections_that_come_and_go_in_a_loop_fill_no_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Backoff, "wait", lambda *_: 0.0)
    caplog.set_level(logging.INFO)
    async with ScriptedBroker() as broker, _running(broker) as (source, statistics):
        for _ in range(100):
            await broker.accept()
            await _until_subscribed(source)
            broker.hang_up()
            await until(lambda: source.trouble)
        assert statistics.connections_lost == 100
        assert 10 <= len(caplog.records) <= 50


@pytest.mark.parametrize("reasons", [["a"], ["a", "b"], [str(number) for number in range(50)]])
async def test_attempts_that_fail_in_turns_fill_no_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, reasons: list[str]
) -> None:
    failed = 0

    async def fail(_self: MqttSource) -> None:
        nonlocal failed
        failed += 1
        raise ConnectionLost(reasons[failed % len(reasons)])

    monkeypatch.setattr(Backoff, "wait", lambda *_: 0.0)
    monkeypatch.setattr(MqttSource, "_run_connection", fail)
    source, _ = _source(1)
    running = asyncio.create_task(source.run())
    await until(lambda: failed > 500)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert len(caplog.records) <= 20


async def test_a_link_that_drains_ends_and_says_goodbye() -> None:
    async with ScriptedBroker() as broker, _running(broker) as (source, _):
        await broker.accept()
        await _until_subscribed(source)
        source.drain()
        assert await broker.packet() == (DISCONNECT, b"")


@pytest.mark.parametrize("turns", range(5))
async def test_a_link_that_is_cancelled_while_it_waits_ends_as_cancelled(
    turns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def absent(_self: MqttSource) -> None:
        raise ConnectionLost

    monkeypatch.setattr(MqttSource, "_run_connection", absent)
    source, _ = _source(1)
    running = asyncio.create_task(source.run())
    for _ in range(5):
        await asyncio.sleep(0)
    source.drain()
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
    async with ScriptedBroker() as broker, asyncio.timeout(PATIENCE):
        source, _ = _source(broker.port)
        running = asyncio.create_task(source.run())
        await broker.accept()
        await asyncio.wait({running}, timeout=2)
        assert running.cancelled()


_LEVEL = 6  # where CONNECT has it


@pytest.mark.parametrize("five", [True, False])
async def test_auto_falls_back_to_mqtt_3_when_5_is_refused(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, *, five: bool
) -> None:
    monkeypatch.setattr(Backoff, "wait", lambda *_: 0.0)
    async with ScriptedBroker() as broker, _running(broker, "auto") as (source, _):
        await broker.accept(reason=0x84 if five else 1, five=five)
        assert broker.connect[_LEVEL] == 5
        await broker.accept(five=False)
        assert broker.connect[_LEVEL] == 4
        await _until_subscribed(source)
        assert 'mqtt.protocol = "auto": trying MQTT 3.1.1' in caplog.text
        broker.hang_up()
        await broker.accept(five=False)  # and stays there
        assert broker.connect[_LEVEL] == 4


async def test_auto_tries_the_other_version_when_one_is_not_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Backoff, "wait", lambda *_: 0.0)
    async with ScriptedBroker() as broker, _running(broker, "auto") as (source, _):
        for _ in range(2):
            await broker.take()
            broker.hang_up()
        await broker.accept(five=False)
        assert broker.connect[_LEVEL] == 4
        await _until_subscribed(source)


@pytest.mark.parametrize("protocol", [5, 4])
async def test_a_version_that_is_set_is_kept_and_the_other_one_hinted_at(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, protocol: Literal[5, 4]
) -> None:
    monkeypatch.setattr(Backoff, "wait", lambda *_: 0.0)
    async with ScriptedBroker() as broker, _running(broker, protocol) as (source, _):
        for _ in range(3):
            await broker.take()
            broker.hang_up()
        await broker.accept(five=protocol == 5)
        assert broker.connect[_LEVEL] == protocol
        await _until_subscribed(source)
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
        _running(broker, protocol, share_group=group) as (source, statistics),
    ):
        await broker.accept(five=protocol == 5)
        await _until_subscribed(source)
        await asyncio.sleep(0)
        assert ("no request has arrived" in "".join(source.shortfalls)) is unproven
        assert ("no request has arrived" in caplog.text) is unproven
        broker.send(request(b"{}", packet_id=1, five=protocol == 5))
        await broker.packet()
        await until(lambda: not source.shortfalls)
        assert statistics.shortfalls == 0


async def test_what_is_granted_less_is_logged_once_counted_and_gone_when_it_is_granted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with ScriptedBroker() as broker, _running(broker) as (source, statistics):
        broker.grants = 0
        for _ in range(3):
            await broker.accept()
            await _until_subscribed(source)
            assert len(source.shortfalls) == statistics.shortfalls == 2
            broker.hang_up()
            await until(lambda: source.trouble)
        assert caplog.text.count("grants less than requested") == 2
        broker.grants = 1
        await broker.accept()
        await _until_subscribed(source)
        assert (source.shortfalls, statistics.shortfalls) == ([], 0)
