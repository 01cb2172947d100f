"""What the broker grants, compared with what the settings ask for: CONNACK and SUBACK.

    shortfalls = of_connack(settings, limits, properties)     may raise BrokerRefused
    shortfalls += of_suback(filters, reasons)                 the same

A grant without which no request would ever arrive is a refusal; one that breaks a promise of ours
or cuts senders off is a shortfall: a sentence for the log, `/readyz` and a gauge.

MQTT 3.1.1 has only SUBACK to say anything: see `UNPROVEN`. It does no I/O and logs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pointgate.sources.mqtt.errors import BrokerRefused, in_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

    from pointgate.config import LimitSettings, MqttSettings

UNPROVEN: Final = (
    "no request has arrived through mqtt.share_group yet; over MQTT 3.1.1 a broker cannot say that "
    "it has no shared subscriptions (NATS, RabbitMQ 3.10, Moquette, aedes deliver nothing)"
)
"""What /readyz says until the first request, which proves the group."""

_NO_LIMIT: Final = 1 << 32


def of_connack(
    settings: MqttSettings, limits: LimitSettings, properties: Properties | None
) -> list[str]:
    """What CONNACK grants less than the settings ask for.

    Raises:
        BrokerRefused: Our subscriptions cannot work.
    """

    def granted(name: str, default: int) -> int:
        # What CONNACK leaves out is at its default (MQTT 5, 3.2.2.3).
        return int(getattr(properties, name, default))

    if not granted("WildcardSubscriptionAvailable", 1):
        raise BrokerRefused("the broker has no wildcard subscriptions: it cannot serve pointgate")
    if settings.share_group and not granted("SharedSubscriptionAvailable", 1):
        raise BrokerRefused(
            "the broker has no shared subscriptions: unset mqtt.share_group, or enable them there"
        )
    found = []
    if granted("MaximumQoS", 2) < 1:
        found.append(
            "the broker's maximum QoS is 0: a request or reply is lost with its connection"
        )
    expiry = granted("SessionExpiryInterval", settings.session_expiry)
    if expiry < settings.session_expiry:
        found.append(
            f"the broker keeps our session for {expiry} s, not the {settings.session_expiry} s of "
            "mqtt.session_expiry: requests that wait longer are lost"
        )
    packet = granted("MaximumPacketSize", _NO_LIMIT)
    if packet < limits.payload_bytes:
        found.append(
            f"the broker takes packets of {packet} bytes, less than the {limits.payload_bytes} of "
            "limits.payload_bytes: it disconnects senders of larger requests instead of letting "
            "us answer them"
        )
    return found


def of_suback(
    filters: Sequence[str], reasons: Sequence[ReasonCode], properties: Any = None
) -> list[str]:
    """What SUBACK grants less than QoS 1.

    Raises:
        BrokerRefused: A subscription was not granted.
    """
    if len(reasons) != len(filters):
        raise BrokerRefused(
            f"the broker's SUBACK has {len(reasons)} reasons for {len(filters)} subscriptions"
        )
    found = []
    for name, reason in zip(filters, reasons, strict=True):
        if reason.is_failure:
            raise BrokerRefused(
                f"the broker refuses the subscription to {name}: {in_words(reason, properties)}"
            )
        if reason.value < 1:
            found.append(
                f"the broker grants QoS 0 for {name}: a request is lost with its connection"
            )
    return found
