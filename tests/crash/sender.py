"""The sender: a process that outlives everybody and writes down what it sends and what it is told.

    python -m tests.crash.sender --port 1883 --account A --ledger FILE --seed 7 --patience 30

Requests go out in bursts, at random, as long as not too many are unanswered. What a request does
when no answer comes is decided when it is made:

    patient    two in three: waits for ever, because the broker has it. Is sent again only when the
               broker may have forgotten it, which it does when it is killed
    hasty      is sent again after a second
    careless   one in thirty: is never sent again

One in ten is a correction: the points of a request that was sent once and answered 200, with other
values.

So a service that acknowledges a request and forgets it is found out by the patient ones, and one
that stores what comes twice only once in a while by the hasty ones.

The first line of standard input is the password. The next one, `finish`, says that nothing new is
to be sent; the process ends when everything has been answered, or given up. Standard output has a
line of figures every now and then.

paho's thread only puts events into a queue; one thread does everything else, so that the lines of
the ledger stand in the order in which things happened.
"""

from __future__ import annotations

import argparse
import json
import queue
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.crash.ledger import LedgerWriter
from tests.crash.traffic import TOPICS, correct, make
from tests.support.processes import stop_loop

if TYPE_CHECKING:
    from tests.crash.traffic import Request

WINDOW: Final = 100
"""Requests that may be unanswered; those that nobody seems to answer any more are not counted."""

_STALE: Final = 10.0
_HASTE: Final = 1.0
_AGAIN: Final = 3.0
"""Seconds between two repetitions, and until one after a broker's death."""

_CORRECTIONS: Final = 0.1
_RECENT: Final = 200
_BURST: Final = 12
_TICK: Final = 0.03
_STATUS: Final = 0.1
_NO_SUBSCRIBER: Final = 0x10


@dataclass(slots=True)
class _Open:
    """A request without an answer.

    Attributes:
        request: It.
        manner: `patient`, `hasty` or `careless`.
        since: When it was sent first.
        due: When it may be sent again.
        held: Whether the broker must still have it, as far as we know.
        repeated: Whether it was sent again.
    """

    request: Request
    manner: str
    since: float
    due: float
    held: bool = True
    repeated: bool = False


class _Link:
    """The connection, and the queue of what happens on it."""

    def __init__(self, port: int, account: str, password: str) -> None:
        self.events: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        self._client = client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id="sender", protocol=mqtt.MQTTv5
        )
        client.username_pw_set(account, password)
        client.max_inflight_messages_set(0)
        client.reconnect_delay_set(0.05, 0.5)  # type: ignore[arg-type]  # floats will do
        client.on_connect = self._on_connect
        client.on_subscribe = lambda *_: self.events.put(("up",))
        client.on_disconnect = lambda *_: self.events.put(("down",))
        client.on_publish = lambda _c, _u, mid, reason, _p: self.events.put(
            ("taken", mid, reason.value)
        )
        client.on_message = lambda _c, _u, message: self.events.put(
            ("reply", message.topic, bytes(message.payload))
        )
        keep = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        keep.SessionExpiryInterval = 3600
        client.connect("127.0.0.1", port, properties=keep)
        client.loop_start()

    def _on_connect(self, client: mqtt.Client, *_: object) -> None:
        # Also in a session that was kept: it may have been saved before it had the subscription.
        client.subscribe([(f"{topic}_reply", 1) for topic in TOPICS])

    def publish(self, request: Request) -> int:
        """Publish; returns the packet id."""
        return self._client.publish(request.topic, request.payload, 1).mid

    def close(self) -> None:
        self._client.disconnect()
        stop_loop(self._client)


class _Sender:
    def __init__(self, link: _Link, ledger: LedgerWriter, draw: Random) -> None:
        self._link = link
        self._ledger = ledger
        self._draw = draw
        self._open: dict[int, _Open] = {}
        self._packets: dict[int, int] = {}
        self._topics: dict[int, str] = {}
        self._accepted: deque[Request] = deque(maxlen=_RECENT)  # sent once, not corrected
        self._up = False
        self._figures = {"sent": 0, "again": 0, "ok": 0, "err": 0, "open": 0, "given_up": 0}
        self._shown = 0.0

    def run(self, finish: threading.Event, patience: float) -> None:
        """Send until told to finish, and then until all is answered or patience has ended."""
        until: float | None = None
        while until is None or (self._open and time.monotonic() < until):
            self._listen(self._draw.uniform(0, 2 * _TICK))
            if finish.is_set() and until is None:
                until = time.monotonic() + patience
            self._give_up()
            if self._up:
                self._repeat()
                if until is None:
                    self._send()
            self._show()
        self._figures["given_up"] += len(self._open)
        self._shown = 0
        self._show()

    def _listen(self, seconds: float) -> None:
        """Write down what happens for a while."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            try:
                event = self._link.events.get(timeout=left)
            except queue.Empty:
                return
            match event:
                case ("up",):
                    self._up = True
                case ("down",):
                    self._cut()
                case ("taken", packet, reason):
                    self._taken(packet, reason)
                case ("reply", topic, payload):
                    self._answered(topic, payload)

    def _cut(self) -> None:
        self._up = False
        self._ledger.note(cut=True)
        for one in self._open.values():
            one.held = False
            one.due = max(one.due, time.monotonic() + _AGAIN / 2)

    def _taken(self, packet: int, reason: int) -> None:
        number = self._packets.pop(packet, None)
        if number is None:
            return
        if reason == 0:
            self._ledger.note(taken=number)
        elif reason == _NO_SUBSCRIBER and number in self._open:
            self._open[number].held = False
        elif reason != _NO_SUBSCRIBER:
            self._ledger.note(strange=f"request {number}: PUBACK with reason {reason}")

    def _answered(self, topic: str, payload: bytes) -> None:
        try:
            answer = json.loads(payload)
            number, code = int(answer["id"]), answer["code"]
            right = topic == f"{self._topics[number]}_reply"
        except (ValueError, KeyError, TypeError):
            right = False
        if not right:
            self._ledger.note(strange=f"{topic}: {payload!r}")
            return
        if code == 200:
            self._ledger.note(ok=number)
        else:
            self._ledger.note(err=number, code=code)
        self._figures["ok" if code == 200 else "err"] += 1
        one = self._open.pop(number, None)
        if one and code == 200 and not one.repeated and one.request.at == number:
            self._accepted.append(one.request)

    def _send(self) -> None:
        now = time.monotonic()
        fresh = sum(now - one.since < _STALE for one in self._open.values())
        room = min(WINDOW - fresh, self._draw.randint(0, _BURST))
        requests = [self._make(len(self._topics) + place) for place in range(room)]
        for request in requests:
            manner = self._draw.choices(("patient", "hasty", "careless"), (20, 9, 1))[0]
            self._open[request.number] = _Open(request, manner, now, now + _HASTE)
            self._topics[request.number] = request.topic
            self._ledger.sent(request)
        self._figures["sent"] += len(requests)
        self._publish(requests)

    def _make(self, number: int) -> Request:
        if self._accepted and self._draw.random() < _CORRECTIONS:
            chosen = self._draw.randrange(len(self._accepted))
            old = self._accepted[chosen]
            del self._accepted[chosen]
            return correct(old, number)
        return make(number, self._draw)

    def _repeat(self) -> None:
        now = time.monotonic()
        due = [
            one
            for one in self._open.values()
            if one.due <= now
            and (one.manner == "hasty" or (one.manner == "patient" and not one.held))
        ][:_BURST]
        for one in due:
            one.held, one.due, one.repeated = True, now + _AGAIN, True
            self._ledger.note(again=one.request.number)
        self._figures["again"] += len(due)
        self._publish([one.request for one in due])

    def _publish(self, requests: list[Request]) -> None:
        if requests:
            self._ledger.sync()
        for request in requests:
            self._packets[self._link.publish(request)] = request.number

    def _give_up(self) -> None:
        """Let go of what is never sent again and was in a broker that is dead."""
        now = time.monotonic()
        lost = [
            number
            for number, one in self._open.items()
            if one.manner == "careless" and not one.held and now > one.due + _AGAIN
        ]
        for number in lost:
            del self._open[number]
        self._figures["given_up"] += len(lost)

    def _show(self) -> None:
        now = time.monotonic()
        if now - self._shown >= _STATUS:
            self._shown = now
            self._figures["open"] = len(self._open)
            print(json.dumps(self._figures), flush=True)  # noqa: T201 - for the run


def main() -> None:
    """Run as a process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--account", required=True)
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--patience", type=float, required=True, help="seconds after `finish`")
    options = parser.parse_args()
    password = sys.stdin.readline().rstrip("\n")
    finish = threading.Event()

    def obey() -> None:
        sys.stdin.readline()  # "finish", or the end of whoever started us
        finish.set()

    threading.Thread(target=obey, daemon=True).start()
    draw = Random(options.seed)  # noqa: S311 - to be had again
    link = _Link(options.port, options.account, password)
    try:
        with LedgerWriter(options.ledger) as ledger:
            _Sender(link, ledger, draw).run(finish, options.patience)
    finally:
        link.close()


if __name__ == "__main__":
    main()
