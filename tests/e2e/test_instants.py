"""Requests without `time` never replace each other, in any sink (contract 3.5)."""

from __future__ import annotations

import json
import shutil
import signal
import time
from typing import TYPE_CHECKING, Any, Final

import duckdb
import pytest

from tests.e2e.ledger import until, whole_lines
from tests.e2e.test_faults import CLOCK, set_clock
from tests.e2e.test_replay import replay, request
from tests.support.paths import CATALOG
from tests.support.postgres_points import ask
from tests.support.postgres_server import PASSWORD, PostgresServer
from tests.support.processes import Broker, Sender, Service, small

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

pytest_plugins = ("tests.support.postgres_fixtures",)

ROWS: Final = "SELECT (extract(epoch FROM time) * 1000000)::bigint FROM {schema}.points"
DAY: Final = 86_400


class World:
    """A service with a sink of each kind, and what stands in them."""

    def __init__(self, folder: Path, broker: Broker, server: PostgresServer, schema: str) -> None:
        self.broker, self._folder = broker, folder
        self._server, self._schema = server, schema

    def service(self, *, environ: Mapping[str, str] | None = None, **options: Any) -> Service:
        url = self._server.url()
        lines = (
            *("[spool]", f'path = "{self._folder}/spool"'),
            *("[quarantine]", f'path = "{self._folder}/quarantine"'),
            *("[[sinks]]", 'type = "parquet"', f'path = "{self._folder}/points"'),
            *("[[sinks]]", 'type = "ndjson"', f'path = "{self._folder}/lines"'),
            *("[[sinks]]", 'type = "postgres"', f'url = "{url}"', f'schema = "{self._schema}"'),
        )
        password = {"POINTGATE_SINKS__POSTGRES__PASSWORD": PASSWORD}
        return Service(
            self._folder,
            self.broker.port,
            *lines,
            ack="sink",
            environ=password | dict(environ or {}),
            **options,
        )

    def instants(self) -> list[int]:
        """The times of all points, in microseconds; the same in every sink."""
        files = f"{self._folder}/points/**/*.parquet"
        query = "SELECT epoch_us(time), epoch_us(received) FROM read_parquet(?)"
        rows = duckdb.execute(query, [files]).fetchall()
        parquet = sorted(instant for instant, _ in rows)
        points = whole_lines((self._folder / "lines").read_text())
        ndjson = sorted(round(point["time"] * 1000) for point in points)
        assert all(point["time"] == point["received"] for point in points)
        assert parquet == ndjson == sorted(received for _, received in rows)
        assert parquet == sorted(instant for (instant,) in ask(self._server, ROWS, self._schema))
        return parquet


@pytest.fixture
def world(tmp_path: Path, broker: Broker, server: PostgresServer, schema: str) -> World:
    return World(tmp_path, broker, server, schema)


def accepted(sender: Sender, count: int) -> None:
    codes = {json.loads(reply.payload)["code"] for reply in sender.take(count)}
    assert codes == {200}


def test_requests_that_waited_in_the_broker_have_a_row_each(world: World) -> None:
    with Sender(world.broker.port) as sender:
        with world.service() as running:
            running.ready()
            sender.send(small("first"))
            accepted(sender, 1)
            assert running.end() == 0
        for number in range(60):
            sender.send(small(number)).wait_for_publish(15)
        with world.service() as running:
            running.ready()
            accepted(sender, 60)
            assert running.end() == 0
    assert len(set(world.instants())) == 61


def test_requests_posted_at_once_have_a_row_each(world: World) -> None:
    before = time.time_ns() // 1000
    with Sender(world.broker.port) as sender, world.service() as running:
        running.ready()
        for number in range(300):
            sender.send(small(number), qos=number % 2)
        accepted(sender, 300)
        assert running.end() == 0
    instants = world.instants()
    assert len(set(instants)) == 300
    assert before <= instants[0] < instants[-1] <= time.time_ns() // 1000 + 300


@pytest.mark.skipif(CLOCK is None, reason="libfaketime is not installed")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_clock_that_is_set_back_between_two_lives_gives_no_instant_again(
    tmp_path: Path, world: World, number: signal.Signals
) -> None:
    clock = tmp_path / "clock"
    environ = {
        "LD_PRELOAD": str(CLOCK),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    with Sender(world.broker.port) as sender:
        for life, jump in enumerate((0, -DAY, -2 * DAY)):
            set_clock(clock, jump)
            with world.service(environ=environ) as running:
                running.ready()
                for one in range(40):
                    sender.send(small(one))
                accepted(sender, 40)
                assert running.end(number) in {0, -number}
            if life:
                assert any("s behind the last arrival" in line for line in running.lines)
    instants = world.instants()
    assert len(set(instants)) == 120
    assert instants[-1] - instants[0] < 3600 * 10**6


def test_a_redelivered_request_has_an_instant_of_its_own(world: World) -> None:
    with Sender(world.broker.port) as sender:
        with world.service(environ={"POINTGATE_FAILPOINT": "before-ack:1"}) as running:
            running.ready()
            for number in range(20):
                sender.send(small(number))
            assert running.status() == -signal.SIGKILL
        with world.service() as running:
            running.ready()
            until(lambda: json.loads(sender.reply().payload)["id"] == "19")
            assert running.end() == 0
    instants = world.instants()
    assert len(instants) == len(set(instants)) > 20  # at least once, and never in another's place


def test_a_replayed_request_has_the_time_of_its_first_arrival(tmp_path: Path, world: World) -> None:
    catalog = tmp_path / "catalog"
    shutil.copytree(CATALOG, catalog)
    with Sender(world.broker.port) as sender, world.service(catalog=catalog) as running:
        running.ready()
        before = time.time_ns() // 1000
        for number in range(100):
            sender.send(request("newcomer", number))
        assert {json.loads(reply.payload)["code"] for reply in sender.take(100)} == {1257}
        after = time.time_ns() // 1000 + 100
        with (catalog / "devices/protocol.txt").open("a") as file:
            file.write("newcomer\n")
        running.send_signal(signal.SIGHUP)
        running.wait_for("catalog loaded")
        until(lambda: running.metric("pointgate_quarantine_kept_total") == 100)
        status, outcome = replay(tmp_path / "service.toml")
        assert (status, outcome["answered"]) == (0, 100)
        assert running.end() == 0
    points = whole_lines((tmp_path / "lines").read_text())
    instants = [round(point["time"] * 1000) for point in points]
    assert len(set(instants)) == 100
    assert before <= min(instants) <= max(instants) <= after
    # `received` is when the service got what it stored.
    assert all(point["received"] * 1000 > after for point in points)
    query = "SELECT epoch_us(time) FROM read_parquet(?)"
    parquet = duckdb.execute(query, [f"{tmp_path}/points/**/*.parquet"]).fetchall()
    assert sorted(instant for (instant,) in parquet) == sorted(instants)
