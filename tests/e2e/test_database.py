"""A PostgreSQL that is slow, does not answer, or is gone: what senders notice of it."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Final

from tests.e2e.ledger import Ledger, until
from tests.support.postgres_points import ask
from tests.support.postgres_server import PASSWORD, PostgresServer
from tests.support.processes import Broker, Sender, Service

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.tcp_proxy import TcpProxy

pytest_plugins = ("tests.support.postgres_fixtures",)

LAG: Final = 'pointgate_sink_lag_requests{sink="postgres"}'
ROWS: Final = "SELECT value_double, (extract(epoch FROM time) * 1000)::bigint FROM {schema}.points"


def service(folder: Path, broker: Broker, url: str, schema: str, *, ack: str) -> Service:
    """A service whose only sink is a database."""
    return Service(
        folder,
        broker.port,
        *("[spool]", f'path = "{folder}/spool"'),
        *("[[sinks]]", 'type = "postgres"', f'url = "{url}"', f'schema = "{schema}"'),
        ack=ack,
        environ={"POINTGATE_SINKS__POSTGRES__PASSWORD": PASSWORD},
    )


class Table:
    """What the database has."""

    def __init__(self, server: PostgresServer, schema: str, ledger: Ledger) -> None:
        self._server = server
        self._schema = schema
        self._ledger = ledger

    def is_complete(self) -> bool:
        """Whether everything that was answered is there; nothing may be there that should not."""
        found: dict[int, list[int]] = {}
        for value, instant in ask(self._server, ROWS, self._schema):
            found.setdefault(int(value), []).append(instant)
        if not self._ledger.accepted <= found.keys():
            return False
        self._ledger.check(found)
        assert all(len(times) == 2 for times in found.values())  # nothing twice
        return True


def test_senders_do_not_notice_a_database_that_is_slow_frozen_or_dead(
    tmp_path: Path, broker: Broker, server: PostgresServer, proxy: TcpProxy, schema: str
) -> None:
    url = server.url(port=proxy.port)
    with (
        Sender(broker.port) as sender,
        service(tmp_path, broker, url, schema, ack="spool") as running,
    ):
        ledger = Ledger(sender)
        table = Table(server, schema, ledger)
        running.ready()
        ledger.send(20)
        ledger.take(20)
        running.wait_for_metric(LAG, 0)
        assert table.is_complete()
        faults: list[tuple[Callable[[], None], Callable[[], None]]] = [
            (lambda: proxy.delay(0.2), lambda: proxy.delay(0)),
            (proxy.freeze, proxy.thaw),
            (server.kill, server.start),
        ]
        for fault, mended in faults:
            fault()
            ledger.send(50)
            ledger.take(50)
            until(lambda: running.metric(LAG) > 0)
            ledger.send(50)
            ledger.take(50)
            assert running.readiness()[0] == 200
            mended()
            until(table.is_complete)
            running.wait_for_metric(LAG, 0)
        assert running.end(signal.SIGTERM) == 0


def test_answers_that_promise_a_database_wait_for_it(
    tmp_path: Path, broker: Broker, server: PostgresServer, proxy: TcpProxy, schema: str
) -> None:
    url = server.url(port=proxy.port)
    with (
        Sender(broker.port) as sender,
        service(tmp_path, broker, url, schema, ack="sink") as running,
    ):
        ledger = Ledger(sender)
        table = Table(server, schema, ledger)
        running.ready()
        proxy.delay(0.05)
        ledger.send(50)
        ledger.take(50)
        assert table.is_complete()  # at once
        proxy.delay(0)
        for fault, mended, reason in (
            (proxy.freeze, proxy.thaw, "sink postgres: no answer for "),
            (server.kill, server.start, "sink postgres: connection failed"),
        ):
            fault()
            accepted = ledger.look()
            ledger.send(50)
            until(lambda: reason in running.readiness()[1])  # noqa: B023 - called now
            assert running.readiness()[0] == 503
            assert ledger.look() == accepted
            mended()
            ledger.take(50)
            assert table.is_complete()
        until(lambda: running.readiness()[0] == 200)
        assert running.end(signal.SIGTERM) == 0
