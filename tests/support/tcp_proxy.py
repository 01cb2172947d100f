"""A TCP proxy of the tests, between a client and a real server, that can be told to misbehave.

    with TcpProxy(server.port) as proxy:
        connect_to(proxy.port)
        proxy.delay(2)                    # everything takes two seconds longer, each way
        proxy.freeze(); proxy.thaw()      # nothing passes; connections stay open
        proxy.cut()                       # every connection is reset now
        proxy.cut_after(100_000)          # … when so many more bytes have come from clients
        proxy.cut_answer(b"COMMIT")       # … when the server answers the next such request,
                                          #   before the client hears of it
        proxy.refuse(); proxy.accept()    # new connections are reset, or not

It runs an event loop in a thread of its own, so it serves blocking tests and asynchronous ones. A
command has taken effect when it returns. Bytes are passed on as they come and never looked into,
but for what `cut_answer` looks for: that has to come in one piece, as short requests do.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable

HOST = "127.0.0.1"
PIECE = 65_536


class TcpProxy:
    """Passes connections on to one port of the loopback.

    Attributes:
        port: Where it listens.
        target: Where it connects to; a change holds for new connections.
        connections: How many it has passed on so far.
        cuts: How many times it has cut everything, by command or when its time had come.
    """

    def __init__(self, target: int) -> None:
        self.port = 0
        self.target = target
        self.connections = 0
        self.cuts = 0
        self._seconds = 0.0
        self._refuses = False
        self._left: int | None = None
        self._request: bytes | None = None
        self._answered = False
        self._links: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tcp-proxy")

    def __enter__(self) -> Self:
        self._thread.start()
        starting = asyncio.start_server(self._pass_on, HOST, 0)
        self._server = asyncio.run_coroutine_threadsafe(starting, self._loop).result()
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def delay(self, seconds: float) -> None:
        """Hold back every piece of data for so long, in both directions; 0 ends it."""
        self._seconds = seconds

    def freeze(self) -> None:
        """Pass nothing on, and take nothing more than the sockets hold."""
        self._do(self._flowing.clear)

    def thaw(self) -> None:
        """Pass on what waited, and all that follows."""
        self._do(self._flowing.set)

    def cut(self) -> None:
        """Reset every connection, both ways; new ones are welcome."""
        self._do(self._cut)

    def cut_after(self, count: int) -> None:
        """Cut when so many bytes have been passed on to the server from now on."""
        self._left = count

    def cut_answer(self, request: bytes) -> None:
        """Pass on the next piece of data with these bytes in it, and cut when the answer comes."""
        self._answered = False
        self._request = request

    def refuse(self) -> None:
        """Reset new connections, and those there are."""
        self._refuses = True
        self.cut()

    def accept(self) -> None:
        """Pass on new connections again."""
        self._refuses = False

    def _do(self, command: Callable[[], None]) -> None:
        async def run() -> None:
            command()

        asyncio.run_coroutine_threadsafe(run(), self._loop).result()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._keep_task()
        if self._refuses:
            _reset(writer)
            return
        try:
            there, back = await asyncio.open_connection(HOST, self.target)
        except OSError:
            _reset(writer)
            return
        self.connections += 1
        self._links |= {writer, back}
        answers = self._loop.create_task(self._pump(there, writer, self._answer))
        self._tasks.add(answers)
        await self._pump(reader, back, self._ask)
        await asyncio.wait({answers})
        self._tasks.discard(answers)
        self._links -= {writer, back}
        for end in (writer, back):
            end.close()

    async def _pump(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        see: Callable[[bytes, asyncio.StreamWriter], bool],
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(PIECE):
                if self._seconds:
                    await asyncio.sleep(self._seconds)
                await self._flowing.wait()
                if not see(data, sink):
                    return
                await sink.drain()
        with contextlib.suppress(OSError):
            sink.write_eof()

    def _ask(self, data: bytes, server: asyncio.StreamWriter) -> bool:
        if self._left is not None:
            data, self._left = data[: self._left], self._left - len(data)
        server.write(data)
        if self._left is not None and self._left <= 0:
            self._left = None
            self._cut()
            return False
        if self._request and self._request in data:
            self._answered, self._request = True, None
        return True

    def _answer(self, data: bytes, client: asyncio.StreamWriter) -> bool:
        if self._answered:
            self._answered = False
            self._cut()
            return False
        client.write(data)
        return True

    def _cut(self) -> None:
        self.cuts += 1
        for link in self._links:
            _reset(link)

    def _keep_task(self) -> None:
        if task := asyncio.current_task():
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _stop(self) -> None:
        self._server.close()
        self._cut()
        self._flowing.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # transports close a turn later


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close at once, with a reset: what is still on its way is lost, as in a crash."""
    if (raw := writer.get_extra_info("socket")) is not None:
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
