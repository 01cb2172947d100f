"""The metrics of the sources; a source that the settings do not name has none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pointgate.sources.kafka.statistics import KafkaStatistics
    from pointgate.sources.mqtt.statistics import MqttStatistics


def labelled(name: str, help_text: str, label: str, values: Mapping[str, int]) -> Metric:
    """A family of counters with one label."""
    family = CounterMetricFamily(name, help_text, labels=[label])
    for value, count in values.items():
        family.add_metric([value], count)
    return family


def mqtt_metrics(mqtt: MqttStatistics) -> Iterator[Metric]:
    """The metrics of the session with the broker."""
    yield GaugeMetricFamily(
        "pointgate_mqtt_connected", "1 if connected to the broker, else 0.", mqtt.connected
    )
    yield GaugeMetricFamily(
        "pointgate_mqtt_subscribed",
        "1 if subscribed to the request topics, else 0.",
        mqtt.subscribed,
    )
    yield GaugeMetricFamily(
        "pointgate_mqtt_shortfalls",
        "Settings that the broker does not fully grant, and canary failures; see /readyz.",
        mqtt.shortfalls,
    )
    yield labelled(
        "pointgate_mqtt_canaries",
        "Canary runs, by whether every request was answered.",
        "result",
        mqtt.canaries,
    )
    yield CounterMetricFamily(
        "pointgate_mqtt_connections_lost",
        "Connections to the broker that ended unexpectedly.",
        mqtt.connections_lost,
    )
    yield CounterMetricFamily(
        "pointgate_mqtt_reconnects",
        "Connections to the broker after the first one.",
        mqtt.reconnects,
    )
    yield CounterMetricFamily(
        "pointgate_mqtt_sessions_lost",
        "Reconnects for which the broker had no session: its queued messages are lost.",
        mqtt.sessions_lost,
    )
    yield CounterMetricFamily(
        "pointgate_mqtt_takeovers",
        "Connections closed because another client connected with our client id.",
        mqtt.takeovers,
    )
    yield CounterMetricFamily(
        "pointgate_mqtt_replies_refused",
        "Replies that the broker rejected (MQTT 5).",
        mqtt.replies_refused,
    )


def kafka_metrics(kafka: KafkaStatistics) -> Iterator[Metric]:
    """The metrics of the consumer group."""
    for name, help_text, value in (
        ("connected", "1 if connected to a Kafka broker, else 0.", kafka.connected),
        ("partitions", "Partitions that are assigned to this service.", kafka.partitions),
        (
            "lag_records",
            "Records in the assigned partitions whose offsets are not committed.",
            kafka.lag,
        ),
        ("paused", "1 while fetching is paused at a limit, else 0.", kafka.paused),
    ):
        yield GaugeMetricFamily(f"pointgate_kafka_{name}", help_text, value)
    yield CounterMetricFamily(
        "pointgate_kafka_rebalances",
        "Times that partitions were assigned or revoked.",
        kafka.rebalances,
    )
    help_text = "Commits of offsets, by result; a failed one is repeated."
    yield labelled("pointgate_kafka_commits", help_text, "result", kafka.commits)
    yield CounterMetricFamily(
        "pointgate_kafka_errors", "Errors that the Kafka client reported.", kafka.errors
    )
    yield CounterMetricFamily(
        "pointgate_kafka_replies_refused",
        "Replies that Kafka permanently rejected.",
        kafka.replies_refused,
    )
