"""What the broker grants less than asked for is refused or reported; what it says is passed on."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from pointgate.config import LimitSettings, MqttSettings
from pointgate.errors import ConnectionLost
from pointgate.sources.admission import Admission
from pointgate.sources.mqtt.connection import AiomqttConnection, connect
from pointgate.sources.mqtt.errors import BrokerRefused, ProtocolRefused, broken, not_connected
from tests.support.patience import PATIENCE
from tests.support.scripted_broker import DISCONNECT, TOPIC, ScriptedBroker, frame

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_WORDS = b"ask the operator"
_REASON = b"\x1f" + len(_WORDS).to_bytes(2, "big") + _WORDS
_SERVER = b"\x1c\x00\x05other"
_PLAIN = [form + TOPIC.replace("protocol", "+").encode() for form in (b"", b"/")]


@asynccontextmanager
async def _connecting(
    *,
    five: bool = True,
    session: bool = False,
    reason: int = 0,
    properties: bytes = b"",
    **mqtt: Any,
) -> AsyncIterator[tuple[ScriptedBroker, AiomqttConnection]]:
    async with ScriptedBroker() as broker, asyncio.timeout(PATIENCE):
        settings = MqttSettings(
            url=f"mqtt://127.0.0.1:{broker.port}",
            client_id="me",
            protocol=5 if five else 4,
            **mqtt,
        )
        accepting = asyncio.create_task(
            broker.accept(session=session, reason=reason, properties=properties, five=five)
        )
        try:
            async with connect(
                settings, Admission(LimitSettings()), on_refused=print
            ) as connection:
                yield broker, connection
        finally:
            await accepting


@pytest.mark.parametrize(
    ("properties", "words"),
    [
        pytest.param(b"", [], id="all is granted"),
        pytest.param(b"\x11" + (60).to_bytes(4, "big"), ["for 60 s, not the 3600 s"], id="session"),
        pytest.param(b"\x11" + bytes(4), ["for 0 s, not the 3600 s"], id="no session"),
        pytest.param(b"\x11" + (9999).to_bytes(4, "big"), [], id="a longer session"),
        pytest.param(b"\x24\x00", ["maximum QoS is 0"], id="QoS 0"),
        pytest.param(b"\x24\x01", [], id="QoS 1 is enough"),
        pytest.param(b"\x27" + (2_000_000).to_bytes(4, "big"), ["packets of 2000000"], id="size"),
        pytest.param(b"\x27" + (268_435_455).to_bytes(4, "big"), [], id="size is enough"),
        pytest.param(b"\x2a\x00", [], id="shared subscriptions, which nobody wants"),
        pytest.param(
            b"\x24\x00" + b"\x11" + bytes(4) + b"\x27" + (9).to_bytes(4, "big"),
            ["QoS", "for 0 s", "packets of 9"],
            id="several",
        ),
    ],
)
async def test_what_connack_grants_less_is_reported(properties: bytes, words: list[str]) -> None:
    async with _connecting(properties=properties) as (_, connection):
        await connection.subscribe()
        found = connection.shortfalls
        assert len(found) == len(words)
        assert all(word in one for word, one in zip(words, found, strict=True))


@pytest.mark.parametrize(
    ("properties", "group", "words"),
    [
        (b"\x2a\x00", "gate", "no shared subscriptions: unset mqtt.share_group"),
        (b"\x28\x00", None, "no wildcard subscriptions"),
        (b"\x28\x00\x2a\x00", "gate", "no wildcard subscriptions"),
    ],
)
async def test_a_broker_on_which_our_subscriptions_cannot_work_is_refused(
    properties: bytes, group: str | None, words: str
) -> None:
    with pytest.raises(BrokerRefused, match=words):
        async with _connecting(properties=properties, share_group=group):
            pass


@pytest.mark.parametrize("five", [True, False])
async def test_a_subscription_that_is_granted_less_is_reported(*, five: bool) -> None:
    async with _connecting(five=five) as (broker, connection):
        broker.grants = 0
        await connection.subscribe()
        assert [one.split(":")[0] for one in connection.shortfalls] == [
            f"the broker grants QoS 0 for {name.decode()}" for name in _PLAIN
        ]


async def test_a_subscription_that_is_refused_is_told_in_the_brokers_words() -> None:
    async with _connecting() as (broker, connection):
        broker.grants, broker.suback_properties = 0x87, _REASON
        with pytest.raises(BrokerRefused, match=r"Not authorized \(\"ask the operator\"\)"):
            await connection.subscribe()


@pytest.mark.parametrize("five", [True, False])
async def test_the_subscriptions_of_a_session_from_before_the_share_group_are_removed(
    *, five: bool
) -> None:
    async with _connecting(five=five, session=True, share_group="gate") as (broker, connection):
        await connection.subscribe()
        assert broker.filters == [b"$share/gate/" + name for name in _PLAIN]
        assert broker.unsubscribed == _PLAIN


@pytest.mark.parametrize(("session", "group"), [(True, None), (False, "gate")])
async def test_subscriptions_are_not_removed_where_there_can_be_none_or_they_are_ours(
    *, session: bool, group: str | None
) -> None:
    async with _connecting(session=session, share_group=group) as (broker, connection):
        await connection.subscribe()
        assert broker.unsubscribed == []


@pytest.mark.parametrize(
    ("reason", "properties", "words"),
    [
        (0x87, _REASON, r"refuses this client: Not authorized \(\"ask the operator\"\)"),
        (0x9C, _SERVER, 'Use another server; use the server "other"'),
        (0x9D, _REASON + _SERVER, r"Server moved \(\"ask the operator\"\); use the server"),
        (0x84, b"", "mqtt.protocol = 4"),
        (0x86, b"\x1f\x00\x04a\x1b\nb", r"\(\'\"a\\\\u001b\\\\nb\"\'\)|a\\\\?u001b"),
    ],
)
async def test_a_refusal_is_told_in_the_brokers_words(
    reason: int, properties: bytes, words: str
) -> None:
    with pytest.raises(BrokerRefused, match=words) as refused:
        async with _connecting(reason=reason, properties=properties):
            pass
    assert str(refused.value).isprintable()
    assert isinstance(refused.value, ProtocolRefused) == (reason == 0x84)


@pytest.mark.parametrize(
    ("reason", "refused"),
    [
        *((code, True) for code in (0x87, 0x8F, 0x9B, 0x9C, 0x9D, 0x9E, 0xA1, 0xA2)),
        *((code, False) for code in (0x89, 0x8B, 0x97, 0x93)),
    ],
)
async def test_an_end_is_told_in_the_brokers_words(reason: int, *, refused: bool) -> None:
    async with _connecting() as (broker, connection):
        broker.send(frame(DISCONNECT, bytes((reason, len(_REASON))) + _REASON))
        with pytest.raises(ConnectionLost, match="ask the operator") as lost:
            await connection.receive()
        assert isinstance(lost.value, BrokerRefused) == refused


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "requires a client certificate: see mqtt.cert_file"),
        ("TLSV1_ALERT_UNKNOWN_CA", "does not know the authority of our certificate"),
        ("SSLV3_ALERT_CERTIFICATE_EXPIRED", "our certificate has expired"),
        ("WRONG_VERSION_NUMBER", "does not speak TLS"),
        ("TLSV1_ALERT_NO_APPLICATION_PROTOCOL", "does not speak the protocol of mqtt.alpn"),
    ],
)
@pytest.mark.parametrize("tell", [not_connected, broken])
def test_alerts_of_tls_are_told_in_words(reason: str, words: str, tell: Any) -> None:
    error = ssl.SSLError(1, f"[SSL: {reason}]")
    error.reason = reason
    assert isinstance(tell(error), BrokerRefused)
    assert words in str(tell(error))


@pytest.mark.parametrize(
    ("error", "asked"),
    [
        (ConnectionResetError(104, "Connection reset by peer"), True),
        (BrokenPipeError(32, "Broken pipe"), True),
        (ssl.SSLEOFError(8, "EOF occurred in violation of protocol"), True),
        (ConnectionRefusedError(111, "Connection refused"), False),
        (TimeoutError(110, "Connection timed out"), False),
    ],
)
def test_a_handshake_that_is_cut_off_asks_for_tls(error: OSError, *, asked: bool) -> None:
    assert str(not_connected(error, tls=True)).endswith("; does this port speak TLS?") == asked
    assert "TLS?" not in str(not_connected(error))
