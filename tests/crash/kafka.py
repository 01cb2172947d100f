"""Members of a consumer group are killed while requests arrive; nothing that was sent may be lost.

    python -m tests.crash.kafka --kills 100 [--seed 7] [--ack kafka|sink] [--brokers]
                                [--exactly-once] [--nodes 3]

A sender writes numbered requests to a topic: a request's number is its id and, as milliseconds, its
time, so that a reply and a point both tell which request they are of. Meanwhile two services of one
group are killed in turn, at random moments and at failpoints, or terminated, so that partitions
move all the time; with `--brokers` a broker, too. At the end every number must be among the
replies and among the points. Duplicates are counted: each kill may leave as many as were in flight,
and with transactions (`--exactly-once`) none, for readers of what is committed.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from confluent_kafka import Producer

from tests.support.kafka_clients import Reader, Topics, make_topics
from tests.support.kafka_server import KafkaCluster
from tests.support.kafka_service import KafkaService, settings
from tests.support.patience import PATIENCE
from tests.support.processes import TOPIC

if TYPE_CHECKING:
    from collections.abc import Iterator

_BASE: Final = 1_700_000_000_000
_MEMBERS: Final = 2
_RATE: Final = 500
"""Requests a second: the point is to move partitions under load, not to find the limit."""

_FAILPOINTS: Final = (
    *("after-receive", "after-verdict", "before-reply", "after-reply", "before-ack", "after-ack"),
    "in-transaction",
)

_REQUEST: Final = (
    '{{"id":"{0}","version":"1.0","params":[{{"deviceKey":"device1","measurepoints":'
    '{{"temp":{0}.5}},"time":{1}}}],"method":"integration.measurepoint.post"}}'
)


@dataclass
class Outcome:
    """What became of the requests.

    Attributes:
        sent: How many were acknowledged to the sender.
        kills: How many processes were killed or terminated, by what was done.
        lost: Numbers that are missing, by topic.
        twice: Records more than one for a number, by topic.
        complaints: Lines of the services that begin a traceback.
    """

    sent: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    lost: dict[str, list[int]] = field(default_factory=dict)
    twice: dict[str, int] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)


class _Sender(threading.Thread):
    """Sends numbered requests until it is stopped."""

    def __init__(self, servers: str, topic: str) -> None:
        super().__init__(name="sender")
        self.sent: set[int] = set()
        self._topic = topic
        self._stop_ = threading.Event()
        self._producer = Producer(
            {"bootstrap.servers": servers, "acks": "all", "enable.idempotence": True}
        )

    def run(self) -> None:
        number = 0
        while not self._stop_.is_set():
            for _ in range(_RATE // 20):
                self._send(number)
                number += 1
            self._producer.poll(0)
            self._stop_.wait(0.05)
        assert self._producer.flush(PATIENCE) == 0

    def _send(self, number: int) -> None:
        self._producer.produce(
            self._topic,
            _REQUEST.format(number, _BASE + number),
            key=f"gw{number % 97}",
            headers=[("mqtt.topic", TOPIC)],
            on_delivery=lambda error, _: None if error else self.sent.add(number),
        )

    def stop(self) -> None:
        self._stop_.set()
        self.join()


class _Group:
    """The services, and what is done to them."""

    def __init__(
        self, folder: Path, text: str, chance: random.Random, outcome: Outcome, stack: ExitStack
    ) -> None:
        self._folder = folder
        self._text = text
        self._chance = chance
        self._outcome = outcome
        self._stack = stack
        self._members = [self._start(number) for number in range(_MEMBERS)]

    def _start(self, number: int) -> KafkaService:
        # Ignored without transactions.
        environ = {"POINTGATE_KAFKA__TRANSACTIONAL_ID": f"member{number}"}
        if self._chance.random() < 0.5:
            place = self._chance.choice(_FAILPOINTS)
            environ["POINTGATE_FAILPOINT"] = f"{place}:{self._chance.randint(1, 30)}"
        name = f"member{number}"
        service = KafkaService(self._folder, self._text, name=name, environ=environ)
        return self._stack.enter_context(service)

    def kill_one(self) -> None:
        """End one of them, if it does not end by itself, and start it again."""
        number = self._chance.randrange(_MEMBERS)
        member = self._members[number]
        with suppress(AssertionError):  # it has ended before, at a failpoint
            member.joined()
        end = time.monotonic() + self._chance.uniform(0.0, 1.5)
        while member.alive and time.monotonic() < end:
            time.sleep(0.02)
        if member.alive:
            what = self._chance.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM))
            member.end(what)
            self._outcome.kills[what.name] += 1
        else:
            self._outcome.kills["failpoint"] += 1
        self._note(member)
        self._members[number] = self._start(number)

    def settle_down(self) -> None:
        """Start members that nothing kills."""
        self._chance.random = lambda: 1.0  # type: ignore[method-assign] # no more failpoints
        for number, member in enumerate(self._members):
            member.end(signal.SIGKILL)
            self._note(member)
            self._members[number] = self._start(number)

    def end(self) -> None:
        for member in self._members:
            member.end()
            self._note(member)

    def _note(self, member: KafkaService) -> None:
        self._outcome.complaints += [line for line in member.lines if "Traceback" in line]


def run(
    folder: Path,
    *,
    kills: int,
    seed: int = 0,
    ack: str = "kafka",
    brokers: bool = False,
    exactly_once: bool = False,
    nodes: int = 1,
) -> Outcome:
    """Kill processes, then compare.

    Args:
        folder: An empty folder.
        kills: How many times something is killed.
        seed: Decides what is killed and when.
        ack: What a 200 promises.
        brokers: Whether a broker is killed, too, which then is away for some seconds.
        exactly_once: Whether everything is in transactions.
        nodes: How many brokers there are.
    """
    chance, outcome = random.Random(seed), Outcome()  # noqa: S311 - a test's choices
    home = folder / "kafka"
    home.mkdir()
    with KafkaCluster(home, nodes) as cluster, ExitStack() as stack:
        servers = cluster.servers
        topics = make_topics(servers, partitions=6, copies=nodes)
        sender = _Sender(servers, topics.requests)
        own = "exactly_once = true" if exactly_once else ""
        text = settings(servers, topics, own, _sink(servers, topics), ack=ack)
        sender.start()
        try:
            group = _Group(folder, text, chance, outcome, stack)
            for number in range(kills):
                if brokers and number % 10 == 9:
                    broker = chance.choice(cluster.nodes)
                    broker.kill()
                    broker.start()
                    outcome.kills["broker"] += 1
                group.kill_one()
        finally:
            sender.stop()
        group.settle_down()
        outcome.sent = len(sender.sent)
        for topic in (topics.replies, topics.points):
            seen = _read(servers, topic, sender.sent)
            outcome.lost[topic] = sorted(sender.sent - seen.keys())
            outcome.twice[topic] = seen.total() - len(seen)
        group.end()
    return outcome


def _sink(servers: str, topics: Topics) -> str:
    return (
        f'[[sinks]]\ntype = "kafka"\nservers = "{servers}"\ntopic = "{topics.points}"\n'
        "options.session.timeout.ms = 1500\noptions.heartbeat.interval.ms = 300"
    )


def _read(servers: str, topic: str, wanted: set[int]) -> Counter[int]:
    """How often each number is in a topic, once all are there or nothing more arrives."""
    seen: Counter[int] = Counter()
    end = time.monotonic() + PATIENCE
    with Reader(servers, topic) as reader:
        while wanted - seen.keys() and time.monotonic() < end:
            seen += _numbers(reader, 0.5)
        seen += _numbers(reader, 1.0)  # what is there twice
    return seen


def _numbers(reader: Reader, seconds: float) -> Counter[int]:
    documents = [json.loads(one.value) for one in reader.rest(seconds)]
    return Counter(int(one["id"]) if "id" in one else one["time"] - _BASE for one in documents)


@contextmanager
def _place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pointgate-crash-") as folder:
        yield Path(folder)


def main() -> int:
    """Run, and print what became of the requests; 1 if any is lost, or twice in transactions."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 100_000)
    parser.add_argument("--ack", choices=("kafka", "sink"), default="kafka")
    parser.add_argument("--brokers", action="store_true")
    parser.add_argument("--exactly-once", action="store_true")
    parser.add_argument("--nodes", type=int, choices=(1, 3), default=1)
    given = parser.parse_args()
    with _place() as folder:
        outcome = run(
            folder,
            kills=given.kills,
            seed=given.seed,
            ack=given.ack,
            brokers=given.brokers,
            exactly_once=given.exactly_once,
            nodes=given.nodes,
        )
    lost = {topic.partition(".")[0]: len(numbers) for topic, numbers in outcome.lost.items()}
    twice = {topic.partition(".")[0]: count for topic, count in outcome.twice.items()}
    print(  # noqa: T201 - a program of the command line
        f"kafka, {given.nodes} nodes, seed {given.seed}, ack {given.ack}"
        f"{', transactions' * given.exactly_once}: "
        f"{outcome.sent} requests, "
        f"kills {dict(outcome.kills)}, lost {lost}, twice {twice}, "
        f"{len(outcome.complaints)} tracebacks"
    )
    too_many = given.exactly_once and any(outcome.twice.values())
    return int(any(outcome.lost.values()) or bool(outcome.complaints) or too_many)


if __name__ == "__main__":
    sys.exit(main())
