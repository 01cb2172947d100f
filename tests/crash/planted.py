"""Bugs to plant into a service, so that the check can show that it finds them.

Each is what a plausible mistake would look like from outside. They are planted from here, by
replacing methods: the service itself has no switch for any of them.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from pointgate._core import Burst
from pointgate.service.gate import Gate
from pointgate.sinks.drain import Drain
from pointgate.sinks.parquet.sink import ParquetSink
from pointgate.sinks.postgres.sink import PostgresSink
from pointgate.sources.mqtt.connection import AiomqttConnection
from pointgate.store.durable import SinkStore, SpoolStore
from pointgate.store.none import Completed
from pointgate.store.spool.segment import Segment
from pointgate.store.spool.writer import Writer
from tests.support.mqtt_packets import puback

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    from pointgate.store.base import Points

_LATE: Final = 0.05


def reply_first() -> None:
    """Answers, and stores a little later."""
    append = SpoolStore.append

    def planted(store: SpoolStore, *what: Any) -> Completed:
        asyncio.get_running_loop().call_later(_LATE, append, store, *what)
        return Completed()

    _plant(SpoolStore, "append", planted)


def acknowledge_first() -> None:
    """Acknowledges what has arrived before it is answered."""
    receive = AiomqttConnection.receive

    async def planted(connection: AiomqttConnection) -> Burst | None:
        burst = await receive(connection)
        if burst is None:
            return None
        requests = burst.requests
        for request in requests:
            if request.packet_id and connection._relay:
                connection._relay.write(puback(request.packet_id))
        connection._flush()
        connection._intake.release(burst)
        again = Burst.of(  # without packet ids: at QoS 0
            [request.topic for request in requests],
            [request.payload for request in requests],
            arrived=burst.arrived,
        )
        connection._intake.add(len(again), again.size)
        return again

    _plant(AiomqttConnection, "receive", planted)


def keep_in_memory() -> None:
    """Tells at once that a batch was committed, and commits twice a second."""
    write, start = Segment.write, Writer.start
    waiting: list[tuple[Any, dict[str, Any]]] = []

    def planted(segment: Segment, batch: Any, **options: Any) -> bool:
        if batch is not None:
            waiting.append((batch, options))
            return False
        for one, its in waiting:
            write(segment, one, **its)
        waiting.clear()
        return write(segment, None, **options)

    def planted_start(writer: Writer, *what: Any) -> None:
        start(writer, *what)
        threading.Thread(target=_wake, args=(writer,), daemon=True).start()

    _plant(Segment, "write", planted)
    _plant(Writer, "start", planted_start)


def _wake(writer: Writer) -> None:
    while True:
        time.sleep(0.5)
        with writer._change:
            writer._cleanup_due = True
            writer._change.notify()


def forget_fsync() -> None:
    """Commits without fsync: a kill cannot show it, a power cut would."""
    write = Segment.write

    def planted(segment: Segment, *what: Any, **options: Any) -> bool:
        segment._connection.execute("PRAGMA synchronous = OFF")
        return write(segment, *what, **options)

    _plant(Segment, "write", planted)


def forget_fsync_of_files() -> None:
    """Renames Parquet files that may not be on the disk yet."""
    module = import_module("pointgate.sinks.parquet.files")
    _plant(module._File, "sync", lambda _file: None)


def forget_fsync_of_folders() -> None:
    """Renames Parquet files, and does not see to it that the new names last."""
    _plant(import_module("pointgate.sinks.parquet.dataset"), "sync_folder", lambda _path: None)


def accept_rejected() -> None:
    """Answers 200 to requests that were rejected."""
    settle = AiomqttConnection.settle

    async def planted(connection: AiomqttConnection, burst: Burst, *, more: bool = False) -> None:
        burst.answer([reply and _accepted(reply) for reply in burst.replies])
        await settle(connection, burst, more=more)

    _plant(AiomqttConnection, "settle", planted)


def _accepted(reply: bytes) -> bytes:
    return json.dumps({"id": json.loads(reply).get("id"), "code": 200, "data": {}}).encode()


def store_rejected() -> None:
    """Stores what stands before the fault of a rejected request."""
    judge = Gate._judge

    async def planted(gate: Gate, burst: Burst) -> list[Points]:
        found = await judge(gate, burst)
        for one, report, instant in zip(burst.requests, burst.reports, burst.instants, strict=True):
            if report and report.code in {1204, 1257}:
                request = json.loads(one.payload)
                request["params"].pop()
                good = json.dumps(request, separators=(",", ":")).encode()
                part = Burst.of([one.topic], [good])
                part.stamp(instant, instant // 1000)
                points = gate._validator.judge_burst(part, 0, collect=True)[1]
                gate._store.append(part.counts, [points] if points else [])
        return found

    _plant(Gate, "_judge", planted)


def half_a_request() -> None:
    """Both sinks store the first point of each request and leave out the others."""
    for sink in (ParquetSink, PostgresSink):
        _shorten(sink)


def keep_the_first() -> None:
    """Both sinks keep the value that came first, as if they had been told to."""
    begin, begin_postgres = ParquetSink.__init__, PostgresSink.__init__

    def planted(self: Any, settings: Any, **options: Any) -> None:
        begin(self, settings.model_copy(update={"on_conflict": "ignore"}), **options)

    def planted_postgres(self: Any, **options: Any) -> None:
        begin_postgres(self, **options | {"on_conflict": "ignore"})

    _plant(ParquetSink, "__init__", planted)
    _plant(PostgresSink, "__init__", planted_postgres)


def _shorten(sink: Any) -> None:
    write = sink.write

    async def planted(self: Any, points: pa.Table, *, sequence: int) -> None:
        received = points["received"].to_pylist()  # which no two requests share
        kept = [row for row, at in enumerate(received) if row == 0 or at != received[row - 1]]
        points = points.take(kept)
        await write(self, points, sequence=sequence)

    _plant(sink, "write", planted)


def answer_at_the_spool() -> None:
    """Answers under `ack = "sink"` when the spool has it."""
    write = Drain._write

    async def planted(drain: Drain, *what: Any) -> None:
        await asyncio.sleep(_LATE)
        await write(drain, *what)

    _plant(Drain, "_write", planted)
    _plant(SinkStore, "_when_stored", SpoolStore._when_stored)


def pass_first() -> None:
    """Notes that a sink has something before it has it."""
    commit = Drain._commit

    async def planted(drain: Drain, state: Any) -> bool:
        drain._spool.commit_offset(state.sink.name, state.written)
        await asyncio.sleep(_LATE)
        return await commit(drain, state)

    _plant(Drain, "_commit", planted)


def _plant(owner: object, name: str, what: object) -> None:
    setattr(owner, name, what)


BUGS: Final[dict[str, Callable[[], None]]] = {
    bug.__name__.replace("_", "-"): bug
    for bug in (
        reply_first,
        acknowledge_first,
        keep_in_memory,
        forget_fsync,
        forget_fsync_of_files,
        forget_fsync_of_folders,
        accept_rejected,
        store_rejected,
        half_a_request,
        keep_the_first,
        answer_at_the_spool,
        pass_first,
    )
}
