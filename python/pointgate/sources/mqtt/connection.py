"""An MQTT connection: MQTT 5 and 3.1.1, over any transport, to any broker.

    async with connect(settings.mqtt, admission, on_refused=count) as connection:
        await connection.subscribe()  # concurrently with the gate: a resumed session delivers first
        ... receive, settle, receive, settle ...
        connection.drain()            # stops reading; then `receive` returns None at the end

`channel.py` reads and writes the bytes. This module is the connection's life cycle, and its
interface to the gate (`base.Connection`).

We subscribe at QoS 1. A session that another program created can still hold requests at QoS 2, and
some brokers ignore the requested QoS. Their PUBREC is sent in place of a PUBACK, after the reply,
and each PUBREL is answered at once: no state is stored in between.

A reply that the broker has not acknowledged when the connection ends is not retransmitted: its
request's acknowledgement followed it in the same stream, so either both arrived or the request is
redelivered.

Invariants: those of `base.py`.

It does not reconnect (`source.py` does) and does not know the content of requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import aiomqtt

from pointgate import failpoint
from pointgate.errors import ConnectionLost
from pointgate.sources.mqtt.capabilities import of_suback
from pointgate.sources.mqtt.channel import Channel
from pointgate.sources.mqtt.errors import BrokerRefused, not_connected, unanswered
from pointgate.sources.mqtt.packets import DISCONNECT
from pointgate.topics import REQUEST_FILTERS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Sequence

    from pointgate._core import Burst
    from pointgate.config import MqttSettings
    from pointgate.sources.admission import Admission
    from pointgate.sources.mqtt.relay import Relay


_T = TypeVar("_T")

_WRITE_BYTES: Final = 262_144
"""How many bytes may wait for the socket before `settle` waits."""

_CLOSE_SECONDS: Final = 2.0
"""The time for the broker to close its side after our DISCONNECT."""


@asynccontextmanager
async def connect(
    settings: MqttSettings,
    admission: Admission,
    *,
    on_refused: Callable[[str], None],
    read_tick: float = 0.0,
) -> AsyncIterator[AiomqttConnection]:
    """Connect, and disconnect at the end.

    The broker keeps the session between connections, for `session_expiry`. CONNECT sets no Maximum
    Packet Size: the broker would silently drop larger requests, and their senders would wait for a
    reply. Instead, bytes of a payload over `limits.payload_bytes` are discarded here as they
    arrive, and the request is answered 1008.

    Args:
        settings: The broker, and our identity.
        admission: The budget of requests in flight.
        on_refused: Called with the reason for each reply that the broker rejected.
        read_tick: How many seconds a read waits for a group of requests (`read_pace.py`).

    Raises:
        BrokerRefused: The broker refuses us until its settings or ours are changed.
        ConnectionLost: The connection failed.
        ConfigError: A TLS file cannot be used.
    """
    connection = AiomqttConnection(settings, admission, on_refused=on_refused, read_tick=read_tick)
    try:
        await connection.open()
        yield connection
    finally:
        await connection.close()


class AiomqttConnection(Channel):
    """One connection (see `base.Connection`). Use `connect`.

    Attributes:
        settled: See `base.Connection`.
        recorded_filters: Filters of earlier runs, to unsubscribe from; set before `subscribe`.
    """

    def __init__(
        self,
        settings: MqttSettings,
        admission: Admission,
        *,
        on_refused: Callable[[str], None],
        read_tick: float = 0.0,
    ) -> None:
        super().__init__(settings, admission, on_refused=on_refused, read_tick=read_tick)
        self.settled = 0
        self._has_waited = False  # for the last burst, so that other tasks could run
        self.recorded_filters: Sequence[str] = ()

    # The connection's life cycle, for `connect` and `source.py`.

    async def open(self) -> None:
        """Connect and wait for CONNACK (see `connect`)."""
        try:
            await self._library.connect()
        except (aiomqtt.MqttError, ValueError) as error:  # ValueError: a host that cannot be one
            lost = self._lost or not_connected(
                error, tls=self._settings.tls and self._relay is None
            )
            explained = isinstance(lost, BrokerRefused) or self._library.answered
            if self._relay is not None and not explained:
                alpn_ignored = self._library.alpn_ignored
                lost = unanswered(lost, self._settings, alpn_ignored=alpn_ignored)
            self._terminate(lost)
            raise lost from error
        if self._lost:
            raise self._lost
        self._admission.add_resume_callback(self._adjust_reading)
        self._tick()

    @property
    def filters(self) -> list[str]:
        """The topic filters for `subscribe`."""
        group = self._settings.share_group
        return [f"$share/{group}/{name}" if group else name for name in REQUEST_FILTERS]

    async def subscribe(self) -> None:
        """Subscribe to both forms of the topic at QoS 1 and wait for SUBACK.

        Resumed sessions subscribe again, because the settings may have changed. Their stale
        subscriptions are removed afterwards, so that no request is missed.

        Raises:
            BrokerRefused: The broker did not grant a subscription.
            ConnectionLost: The connection has ended.
        """
        filters = self.filters
        reasons = await self._answer(self._library.subscribe(filters))
        self.shortfalls += of_suback(filters, reasons, self._library.suback)
        plain = REQUEST_FILTERS if self._settings.share_group else ()
        known = dict.fromkeys((*plain, *self.recorded_filters))
        stale = [name for name in known if name not in filters]
        if stale and self.session_present:
            await self._answer(self._library.unsubscribe(stale))

    async def unsubscribe(self) -> None:
        """Unsubscribe from all that this session may be subscribed to, and wait for UNSUBACK.

        Requests that the broker has queued are still delivered.

        Raises:
            ConnectionLost: The connection has ended.
        """
        if self.session_present:
            known = dict.fromkeys((*REQUEST_FILTERS, *self.filters, *self.recorded_filters))
            await self._answer(self._library.unsubscribe(list(known)))

    @property
    def quiet(self) -> float:
        """Seconds since the broker has sent anything; 0 while requests are in flight."""
        return 0.0 if self._intake.requests else time.monotonic() - self._last_received

    async def _answer(self, asking: Coroutine[Any, Any, _T]) -> _T:
        """Wait for SUBACK or UNSUBACK, or for the connection's end."""
        self._last_received, self._awaits_answer = time.monotonic(), True
        asked = self._loop.create_task(asking, name="ask the broker")
        asked.add_done_callback(lambda _: self._notify())
        try:
            while not asked.done():
                await self._wait()
            return asked.result()
        except aiomqtt.MqttError as error:
            raise self._lost or ConnectionLost(f"cannot subscribe: {error}") from error
        finally:
            self._awaits_answer = False
            if not asked.cancel() and not asked.cancelled():
                asked.exception()  # marks it as retrieved

    def drain(self) -> None:
        """Stop reading. Requests that have arrived can still be received and settled."""
        self._draining = True
        self._codec.ignore_requests()
        self._adjust_reading()
        self._notify()

    async def close(self) -> None:
        """Send the buffered bytes and DISCONNECT, then close the socket."""
        relay = self._relay
        if relay is not None and self._lost is None:
            with contextlib.suppress(ConnectionLost, OSError, TimeoutError):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    relay.write(DISCONNECT)
                    while not self._flush():
                        await self._wait()
                    # Closing with unread bytes resets the connection, which can discard the bytes
                    # just sent. So the broker closes first.
                    relay.end_writing()
                    self._loop.add_reader(relay.fileno(), self._discard)
                    while True:
                        await self._wait()
        self._terminate(ConnectionLost("closed"))
        self._admission.remove_resume_callback(self._adjust_reading)
        self._intake.close()

    # `base.Connection`

    async def receive(self) -> Burst | None:  # noqa: D102 - see base.Connection
        if not self._has_waited:  # under load, reading and other tasks would starve
            await asyncio.sleep(0)
        self._has_waited = False
        while (burst := self._codec.take_burst()) is None:
            if self._draining and not self._lost:
                return None
            await self._wait()
            self._has_waited = True
        if self._lost:
            raise self._lost
        return burst

    async def settle(self, burst: Burst, *, more: bool = False) -> None:  # noqa: D102 - see base
        relay = self._relay
        if self._lost or relay is None:
            raise self._lost or ConnectionLost("not connected")
        place = 0
        while place < len(burst):
            if self._codec.must_wait(burst, place):
                await self._wait_for_window()
            place = self._write(relay, burst, place)
        self._intake.release(burst)
        if more and relay.waiting_bytes <= _WRITE_BYTES:
            return  # bursts of one commit leave in one call
        self._flush()
        self._adjust_reading()
        while relay.waiting_bytes > _WRITE_BYTES:
            await self._wait()

    def _write(self, relay: Relay, burst: Burst, place: int) -> int:
        """Write replies and acknowledgements from this place on; returns where the window ends."""
        packets, end, too_large, ends = self._codec.write(
            burst, place, with_ends=failpoint.is_active()
        )
        for size in too_large:
            limit = self._codec.packet_limit
            self._on_refused(f"it has {size} bytes, the broker's limit is {limit}")
        begin = 0
        for reply_end, acknowledgement_end in ends:
            if reply_end > begin:
                failpoint.hit("before-reply", relay.flush)
                relay.write(packets[begin:reply_end])
                failpoint.hit("after-reply", relay.flush)
            failpoint.hit("before-ack", relay.flush)
            relay.write(packets[reply_end:acknowledgement_end])
            failpoint.hit("after-ack", relay.flush)
            begin = acknowledgement_end
        relay.write(packets[begin:])
        self.settled += end - place
        return end

    async def _wait_for_window(self) -> None:
        """Wait until the broker has acknowledged a reply, or reading stops at twice the limits."""
        self._awaits_puback = True
        self._flush()
        self._adjust_reading()
        try:
            while self._codec.window_is_full and not self._admission.exceeds(2.0):
                await self._wait()
        finally:
            self._awaits_puback = False
            self._adjust_reading()
