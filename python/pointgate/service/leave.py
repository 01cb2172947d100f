"""`pointgate leave`: ends the session of a replica that is removed, with nothing left in it.

    connect ─► unsubscribe ─► answer what the broker has queued ─► quiet ─► drain the sinks
            ─► the spool is empty ─► end the session

A stopped replica of a share group still gets its share from the broker, into the queue of its
session. So the service starts once more, without subscribing: new requests go to the other
replicas, queued ones are validated, stored and answered as always. The session ends when nothing
has arrived for some seconds and every sink has all points of the spool; else it stays, and the
command can be repeated.

Invariants: the session ends only with an empty spool; a request that was queued is answered or
stays in the session.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

import aiomqtt

from pointgate.config.kafka import KafkaSettings
from pointgate.errors import ConnectionLost, TemporaryFailure
from pointgate.service.serve import Stop, serve
from pointgate.sources.mqtt.plain_client import plain_client
from pointgate.sources.mqtt.source import MqttSource

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pointgate.config import MqttSettings, Settings
    from pointgate.sources.base import Source

_KEEPALIVE: Final = 60
"""Seconds: the answers to pings are no requests, and should not end the quiet."""

_MOST_CONNECTIONS: Final = 2
"""A replica that runs takes the session over, again and again; meanwhile nobody is subscribed."""

_LOOK: Final = 0.2
"""Seconds between looks at the connection."""

_TIMEOUT: Final = 10.0
"""Seconds for each answer of the broker at the end."""

_log = logging.getLogger(__name__)


class Leaving:
    """Runs beside the source and stops the service when the session is empty.

    Args:
        stop: Stops the service.
        quiet: Seconds without anything from the broker after which its queue is empty.
        timeout: Seconds without a connection after which it gives up, and for the sinks at the end.

    Attributes:
        sink_seconds: See `companion.Companion`.
        behind: See `companion.Companion`.
        trouble: Why the session is not known to be empty.
        level: The MQTT version in use.
        found_session: Whether the broker had a session of this replica.
    """

    def __init__(self, stop: Stop, *, quiet: float, timeout: float) -> None:
        self.sink_seconds = timeout
        self.behind: Mapping[str, int] = {}
        self.trouble = "the service did not start"
        self.level = 5
        self.found_session = False
        self._stop = stop
        self._quiet = quiet
        self._timeout = timeout
        self._source: MqttSource | None = None

    def begin(self, sources: Sequence[Source]) -> None:
        """See `companion.Companion`."""
        self._source = next(one for one in sources if isinstance(one, MqttSource))
        self._source.leave()

    async def run(self) -> None:
        """See `companion.Companion`."""
        source = self._source
        assert source is not None  # noqa: S101 - `begin` comes first
        connected = time.monotonic()
        while source.quiet < self._quiet:
            if source.connections > _MOST_CONNECTIONS:
                self.trouble = (
                    f"the connection was lost {source.connections - 1} times: does the replica run "
                    "elsewhere, with this client id?"
                )
                self._stop.request()
                return
            if source.trouble:
                if time.monotonic() - connected > self._timeout:
                    self.trouble = source.trouble
                    self._stop.request()
                    return
            else:
                connected = time.monotonic()
            await asyncio.sleep(_LOOK)
        self.trouble, self.level, self.found_session = "", source.level, source.found_session
        self._stop.request()


async def leave(settings: Settings, *, quiet: float, timeout: float) -> bool:  # noqa: ASYNC109 - of its parts
    """Empty and end the session of `mqtt.client_id`.

    Args:
        settings: The settings of the replica, which must not run.
        quiet: Seconds without anything from the broker after which its queue is empty.
        timeout: Seconds to wait for a connection, and for the sinks.

    Returns:
        Whether there was a session.

    Raises:
        ConfigError: A setting cannot be used.
        CatalogError: The catalog cannot be used.
        TemporaryFailure: The replica runs, or the broker or a sink is not available. The session
            is still there.
    """
    mqtt = settings.mqtt.model_copy(update={"keepalive": _KEEPALIVE, "canary": None})
    alone = settings.model_copy(update={"mqtt": mqtt, "kafka": KafkaSettings()})
    stop = Stop()
    leaving = Leaving(stop, quiet=quiet, timeout=timeout)
    try:
        await serve(alone, stop=stop, companion=leaving)
    except TemporaryFailure as error:
        reason = f"session not ended: {error}; the replica must be stopped first"
        raise TemporaryFailure(reason) from error
    if leaving.trouble:
        raise TemporaryFailure(f"session not ended: {leaving.trouble}")
    if leaving.behind:
        behind = ", ".join(f"{name} lacks {count}" for name, count in leaving.behind.items())
        raise TemporaryFailure(
            f"session not ended: requests are in the spool ({behind}); "
            "expected every sink to have them: repeat this when the sinks are back"
        )
    await _end(mqtt.model_copy(update={"protocol": leaving.level}))
    if leaving.found_session:
        _log.info("session of %s ended", mqtt.client_id)
    return leaving.found_session


async def _end(mqtt: MqttSettings) -> None:
    """Replace the session by one that ends with its connection."""
    try:
        async with plain_client(mqtt, client_id=mqtt.client_id, timeout=_TIMEOUT):
            pass
    except (aiomqtt.MqttError, ConnectionLost) as error:
        raise TemporaryFailure(f"session not ended: {error}") from error
