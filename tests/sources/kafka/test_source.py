"""The Kafka source commits what is settled, rests at the limits, and survives rebalances."""

from __future__ import annotations

import asyncio
import gc
import json
import secrets
import time
from functools import partial
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, KafkaException

from pointgate.config import LimitSettings
from pointgate.sources.kafka.consumer import BATCH
from pointgate.sources.kafka.replies import Replies
from tests.sources.kafka.member import committed, member, until
from tests.support.kafka_clients import Reader, Topics, make, send
from tests.support.kafka_server import PASSWORD, Addresses
from tests.support.processes import TOPIC, small

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

pytest_plugins = ("tests.support.kafka_fixtures",)

BAD = b'{"id":"9"'


def posted(servers: str, topic: str, payloads: list[bytes], **more: object) -> asyncio.Future[None]:
    """Send without blocking the loop."""
    call = partial(send, servers, topic, payloads, **more)  # type: ignore[arg-type]
    return asyncio.get_running_loop().run_in_executor(None, call)


async def replies(servers: str, topics: Topics, count: int) -> list[bytes]:
    def read() -> list[bytes]:
        with Reader(servers, topics.replies) as reader:
            return [one.value for one in reader.take(count)]

    return await asyncio.to_thread(read)


async def test_each_request_gets_its_reply_with_key_topic_and_correlation(
    kafka: str, topics: Topics
) -> None:
    async with member(kafka, topics, correlation="header:corr"):
        headers = {"mqtt.topic": f"/{TOPIC}", "corr": b"\x00\xff"}
        await posted(kafka, topics.requests, [small(1), BAD], headers=headers, key=b"gw1")
        with Reader(kafka, topics.replies) as reader:
            good, bad = await asyncio.to_thread(reader.take, 2)
    assert good.value == b'{"id":"1","code":200,"data":{}}'
    assert b'"code":1220' in bad.value
    assert good.key == b"gw1"
    assert good.headers == {"mqtt.topic": f"/{TOPIC}_reply".encode(), "corr": b"\x00\xff"}


async def test_what_is_no_request_is_counted_and_committed(kafka: str, topics: Topics) -> None:
    async with member(kafka, topics) as one:
        await posted(kafka, topics.requests, [small(1)], headers={})
        await posted(kafka, topics.requests, [small(2)], headers={"mqtt.topic": b"\xff"})
        await posted(kafka, topics.requests, [b""])
        assert b'"code":1251' in (await replies(kafka, topics, 1))[0]
        await until(lambda: one.received == 3 and not one.in_flight)
        assert one.counts["ignored"]["bad_topic"] == 2
    assert await asyncio.to_thread(committed, kafka, one.group, topics.requests) == 3


async def test_offsets_are_committed_after_the_points_are_stored(
    kafka: str, topics: Topics
) -> None:
    async with member(kafka, topics) as one:
        one.store.open.clear()
        await posted(kafka, topics.requests, [small(number) for number in range(10)])
        await until(lambda: one.store.requests == 10)
        await asyncio.sleep(0.3)  # longer than commits are apart
        assert one.statistics.commits == {"success": 0, "failure": 0}
        assert await asyncio.to_thread(committed, kafka, one.group, topics.requests) == 0
        one.store.open.set()
        await until(lambda: one.statistics.commits["success"])
        await until(lambda: not one.in_flight)
        assert len(await replies(kafka, topics, 10)) == 10
        await until(lambda: one.statistics.lag == 0)
    assert await asyncio.to_thread(committed, kafka, one.group, topics.requests) == 10


async def test_requests_that_were_not_settled_are_redelivered(kafka: str, topics: Topics) -> None:
    payloads = [small(number) for number in range(20)]
    async with member(kafka, topics) as one:
        one.store.open.clear()
        await posted(kafka, topics.requests, payloads)
        await until(lambda: one.store.requests == 20)
        one.source.drain()  # which does not end while the store is closed
        connection = one.source._connection
        assert connection is not None
        connection._on_fatal("as if librdkafka had said so")
        await until(lambda: not one.source.connected)
        assert one.counts["ignored"]["connection_lost"] == 20
    async with member(kafka, topics) as other:
        await until(lambda: other.received == 20)
        assert len(await replies(kafka, topics, 20)) == 20
    assert await asyncio.to_thread(committed, kafka, other.group, topics.requests) == 20


async def test_after_a_fatal_error_the_group_is_joined_again(
    kafka: str, topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pointgate.sources.kafka.source._AGAIN", 0.01)
    async with member(kafka, topics) as one:
        connection = one.source._connection
        assert connection is not None
        connection._on_fatal("as if librdkafka had said so")
        await until(lambda: one.source.trouble)
        await until(lambda: not one.source.trouble)
        await posted(kafka, topics.requests, [small(1)])
        assert len(await replies(kafka, topics, 1)) == 1


class _Broken:
    """A producer after a fatal error."""

    def produce(self, *_: object, **__: object) -> None:
        raise KafkaException(KafkaError(KafkaError._FATAL, "fenced", fatal=True))

    def poll(self, seconds: float) -> None:
        time.sleep(seconds)

    def purge(self) -> None:
        """Nothing is in it."""


async def test_a_producer_that_cannot_go_on_is_made_again(
    kafka: str, topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pointgate.sources.kafka.source._AGAIN", 0.01)
    async with member(kafka, topics) as one:
        connection = one.source._connection
        assert connection is not None
        assert isinstance(connection._replies, Replies)
        connection._replies._producer = _Broken()  # type: ignore[assignment]
        await posted(kafka, topics.requests, [small(1)])
        assert len(await replies(kafka, topics, 1)) == 1
        await until(lambda: not one.in_flight)
        assert one.received == 2


async def test_at_the_limit_fetching_pauses_and_resumes(kafka: str, topics: Topics) -> None:
    limits = LimitSettings(in_flight_requests=100)
    async with member(kafka, topics, limits) as one:
        one.store.open.clear()
        await posted(kafka, topics.requests, [small(number) for number in range(3000)])
        await until(lambda: one.statistics.paused)
        assert 100 < one.received <= 100 + BATCH
        assert one.source.trouble == ""
        before = one.received
        await asyncio.sleep(0.5)
        assert one.received <= before + 1
        one.store.open.set()
        await until(lambda: one.received >= 3000 and not one.in_flight)
        assert not one.statistics.paused
        assert one.received == 3000
    assert await asyncio.to_thread(committed, kafka, one.group, topics.requests) == 3000


async def test_a_second_member_takes_partitions_and_nothing_is_lost_or_twice(
    kafka: str, topics: Topics
) -> None:
    payloads = [small(number) for number in range(2000)]
    async with member(kafka, topics) as one:
        sending = posted(kafka, topics.requests, payloads)
        async with member(kafka, topics) as two:
            await until(lambda: two.statistics.partitions and one.statistics.partitions < 3)
            for key in range(20):  # for every partition
                await posted(kafka, topics.requests, payloads[key::20], key=b"%d" % key)
            await sending
            await until(lambda: one.received + two.received >= 4000)
            assert two.received
        await until(lambda: one.statistics.partitions == 3)
        assert one.received + two.received == 4000
        assert len(await replies(kafka, topics, 4000)) == 4000
    assert await asyncio.to_thread(committed, kafka, one.group, topics.requests) == 4000


async def test_revoked_partitions_are_settled_before_they_leave(
    kafka: str, topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not settled in time is redelivered to the next owner, who alone commits it."""
    monkeypatch.setattr("pointgate.sources.kafka.consumer._REVOKE_SECONDS", 0.5)
    async with member(kafka, topics) as one:
        one.store.open.clear()
        for key in range(30):
            await posted(kafka, topics.requests, [small(key)], key=b"%d" % key)
        await until(lambda: one.store.requests == 30)
        async with member(kafka, topics) as two:
            await until(lambda: two.received)
            await until(lambda: two.received and not two.in_flight)
            again = two.received
            one.store.open.set()
            await until(lambda: not one.in_flight)
            await until(lambda: one.statistics.partitions + two.statistics.partitions == 3)
        await asyncio.sleep(0.3)
        assert 0 < again < 30
    assert await asyncio.to_thread(committed, kafka, one.group, topics.requests) == 30


async def test_the_next_owner_continues_behind_the_last_arrival(kafka: str, topics: Topics) -> None:
    async with member(kafka, topics) as one:
        one.arrivals.advance(one.arrivals.issue(1) + 3_600_000_000)
        await posted(kafka, topics.requests, [small(1)])
        await until(lambda: one.statistics.commits["success"])
    async with member(kafka, topics) as two:
        assert two.arrivals.last >= one.arrivals.last
        assert two.arrivals.issue(1) > one.arrivals.last


async def test_a_reply_topic_that_is_missing_is_counted_and_stops_nothing(
    kafka: str, topics: Topics
) -> None:
    options = {"topic.metadata.propagation.max.ms": 0}
    async with member(kafka, topics, replies="no.such.topic", options=options) as one:
        await posted(kafka, topics.requests, [small(1), small(2)])
        await until(lambda: one.statistics.replies_refused == 2)
    assert await asyncio.to_thread(committed, kafka, one.group, topics.requests) == 2


async def test_a_reply_that_is_too_large_is_counted_and_stops_no_other(
    kafka: str, topics: Topics
) -> None:
    """For the topic, in one piece with others; and for the client, which knows it at once."""
    kept = f"kept.{topics.replies}"
    await asyncio.to_thread(make, kafka, kept, config={"max.message.bytes": "4000"})
    async with member(kafka, topics, replies=kept, correlation="header:c") as one:
        for number, size in ((900, 4_000), (901, 1_000_000)):
            payloads = [small(other) for other in range(number - 900, 400, 2)]
            large = {"mqtt.topic": TOPIC, "c": secrets.token_bytes(size)}  # not to be packed
            await asyncio.gather(
                posted(kafka, topics.requests, payloads, key=b"k"),
                posted(kafka, topics.requests, [small(number)], headers=large, key=b"k"),
            )
        await until(lambda: one.received == 402 and one.statistics.replies_refused == 2)
        assert one.source.trouble == ""
        with Reader(kafka, kept) as reader:
            found = await asyncio.to_thread(reader.take, 400)
    assert {json.loads(reply.value)["id"] for reply in found} == {str(n) for n in range(400)}
    assert await asyncio.to_thread(committed, kafka, one.group, topics.requests) == 402


async def test_a_connection_that_ends_leaves_no_client_to_a_collection_of_garbage(
    kafka: str, topics: Topics
) -> None:
    gc.disable()
    try:
        async with member(kafka, topics) as one:
            connection = one.source._connection
            assert connection is not None
            replies = connection._replies
            await posted(kafka, topics.requests, [small(1)])
            await until(lambda: one.received and not one.in_flight)
        assert not hasattr(replies, "_producer")
    finally:
        gc.enable()


async def test_a_topic_that_is_missing_is_reported_until_it_is_there(
    kafka: str, topics: Topics
) -> None:
    options = {"topic.metadata.refresh.interval.ms": 200}
    later = f"later.{topics.requests}"
    names = [topics.requests, later]
    async with member(kafka, topics, topics=names, options=options) as one:
        await until(lambda: one.source.shortfalls)
        assert later in one.source.shortfalls[0]
        assert not one.source.trouble
        await asyncio.to_thread(make, kafka, later)
        await until(lambda: not one.source.shortfalls)
        await posted(kafka, later, [small(1)])
        assert len(await replies(kafka, topics, 1)) == 1


async def test_a_password_is_checked_by_the_broker(
    kafka: str, kafka_addresses: Addresses, topics: Topics, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    options = {"security.protocol": "sasl_plaintext", "sasl.mechanism": "PLAIN"}
    servers = kafka_addresses.sasl
    file.write_text(PASSWORD)
    async with member(servers, topics, username="gate", password_file=file, options=options) as one:
        await posted(kafka, topics.requests, [small(1)])
        await until(lambda: one.received == 1 and not one.in_flight)
        assert len(await replies(kafka, topics, 1)) == 1
