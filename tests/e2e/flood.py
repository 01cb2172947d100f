"""Fills a broker's queue and counts what comes of it, at the speed of a raw socket.

    open_session(port, "service", filters)    # a session that keeps what arrives
    publish(port, payloads)                   # at QoS 1, every one acknowledged by the broker
    with Replies(port) as replies:
        replies.take(count)                   # how often each id was answered

paho takes 50 µs for each message; half a million of them want less.
"""

from __future__ import annotations

import re
import socket
from collections import Counter
from typing import TYPE_CHECKING, Self

from tests.support.mqtt_packets import Splitter, puback
from tests.support.patience import PATIENCE
from tests.support.processes import TOPIC
from tests.support.scripted_broker import CONNECT, DISCONNECT, PUBLISH, SUBSCRIBE, frame

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_WINDOW = 2_000
_ID = re.compile(rb'"id":"([^"]*)"')


class Client:
    """A client of MQTT 3.1.1 that reads and writes packets in bulk.

    Args:
        port: The broker's.
        name: The client id.
        account: Its user and password.
        clean: Whether it begins with no session.
    """

    def __init__(
        self, port: int, name: str, *, account: tuple[str, str] | None = None, clean: bool = True
    ) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.splitter = Splitter(protocol=4, frame_limit=1 << 24)
        try:
            self._connect(name, account, clean=clean)
        except BaseException:
            self.close()
            raise

    def _connect(self, name: str, account: tuple[str, str] | None, *, clean: bool) -> None:
        flags = (2 if clean else 0) | (0xC0 if account else 0)
        texts = [name, *(account or ())]
        body = b"\0\4MQTT\4" + bytes((flags, 0, 0)) + b"".join(map(_text, texts))
        self.send(frame(CONNECT, body))
        while not self.splitter.control:
            self.read()
        assert self.splitter.control[3] == 0, self.splitter.control
        self.splitter.control.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._socket:
            if kind is not None:
                return  # it may be broken
            self.send(frame(DISCONNECT, b""))
            self._socket.shutdown(socket.SHUT_WR)
            while self._socket.recv(65_536):
                pass

    def close(self) -> None:
        """End without a word."""
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def read(self) -> None:
        """Wait for bytes and cut them."""
        data = self._socket.recv(262_144)
        assert data, "the broker closed the connection"
        self.splitter.feed(data)

    def subscribe(self, filters: Sequence[str], qos: int) -> None:
        body = b"\0\1" + b"".join(_text(one) + bytes((qos,)) for one in filters)
        self.send(frame(SUBSCRIBE, body))
        while not self.splitter.control:
            self.read()
        self.splitter.control.clear()


def _text(value: str) -> bytes:
    return len(value.encode()).to_bytes(2) + value.encode()


def open_session(
    port: int,
    name: str,
    filters: Sequence[str],
    *,
    qos: int = 1,
    account: tuple[str, str] | None = None,
) -> None:
    """Begin a session that waits for its client, with these subscriptions."""
    with Client(port, name, account=account, clean=False) as client:
        client.subscribe(filters, qos)


def publish(
    port: int,
    payloads: Iterable[bytes],
    *,
    topic: str = TOPIC,
    account: tuple[str, str] | None = None,
) -> None:
    """Publish at QoS 1; returns when the broker has acknowledged everything."""
    # The client counts acknowledgements from FIRST_REPLY_ID on, as those of replies.
    head, sent, open_ = _text(topic), 0, 0
    batch: list[bytes] = []
    with Client(port, "flood", account=account) as client:

        def settle(most: int) -> None:
            nonlocal open_
            client.send(b"".join(batch))
            batch.clear()
            while open_ > most:
                client.read()
                open_ -= len(client.splitter.acknowledged)
                client.splitter.acknowledged.clear()

        for payload in payloads:
            packet_id = 0x8000 + sent % 0x8000
            batch.append(frame(PUBLISH | 2, head + packet_id.to_bytes(2) + payload))
            sent, open_ = sent + 1, open_ + 1
            if len(batch) == _WINDOW // 4:
                settle(_WINDOW)
        settle(0)


class Replies(Client):
    """Counts the replies by their ids."""

    def __init__(
        self, port: int, *, account: tuple[str, str] | None = None, topic: str = TOPIC
    ) -> None:
        super().__init__(port, "counter", account=account)
        self.counts: Counter[bytes] = Counter()
        self.codes: Counter[bytes] = Counter()
        self.subscribe([topic + "_reply"], 1)

    def take(self, count: int, *, patience: float = PATIENCE) -> None:
        """Wait until so many different ids have been answered; `patience` without any fails."""
        self._socket.settimeout(patience)
        while len(self.counts) < count:
            self.read()
            acknowledgements = bytearray()
            for reply in self.splitter.requests:
                found = _ID.search(reply.payload)
                assert found, reply.payload
                self.counts[found[1]] += 1
                if reply.packet_id:
                    acknowledgements += puback(reply.packet_id)
            self.splitter.requests.clear()
            self.send(bytes(acknowledgements))
