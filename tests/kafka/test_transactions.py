"""`kafka/transactions.py` against a real cluster; what a whole service does is in tests/e2e."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from confluent_kafka import Producer

from pointgate.kafka.transactions import TransactionEndedError, Transactions
from tests.support.patience import PATIENCE

if TYPE_CHECKING:
    from pointgate.kafka.settings import Options
    from tests.support.kafka_clients import Topics

pytest_plugins = ("tests.support.kafka_fixtures",)


def test_whoever_notices_first_knows_that_the_id_was_taken(kafka: str, topics: Topics) -> None:
    options: Options = {"bootstrap.servers": kafka}
    name = topics.points  # an id that no other test has

    async def written() -> None:
        """No sink is at work."""

    def take_the_id() -> None:
        other = Producer({**options, "transactional.id": name})
        other.init_transactions(PATIENCE)

    async def fenced() -> str:
        transactions = Transactions(lambda: options, name, written)
        await transactions.open()
        try:
            await asyncio.to_thread(take_the_id)
            async with asyncio.timeout(PATIENCE):
                while True:  # most likely between the error and the poll that tells it
                    transactions.produce(
                        topics.points,
                        b"1",
                        key=None,
                        partition=0,
                        headers=None,
                        on_delivery=lambda *_: None,
                    )
                    await asyncio.sleep(0)
        except TransactionEndedError as error:
            assert transactions.fenced
            return str(error)
        finally:
            await transactions.close()

    for _ in range(5):
        assert "fenced by a newer instance" in asyncio.run(fenced())
