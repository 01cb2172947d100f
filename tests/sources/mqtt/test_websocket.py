"""The WebSocket below MQTT: frames in any pieces, any answer to the handshake, full sockets."""

from __future__ import annotations

import base64
import hashlib
import socket
import struct
import threading
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import pytest

from pointgate.config import MqttSettings
from pointgate.sources.mqtt.errors import BrokerRefused, not_connected
from pointgate.sources.mqtt.relay import Relay
from pointgate.sources.mqtt.websocket import WebSocket, open_websocket
from pointgate.sources.mqtt.websocket_frames import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    FrameReader,
    WebSocketError,
    frame,
)
from tests.support.patience import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZES = (0, 1, 125, 126, 127, 65_535, 65_536, 200_000)


def served(opcode: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
    """A frame as a server writes it, written here once more."""
    first, size = opcode | (0x80 if fin else 0), len(payload)
    if size < 126:
        return struct.pack("!BB", first, size) + payload
    if size < 65_536:
        return struct.pack("!BBH", first, 126, size) + payload
    return struct.pack("!BBQ", first, 127, size) + payload


def unmasked(data: bytes) -> list[tuple[int, bytes]]:
    """The frames of a client, byte by byte."""
    frames = []
    while data:
        size, at = data[1] & 0x7F, 2
        assert data[1] & 0x80, "a client masks"
        if size == 126:
            size, at = int.from_bytes(data[2:4]), 4
        elif size == 127:
            size, at = int.from_bytes(data[2:10]), 10
        mask, body = data[at : at + 4], data[at + 4 : at + 4 + size]
        assert len(body) == size
        frames.append((data[0], bytes(byte ^ mask[n % 4] for n, byte in enumerate(body))))
        data = data[at + 4 + size :]
    return frames


@pytest.mark.parametrize("size", SIZES)
def test_a_frame_of_ours_is_masked_and_has_the_shortest_length(size: int) -> None:
    payload = bytes(n % 251 for n in range(size))
    sent = frame(BINARY, payload)
    assert unmasked(sent) == [(0x82, payload)]
    assert len(sent) - size == 6 + (0 if size < 126 else 2 if size < 65_536 else 8)
    assert size < 100 or frame(BINARY, payload) != sent


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000, 65_536, 1_000_000])
def test_the_payload_comes_out_whole_in_whatever_pieces_it_comes_in(step: int) -> None:
    parts = [bytes([n]) * size for n, size in enumerate(SIZES)]
    stream = b"".join(served(BINARY, part) for part in parts)
    stream += served(BINARY, b"in ", fin=False) + served(PING, b"now") + served(0, b"", fin=False)
    stream += served(PONG) + served(0, b"parts")
    reader = FrameReader()
    found = b"".join(reader.feed(stream[n : n + step]) for n in range(0, len(stream), step))
    assert found == b"".join(parts) + b"in parts"
    assert reader.ping == b"now"
    assert not reader.closed


def test_a_frame_that_is_not_complete_is_passed_on() -> None:
    reader = FrameReader()
    assert reader.feed(struct.pack("!BBQ", 0x82, 127, 1 << 62) + b"begun") == b"begun"


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        (served(1, b"text"), "a text frame"),
        (b"\x82\x81\0\0\0\0a", "a masked frame"),
        (b"\xc2\x01a", "a frame that begins with 0xc2"),
        (served(3), "a frame that begins with 0x83"),
        (served(11), "a frame that begins with 0x8b"),
        (served(PING, b"x" * 126), "a control frame that is too long or in parts"),
        (served(PING, b"x", fin=False), "a control frame that is too long or in parts"),
        (served(0, b"x"), "or the end of none"),
        (served(BINARY, b"x", fin=False) + served(BINARY, b"y"), "a frame of another message"),
        (served(CLOSE, b"\x03\xf0not \xffallowed"), r"with code 1008 \('not \\ufffdallowed'\)"),
        (served(CLOSE, b"\x03\xf1"), "with code 1009"),
        (b"HTTP/1.1 400", "expected binary WebSocket frames"),
    ],
)
def test_what_a_broker_may_not_send_is_told(stream: bytes, words: str) -> None:
    with pytest.raises(WebSocketError, match=words):
        FrameReader().feed(stream)


@pytest.mark.parametrize("payload", [b"", b"\x03\xe8", b"\x03\xe9going"])
def test_an_ordinary_close_is_the_end(payload: bytes) -> None:
    reader = FrameReader()
    assert reader.feed(served(BINARY, b"last") + served(CLOSE, payload) + b"more") == b"last"
    assert reader.closed


@pytest.fixture
def pair() -> Iterator[tuple[WebSocket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.settimeout(0.0)
    with ours, theirs:
        theirs.settimeout(PATIENCE)
        yield WebSocket(ours), theirs


def _received(sock: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    return b"".join(iter(lambda: sock.recv(65_536), b""))


def test_what_is_held_back_is_announced_and_read(pair: tuple[WebSocket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.sendall(served(BINARY, b"one") + served(BINARY, b"two") + served(PING))
    assert ours.recv(2) == b"on"
    assert ours.pending() == 4
    assert ours.recv(100) == b"etwo"
    assert ours.pending() == 0
    with pytest.raises(BlockingIOError):
        ours.recv(1)
    assert unmasked(theirs.recv(100)) == [(0x8A, b"")]
    theirs.close()
    assert ours.recv(1) == ours.recv(1) == b""


def test_what_came_behind_the_handshakes_answer_is_read() -> None:
    ours, theirs = socket.socketpair()
    with theirs, closing(WebSocket(ours, served(BINARY, b"first"))) as websocket:
        ours.settimeout(0.0)
        assert websocket.pending()
        assert websocket.recv(9) == b"first"


def test_a_relay_reads_on_until_nothing_is_held_back(pair: tuple[WebSocket, socket.socket]) -> None:
    ours, theirs = pair
    relay = Relay(ours)
    sending = threading.Thread(target=theirs.sendall, args=(served(BINARY, b"x" * 300_000),))
    sending.start()
    got = 0
    while got < 300_000:
        data = relay.read()
        got += len(data or b"")
        assert relay.has_more(data) == bool(data)
    sending.join()
    assert relay.read() is None


@pytest.mark.parametrize("ping", [False, True])
def test_a_frame_half_sent_is_finished_before_anything_else(
    pair: tuple[WebSocket, socket.socket], *, ping: bool
) -> None:
    ours, theirs = pair
    relay = Relay(ours)
    content = bytes(n % 251 for n in range(1_500_000))
    relay.write(content)
    assert not relay.flush()  # the socket is full, in the middle of a frame
    assert 0 < relay.waiting_bytes < len(content)
    if ping:
        theirs.sendall(served(PING, b"first") + served(PING, b"second"))
        assert relay.read() is None
    relay.write(b"the end")
    received: list[bytes] = []
    reading = threading.Thread(target=lambda: received.append(_received(theirs)))
    reading.start()
    while not relay.flush():
        pass
    ours.shutdown(socket.SHUT_WR)
    while ours._out:
        with suppress(BlockingIOError):
            ours._push()
    ours.close()
    reading.join()
    frames = unmasked(received[0])
    assert b"".join(body for first, body in frames if first == 0x82) == content + b"the end"
    assert [body for first, body in frames if first == 0x8A] == ([b"second"] if ping else [])
    assert frames[-1] == (0x88, b"\x03\xe8")
    assert max(len(body) for _, body in frames) <= 65_535


def test_pings_that_nobody_reads_the_answers_to_take_no_memory(
    pair: tuple[WebSocket, socket.socket],
) -> None:
    ours, theirs = pair
    flood = threading.Thread(target=theirs.sendall, args=(served(PING, b"x" * 125) * 50_000,))
    flood.start()
    while flood.is_alive():
        with pytest.raises(BlockingIOError):
            ours.recv(1)
    flood.join()
    assert len(ours._out) < 200_000


# The handshake.


def _answer(request: bytes, changes: dict[str, str | None]) -> bytes:
    key = request.split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0]
    digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()  # noqa: S324
    fields: dict[str, str | None] = {
        "Upgrade": "websocket",
        "connection": "upgrade",
        "Sec-WebSocket-Accept": base64.b64encode(digest).decode(),
        "Sec-WebSocket-Protocol": "mqtt",
    }
    lines = [f"{name}:{value}" for name, value in (fields | changes).items() if value is not None]
    return "\r\n".join(["HTTP/1.1 101 Switching Protocols", *lines, "", ""]).encode()


def _shake(
    answer: bytes | dict[str, str | None], *, url: str = "ws://broker/way", more: bytes = b""
) -> tuple[bytes, WebSocket]:
    """Do a handshake; returns the request and the WebSocket."""
    ours, theirs = socket.socketpair()
    requests: list[bytes] = []

    def run() -> None:
        with theirs:
            theirs.settimeout(PATIENCE)
            request = b""
            while not request.endswith(b"\r\n\r\n"):
                request += theirs.recv(4096)
            requests.append(request)
            whole = _answer(request, answer) if isinstance(answer, dict) else answer
            with suppress(BrokenPipeError):  # it has seen enough
                for at in range(0, len(whole), 50):
                    theirs.sendall(whole[at : at + 50])
                theirs.sendall(more)

    serving = threading.Thread(target=run)
    serving.start()
    try:
        websocket = open_websocket(ours, MqttSettings(url=url), timeout=PATIENCE)
    finally:
        serving.join()
    return requests[0], websocket


@pytest.mark.parametrize(
    ("url", "path", "host"),
    [
        ("ws://broker", "/mqtt", "broker:80"),
        ("wss://broker", "/mqtt", "broker:443"),
        ("ws://broker:8083/", "/", "broker:8083"),
        ("ws://[::1]:8083/a/b%20c;d=e", "/a/b%20c;d=e", "[::1]:8083"),
    ],
)
def test_the_request_names_path_host_and_subprotocol(url: str, path: str, host: str) -> None:
    request, websocket = _shake({}, url=url, more=served(BINARY, b"soon"))
    with closing(websocket):
        head = request.decode().split("\r\n")
        assert head[0] == f"GET {path} HTTP/1.1"
        assert f"Host: {host}" in head
        assert "Sec-WebSocket-Protocol: mqtt" in head
        assert websocket.recv(10) == b"soon"
        assert websocket.recv(10) == b""


@pytest.mark.parametrize("changes", [{"Sec-WebSocket-Protocol": None}, {"Server": "x"}])
def test_an_answer_without_a_subprotocol_will_do(changes: dict[str, str | None]) -> None:
    _shake(changes)[1].close()


@pytest.mark.parametrize(
    ("answer", "refused", "words"),
    [
        ({"Sec-WebSocket-Accept": "AAAA"}, True, "does not open a WebSocket"),
        ({"Sec-WebSocket-Accept": None}, True, "does not open a WebSocket"),
        ({"Sec-WebSocket-Protocol": "chat"}, True, 'the subprotocol mqtt at /way, got "chat"'),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", True, 'answers "404 Not Found" at /way'),
        (b"HTTP/1.1 403 Forbidden\r\nX: y\r\n\r\nbody", True, 'answers "403 Forbidden" at /way'),
        (b"HTTP/1.1 301 Moved\r\nLocation: /x\r\n\r\n", True, 'answers "301 Moved" at /way'),
        (b"HTTP/1.1 200 OK\r\n\r\n", False, 'answers "200 OK" at /way, expected a WebSocket'),
        (b"HTTP/1.1 503 Busy\r\n\r\n", False, 'answers "503 Busy" at /way'),
        (b"HTTP/1.1 nonsense\r\n\r\n", False, 'answers "nonsense" at /way'),
        (b"\x20\x02\x00\x05", True, "does not speak HTTP: is it mqtt://"),
        (b"HTTP/1.1 200 " + b"x" * 20_000, True, "does not speak HTTP"),
        (b"HTT", False, "closed the connection without an answer"),
        (b"", False, "closed the connection without an answer"),
    ],
)
def test_an_answer_that_opens_no_websocket_is_told_in_words(
    answer: bytes | dict[str, str | None], words: str, *, refused: bool
) -> None:
    with pytest.raises(WebSocketError) as error:
        _shake(answer)
    told = not_connected(error.value)
    assert words in str(told)
    assert isinstance(told, BrokerRefused) == refused


def test_an_answer_that_does_not_come_is_not_awaited_for_ever() -> None:
    ours, theirs = socket.socketpair()
    with theirs, pytest.raises(WebSocketError, match="does not answer the WebSocket's request"):
        open_websocket(ours, MqttSettings(url="ws://broker"), timeout=0.2)
    assert ours.fileno() == -1
