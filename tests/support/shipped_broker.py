"""A Mosquitto that runs the shipped configuration and access list, and clients that log in to it.

Only what must differ on a test machine is put in the place of the shipped line, and each such line
must be there: ports, paths, the user.
"""

from __future__ import annotations

import platform
import queue
import ssl
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from tests.support.paths import DEPLOY
from tests.support.patience import PATIENCE
from tests.support.ports import unused_port
from tests.support.processes import MOSQUITTO, Process, stop_loop

if TYPE_CHECKING:
    from collections.abc import Mapping

CONFIGURATION: Final = (DEPLOY / "mosquitto/mosquitto.conf").read_text("utf-8")
SQLITE: Final = (DEPLOY / "mosquitto/mosquitto-2.1-sqlite.conf").read_text("utf-8")

ACCOUNTS: Final = (
    "pointgate",
    "monitor",
    "replay",
    "protocol",
    "other",
    "+",
    "#",
    "a+b",
    "%c",
    "%u",
    "$SYS",
)
PASSWORD: Final = "open sesame"  # noqa: S105 - of accounts that live as long as a test


def put(text: str, lines: Mapping[str, str]) -> str:
    """Put lines in the place of others, which must be there."""
    for old, new in lines.items():
        assert text.count(f"\n{old}\n") == 1, old
        text = text.replace(f"\n{old}\n", f"\n{new}\n")
    return text


def sqlite_plugin() -> Path | None:
    """Where the plugin `persist-sqlite` of our Mosquitto is, installed or in its build."""
    prefix = Path(MOSQUITTO).resolve().parent.parent
    for folder in ("lib", f"lib/{platform.machine()}-linux-gnu", "plugins/persist-sqlite"):
        if (found := prefix / folder / "mosquitto_persist_sqlite.so").exists():
            return found
    return None


class ShippedBroker(Process):
    """A Mosquitto with a shipped configuration, and an account for each of `ACCOUNTS`.

    Args:
        folder: Where its files are.
        lines: More lines that take the place of others.
        configuration: The text of the shipped file.
    """

    def __init__(
        self,
        folder: Path,
        lines: Mapping[str, str] | None = None,
        *,
        configuration: str = CONFIGURATION,
    ) -> None:
        self.port = unused_port()
        self.database = folder / "mosquitto.db"
        self._file = folder / "mosquitto.conf"
        passwords = folder / "passwords"
        passwords.touch()
        passwords.chmod(0o600)
        for account in ACCOUNTS:
            command = ["mosquitto_passwd", "-b", str(passwords), account, PASSWORD]
            subprocess.run(command, check=True)
        if configuration is SQLITE:
            path = "/usr/lib/x86_64-linux-gnu/mosquitto_persist_sqlite.so"
            configuration = put(configuration, {f"plugin {path}": f"plugin {sqlite_plugin()}"})
        text = put(
            configuration,
            {
                "listener 1883 127.0.0.1": f"listener {self.port} 127.0.0.1",
                "password_file /etc/mosquitto/passwords": f"password_file {passwords}",
                "acl_file /etc/mosquitto/acl": f"acl_file {DEPLOY / 'mosquitto/acl'}",
                "persistence_location /var/lib/mosquitto/": f"persistence_location {folder}/",
                **(lines or {}),
            },
        )
        # Started by root it would become another user, who cannot read or write here.
        self._file.write_text(f"{text}user root\n")
        self.start()

    def start(self) -> None:
        """Start it, or start it again."""
        super().__init__(MOSQUITTO, "-c", str(self._file), "-v")
        self.wait_for(r"mosquitto version \S+ running")

    def wait_for_save(self) -> None:
        """Wait until all that it has acknowledged is on disk.

        A save is one step of its only thread, so all that it had answered is in the next one.
        """
        before, end = self._saved(), time.monotonic() + PATIENCE
        while self._saved() == before:
            assert time.monotonic() < end, "nothing is saved"
            time.sleep(0.05)

    def _saved(self) -> int:
        return self.database.stat().st_ino if self.database.exists() else 0


class Account:
    """A client of the broker that logs in as an account."""

    def __init__(
        self,
        port: int,
        name: str | None,
        *,
        password: str = PASSWORD,
        client_id: str = "",
        ca_file: Path | None = None,
    ) -> None:
        self.messages: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()
        self.reason = -1
        self._answers: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()
        self._connected = threading.Event()
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=mqtt.MQTTv5,
            reconnect_on_failure=False,
        )
        if name is not None:
            self._client.username_pw_set(name, password)
        if ca_file:
            self._client.tls_set_context(ssl.create_default_context(cafile=str(ca_file)))
        self._client.max_inflight_messages_set(0)
        self._client.on_connect = self._on_connect
        self._client.on_publish = lambda _c, _u, mid, reason, _p: self._answers.put(
            (mid, reason.value)
        )
        self._client.on_subscribe = lambda _c, _u, mid, reasons, _p: self._answers.put(
            (mid, reasons[0].value)
        )
        self._client.on_message = lambda _c, _u, message: self.messages.put(
            (message.topic, bytes(message.payload))
        )
        self._client.connect("127.0.0.1", port)

    def _on_connect(self, _client: Any, _userdata: Any, _flags: Any, reason: Any, _p: Any) -> None:
        self.reason = reason.value
        self._connected.set()

    def __enter__(self) -> Self:
        self._client.loop_start()
        assert self._connected.wait(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        stop_loop(self._client)

    def _answer(self, mid: int | None) -> int:
        answered, reason = self._answers.get(timeout=PATIENCE)
        assert answered == mid
        return reason

    def publish(self, topic: str, payload: bytes = b"x", *, retain: bool = False) -> int:
        """Publish at QoS 1; returns the reason code of the broker's acknowledgement."""
        return self._answer(self._client.publish(topic, payload, 1, retain).mid)

    def subscribe(self, *filters: str) -> Self:
        """Subscribe at QoS 1. Mosquitto grants everything, whatever it will then deliver."""
        for name in filters:
            assert self._answer(self._client.subscribe(name, 1)[1]) == 1
        return self

    def next(self) -> tuple[str, bytes]:
        """The next message."""
        return self.messages.get(timeout=PATIENCE)
