"""The checks before the service connects to anything; `pointgate check` runs the same ones.

    TLS context, metrics address, spool folder, sinks, quarantine folder ─► `Prepared`

So `check` finds every error that would end `serve` with exit status 78: configuration errors are
reported only here. Temporary conditions (a port or a spool in use, a full disk, an unavailable
broker or database) are not configuration errors: `check` reports them at most as notes, `serve`
retries or ends with another status. The catalog is loaded by its own module, because a large one
takes time.

Invariants: nothing is created, changed, locked or connected to, so `check` can run beside a service
that uses the same paths; all errors are reported at once.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pointgate.diagnostics import os_reason, shown
from pointgate.errors import ConfigError, Problem
from pointgate.extras import missing
from pointgate.quarantine.database import NAME
from pointgate.registries.kinds import build as build_registry
from pointgate.service.admin_socket import KEY, path_reason
from pointgate.service.listener import bound, is_mistake
from pointgate.service.path_checks import file_reason, folder_reason, is_read_only, output_reason
from pointgate.sinks.base import Examines, SinkUnavailableError
from pointgate.sinks.registry import build
from pointgate.sources.mqtt.tls import tls_context, tls_warnings

if TYPE_CHECKING:
    from pointgate.config import Settings
    from pointgate.registries.base import Registry
    from pointgate.registries.settings import RegistrySettings
    from pointgate.sinks.base import Sink
    from pointgate.sinks.settings import SinkSettings

_SQLITE: Final = b"SQLite format 3\0"


@dataclass(slots=True)
class Prepared:
    """The result of the checks.

    Attributes:
        sinks: Each sink, and whether it is required; empty if nothing is stored.
        registries: Each registry with its settings.
        warnings: Settings that work now but are probably wrong.
        notes: Resources that are in use, as they are beside a running service.
    """

    sinks: list[tuple[Sink, bool]] = field(default_factory=list)
    registries: list[tuple[RegistrySettings, Registry]] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)


def prepare(settings: Settings) -> Prepared:
    """Run the checks and build the sinks.

    Raises:
        ConfigError: There are errors; `problems` lists all of them.
    """
    preparing = _Preparing(settings)
    preparing.run()
    if preparing.problems:
        raise ConfigError(preparing.problems)
    return preparing.prepared


class _Preparing:
    def __init__(self, settings: Settings) -> None:
        self.prepared = Prepared()
        self.problems: list[Problem] = []
        self._settings = settings
        self._places: dict[Path, str] = {}
        self._datasets: dict[Path, str] = {}
        self._remote: dict[tuple[str, str], str] = {}

    def run(self) -> None:
        if self._settings.uses_mqtt:
            self._check_mqtt()
        if self._settings.uses_kafka:
            self._check_kafka()
        self._check_address()
        self._check_admin_socket()
        if self._settings.store.ack != "verdict":
            self._check_spool(self._settings.spool.path)
            if not self._settings.uses_spool:
                self._warn_of_spool(self._settings.spool.path)
            for sink in self._settings.sinks:
                self._check_sink(sink)
            try:
                self.prepared.sinks = build(self._settings.sinks)
            except ConfigError as error:
                self.problems += error.problems
            else:
                built = self.prepared.sinks
                for settings, (made, _) in zip(self._settings.sinks, built, strict=True):
                    self._examine(settings, made)
        self._check_registries()
        rejections = self._settings.rejections
        if rejections is not None and rejections.path is not None:
            self._check_quarantine(rejections.path)

    def _examine(self, settings: SinkSettings, sink: Sink) -> None:
        """Let a sink in a local folder look at what is there."""
        if settings.output is None or not isinstance(sink, Examines):
            return
        try:
            sink.examine(writes=False)
        except ConfigError as error:
            self.problems += error.problems
        except SinkUnavailableError as error:
            self.prepared.notes.append(Problem("", f"sinks.{sink.name}.path", str(error)))

    def _check_mqtt(self) -> None:
        mqtt = self._settings.mqtt
        self.prepared.warnings += mqtt.warnings()
        try:
            tls_context(mqtt)
            self.prepared.warnings += tls_warnings(mqtt)
        except ConfigError as error:
            self.problems += error.problems
        try:
            mqtt.password_text()
        except ConfigError as error:
            self.problems += error.problems

    def _check_kafka(self) -> None:
        """Check that librdkafka takes the settings; it connects to nothing."""
        kafka = self._settings.kafka
        try:
            from pointgate.kafka.client import mistake, unusable_pattern  # noqa: PLC0415 - an extra

            options = kafka.client_options("kafka")
        except ModuleNotFoundError as error:
            self._refuse("kafka", missing(error, "kafka"))
            return
        except ConfigError as error:
            self.problems += error.problems
            return
        reason = mistake(
            options,
            group=kafka.group,
            produces=kafka.replies is not None,
            transactional_id=kafka.transactional_id if kafka.exactly_once else None,
        )
        if reason:
            self._refuse("kafka.options", reason)
        if pattern := unusable_pattern(kafka.topics or ()):
            reason = f"expected a POSIX extended regular expression, got {shown(pattern)}"
            self._refuse("kafka.topics", f"{reason}, which librdkafka refuses")
        if kafka.replies is None:
            reason = "not set: no sender gets a reply"
            self.prepared.warnings.append(Problem("", "kafka.replies", reason))

    def _check_address(self) -> None:
        """Check the metrics address by binding it; without listening this has no side effects."""
        metrics = self._settings.metrics
        try:
            for listener in bound(metrics.host, metrics.port):
                listener.close()
        except OSError as error:
            found = self.problems if is_mistake(error) else self.prepared.notes
            reason = f"cannot listen on {metrics.listen}: {os_reason(error)}"
            if error.errno == errno.EADDRINUSE:
                reason += ", as it is while the service runs"
            found.append(Problem("", "metrics.listen", reason))

    def _check_admin_socket(self) -> None:
        """Check the path of the admin socket; the service runs without that of the default."""
        path = self._settings.admin_socket
        if path is not None and (reason := path_reason(path)):
            found = self.prepared.warnings if self._settings.admin.socket is None else self.problems
            found.append(Problem("", KEY, f"cannot listen on {path}: {reason}"))

    def _check_spool(self, path: Path) -> None:
        self._claim(path, "spool.path")
        if reason := folder_reason(path):
            self._refuse("spool.path", f"cannot use {path}: {reason}")
            return
        lock = path / "lock"
        if os.path.lexists(lock) and (reason := file_reason(lock)):
            self._refuse("spool.path", f"cannot use {lock}: {reason}")
        for file in path.glob("spool-*.db"):
            if not os.access(file, os.R_OK):
                self._refuse("spool.path", f"user {os.geteuid()} may not read {file}")

    def _warn_of_spool(self, path: Path) -> None:
        """Warn of a spool that is not read: Kafka's topic has its place."""
        if any(path.glob("spool-*.db")):
            reason = (
                f"{path} holds a spool, which is not read with store.ack = "
                f'"{self._settings.store.ack}": points that sinks do not have stay in it'
            )
            self.prepared.warnings.append(Problem("", "spool.path", reason))

    def _check_sink(self, sink: SinkSettings) -> None:
        output = sink.output
        key = f"sinks.{sink.name}.path"
        if output is None:
            if sink.mistake:
                self._refuse(key, sink.mistake)
            self._claim_remote(sink)
            return
        self._claim(output.path, key)
        if output.kind == "folder":
            self._claim_tree(output.path, key)
        if reason := output_reason(output):
            self._refuse(key, f"cannot use {output.path}: {reason}")
        elif sink.mistake:
            self._refuse(key, sink.mistake)

    def _check_registries(self) -> None:
        for settings in self._settings.registries:
            key = f"registries.{settings.name}"
            self._claim(settings.folder, f"{key}.path")
            if reason := folder_reason(settings.folder):
                self._refuse(f"{key}.path", f"cannot use {settings.folder}: {reason}")
            self.prepared.warnings += [Problem("", key, one) for one in settings.warnings()]
            try:
                self.prepared.registries.append((settings, build_registry(settings)))
            except ConfigError as error:
                self.problems += error.problems

    def _check_quarantine(self, path: Path) -> None:
        self._claim(path, "quarantine.path")
        file, reason = path, folder_reason(path)
        if not reason and os.path.lexists(path / NAME):
            file = path / NAME
            reason = file_reason(file) or _not_sqlite(file)
        if not reason:
            return
        if self._settings.quarantine.path is not None:
            self._refuse("quarantine.path", f"cannot use {file}: {reason}")
            return
        # Nobody asked for this folder: that is no reason not to start.
        reason = f"rejected requests are not kept: cannot use {file}: {reason}"
        self.prepared.warnings.append(Problem("", "quarantine.path", reason))

    def _claim(self, path: Path, key: str) -> None:
        """Refuse a path that another setting uses, also through a symbolic link."""
        place = Path(os.path.realpath(path))
        if is_read_only(place):
            reason = f"{path} is on a read-only file system, where nothing can be stored"
            self.prepared.warnings.append(Problem("", key, reason))
        owner = self._places.setdefault(place, key)
        if owner != key:
            self._refuse(key, f"expected a place of its own, got {path}, which {owner} has")

    def _claim_tree(self, path: Path, key: str) -> None:
        """Refuse a dataset inside another one: a reader of the outer one would read both."""
        place = Path(os.path.realpath(path))
        for other, owner in self._datasets.items():
            if other in place.parents or place in other.parents:
                reason = f"expected no folder inside or around that of {owner}, got {path}"
                self._refuse(key, reason)
        self._datasets[place] = key

    def _claim_remote(self, sink: SinkSettings) -> None:
        """Refuse a place on a server that another sink has, or that is inside or around it."""
        server, place = sink.remote_place
        if not place:
            return
        key = f"sinks.{sink.name}"
        for (other, taken), owner in self._remote.items():
            if server == other and f"{place}/".startswith(f"{taken}/"):
                self._refuse(key, f"expected a place of its own, got {place}, which {owner} has")
            elif server == other and f"{taken}/".startswith(f"{place}/"):
                self._refuse(key, f"expected no place around that of {owner}, got {place}")
        self._remote[server, place] = key

    def _refuse(self, key: str, reason: str) -> None:
        self.problems.append(Problem("", key, reason))


def _not_sqlite(file: Path) -> str:
    """Why a file is not an SQLite database; empty if it is one. An empty file is a new one."""
    try:
        with file.open("rb") as opened:
            head = opened.read(len(_SQLITE))
    except OSError as error:
        return os_reason(error)
    return "" if head in {b"", _SQLITE} else "expected a database of SQLite, got another file"
