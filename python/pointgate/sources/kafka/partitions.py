"""The partitions that this member of the group has, and the offset of each.

    partition.received    the offset behind the last record that was fetched
    partition.done        the same of the last record that is settled: it may be committed
    partition.sent        the same of the last commit that was sent

A partition that is revoked and assigned again is a new object: what is settled for the old one is
committed nowhere.

Invariants: `done` only grows, and never passes a record that is not settled, because requests are
settled in the order of arrival. The consumer's thread changes the set and `sent`, which
transactions do not have, the event loop `received` and `done`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from confluent_kafka import TopicPartition

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

NOTHING: Final = -1


@dataclass(slots=True, eq=False)
class Partition:
    """One partition, from its assignment to its revocation."""

    topic: str
    number: int
    received: int = NOTHING
    done: int = NOTHING
    sent: int = NOTHING

    @property
    def settled(self) -> bool:
        """Whether nothing of it is in flight."""
        return self.done >= self.received


class Partitions:
    """The assigned partitions, by topic and number."""

    def __init__(self) -> None:
        self._assigned: dict[tuple[str, int], Partition] = {}

    def __len__(self) -> int:
        return len(self._assigned)

    def find(self, topic: str, number: int) -> Partition | None:
        """An assigned partition; None for another one."""
        return self._assigned.get((topic, number))

    def add(self, partitions: Iterable[TopicPartition]) -> None:
        """Partitions were assigned."""
        for one in partitions:
            self._assigned[one.topic, one.partition] = Partition(one.topic, one.partition)

    def remove(self, partitions: Iterable[TopicPartition]) -> None:
        """Partitions were revoked or lost."""
        for one in partitions:
            self._assigned.pop((one.topic, one.partition), None)

    def among(self, partitions: Iterable[TopicPartition]) -> list[Partition]:
        """Those of these partitions that are assigned."""
        found = (self._assigned.get((one.topic, one.partition)) for one in partitions)
        return [one for one in found if one is not None]

    def take_commits(self, metadata: str) -> list[TopicPartition]:
        """The offsets that are to be committed; they count as sent.

        Args:
            metadata: What is stored beside each offset.
        """
        due = [one for one in list(self._assigned.values()) if one.done > one.sent]
        for one in due:
            one.sent = one.done
        return [TopicPartition(one.topic, one.number, one.sent, metadata) for one in due]

    def commit_again(self, partitions: Sequence[TopicPartition] | None) -> None:
        """A commit failed: the next one has these offsets, too."""
        for one in self.among(partitions or ()):
            one.sent = NOTHING
