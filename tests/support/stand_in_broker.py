"""A stand-in for broker and service together: it judges each request, and answers at once.

    with StandInBroker(validator) as broker:                     # a thread of this process
        ... connect to broker.port ...

`alter` changes what it answers, to be a broker that loses or a service that errs. It speaks MQTT
3.1.1 with one client at a time; packets of the client library are short.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Final, Self

from pointgate._core import Burst, MqttCodec

if TYPE_CHECKING:
    from collections.abc import Callable

    from pointgate import Validator

_READ_BYTES: Final = 1 << 18
_CONNECT, _SUBSCRIBE = 0x10, 0x82


def serve(
    connection: socket.socket,
    validator: Validator,
    alter: Callable[[Burst], None] | None = None,
    *,
    connack: int = 0,
    suback: int = 1,
) -> None:
    """Answer one client until it leaves.

    Args:
        connection: The connection to it.
        validator: Judges its requests.
        alter: Changes the replies of a burst.
        connack: The return code for CONNECT.
        suback: That for each topic filter.
    """
    codec = MqttCodec(protocol=4, frame_limit=1 << 24, burst_requests=1 << 20, burst_bytes=1 << 30)
    codec.allow(65_535, 1, None)
    while data := connection.recv(_READ_BYTES):
        codec.feed(data, time.monotonic())
        control = codec.take_control()
        while control:
            if control[0] == _CONNECT:
                connection.sendall(bytes((0x20, 2, 0, connack)))
            if control[0] == _SUBSCRIBE:
                connection.sendall(bytes((0x90, 3, *control[2:4], suback)))
            control = control[2 + control[1] :]
        while burst := codec.take_burst():
            now = time.time_ns()
            burst.stamp(now // 1000, now // 1_000_000)
            validator.judge_burst(burst, 0)
            if alter:
                alter(burst)
            place = 0
            while place < len(burst):
                packets, place, _, _ = codec.write(burst, place)
                connection.sendall(packets)


class StandInBroker:
    """Serves in a thread, one client after another.

    Attributes:
        port: The port that it listens on.
    """

    def __init__(
        self,
        validator: Validator,
        alter: Callable[[Burst], None] | None = None,
        *,
        connack: int = 0,
        suback: int = 1,
    ) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._answer = partial(
            serve, validator=validator, alter=alter, connack=connack, suback=suback
        )
        self._connection: socket.socket | None = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connection = connection
            with connection, contextlib.suppress(OSError):
                self._answer(connection)

    def hang_up(self) -> None:
        """Close the connection to the client."""
        if self._connection:
            with contextlib.suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self.hang_up()
        self._thread.join()
        self._listener.close()
