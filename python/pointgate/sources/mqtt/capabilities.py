"""Compares what the broker grants in CONNACK and SUBACK with the settings.

    shortfalls = of_connack(settings, limits, properties)     may raise BrokerRefused
    shortfalls += of_suback(filters, reasons)                 may raise it, too

If a missing grant means that no request can arrive, it is an error. If it weakens a guarantee or
disconnects senders, it is a shortfall: a sentence for the log, `/readyz` and a gauge.

In MQTT 3.1.1 only SUBACK reports grants: see `SHARE_GROUP_UNVERIFIED`. It does no I/O and logs
nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pointgate.sources.mqtt.errors import BrokerRefused, describe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

    from pointgate.config import LimitSettings, MqttSettings

SHARE_GROUP_UNVERIFIED: Final = (
    "no request has arrived through mqtt.share_group yet; over MQTT 3.1.1 a broker cannot say that "
    "it has no shared subscriptions (NATS, RabbitMQ 3.10, Moquette, aedes deliver nothing)"
)
"""Shown by /readyz until the first request proves that the group works."""

_NO_LIMIT: Final = 1 << 32


def of_connack(
    settings: MqttSettings, limits: LimitSettings, properties: Properties | None
) -> list[str]:
    """The shortfalls of CONNACK.

    Raises:
        BrokerRefused: Our subscriptions cannot work.
    """

    def granted(name: str, default: int) -> int:
        # Properties missing from CONNACK have their defaults (MQTT 5, 3.2.2.3).
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
            f"the broker accepts packets of {packet} bytes, less than the {limits.payload_bytes} "
            "of limits.payload_bytes: it disconnects senders of larger requests instead of letting "
            "us answer them"
        )
    return found


def of_suback(
    filters: Sequence[str], reasons: Sequence[ReasonCode], properties: Any = None
) -> list[str]:
    """The shortfalls of SUBACK: subscriptions at QoS 0.

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
                f"the broker refuses the subscription to {name}: {describe(reason, properties)}"
            )
        if reason.value < 1:
            found.append(
                f"the broker grants QoS 0 for {name}: a request is lost with its connection"
            )
    return found
