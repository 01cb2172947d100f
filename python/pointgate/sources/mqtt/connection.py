"""A connection made by aiomqtt, over paho: MQTT 5 and 3.1.1, over any transport, to any broker.

    async with connect(settings.mqtt, admission, on_refused=count) as connection:
        await connection.subscribe()  # beside the gate: a resumed session delivers before it
        ... receive, settle, receive, settle ...
        connection.drain()            # nothing new; after what has arrived, receive returns []

aiomqtt connects, authenticates, subscribes, keeps alive and disconnects (`library.py`). Requests
and replies go past it: as it comes it acknowledges a request before anybody saw it, drops requests
when its queue is bounded, and takes 200 µs for each. A `Relay` stands between paho and the socket,
a `Splitter` takes every PUBLISH and every PUBACK of a reply from it, and paho gets the rest. What
paho does not see it cannot acknowledge.

We subscribe at QoS 1. A session that another program began can still hold requests at QoS 2, and
some brokers ignore what we ask for. Their PUBREC is sent where a PUBACK would be, after the reply,
and each PUBREL is answered at once: nothing is remembered in between.

Reading stops while more than `limits` is in flight and goes on below half of that, with one
exception: the broker's PUBACK of a reply stands in the same stream behind requests. So while
`settle` waits for one, reading goes on, up to twice the limits. There it no longer waits: brokers
that keep our Receive Maximum never get us there, and Mosquitto 2.0, which does not, sends its whole
backlog first, with the PUBACKs of our replies (and even SUBACK) behind it. It acknowledges at once,
so it takes more replies than its own Receive Maximum says, and more than there are packet ids
(docs/decisions/0011).

A reply that the broker has not acknowledged when the connection ends is not sent again: the
acknowledgement of its request stood behind it in the same stream, so either both arrived or the
request comes again.

Invariants: those of `base.py`; what is in flight (`intake.py`) never exceeds twice `limits` and one
burst; whatever fails in a callback of the loop ends the connection, it never just stands still.

It does not reconnect (`link.py` does) and does not know what a request says.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import aiomqtt

from pointgate import failpoint
from pointgate.errors import ConnectionLost
from pointgate.sources.admission import RESUME, Admission
from pointgate.sources.mqtt.capabilities import of_connack, of_suback
from pointgate.sources.mqtt.errors import (
    BrokerRefused,
    broken,
    ended,
    not_connected,
    refused,
    speaks_http,
    unanswered,
)
from pointgate.sources.mqtt.flow import BURST_BYTES, BURST_REQUESTS, Intake
from pointgate.sources.mqtt.packets import (
    DISCONNECT,
    HEADER_BYTES,
    MalformedPacketError,
    Splitter,
    puback,
    pubcomp,
    pubrec,
)
from pointgate.sources.mqtt.paho import Library
from pointgate.sources.mqtt.replies import Replies
from pointgate.sources.mqtt.tls import tls_context
from pointgate.topics import REQUEST_FILTERS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence

    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

    from pointgate.config import MqttSettings
    from pointgate.sources.mqtt.relay import Relay
    from pointgate.sources.mqtt.request import MqttRequest


_T = TypeVar("_T")

_WRITE_BYTES: Final = 262_144
"""How much may wait for the socket before `settle` waits."""

_ANSWER_BYTES: Final = 1_048_576
"""How much may wait for the socket before reading waits, too."""

_ACKNOWLEDGEMENTS: Final = 4096
"""After so many of them a read ends, so that the event loop is never held for long."""

_SILENCE: Final = 10.0
"""Seconds for SUBACK, counted from the last byte: it can stand behind a whole backlog."""

_FAREWELL: Final = 2.0
"""Seconds the broker has to close its side after our DISCONNECT."""

_log = logging.getLogger(__name__)


@asynccontextmanager
async def connect(
    settings: MqttSettings, admission: Admission, *, on_refused: Callable[[str], None]
) -> AsyncIterator[AiomqttConnection]:
    """Connect, and disconnect at the end.

    The broker keeps the session between connections, `session_expiry` long. It is not told a
    maximum packet size: it would drop what is over that silently, and the sender would wait for its
    answer. The end of a payload over `limits.payload_bytes` is dropped here, as it comes, and the
    request is answered 1008.

    Args:
        settings: Where and as whom.
        admission: How much may be in flight in this process.
        on_refused: Called with the reason for each reply that the broker did not take.

    Raises:
        BrokerRefused: The broker is there, but does not let us in.
        ConnectionLost: There is no connection.
        ConfigError: A file that TLS needs cannot be used.
    """
    connection = AiomqttConnection(settings, admission, on_refused=on_refused)
    try:
        await connection.open()
        yield connection
    finally:
        await connection.close()


class AiomqttConnection:
    """One connection (see `base.Connection`). Use `connect`.

    Attributes:
        session_present: Whether the broker had kept our session, with what we had not acknowledged.
        settled: See `base.Connection`.
        shortfalls: What the broker grants less than the settings ask for, in words; complete after
            `subscribe`.
        older: What else the session may be subscribed to; set before `subscribe`.
    """

    def __init__(
        self, settings: MqttSettings, admission: Admission, *, on_refused: Callable[[str], None]
    ) -> None:
        self.session_present = False
        self.settled = 0
        self.shortfalls: list[str] = []
        self.older: Sequence[str] = ()
        self._settings = settings
        self._admission = admission
        self._replies = Replies(
            protocol=settings.level, qos=settings.reply_qos, on_refused=on_refused
        )
        self._loop = asyncio.get_running_loop()
        frame_limit = admission.limits.payload_bytes + HEADER_BYTES
        self._splitter = Splitter(protocol=settings.level, frame_limit=frame_limit)
        self._intake = Intake(admission)
        self._library = Library(settings, context=tls_context(settings), events=self)
        self._relay: Relay | None = None
        self._reading = False
        self._writing = False
        self._draining = False
        self._lost: ConnectionLost | None = None
        self._changes: set[asyncio.Future[None]] = set()  # what `_wait` waits for
        self._waits_for_broker = False
        self._awaits_answer = False  # to SUBSCRIBE
        self._heard = 0.0  # when the broker last sent anything

    # The life of a connection, for `connect` and `link.py`.

    async def open(self) -> None:
        """Connect and wait for CONNACK (see `connect`)."""
        try:
            await self._library.connect()
        except (aiomqtt.MqttError, ValueError) as error:  # ValueError: a host that cannot be one
            lost = self._lost or not_connected(
                error, tls=self._settings.tls and self._relay is None
            )
            told = isinstance(lost, BrokerRefused) or self._library.answered
            if self._relay is not None and not told:
                alpn_ignored = self._library.alpn_ignored
                lost = unanswered(lost, self._settings, alpn_ignored=alpn_ignored)
            self._lose(lost)
            raise lost from error
        if self._lost:
            raise self._lost
        self._admission.on_room(self._adjust_reading)
        self._tick()

    @property
    def filters(self) -> list[str]:
        """What `subscribe` subscribes to."""
        group = self._settings.share_group
        return [f"$share/{group}/{name}" if group else name for name in REQUEST_FILTERS]

    async def subscribe(self) -> None:
        """Subscribe to both forms of the topic at QoS 1 and wait for SUBACK.

        Also in a session that the broker had kept: that may have begun with other settings. What it
        was subscribed to by them is removed; after the others, so that no request is missed.

        Raises:
            BrokerRefused: The broker did not grant a subscription.
            ConnectionLost: The connection has ended.
        """
        filters = self.filters
        reasons = await self._answer(self._library.subscribe(filters))
        self.shortfalls += of_suback(filters, reasons, self._library.suback)
        plain = REQUEST_FILTERS if self._settings.share_group else ()
        gone = [name for name in dict.fromkeys((*plain, *self.older)) if name not in filters]
        if gone and self.session_present:
            await self._answer(self._library.unsubscribe(gone))

    async def _answer(self, asking: Coroutine[Any, Any, _T]) -> _T:
        """Wait for the broker's answer to what the library asks, or for the connection's end."""
        self._heard, self._awaits_answer = time.monotonic(), True
        asked = self._loop.create_task(asking, name="ask the broker")
        asked.add_done_callback(lambda _: self._changed())
        try:
            while not asked.done():
                await self._wait()
            return asked.result()
        except aiomqtt.MqttError as error:
            raise self._lost or ConnectionLost(f"cannot subscribe: {error}") from error
        finally:
            self._awaits_answer = False
            if not asked.cancel() and not asked.cancelled():
                asked.exception()  # has been seen

    def drain(self) -> None:
        """Take nothing new. What has arrived can still be received and settled."""
        self._draining = True
        self._adjust_reading()
        self._changed()

    async def close(self) -> None:
        """Send what waits and DISCONNECT, then close the socket."""
        relay = self._relay
        if relay is not None and self._lost is None:
            with contextlib.suppress(ConnectionLost, OSError, TimeoutError):
                async with asyncio.timeout(_FAREWELL):
                    relay.write(DISCONNECT)
                    while not self._flush():
                        await self._wait()
                    # To close with bytes unread would be a reset, which can overtake what was just
                    # sent: the broker closes first.
                    relay.end_writing()
                    self._loop.add_reader(relay.fileno(), self._discard)
                    while True:
                        await self._wait()
        self._lose(ConnectionLost("closed"))
        self._admission.forget(self._adjust_reading)
        self._intake.close()

    # `base.Connection`

    async def receive(self) -> list[MqttRequest]:  # noqa: D102 - see base.Connection
        # One turn of the loop a burst: under load reading and everybody else would starve.
        await asyncio.sleep(0)
        while not (burst := self._intake.burst()):
            if self._draining and not self._lost:
                return []
            await self._wait()
        if self._lost:
            raise self._lost
        return burst

    async def settle(  # noqa: D102 - see base.Connection
        self, requests: Sequence[MqttRequest], replies: Sequence[bytes | None]
    ) -> None:
        relay, outgoing = self._relay, self._replies
        if self._lost or relay is None:
            raise self._lost or ConnectionLost("not connected")
        for request, payload in zip(requests, replies, strict=True):
            if payload is not None:
                if outgoing.window_is_full and outgoing.qos(request):
                    await self._room()
                failpoint.hit("before-reply", relay.flush)
                if frame := outgoing.frame(request, payload):
                    relay.write(frame)
                failpoint.hit("after-reply", relay.flush)
            failpoint.hit("before-ack", relay.flush)
            if request.packet_id:
                acknowledge = puback if request.qos == 1 else pubrec
                relay.write(acknowledge(request.packet_id))
            failpoint.hit("after-ack", relay.flush)
            self.settled += 1
        self._intake.release(requests)
        self._flush()
        self._adjust_reading()
        while relay.waiting_bytes > _WRITE_BYTES:
            await self._wait()

    async def _room(self) -> None:
        """Wait until the broker has acknowledged a reply, or can no longer be heard."""
        self._waits_for_broker = True
        self._flush()
        self._adjust_reading()
        try:
            while self._replies.window_is_full and not self._admission.is_beyond(2.0):
                await self._wait()
        finally:
            self._waits_for_broker = False
            self._adjust_reading()

    # Waiting and ending

    async def _wait(self) -> None:
        """Wait until anything has changed; any number of tasks may."""
        if self._lost:
            raise self._lost
        change = self._loop.create_future()
        self._changes.add(change)
        try:
            await change
        finally:
            self._changes.discard(change)
        if self._lost:
            raise self._lost

    def _changed(self) -> None:
        for change in self._changes:
            if not change.done():
                change.set_result(None)

    def _lose(self, reason: ConnectionLost) -> None:
        """The connection has ended; the first reason is the one told."""
        if self._lost is None:
            self._lost = reason
        self._changed()
        if self._relay is not None and self._relay.fileno() >= 0:
            self.closing()
            self._relay.close()
            self._relay.control.clear()
            self._library.read()  # the library sees the end, too

    @contextlib.contextmanager
    def _or_lose(self) -> Iterator[None]:
        """Around every callback of the loop: a failure ends the connection and is told."""
        try:
            yield
        except (OSError, MemoryError, MalformedPacketError) as error:
            self._lose(broken(error))
        except Exception as error:  # noqa: BLE001 - else nobody would be woken
            _log.exception("a mistake of this service ends the connection")
            self._lose(broken(error))

    # Reading

    def _adjust_reading(self) -> None:
        """Read, or do not, as the limits demand and who waits."""
        relay = self._relay
        if self._lost or relay is None:
            return
        if relay.control or relay.waiting_bytes > _ANSWER_BYTES:
            wanted = False  # what has come is more than the library or the broker keeps up with
        elif self._waits_for_broker:
            wanted = not self._admission.is_beyond(2.0)
        else:
            most = 1.0 if self._reading else RESUME
            wanted = not self._draining and not self._admission.is_beyond(most)
        if wanted and not self._reading:
            self._reading = True
            self._loop.add_reader(relay.fileno(), self._readable)
            self._read_soon()
        elif self._reading and not wanted:
            self._stop_reading(relay)

    def _read_soon(self) -> None:
        """Read without being told to: the loop cannot see what TLS or a WebSocket holds back."""
        self._loop.call_soon(self._readable)

    def _stop_reading(self, relay: Relay) -> None:
        self._reading = False
        self._loop.remove_reader(relay.fileno())

    def _readable(self) -> None:
        if self._relay is not None and self._reading:
            with self._or_lose():
                self._read(self._relay)

    def _read(self, relay: Relay) -> None:
        """Read what has come, until a burst is full, and wake whoever waits."""
        splitter = self._splitter
        size, now, more = 0, time.monotonic(), True
        while (
            more
            and size < BURST_BYTES
            and len(splitter.requests) < BURST_REQUESTS
            and len(splitter.acknowledged) + len(splitter.released) < _ACKNOWLEDGEMENTS
        ):
            data = relay.read()
            if data:
                if not self._library.answered and data.startswith(b"HTTP/"):
                    self._lose(speaks_http())
                    return
                size += len(data)
                splitter.feed(data, now)
            more = relay.has_more(data)
        self._take(relay)
        if size:
            self._heard = now
            relay.answer_ping()  # whatever came, the broker lives
        self._read_control(relay)
        if more:
            self._read_soon()
        self._adjust_reading()
        self._changed()

    def _read_control(self, relay: Relay) -> None:
        """Let the library read its packets, some in each turn of the loop; then reading goes on."""
        if not relay.control and not relay.ended:
            return
        self._library.read()
        if relay.control and not self._lost:
            self._loop.call_soon(self._go_on, relay)

    def _go_on(self, relay: Relay) -> None:
        with self._or_lose():
            self._read_control(relay)
            self._adjust_reading()
            self._changed()

    def _take(self, relay: Relay) -> None:
        """Hand on what the splitter has cut."""
        splitter = self._splitter
        if not self._draining:  # else not acknowledged, so what came at QoS 1 comes again
            self._intake.add(splitter.requests)
        splitter.requests.clear()
        for packet_id, reason in splitter.acknowledged:
            self._replies.acknowledge(packet_id, reason, splitter.explained)
        splitter.acknowledged.clear()
        for packet_id in splitter.released:
            relay.write(pubcomp(packet_id))
        if splitter.released:
            splitter.released.clear()
            self._flush()
        relay.control += splitter.control
        splitter.control.clear()

    def _discard(self) -> None:
        """After DISCONNECT: wait for the broker to close."""
        relay = self._relay
        with self._or_lose():
            while relay is not None and (data := relay.read()) is not None:
                if not data:
                    self._lose(ConnectionLost("closed"))
                    return

    # Writing

    def _flush(self) -> bool:
        """Send what waits, now and when the socket takes more; returns whether nothing waits."""
        relay = self._relay
        if relay is None or self._lost:
            return False
        try:
            done = relay.flush()
        except OSError as error:
            self._lose(broken(relay.last_words() or error))
            return False
        if done and self._writing:
            self._writing = False
            self._loop.remove_writer(relay.fileno())
            self._changed()  # also when it was not the loop that called: `settle` may wait for this
        elif not done and not self._writing:
            self._writing = True
            self._loop.add_writer(relay.fileno(), self._writable)
        return done

    def _writable(self) -> None:
        self._flush()
        self._adjust_reading()
        self._changed()

    def _tick(self) -> None:
        """Once a second: let the library see to its pings."""
        if self._lost or self._relay is None:
            return
        with self._or_lose():
            if not self._reading:
                self._heard = time.monotonic()
                self._relay.answer_ping()  # the answer cannot be read, and that is our doing
                self._library.read()
            self._library.tick()
            if self._awaits_answer and time.monotonic() - self._heard > _SILENCE:
                self._lose(ConnectionLost("the broker does not answer SUBSCRIBE"))
            self._loop.call_later(1.0, self._tick)

    # What the library tells (`library.Events`)

    def opened(self, relay: Relay) -> None:  # noqa: D102 - see library.Events
        if self._lost:
            raise self._lost  # nobody waits for this connection any longer
        self._relay = relay
        self._loop.call_soon_threadsafe(self._adjust_reading)

    def pending(self) -> None:  # noqa: D102 - see library.Events
        self._loop.call_soon_threadsafe(self._write_control)

    def _write_control(self) -> None:
        if not self._lost:
            with self._or_lose():
                self._library.write()
                self._flush()

    def accepted(  # noqa: D102 - see library.Events
        self, *, session_present: bool, properties: Properties | None
    ) -> None:
        self.session_present = session_present
        self._replies.allow(properties)
        try:
            self.shortfalls += of_connack(self._settings, self._admission.limits, properties)
        except BrokerRefused as refusal:
            self._lost = refusal

    def refused(  # noqa: D102 - see library.Events
        self, *, reason: ReasonCode, properties: Properties | None
    ) -> None:
        self._lost = refused(reason, properties)

    def closing(self) -> None:  # noqa: D102 - see library.Events
        # The loop does not notice that a descriptor was closed, and would not watch the next socket
        # with its number.
        relay = self._relay
        if relay is not None and relay.fileno() >= 0:
            self._stop_reading(relay)
            self._loop.remove_writer(relay.fileno())

    def ended(  # noqa: D102 - see library.Events
        self, *, reason: ReasonCode, by_broker: bool, properties: Properties | None
    ) -> None:
        client_id = self._settings.client_id
        lost = ended(reason, by_broker=by_broker, client_id=client_id, properties=properties)
        self._lose(lost)
