"""`kafka.exactly_once`: for readers of committed records every reply and point is there once."""

from __future__ import annotations

import json
import random
import re
import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.test_cli import run
from tests.support.kafka_clients import Read, Reader, Topics, make_topics, send
from tests.support.kafka_service import KafkaService, settings
from tests.support.patience import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

pytest_plugins = ("tests.support.kafka_fixtures",)

PLACES = (
    *("after-receive:2", "after-verdict:2", "before-reply:2", "after-reply:2"),
    *("before-ack:2", "in-transaction:2", "after-ack:2"),
)


def request(number: int, text: str = "") -> bytes:
    """A request with one point, whose time is its number."""
    points = f'"temp":1.5{text}'
    return (
        f'{{"id":"{number}","version":"1.0","method":"integration.measurepoint.post","params":'
        f'[{{"deviceKey":"device1","measurepoints":{{{points}}},"time":{number}}}]}}'
    ).encode()


def text(kafka: str, topics: Topics, name: str, *more: str) -> str:
    """The settings of a service."""
    sink = f'[[sinks]]\ntype = "kafka"\nservers = "{kafka}"\ntopic = "{topics.points}"\n'
    # As in `[kafka]`, whose options are for members that are replaced soon.
    sink += "options.session.timeout.ms = 1500\noptions.heartbeat.interval.ms = 300\n"
    own = f'exactly_once = true\ntransactional_id = "{topics.requests}-{name}"'
    return settings(kafka, topics, own, sink, *more, ack="kafka")


def ids(replies: Iterable[Read]) -> list[int]:
    return [int(re.findall(rb'"id":"(\d+)"', one.value)[0]) for one in replies]


def times(points: Iterable[Read]) -> list[int]:
    return [int(json.loads(one.value)["time"]) for one in points]


def check(kafka: str, topics: Topics, count: int) -> None:
    """Every request has one reply and one point."""
    with Reader(kafka, topics.replies) as replies, Reader(kafka, topics.points) as points:
        answered = ids(replies.take(count, 2 * PATIENCE))
        stored = times(points.take(count, 2 * PATIENCE))
        assert not replies.rest(0.5)
        assert not points.rest(0.5)
    assert sorted(answered) == sorted(stored) == list(range(count))


def test_a_single_request_is_answered_soon(kafka: str, topics: Topics, tmp_path: Path) -> None:
    with KafkaService(tmp_path, text(kafka, topics, "one")).joined() as service:
        for number in range(5):
            send(kafka, topics.requests, [request(number)])
        check(kafka, topics, 5)
        assert service.end() == 0


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_killed_anywhere_every_reply_and_point_is_there_once(
    kafka: str, topics: Topics, tmp_path: Path, place: str
) -> None:
    environ, count = {"POINTGATE_FAILPOINT": place}, 0

    def more() -> int:
        send(kafka, topics.requests, [request(n) for n in range(count, count + 20)])
        return count + 20

    with KafkaService(tmp_path, text(kafka, topics, "one"), environ=environ).joined() as service:
        while service.alive:
            count = more()
        assert service.status() == -signal.SIGKILL
    with KafkaService(tmp_path, text(kafka, topics, "one")) as service:
        count = more()
        check(kafka, topics, count)
        assert service.end() == 0


def test_partitions_change_hands_and_a_member_is_killed_under_load(
    kafka: str, topics: Topics, tmp_path: Path
) -> None:
    count = 12_000
    with KafkaService(tmp_path, text(kafka, topics, "one"), name="one").joined() as one:
        send(kafka, topics.requests, [request(n) for n in range(4000)])
        with KafkaService(tmp_path, text(kafka, topics, "two"), name="two").joined():
            send(kafka, topics.requests, [request(n) for n in range(4000, 8000)])
            one.end(signal.SIGKILL)  # and it does not come back
            send(kafka, topics.requests, [request(n) for n in range(8000, count)])
            check(kafka, topics, count)


def test_who_takes_the_transactional_id_fences_the_other(
    kafka: str, topics: Topics, tmp_path: Path
) -> None:
    with KafkaService(tmp_path, text(kafka, topics, "same"), name="one").joined() as one:
        with KafkaService(tmp_path, text(kafka, topics, "same"), name="two").joined() as two:
            send(kafka, topics.requests, [request(n) for n in range(300)])
            check(kafka, topics, 300)
            two.end()
        one.wait_for("consumer ended: another service has the transactional id")


def test_a_record_that_the_topic_does_not_take_stops_no_other(kafka: str, tmp_path: Path) -> None:
    topics = make_topics(kafka)
    small = make_topics(kafka, config={"max.message.bytes": "2000"})
    topics = topics._replace(points=small.points)
    spool = f'[spool]\npath = "{tmp_path}/spool"'
    chance = random.Random(7)  # noqa: S311 - noise, which does not compress to 2 kB
    noise = '","'.join(chance.randbytes(100).hex() for _ in range(100))
    with KafkaService(tmp_path, text(kafka, topics, "one", spool)).joined() as service:
        requests = [request(n) for n in range(20)]
        requests[7] = request(7, f',"branchCurr":["{noise}"]')
        send(kafka, topics.requests, requests)
        with Reader(kafka, topics.replies) as replies, Reader(kafka, topics.points) as points:
            others = [n for n in range(20) if n != 7]
            assert sorted(ids(replies.take(19, 2 * PATIENCE))) == others
            assert sorted(times(points.take(19))) == others
            assert not replies.rest(0.5)
        service.wait_for("dead-lettered: rejected by Kafka")
    assert [*(tmp_path / "spool/refused").iterdir()]


def test_a_reply_that_the_topic_does_not_take_stops_no_other(kafka: str, tmp_path: Path) -> None:
    topics = make_topics(kafka)
    small = make_topics(kafka, config={"max.message.bytes": "260"})
    topics = topics._replace(replies=small.replies)
    with KafkaService(tmp_path, text(kafka, topics, "one")).joined() as service:
        requests = [request(n) for n in range(6)]
        requests[3] = requests[3].replace(b"1.5", b'"much too long a text for a number"')
        send(kafka, topics.requests, requests)
        with Reader(kafka, topics.replies) as replies, Reader(kafka, topics.points) as points:
            others = [0, 1, 2, 4, 5]
            assert sorted(ids(replies.take(5, 2 * PATIENCE))) == others
            assert sorted(times(points.take(5))) == others
            assert not replies.rest(0.5)
        service.wait_for_metric("pointgate_kafka_replies_refused_total", 1, at_least=True)
        service.wait_for("Kafka rejected [0-9]+ repl")


def test_a_topic_of_replies_that_is_missing_stops_nothing(
    kafka: str, topics: Topics, tmp_path: Path
) -> None:
    gone = topics._replace(replies=f"{topics.replies}-gone")
    with KafkaService(tmp_path, text(kafka, gone, "one")).joined() as service:
        send(kafka, topics.requests, [request(n) for n in range(5)])
        with Reader(kafka, topics.points) as points:
            assert sorted(times(points.take(5, 2 * PATIENCE))) == [*range(5)]
            assert not points.rest(0.5)
        service.wait_for_metric("pointgate_kafka_replies_refused_total", 5, at_least=True)


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ({"transactional_id": ""}, "kafka.transactional_id: expected an id that no other"),
        ({"ack": "sink"}, 'kafka.exactly_once: true needs store.ack = "kafka", got "sink"'),
        ({"sink": "elsewhere:9092"}, "sinks.kafka.servers: expected that of [kafka]"),
        ({"options": "options.linger.ms = 5"}, "sinks.kafka.options: expected that of [kafka]"),
        (
            {"own": 'options.isolation.level = "read_uncommitted"'},
            'kafka.options: expected isolation.level "read_committed" for exactly_once',
        ),
        (
            {"own": "options.socket.timeout.ms = 60000"},
            "`socket.timeout.ms` must be set <= `transaction.timeout.ms`",
        ),
    ],
)
def test_what_cannot_be_in_one_transaction_is_refused(
    tmp_path: Path, more: dict[str, Any], found: str
) -> None:
    own = more.get("transactional_id", 'transactional_id = "gate-0"')
    sink = f'[[sinks]]\ntype = "kafka"\nservers = "{more.get("sink", "127.0.0.1:9")}"\ntopic = "p"'
    topics = Topics("requests", "replies", "p")
    written = settings(
        "127.0.0.1:9",
        topics,
        f"exactly_once = true\n{own}\n{more.get('own', '')}",
        sink,
        "options.session.timeout.ms = 1500\noptions.heartbeat.interval.ms = 300",
        more.get("options", more.get("own", "")),
        ack=more.get("ack", "kafka"),
    )
    (tmp_path / "pointgate.toml").write_text(written)
    done = run("check", "-c", tmp_path / "pointgate.toml")
    assert done.returncode == 1
    assert found in done.stdout
