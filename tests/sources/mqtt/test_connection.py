"""A connection against a broker that does what the test says: windows, pressure, pings, ends."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal

import pytest

from pointgate._core import FIRST_REPLY_ID, LAST_REPLY_ID, Burst
from pointgate.config import LimitSettings, MqttSettings
from pointgate.errors import ConnectionLost, SessionTakenOver
from pointgate.sources.admission import Admission
from pointgate.sources.mqtt.connection import AiomqttConnection, connect
from pointgate.sources.mqtt.errors import BrokerRefused
from tests.support.patience import PATIENCE
from tests.support.scripted_broker import (
    DISCONNECT,
    PUBACK,
    PUBLISH,
    SUBACK,
    TOPIC,
    ScriptedBroker,
    frame,
    puback,
    request,
    until,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_RECEIVE_MAXIMUM = b"\x21"
_MAXIMUM_QOS = b"\x24"
_PACKET_LIMIT = b"\x27"
_REPLY = b'{"code":200}'


class _Ends:
    """Both ends of one connection."""

    def __init__(self, broker: ScriptedBroker, connection: AiomqttConnection) -> None:
        self.broker = broker
        self.connection = connection
        self.refused: list[str] = []

    async def settle(self, count: int) -> list[bytes]:
        """Receive and settle so many requests; returns their payloads."""
        payloads: list[bytes] = []
        while len(payloads) < count:
            burst = await self.receive()
            payloads += [one.payload for one in burst.requests]
            await self.answer(burst)
        return payloads

    async def receive(self) -> Burst:
        """Receive a burst; there must be one."""
        burst = await self.connection.receive()
        assert burst
        return burst

    async def answer(self, burst: Burst, reply: bytes | None = _REPLY) -> None:
        """Settle a burst; each of its requests has this reply."""
        burst.answer([reply] * len(burst))
        await self.connection.settle(burst)


@asynccontextmanager
async def _connected(
    *,
    protocol: Literal[5, 4] = 5,
    session: bool = False,
    properties: bytes = b"",
    limits: dict[str, int] | None = None,
    **mqtt: Any,
) -> AsyncIterator[_Ends]:
    refused: list[str] = []
    async with ScriptedBroker() as broker, asyncio.timeout(PATIENCE):
        settings = MqttSettings(
            url=f"mqtt://127.0.0.1:{broker.port}", client_id="me", protocol=protocol, **mqtt
        )
        accepting = asyncio.create_task(
            broker.accept(session=session, properties=properties, five=protocol == 5)
        )
        bounds = Admission(LimitSettings(**(limits or {})))
        async with connect(settings, bounds, on_refused=refused.append) as connection:
            await accepting
            ends = _Ends(broker, connection)
            ends.refused = refused
            yield ends


def _limit(in_flight_bytes: int) -> dict[str, int]:
    return {"in_flight_bytes": in_flight_bytes, "payload_bytes": 100_000}


def _reply_id(body: bytes) -> int:
    at = 2 + int.from_bytes(body[:2], "big")
    return int.from_bytes(body[at : at + 2], "big")


@pytest.mark.parametrize("protocol", [4, 5])
async def test_a_reply_comes_before_the_acknowledgement_in_the_order_of_arrival(
    protocol: Literal[5, 4],
) -> None:
    async with _connected(protocol=protocol) as ends:
        five = protocol == 5
        ends.broker.send(*(request(b"%d" % n, packet_id=n, five=five) for n in (7, 3, 5)))
        assert await ends.settle(3) == [b"7", b"3", b"5"]
        kinds = [await ends.broker.packet() for _ in range(6)]
        assert [first for first, _ in kinds] == [PUBLISH | 2, PUBACK] * 3
        assert [body for first, body in kinds if first == PUBACK] == [b"\0\7", b"\0\3", b"\0\5"]
        topic = (TOPIC + "_reply").encode()
        assert all(body[2:].startswith(topic) for first, body in kinds if first != PUBACK)


async def test_bursts_that_are_settled_together_leave_together() -> None:
    async with _connected() as ends:
        bursts = []
        for number in (1, 2):
            ends.broker.send(request(b"%d" % number, packet_id=number))
            bursts.append(await ends.receive())
            bursts[-1].answer([_REPLY])
        await ends.connection.settle(bursts[0], more=True)
        await asyncio.sleep(0.05)
        assert ends.broker.packets_now() == []
        await ends.connection.settle(bursts[1])
        kinds = [await ends.broker.packet() for _ in range(4)]
        assert [first for first, _ in kinds] == [PUBLISH | 2, PUBACK] * 2
        assert [body for first, body in kinds if first == PUBACK] == [b"\0\1", b"\0\2"]
        assert ends.connection.settled == 2


async def test_many_bytes_are_handed_over_although_more_follow() -> None:
    async with _connected(limits=_limit(10_000_000)) as ends:
        ends.broker.send(request(b"1", packet_id=1))
        burst = await ends.receive()
        burst.answer([b"x" * 1_000_000])
        await ends.connection.settle(burst, more=True)
        assert (await ends.broker.packet())[0] == PUBLISH | 2


async def test_nothing_is_acknowledged_before_it_is_settled() -> None:
    async with _connected() as ends:
        ends.broker.send(request(b"{}", packet_id=1))
        await ends.connection.receive()
        await ends.connection.subscribe()  # a round trip
        assert ends.broker.packets_now() == []


async def test_replies_wait_for_the_window_that_the_broker_grants() -> None:
    async with _connected(properties=_RECEIVE_MAXIMUM + b"\0\2") as ends:
        ends.broker.send(*(request(b"{}", packet_id=n) for n in range(1, 6)))
        settling = asyncio.create_task(ends.settle(5))
        first = [await ends.broker.packet() for _ in range(4)]
        assert [kind for kind, _ in first] == [PUBLISH | 2, PUBACK] * 2
        await ends.connection.subscribe()  # a round trip, in which nothing else comes
        assert ends.broker.packets_now() == []
        ends.broker.send(puback(FIRST_REPLY_ID))
        third, acknowledgement = await ends.broker.packet(), await ends.broker.packet()
        assert (_reply_id(third[1]), acknowledgement) == (FIRST_REPLY_ID + 2, (PUBACK, b"\0\3"))
        ends.broker.send(*(puback(FIRST_REPLY_ID + n) for n in range(1, 5)))
        await settling
        assert len([await ends.broker.packet() for _ in range(4)]) == 4


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        pytest.param(0x87, "Not authorized", id="listed"),
        pytest.param(0x82, "reason 0x82", id="not for a PUBACK"),
        pytest.param(0xFE, "reason 0xfe", id="not listed"),
    ],
)
async def test_a_reply_that_the_broker_refuses_is_reported_and_settled(
    reason: int, text: str
) -> None:
    async with _connected() as ends:
        ends.broker.send(request(b"{}", packet_id=1))
        await ends.settle(1)
        ends.broker.send(puback(FIRST_REPLY_ID, reason), request(b"next"))
        assert await ends.settle(1) == [b"next"]
        assert ends.refused == [text]


async def test_a_mistake_of_our_own_ends_the_connection_instead_of_stalling_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise LookupError("canary")

    monkeypatch.setattr("pointgate.sources.mqtt.channel.rejection", broken)
    async with _connected() as ends:
        ends.broker.send(request(b"{}", packet_id=1))
        await ends.settle(1)
        ends.broker.send(puback(FIRST_REPLY_ID, 0x87))
        with pytest.raises(ConnectionLost, match="canary"):
            await ends.connection.receive()
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info


@pytest.mark.parametrize(
    ("protocol", "configured", "maximum", "expected"),
    [
        (4, None, b"", {0: 0, 1: 1}),
        (4, 0, b"", {0: 0, 1: 0}),
        (4, 1, b"", {0: 1, 1: 1}),
        (5, None, b"", {0: 0, 1: 1}),
        (5, 0, b"", {0: 0, 1: 0}),
        (5, 1, b"", {0: 1, 1: 1}),
        (5, None, _MAXIMUM_QOS + b"\1", {0: 0, 1: 1}),
        (5, None, _MAXIMUM_QOS + b"\0", {0: 0, 1: 0}),
        (5, 1, _MAXIMUM_QOS + b"\0", {0: 0, 1: 0}),
    ],
)
async def test_a_reply_has_the_qos_that_is_configured_and_the_broker_takes(
    protocol: Literal[5, 4], configured: int | None, maximum: bytes, expected: dict[int, int]
) -> None:
    async with _connected(protocol=protocol, properties=maximum, reply_qos=configured) as ends:
        five = protocol == 5
        for asked, qos in expected.items():
            ends.broker.send(request(b"{}", packet_id=asked, five=five))
            await ends.settle(1)
            assert (await ends.broker.packet())[0] == PUBLISH | qos << 1
            if asked:
                assert await ends.broker.packet() == (PUBACK, b"\0\1")


async def test_an_end_in_the_middle_of_a_burst_tells_how_much_of_it_was_settled() -> None:
    async with _connected(properties=_RECEIVE_MAXIMUM + b"\0\2") as ends:
        ends.broker.send(*(request(b"{}", packet_id=n) for n in range(1, 6)))
        settling = asyncio.create_task(ends.settle(5))
        for _ in range(4):
            await ends.broker.packet()
        ends.broker.hang_up()
        with pytest.raises(ConnectionLost):
            await settling
        assert ends.connection.settled == 2


async def test_a_reply_that_the_broker_cannot_take_is_reported_and_not_sent() -> None:
    async with _connected(properties=_PACKET_LIMIT + (60).to_bytes(4, "big")) as ends:
        ends.broker.send(request(b"{}", packet_id=1))
        await ends.settle(1)
        assert await ends.broker.packet() == (PUBACK, b"\0\1")
        assert len(ends.refused) == 1


@pytest.mark.parametrize(
    ("limits", "payload", "correlation"),
    [
        ({"in_flight_requests": 10}, b"x" * 50_000, b""),
        (_limit(400_000), b"x" * 50_000, b""),
        (_limit(400_000), b"", b"x" * 50_000),
    ],
)
async def test_reading_stops_while_too_much_is_in_flight_and_nothing_is_dropped(
    limits: dict[str, int], payload: bytes, correlation: bytes
) -> None:
    async with _connected(limits=limits) as ends:
        count = 300
        ends.broker.send(
            *(request(payload + b"%d" % n, correlation=correlation) for n in range(count))
        )
        bursts = [await ends.receive()]
        with pytest.raises(TimeoutError):  # 15 MB: more than the kernel's buffers hold
            await asyncio.wait_for(ends.broker.writer.drain(), 0.5)
        while True:
            try:
                bursts.append(await asyncio.wait_for(ends.receive(), 0.2))
            except TimeoutError:
                break
        taken = [one.payload for burst in bursts for one in burst.requests]
        assert 5 < len(taken) < 30
        for burst in bursts:
            await ends.answer(burst, None)
        rest = await ends.settle(count - len(taken))
        assert taken + rest == [payload + b"%d" % n for n in range(count)]


async def test_a_window_that_is_full_does_not_wait_for_a_stopped_reader() -> None:
    properties = _RECEIVE_MAXIMUM + b"\0\1"
    async with _connected(properties=properties, limits={"in_flight_requests": 4}) as ends:
        ends.broker.send(*(request(b"%d" % n, packet_id=n) for n in range(1, 7)))
        settling = asyncio.create_task(ends.settle(6))
        for n in range(6):
            kind, body = await ends.broker.packet()
            assert (kind, _reply_id(body)) == (PUBLISH | 2, FIRST_REPLY_ID + n)
            assert (await ends.broker.packet())[0] == PUBACK
            ends.broker.send(puback(FIRST_REPLY_ID + n))
        await settling


async def test_a_broker_that_pours_out_all_it_has_before_it_acknowledges_is_answered() -> None:
    properties = _RECEIVE_MAXIMUM + b"\0\1"
    async with _connected(properties=properties, limits=_limit(1_000_000)) as ends:
        count, payload = 400, b"x" * 50_000  # 20 MB: more than the kernel's buffers hold
        ends.broker.send(*(request(payload, packet_id=n) for n in range(1, count + 1)))
        settled = 0
        while settled < count - 60:  # 40 are what twice the limit holds
            burst = await ends.receive()
            await ends.answer(burst)
            settled += len(burst)
            assert ends.connection._intake._bytes < 2_000_000 + 200_000
        answered = ends.broker.packets_now()
        assert len(answered) > 20
        assert [first for first, _ in answered[:4]] == [PUBLISH | 2, PUBACK] * 2


async def test_a_broker_that_sends_more_than_there_are_packet_ids_first_is_answered() -> None:
    async with _connected(
        properties=_RECEIVE_MAXIMUM + b"\0\x14", limits={"in_flight_requests": 1000}
    ) as ends:
        count = LAST_REPLY_ID - FIRST_REPLY_ID + 5_000
        sending = asyncio.create_task(_pour(ends.broker, count))
        settled = 0
        # The last ones wait for an acknowledgement: nothing follows them that we could not hear it
        # behind.
        while settled < count - 4_000:
            burst = await ends.receive()
            await ends.answer(burst)
            settled += len(burst)
            assert ends.connection._intake._requests <= 2_000 + 512 + 1_024
        await sending
        settling = asyncio.create_task(ends.settle(count - settled))
        answered = 0
        while not settling.done() or answered < count:
            kind, body = await ends.broker.packet()
            if kind == PUBLISH | 2:
                answered += 1
                ends.broker.send(puback(_reply_id(body)))
        await settling
        assert ends.connection._codec.unacknowledged <= 20


async def _pour(broker: ScriptedBroker, count: int) -> None:
    for start in range(0, count, 1000):
        ids = range(start, min(start + 1000, count))
        broker.send(*(request(b"{}", packet_id=1 + number % 65_535) for number in ids))
        await broker.writer.drain()


async def test_a_reply_that_left_with_a_ping_wakes_whoever_waits_for_the_socket() -> None:
    async with _connected() as ends:
        ends.broker.freeze()
        ends.broker.send(*[request(b"{}")] * 200)
        burst = await ends.receive()
        settling = asyncio.create_task(ends.answer(burst, bytes(50_000)))
        await until(lambda: ends.connection._writing)
        relay = ends.connection._relay
        assert relay
        # The socket takes more again, and the library's ping is written before the loop tells so.
        asyncio.get_running_loop().remove_writer(relay.fileno())
        emptying = asyncio.create_task(ends.broker.discard())
        await until(ends.connection._flush)
        await asyncio.wait_for(settling, 5)
        emptying.cancel()


async def test_a_connection_that_does_not_read_still_pings_and_does_not_miss_the_answers() -> None:
    async with _connected(keepalive=1, limits={"in_flight_requests": 1}) as ends:
        ends.broker.send(request(b"1", packet_id=1), request(b"2", packet_id=2))
        burst = await ends.receive()
        await until(lambda: ends.broker.pings >= 3)
        await ends.answer(burst, None)
        ends.broker.send(request(b"3", packet_id=3))
        assert await ends.settle(1) == [b"3"]


async def test_a_broker_that_answers_no_ping_is_left() -> None:
    async with _connected(keepalive=1) as ends:
        ends.broker.answers_pings = False
        with pytest.raises(ConnectionLost, match="does not answer pings"):
            await ends.connection.receive()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no TCP_USER_TIMEOUT")
async def test_a_broker_that_takes_no_replies_is_left_although_we_do_not_read() -> None:
    async with _connected(keepalive=1, limits={"in_flight_requests": 10}) as ends:
        ends.broker.freeze()
        ends.broker.send(*[request(b"{}")] * 700)  # more than one burst, so that we stop reading
        begun = time.monotonic()

        async def settle() -> None:
            while burst := await ends.connection.receive():
                await ends.answer(burst, bytes(50_000))

        with pytest.raises(ConnectionLost, match="timed out"):
            await settle()
        assert time.monotonic() - begun < 2 + 1


async def test_requests_prove_the_broker_alive_while_a_ping_is_unanswered() -> None:
    async with _connected(keepalive=1) as ends:
        ends.broker.answers_pings = False
        while ends.broker.pings < 3:
            ends.broker.send(request(b"{}"))
            await ends.settle(1)
            await asyncio.sleep(0.1)


async def test_the_answer_to_subscribe_may_stand_behind_a_backlog(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pointgate.sources.mqtt.channel._SUBACK_SECONDS", 1.0)
    async with _connected(limits={"in_flight_requests": 1}) as ends:
        ends.broker.answers_subscriptions = False
        subscribing = asyncio.create_task(ends.connection.subscribe())
        begun = time.monotonic()
        while time.monotonic() - begun < 2.5:  # the broker sends
            ends.broker.send(request(b"{}"))
            await ends.settle(1)
            await asyncio.sleep(0.05)
        ends.broker.send(request(b"{}"), request(b"{}"))
        burst = await ends.receive()
        await until(lambda: not ends.connection._reading)
        await asyncio.sleep(2.5)  # we do not read
        assert not subscribing.done()
        ends.broker.send(ends.broker.suback)
        await ends.answer(burst, None)
        await subscribing


async def test_a_broker_that_does_not_answer_subscribe_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pointgate.sources.mqtt.channel._SUBACK_SECONDS", 1.0)
    async with _connected() as ends:
        ends.broker.answers_subscriptions = False
        with pytest.raises(ConnectionLost, match="does not answer SUBSCRIBE"):
            await ends.connection.subscribe()


async def test_a_client_id_that_another_took_is_told_from_a_lost_connection() -> None:
    async with _connected() as ends:
        ends.broker.send(frame(DISCONNECT, b"\x8e\0"))
        with pytest.raises(SessionTakenOver, match="me"):
            await ends.connection.receive()


@pytest.mark.parametrize(
    ("last", "why"),
    [
        pytest.param(b"", "the broker closed", id="closed"),
        pytest.param(request(b"{}")[:-1], "the broker closed", id="closed within a packet"),
        pytest.param(b"\x30\xff\xff\xff\xff\xff", "we closed .*: a length", id="not MQTT"),
        pytest.param(b"\xf0\0", "we closed .*: it sent", id="a packet that paho does not know"),
        pytest.param(frame(DISCONNECT, b"\xfe\0"), "we closed .*: it sent", id="unknown reason"),
        pytest.param(frame(DISCONNECT, b"\x8b\0"), "broker ended .*down", id="shutting down"),
    ],
)
async def test_every_end_is_a_connection_lost_and_says_who_ended_it(last: bytes, why: str) -> None:
    async with _connected() as ends:
        ends.broker.send(last)
        await ends.broker.writer.drain()
        ends.broker.writer.write_eof()
        with pytest.raises(ConnectionLost, match=why) as lost:
            await ends.connection.receive()
        assert not isinstance(lost.value, SessionTakenOver)
        with pytest.raises(ConnectionLost):
            await ends.connection.settle(Burst.of([], []))


async def test_a_draining_connection_hands_over_what_has_arrived_and_nothing_more() -> None:
    async with _connected() as ends:
        ends.broker.send(request(b"1", packet_id=1))
        burst = await ends.receive()
        ends.broker.send(request(b"2", packet_id=2))
        await ends.connection.subscribe()
        ends.connection.drain()
        ends.broker.send(request(b"3", packet_id=3))
        assert [one.payload for one in (await ends.receive()).requests] == [b"2"]
        assert await ends.connection.receive() is None
        await ends.answer(burst)
    packets = ends.broker.packets_now()
    assert [first for first, _ in packets][:3] == [PUBLISH | 2, PUBACK, DISCONNECT]


@pytest.mark.parametrize("by_broker", [False, True])
async def test_a_connection_that_has_ended_watches_its_descriptor_no_longer(
    *,
    by_broker: bool,
) -> None:
    async with _connected() as ends:
        relay = ends.connection._relay
        assert relay is not None
        descriptor = relay.fileno()
        if by_broker:
            ends.broker.hang_up()
            with pytest.raises(ConnectionLost):
                await ends.connection.receive()
    # The next socket may have the same number, and a stale entry would keep it from being watched.
    loop = asyncio.get_running_loop()
    assert (loop.remove_reader(descriptor), loop.remove_writer(descriptor)) == (False, False)
    assert relay.fileno() == -1


@pytest.mark.parametrize("protocol", [4, 5])
async def test_a_request_at_qos_2_from_an_older_session_is_received_after_its_reply(
    protocol: Literal[5, 4],
) -> None:
    async with _connected(session=True, protocol=protocol) as ends:
        ends.broker.send(request(b"{}", packet_id=9, qos=2, five=protocol == 5))
        burst = await ends.receive()
        assert ends.broker.packets_now() == []
        await ends.answer(burst)
        assert (await ends.broker.packet())[0] == PUBLISH | 2
        assert await ends.broker.packet() == (0x50, b"\0\x09")  # PUBREC
        ends.broker.send(frame(0x62, b"\0\x09"))  # PUBREL
        assert await ends.broker.packet() == (0x70, b"\0\x09")  # PUBCOMP


@pytest.mark.parametrize("released", [False, True])
async def test_requests_at_qos_2_are_in_flight_like_any_other(*, released: bool) -> None:
    async with _connected(session=True, limits=_limit(400_000)) as ends:
        payload, count = b"x" * 50_000, 300  # 15 MB: more than the kernel's buffers hold
        for number in range(1, count + 1):
            ends.broker.send(request(payload, packet_id=number, qos=2))
            if released:
                ends.broker.send(frame(0x62, number.to_bytes(2, "big")))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ends.broker.writer.drain(), 0.5)
        assert ends.connection._intake._bytes < 800_000
        assert len(await ends.settle(count)) == count


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(frame(0xD0, b""), id="PINGRESP"),
        pytest.param(frame(SUBACK, b"\0\7\0\1"), id="SUBACK of nothing"),
        pytest.param(frame(0xB0, b"\0\7\0\0"), id="UNSUBACK of nothing"),
        pytest.param(puback(7), id="PUBACK of nothing"),
        pytest.param(puback(FIRST_REPLY_ID), id="PUBACK of no open reply"),
        pytest.param(frame(0x50, b"\0\7"), id="PUBREC of nothing"),
        pytest.param(frame(0x62, b"\0\7"), id="PUBREL of nothing"),
        pytest.param(frame(0x70, b"\0\7"), id="PUBCOMP of nothing"),
        pytest.param(frame(SUBACK, b"\0\7\0" + b"\1" * 4_000), id="long SUBACK"),
    ],
)
async def test_a_flood_of_control_packets_holds_nobody_up(packet: bytes) -> None:
    async with _connected() as ends:
        reading = asyncio.create_task(ends.broker.discard_packets())
        longest, running = 0.0, True  # of the processor's time: others may use the machine

        async def watch() -> None:
            nonlocal longest
            while running:
                begun = time.thread_time()
                await asyncio.sleep(0)
                longest = max(longest, time.thread_time() - begun)

        watching = asyncio.create_task(watch())
        ends.broker.send(packet * (300_000 // len(packet)), request(b"after"))
        assert await ends.settle(1) == [b"after"]
        running = False
        await watching
        reading.cancel()
        assert longest < 1.0
        assert len(ends.connection._relay.control) < 400_000  # type: ignore[union-attr]


@pytest.mark.parametrize(("protocol", "reason"), [(5, 0x87), (5, 0x86), (4, 4), (4, 5)])
async def test_a_broker_that_refuses_is_told_from_one_that_is_absent(
    protocol: Literal[5, 4], reason: int
) -> None:
    async with ScriptedBroker() as broker, asyncio.timeout(PATIENCE):
        url = f"mqtt://127.0.0.1:{broker.port}"
        settings = MqttSettings(url=url, client_id="me", protocol=protocol)
        accepting = asyncio.create_task(broker.accept(reason=reason, five=protocol == 5))
        with pytest.raises(BrokerRefused):
            async with connect(settings, Admission(LimitSettings()), on_refused=print):
                pass
        await accepting


async def test_a_broker_that_cannot_take_us_now_is_asked_again_soon() -> None:
    async with ScriptedBroker() as broker, asyncio.timeout(PATIENCE):
        settings = MqttSettings(url=f"mqtt://127.0.0.1:{broker.port}", client_id="me")
        connecting = asyncio.create_task(_connect_only(settings))
        await broker.accept(reason=0x88)
        with pytest.raises(ConnectionLost, match="Server unavailable") as lost:
            await connecting
        assert not isinstance(lost.value, BrokerRefused)


async def test_a_cancellation_that_meets_the_brokers_answer_to_connect_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    accepted = AiomqttConnection.accepted

    def cancel_first(self: AiomqttConnection, **answer: Any) -> None:
        connecting.cancel()
        accepted(self, **answer)

    monkeypatch.setattr(AiomqttConnection, "accepted", cancel_first)
    async with ScriptedBroker() as broker, asyncio.timeout(PATIENCE):
        settings = MqttSettings(url=f"mqtt://127.0.0.1:{broker.port}", client_id="me")
        connecting = asyncio.create_task(_connect_only(settings))
        await broker.accept()
        await asyncio.wait({connecting})
        assert connecting.cancelled()


async def test_a_cancellation_that_meets_the_brokers_answer_to_subscribe_is_not_lost() -> None:
    async with _connected() as ends:
        paho = ends.connection._library._paho
        answered: Any = paho.on_subscribe

        def cancel_first(*answer: Any) -> None:
            subscribing.cancel()
            answered(*answer)

        paho.on_subscribe = cancel_first
        subscribing = asyncio.create_task(ends.connection.subscribe())
        await asyncio.wait({subscribing})
        assert subscribing.cancelled()


async def test_a_broker_that_hangs_up_instead_of_an_answer_is_not_waited_for() -> None:
    async with ScriptedBroker() as broker, asyncio.timeout(PATIENCE):
        settings = MqttSettings(url=f"mqtt://127.0.0.1:{broker.port}", client_id="me")
        connecting = asyncio.create_task(_connect_only(settings))
        await broker.take()
        broker.hang_up()
        with pytest.raises(ConnectionLost):
            await connecting


async def _connect_only(settings: MqttSettings) -> None:
    async with connect(settings, Admission(LimitSettings()), on_refused=print):
        pass


async def test_connect_says_what_we_can_take() -> None:
    async with _connected(receive_maximum=77, session_expiry=99) as ends:
        sent = ends.broker.connect
        assert b"\x11" + (99).to_bytes(4, "big") in sent
        assert _RECEIVE_MAXIMUM + (77).to_bytes(2, "big") in sent
        # And nothing else: a broker that knew a maximum packet size would drop what is over it, and
        # its sender would wait.
        assert sent[10] == len(b"\x11....!..")
        assert sent[7] & 0x02 == 0  # not a clean start
        await ends.connection.subscribe()
        plain = TOPIC.replace("protocol", "+").encode()
        assert ends.broker.filters == [plain, b"/" + plain]


async def test_replicas_share() -> None:
    async with _connected(share_group="gate") as ends:
        await ends.connection.subscribe()
        assert [one.split(b"sys")[0] for one in ends.broker.filters] == [
            b"$share/gate/",
            b"$share/gate//",
        ]
