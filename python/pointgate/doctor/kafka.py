"""Examines the cluster of `[kafka]`: its topics, their replicas, and the largest record they take.

examine_kafka(settings)      connects as a client; consumes and writes nothing
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final

from confluent_kafka import KafkaException
from confluent_kafka.admin._config import ConfigResource

from pointgate.doctor.findings import Findings
from pointgate.errors import ConfigError
from pointgate.kafka import client

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient
    from confluent_kafka.admin._metadata import ClusterMetadata

    from pointgate.config import Settings

_ANSWER_SECONDS: Final = 10.0
_REPLICAS: Final = 2


async def examine_kafka(settings: Settings) -> Findings:
    """Examine the cluster and its topics."""
    found = Findings("kafka")
    if reason := await asyncio.to_thread(_examine, settings, found):
        found.fail(f"{settings.kafka.servers}: {reason}", "see kafka.servers, kafka.options")
    return found


def _examine(settings: Settings, found: Findings) -> str:
    """Examine it; returns why that is not possible, or nothing."""
    try:
        admin, reports = client.admin(settings.kafka.client_options("kafka"))
    except (KafkaException, ConfigError) as error:
        return client.reason(error) if isinstance(error, KafkaException) else str(error)
    try:
        _examine_cluster(admin, settings, found)
    except KafkaException as error:
        return reports.explain(error, admin)
    return ""


def _examine_cluster(admin: AdminClient, settings: Settings, found: Findings) -> None:
    kafka = settings.kafka
    cluster = admin.list_topics(timeout=_ANSWER_SECONDS)
    found.ok(f"{len(cluster.brokers)} brokers answer")
    for pattern in kafka.topics or ():
        names = _matching(cluster, pattern)
        if not names:
            found.fail(f"topic {pattern}: it does not exist", "create it; see kafka.topics")
        for name in names:
            _examine_topic(admin, cluster, name, found, least_bytes=settings.limits.payload_bytes)
    if kafka.replies is None:
        found.warn("kafka.replies is not set: no sender gets a reply", "set kafka.replies")
    elif not _matching(cluster, kafka.replies):
        found.fail(f"topic {kafka.replies}: it does not exist", "create it; see kafka.replies")
    else:
        _examine_topic(admin, cluster, kafka.replies, found)


def _matching(cluster: ClusterMetadata, pattern: str) -> list[str]:
    """The topics that a name or a pattern means."""
    if pattern.startswith("^"):
        return sorted(name for name in cluster.topics if re.match(pattern, name))
    return [pattern] if pattern in cluster.topics else []


def _examine_topic(
    admin: AdminClient,
    cluster: ClusterMetadata,
    name: str,
    found: Findings,
    *,
    least_bytes: int = 0,
) -> None:
    partitions = cluster.topics[name].partitions
    copies = min((len(one.replicas) for one in partitions.values()), default=0)
    resource = ConfigResource(ConfigResource.Type.TOPIC, name)
    described = admin.describe_configs([resource], request_timeout=_ANSWER_SECONDS)
    config = described[resource].result(_ANSWER_SECONDS)
    in_sync, most_bytes = (
        int(config[key].value or 0) for key in ("min.insync.replicas", "max.message.bytes")
    )
    words = f"topic {name}: {len(partitions)} partitions, {copies} replicas, {in_sync} in sync"
    if min(copies, in_sync) < _REPLICAS:
        found.warn(
            f"{words}: a record that was acknowledged may be lost with one broker",
            "use a replication factor of 3 and min.insync.replicas = 2",
        )
    else:
        found.ok(words)
    if most_bytes < least_bytes:
        found.warn(
            f"topic {name}: it takes records of {most_bytes} bytes, less than the {least_bytes} of "
            "limits.payload_bytes: bridges cannot write larger requests",
            "raise max.message.bytes of the topic, or lower limits.payload_bytes",
        )
