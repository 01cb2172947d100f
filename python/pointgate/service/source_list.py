"""The sources that the settings name: MQTT, a Kafka consumer group, or both.

The module of Kafka is imported only where it is configured, so that its package is needed only
then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pointgate.sources.mqtt.source import MqttSource

if TYPE_CHECKING:
    from pointgate.config import Settings
    from pointgate.kafka.transactions import Transactions
    from pointgate.service.metrics import Metrics
    from pointgate.sources.admission import Admission
    from pointgate.sources.base import Handler, Source
    from pointgate.store.arrival_clock import ArrivalClock


def build_sources(
    settings: Settings,
    *,
    gate: Handler,
    metrics: Metrics,
    admission: Admission,
    arrivals: ArrivalClock,
    transactions: Transactions | None = None,
) -> list[Source]:
    """Make the sources; nothing is connected yet.

    Args:
        settings: The settings.
        gate: Handles the requests of all.
        metrics: Receives the statistics.
        admission: The budget that they share.
        arrivals: Issues the instants of arrival.
        transactions: Those of Kafka, which its source and the sinks share.
    """
    sources: list[Source] = []
    if settings.uses_mqtt:
        sources.append(
            MqttSource(settings, gate=gate, statistics=metrics.mqtt, admission=admission)
        )
    if settings.uses_kafka:
        from pointgate.sources.kafka.source import KafkaSource  # noqa: PLC0415 - an extra

        sources.append(
            KafkaSource(
                settings,
                gate=gate,
                statistics=metrics.kafka,
                admission=admission,
                arrivals=arrivals,
                transactions=transactions,
            )
        )
    return sources
