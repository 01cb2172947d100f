"""A broker, a service and a sender: real processes, each with what tests ask of it.

Nothing sleeps to wait for another: processes are waited for by what they log, replies by a queue.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, NamedTuple, Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.support.paths import CATALOG
from tests.support.patience import PATIENCE
from tests.support.ports import unused_port

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

"""Seconds until a wait is a failure."""

TOPIC = "sys/protocol/integration/measurepoint/post"
MOSQUITTO = os.environ.get("MOSQUITTO") or shutil.which("mosquitto") or "/usr/sbin/mosquitto"
"""The broker of the tests: of another version with `MOSQUITTO=/path/to/mosquitto`."""


def small(number: int | str) -> bytes:
    """A request that is right, with its own id."""
    request = (
        '{"id":"NUMBER","version":"1.0","params":[{"deviceKey":"device1","measurepoints":'
        '{"temp":1.5}}],"method":"integration.measurepoint.post"}'
    )
    return request.replace("NUMBER", str(number)).encode()


class Process:
    """A process whose log can be waited for.

    Attributes:
        pid: Its process id.
    """

    def __init__(
        self,
        *command: str,
        environ: Mapping[str, str] | None = None,
        stdout: int = subprocess.DEVNULL,
        cwd: Path | None = None,
    ) -> None:
        self.lines: list[str] = []
        self._seen = 0
        self._grown = threading.Condition()
        self._process = subprocess.Popen(
            command,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | dict(environ or {}),
            cwd=cwd,
        )
        self.pid = self._process.pid
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stderr
        with self._process.stderr as lines:
            for line in lines:
                with self._grown:
                    self.lines.append(line.rstrip())
                    self._grown.notify_all()
        with self._grown:
            self.lines.append("(ended)")
            self._grown.notify_all()

    def wait_for(self, pattern: str, patience: float = PATIENCE) -> re.Match[str]:
        """The next line that has the pattern; lines before it are passed over."""
        end = time.monotonic() + patience
        with self._grown:
            while True:
                while self._seen < len(self.lines):
                    line = self.lines[self._seen]
                    self._seen += 1
                    if found := re.search(pattern, line):
                        return found
                left = end - time.monotonic()
                if left <= 0 or self.lines[-1:] == ["(ended)"] or not self._grown.wait(left):
                    raise AssertionError(f"no {pattern!r} in:\n" + "\n".join(self.lines))

    def send_signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it; returns the exit status."""
        if self._process.poll() is None:
            self._process.send_signal(number)
        return self.status()

    def status(self, patience: float = PATIENCE) -> int:
        """Wait for its end; returns the exit status."""
        status = self._process.wait(patience)
        self._reader.join(PATIENCE)
        if self._process.stdout:
            self._process.stdout.close()
        return status

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.alive:
            self._process.kill()
        self.status()


class Restartable:
    """A server that can be ended and started again, on the same port.

    Attributes:
        port: The port that it listens on.
    """

    port: int
    _command: tuple[str, ...]
    _running: str
    """The pattern of the log line that it has started."""
    _start_seconds = PATIENCE
    _process: Process | None = None

    def start(self) -> Self:
        self._process = Process(*self._command)
        try:
            self._started(self._process.wait_for(self._running, self._start_seconds))
        except AssertionError:
            self._process.__exit__()
            raise
        return self

    def _started(self, line: re.Match[str]) -> None:
        """It has logged that it is running."""

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        assert self._process
        self._process.end(number)

    def send_signal(self, number: signal.Signals) -> None:
        assert self._process
        self._process.send_signal(number)

    def wait_for(self, pattern: str) -> re.Match[str]:
        assert self._process
        return self._process.wait_for(pattern)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self._process:
            self._process.__exit__()


_LIMITS = ("max_queued_messages 0", "max_packet_size 33685504")
_PERSISTENCE = ("persistence true", "autosave_interval 1", "autosave_on_changes true")


class Broker(Restartable):
    """A Mosquitto on a port of its own, which it keeps over restarts.

    Args:
        folder: Where its configuration and its sessions are.
        extra: More lines of configuration, instead of letting everybody in.
        persistent: Whether sessions survive its death. It then writes all of them at each change,
            so that it is slow when much waits.
        bare: Whether its queue and its packet size are Mosquitto's own.

    Attributes:
        version: Its major and minor version, once it has started.
    """

    _running = r"mosquitto version (\d+)\.(\d+)\S* running"

    def __init__(
        self, folder: Path, *extra: str, persistent: bool = False, bare: bool = False
    ) -> None:
        self.port = self.plain_port = unused_port()
        file = folder / "mosquitto.conf"
        lines = [
            f"listener {self.port} 127.0.0.1",
            *([] if bare else _LIMITS),
            "set_tcp_nodelay true",
            "user root",  # started by root it would become another user, who cannot write here
            *(extra or ["allow_anonymous true"]),
            *(_PERSISTENCE if persistent else []),
            f"persistence_location {folder}/",
        ]
        file.write_text("\n".join(lines) + "\n")
        self._command = (MOSQUITTO, "-c", str(file), "-v")
        self.version = (0, 0)

    def _started(self, line: re.Match[str]) -> None:
        self.version = int(line[1]), int(line[2])


class Service(Process):
    """`pointgate serve` with settings of its own.

    Args:
        folder: Where its settings are written.
        broker: The port of the broker on 127.0.0.1, or a whole url.
        catalog: The catalog folder.
        name: The client id.
        memory: How many bytes of address space it may have.
        environ: What its environment has besides ours.
        ack: What a 200 promises.
        program: What Python runs.
        command: What runs instead: the service's program, and whatever stands before it.
        stdout: Where its standard output goes.
        extra: More lines for the `[mqtt]` section, then any more sections.
    """

    def __init__(
        self,
        folder: Path,
        broker: int | str,
        *extra: str,
        catalog: Path = CATALOG,
        name: str = "service",
        memory: int | None = None,
        ack: str = "verdict",
        environ: Mapping[str, str] | None = None,
        program: Sequence[str] = ("-m", "pointgate"),
        command: Sequence[str] = (),
        stdout: int = subprocess.DEVNULL,
    ) -> None:
        self.protocol = 5
        url = f"mqtt://127.0.0.1:{broker}" if isinstance(broker, int) else broker
        mqtt_lines = [f'url = "{url}"', f'client_id = "{name}"', *extra]
        settings = folder / f"{name}.toml"
        settings.write_text(
            f'[catalog]\npath = "{catalog}"\n[metrics]\nlisten = "127.0.0.1:0"\n'
            f'[store]\nack = "{ack}"\n[mqtt]\n' + "\n".join(mqtt_lines) + "\n"
        )
        limited = ["prlimit", f"--as={memory}"] if memory else []
        started = [*(command or (sys.executable, *program)), "serve", "-c", str(settings)]
        super().__init__(*limited, *started, environ=environ, stdout=stdout)

    def ready(self) -> Self:
        """Wait until it receives requests."""
        self.wait_for("requests are being received")
        return self

    def _fetch(self, path: str) -> tuple[int, str]:
        found = (re.search(r"metrics on http://([^/]+)/metrics", line) for line in self.lines)
        address = next(one[1] for one in found if one)
        connection = http.client.HTTPConnection(address, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def readiness(self) -> tuple[int, str]:
        """The status and the text of /readyz."""
        return self._fetch("/readyz")

    def metrics(self) -> str:
        """The page of metrics."""
        return self._fetch("/metrics")[1]

    def metric(self, name: str) -> float:
        """The value of a metric, by its name with labels: the sum over labels not given."""
        page = self.metrics()
        wanted, _, labels = name.removesuffix("}").partition("{")
        given = set(re.findall(r'\w+="[^"]*"', labels))
        found = [
            float(value)
            for labels, value in re.findall(
                rf"^{re.escape(wanted)}(?:{{(.*)}})? (\S+)$", page, re.MULTILINE
            )
            if given <= set(re.findall(r'\w+="[^"]*"', labels))
        ]
        assert found, f"no {name} in:\n{page}"
        return sum(found)

    def wait_for_metric(self, name: str, value: float, *, at_least: bool = False) -> None:
        """Wait until a metric has a value; pages are rendered once a second at most."""
        end = time.monotonic() + PATIENCE
        while (last := self.metric(name)) != value and not (at_least and last > value):
            assert time.monotonic() < end, f"{name} is {last}, not {value}"
            time.sleep(0.1)


class Reply(NamedTuple):
    """A message on a reply topic."""

    topic: str
    payload: bytes
    qos: int
    retained: bool
    correlation: bytes | None


def stop_loop(client: mqtt.Client) -> None:
    """End the thread of a client: `loop_stop` fails if the thread ends by itself meanwhile."""
    with contextlib.suppress(AttributeError):
        client.loop_stop()


class Sender:
    """A device or gateway: a plain paho client that listens to every reply.

    Args:
        port: The broker's.
        protocol: 5, or 4 for MQTT 3.1.1.
        name: Its client id.
        inflight: How many requests at QoS 1 may be unacknowledged, 0 for any number; paho does not
            look at the broker's Receive Maximum.
    """

    def __init__(self, port: int, *, protocol: int = 5, name: str = "", inflight: int = 0) -> None:
        self.replies: queue.SimpleQueue[Reply] = queue.SimpleQueue()
        self._five = protocol == 5
        self._subscribed = threading.Event()
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=name or f"sender-{threading.get_ident()}-{id(self)}",
            protocol=mqtt.MQTTv5 if self._five else mqtt.MQTTv311,
        )
        self._client.max_inflight_messages_set(inflight)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", port)

    def _on_connect(self, client: mqtt.Client, *_: object) -> None:
        filters = [("sys/+/integration/measurepoint/post_reply", 1)]
        client.subscribe(filters + [(f"/{name}", qos) for name, qos in filters])

    def _on_message(
        self, _client: mqtt.Client, _userdata: object, message: mqtt.MQTTMessage
    ) -> None:
        correlation = getattr(message.properties, "CorrelationData", None)
        reply = Reply(
            message.topic, bytes(message.payload), message.qos, message.retain, correlation
        )
        self.replies.put(reply)

    def __enter__(self) -> Self:
        self._client.loop_start()
        assert self._subscribed.wait(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(RuntimeError):
            self._client.disconnect()
        stop_loop(self._client)
        if left := self._client.socket():  # its thread ended before it saw the end
            left.close()
        # Else its finalizer does it, perhaps after those of the sockets, which complain.
        self._client._reset_sockets(sockpair_only=True)

    def send(
        self,
        payload: bytes,
        topic: str = TOPIC,
        *,
        qos: int = 1,
        retain: bool = False,
        correlation: bytes | None = None,
    ) -> mqtt.MQTTMessageInfo:
        """Publish a request."""
        properties = None
        if correlation is not None:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.CorrelationData = correlation
            properties.ResponseTopic = "sys/other/integration/measurepoint/post_reply"
        return self._client.publish(topic, payload, qos, retain, properties)

    def ask(self, payload: bytes, topic: str = TOPIC, *, qos: int = 1) -> Reply:
        """Publish a request and wait for the next reply."""
        self.send(payload, topic, qos=qos)
        return self.reply()

    def reply(self) -> Reply:
        """The next reply."""
        return self.replies.get(timeout=PATIENCE)

    def take(self, count: int) -> Sequence[Reply]:
        """So many replies."""
        return [self.reply() for _ in range(count)]
