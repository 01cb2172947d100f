"""The bytes of one MQTT connection: reading with backpressure, writing, and the connection's end.

    socket ─► `Relay` ─► `MqttCodec` ─► bursts of requests to `receive`, other packets to paho
    socket ◄─ `Relay` ◄─ `MqttCodec` ◄─ judged bursts from `settle`

aiomqtt connects, authenticates, subscribes, sends pings and disconnects (`paho.py`). Requests and
replies bypass it: it acknowledges a request before the application has seen it, drops requests when
its queue is bounded, and needs 130 µs for a request and its reply. So a `Relay` stands between paho
and the socket, an `MqttCodec` takes every PUBLISH and every PUBACK of a reply out of the stream,
and paho gets the rest. paho cannot acknowledge a request that it does not see
(docs/decisions/0004). The codec is compiled: requests and replies are never objects of Python
(docs/decisions/0014).

Backpressure: reading stops while more than `limits` is in flight (the high-water mark) and resumes
below half of that, with one exception: the broker's PUBACKs of our replies are behind requests in
the same stream. So while `settle` waits for a PUBACK, reading continues up to twice the limits, and
at that point `settle` stops waiting. Brokers that respect our Receive Maximum never cause this.
Mosquitto 2.0 does not: it sends its whole backlog first, with the PUBACKs of our replies (and even
SUBACK) behind it. It acknowledges at once, so it accepts more replies than its own Receive Maximum,
and more than there are packet ids (docs/decisions/0011).

Invariants: the requests in flight (`intake.py`) never exceed twice `limits` and one burst; an error
in a callback of the event loop ends the connection, which is never left hanging.

It does not know what `connection.py` does with requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING, Final

from pointgate._core import MqttCodec
from pointgate.errors import ConnectionLost
from pointgate.sources.admission import RESUME, Admission
from pointgate.sources.mqtt.capabilities import of_connack
from pointgate.sources.mqtt.errors import BrokerRefused, broken, ended, refused, speaks_http
from pointgate.sources.mqtt.intake import BURST_BYTES, BURST_REQUESTS, Intake
from pointgate.sources.mqtt.packets import HEADER_BYTES, MQTT_5, MalformedPacketError
from pointgate.sources.mqtt.paho import Library
from pointgate.sources.mqtt.read_pace import ReadPace
from pointgate.sources.mqtt.replies import rejection, reply_limits
from pointgate.sources.mqtt.tls import tls_context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

    from pointgate.config import MqttSettings
    from pointgate.sources.mqtt.relay import Relay

_SEND_BYTES: Final = 1_048_576
"""How many bytes may wait for the socket before reading stops, too."""

_ACKNOWLEDGEMENTS: Final = 4096
"""A read ends after so many of them, so that the event loop is never blocked for long."""

_SUBACK_SECONDS: Final = 10.0
"""The timeout for SUBACK, counted from the last byte: SUBACK can be behind a whole backlog."""

_log = logging.getLogger(__name__)


class Channel:
    """Reads and writes one connection, and handles the events of the client library.

    Attributes:
        session_present: Whether the broker had our session, with its unacknowledged requests.
        shortfalls: What the broker does not grant of the settings, in words; complete after
            `subscribe`.
    """

    def __init__(
        self,
        settings: MqttSettings,
        admission: Admission,
        *,
        on_refused: Callable[[str], None],
        read_tick: float = 0.0,
    ) -> None:
        self.session_present = False
        self.shortfalls: list[str] = []
        self._settings = settings
        self._admission = admission
        self._on_refused = on_refused
        self._loop = asyncio.get_running_loop()
        self._codec = MqttCodec(
            protocol=settings.level,
            frame_limit=admission.limits.payload_bytes + HEADER_BYTES,
            burst_requests=BURST_REQUESTS,
            burst_bytes=BURST_BYTES,
            reply_qos=settings.reply_qos,
        )
        self._intake = Intake(admission)
        self._library = Library(settings, context=tls_context(settings), events=self)
        self._relay: Relay | None = None
        self._pace = ReadPace(
            read_tick, call_later=self._loop.call_later, read=self._readable, expect=self._expect
        )
        self._reading = False
        self._writing = False
        self._draining = False
        self._lost: ConnectionLost | None = None
        self._changes: set[asyncio.Future[None]] = set()  # one for each task in `_wait`
        self._awaits_puback = False
        self._awaits_answer = False  # to SUBSCRIBE or UNSUBSCRIBE
        self._last_received = 0.0  # when the last bytes arrived

    # Waiting and ending

    async def _wait(self) -> None:
        """Wait for the next state change. Any number of tasks may wait."""
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

    def _notify(self) -> None:
        for change in self._changes:
            if not change.done():
                change.set_result(None)

    def _terminate(self, reason: ConnectionLost) -> None:
        """End the connection; only the first reason is reported."""
        if self._lost is None:
            self._lost = reason
        self._notify()
        if self._relay is not None and self._relay.fileno() >= 0:
            self.closing()
            self._relay.close()
            self._relay.control.clear()
            self._library.read()  # the library must detect the end, too

    @contextlib.contextmanager
    def _close_on_error(self) -> Iterator[None]:
        """Wraps every callback of the loop: an error ends the connection and is reported."""
        try:
            yield
        except (OSError, MemoryError, MalformedPacketError) as error:
            self._terminate(broken(error))
        except Exception as error:  # noqa: BLE001 - otherwise the waiting tasks would hang
            _log.exception("internal error; closing the connection")
            self._terminate(broken(error))

    # Reading

    def _adjust_reading(self) -> None:
        """Start or stop reading, according to the limits and the waiting tasks."""
        relay = self._relay
        if self._lost or relay is None:
            return
        self._pace.hurry(wanted=self._awaits_puback or self._awaits_answer or self._draining)
        if relay.control or relay.waiting_bytes > _SEND_BYTES:
            wanted = False  # the library reads, or the broker receives, too slowly
        elif self._awaits_puback:
            wanted = not self._admission.exceeds(2.0)
        else:
            most = 1.0 if self._reading else RESUME
            wanted = not self._draining and not self._admission.exceeds(most)
        if wanted and not self._reading:
            self._reading = True
            self._loop.add_reader(relay.fileno(), self._readable)
            self._read_soon()
        elif self._reading and not wanted:
            self._stop_reading(relay)

    def _expect(self, size: int) -> None:
        """Let the kernel collect so many bytes before the socket is readable."""
        if self._relay is not None and not self._lost:
            self._relay.expect(size)

    def _read_soon(self) -> None:
        """Schedule a read: the loop cannot detect bytes that TLS or a WebSocket has buffered."""
        self._loop.call_soon(self._readable)

    def _stop_reading(self, relay: Relay) -> None:
        self._reading = False
        self._loop.remove_reader(relay.fileno())

    def _readable(self) -> None:
        if self._relay is not None and self._reading:
            with self._close_on_error():
                self._read(self._relay)

    def _read(self, relay: Relay) -> None:
        """Read the available bytes, until a burst is full, and wake the waiting tasks."""
        feed = self._codec.feed
        size = requests = memory = acknowledged = 0
        now, more = time.monotonic(), True
        while (
            more
            and size < BURST_BYTES
            and requests < BURST_REQUESTS
            and acknowledged < _ACKNOWLEDGEMENTS
        ):
            data = relay.read()
            if data:
                if not self._library.answered and data.startswith(b"HTTP/"):
                    self._terminate(speaks_http())
                    return
                size += len(data)
                found = feed(data, now)
                requests += found[0]
                memory += found[1]
                acknowledged += found[2]
            more = relay.has_more(data)
        self._intake.add(requests, memory)
        self._dispatch(relay)
        if size:
            self._pace.record(requests, size, now)
            self._last_received = now
            relay.answer_ping()  # any byte proves that the broker is alive
        self._read_control(relay)
        if more:
            self._read_soon()
        self._adjust_reading()
        self._notify()

    def _read_control(self, relay: Relay) -> None:
        """Let the library read its packets, some in each iteration of the loop."""
        if not relay.control and not relay.ended:
            return
        self._library.read()
        if relay.control and not self._lost:
            self._loop.call_soon(self._resume_control, relay)

    def _resume_control(self, relay: Relay) -> None:
        with self._close_on_error():
            self._read_control(relay)
            self._adjust_reading()
            self._notify()

    def _dispatch(self, relay: Relay) -> None:
        """Dispatch what the codec has found besides requests."""
        for reason, explained in self._codec.take_rejected():
            self._on_refused(rejection(reason, explained))
        if packets := self._codec.take_pubcomps():
            relay.write(packets)
            self._flush()
        relay.control += self._codec.take_control()

    def _discard(self) -> None:
        """After DISCONNECT: discard input until the broker closes."""
        relay = self._relay
        with self._close_on_error():
            while relay is not None and (data := relay.read()) is not None:
                if not data:
                    self._terminate(ConnectionLost("closed"))
                    return

    # Writing

    def _flush(self) -> bool:
        """Send buffered bytes, now and when the socket is writable; returns whether all left."""
        relay = self._relay
        if relay is None or self._lost:
            return False
        try:
            done = relay.flush()
        except OSError as error:
            self._terminate(broken(relay.pending_alert() or error))
            return False
        if done and self._writing:
            self._writing = False
            self._loop.remove_writer(relay.fileno())
            self._notify()  # not only after `_writable`: `settle` may wait for this flush
        elif not done and not self._writing:
            self._writing = True
            self._loop.add_writer(relay.fileno(), self._writable)
        return done

    def _writable(self) -> None:
        self._flush()
        self._adjust_reading()
        self._notify()

    def _tick(self) -> None:
        """Once a second: let the library send its pings."""
        if self._lost or self._relay is None:
            return
        with self._close_on_error():
            if not self._reading:
                self._last_received = time.monotonic()
                self._relay.answer_ping()  # we have stopped reading, so PINGRESP cannot arrive
                self._library.read()
            self._library.tick()
            if self._awaits_answer and time.monotonic() - self._last_received > _SUBACK_SECONDS:
                self._terminate(ConnectionLost("the broker does not answer SUBSCRIBE"))
            self._loop.call_later(1.0, self._tick)

    # Events of the library (`paho.Events`)

    def opened(self, relay: Relay) -> None:  # noqa: D102 - see paho.Events
        if self._lost:
            raise self._lost  # the attempt was cancelled or has timed out
        self._relay = relay
        self._loop.call_soon_threadsafe(self._adjust_reading)

    def pending(self) -> None:  # noqa: D102 - see paho.Events
        self._loop.call_soon_threadsafe(self._write_control)

    def _write_control(self) -> None:
        if not self._lost:
            with self._close_on_error():
                self._library.write()
                self._flush()

    def accepted(  # noqa: D102 - see paho.Events
        self, *, session_present: bool, properties: Properties | None
    ) -> None:
        self.session_present = session_present
        if self._settings.level == MQTT_5:
            self._codec.allow(*reply_limits(properties))
        try:
            self.shortfalls += of_connack(self._settings, self._admission.limits, properties)
        except BrokerRefused as refusal:
            self._lost = refusal

    def refused(  # noqa: D102 - see paho.Events
        self, *, reason: ReasonCode, properties: Properties | None
    ) -> None:
        self._lost = refused(reason, properties)

    def closing(self) -> None:  # noqa: D102 - see paho.Events
        # The loop does not detect that a descriptor was closed, and would not watch the next socket
        # with the same number.
        relay = self._relay
        if relay is not None and relay.fileno() >= 0:
            self._stop_reading(relay)
            self._loop.remove_writer(relay.fileno())

    def ended(  # noqa: D102 - see paho.Events
        self, *, reason: ReasonCode, by_broker: bool, properties: Properties | None
    ) -> None:
        client_id = self._settings.client_id
        lost = ended(reason, by_broker=by_broker, client_id=client_id, properties=properties)
        self._terminate(lost)
