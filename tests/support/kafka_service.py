"""`pointgate serve` with a Kafka consumer group as its source."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Self

from tests.support.paths import CATALOG
from tests.support.processes import Process, Service

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tests.support.kafka_clients import Topics

_JOIN_SECONDS = 30.0


def settings(servers: str, topics: Topics, *extra: str, ack: str = "verdict") -> str:
    """The settings of a service that reads requests from Kafka.

    Args:
        servers: The cluster.
        topics: Its topics of requests and replies.
        *extra: More lines for `[kafka]`, then any more sections.
        ack: What a 200 promises.
    """
    lines = [
        f'[catalog]\npath = "{CATALOG}"\n[metrics]\nlisten = "127.0.0.1:0"',
        f'[store]\nack = "{ack}"\n[kafka]\nservers = "{servers}"',
        f'topics = ["{topics.requests}"]\nreplies = "{topics.replies}"',
        f'group = "group-{topics.requests}"',
        # So that the partitions of a service that was killed are soon given to the next one.
        "options.session.timeout.ms = 1500\noptions.heartbeat.interval.ms = 300",
        *extra,
    ]
    return "\n".join(lines) + "\n"


class KafkaService(Service):
    """The service.

    Args:
        folder: Where its settings are written.
        text: Its settings.
        name: The name of the file of settings.
        environ: What its environment has besides ours.
        program: What Python runs.
    """

    def __init__(
        self,
        folder: Path,
        text: str,
        *,
        name: str = "kafka",
        environ: Mapping[str, str] | None = None,
        program: Sequence[str] = ("-m", "pointgate"),
    ) -> None:
        file = folder / f"{name}.toml"
        file.write_text(text)
        command = [sys.executable, *program, "serve", "-c", str(file)]
        Process.__init__(self, *command, environ=environ)

    def joined(self) -> Self:
        """Wait until it is a member of the group."""
        self.wait_for("member of the consumer group", _JOIN_SECONDS)
        return self
