"""The log on stderr: one line for each event, as text or as JSON, with UTC times.

    2026-11-23T08:00:00.123Z WARNING pointgate.service.gate: …
    {"time":"2026-11-23T08:00:00.123Z","level":"warning","logger":"pointgate.service.gate",…}

If stderr is a stream of the journal (systemd's `JOURNAL_STREAM`), each line begins with its
priority, `<4>`, which the journal removes: `journalctl -p warning` then finds it.

Invariant: an event is one line of JSON, also with a traceback.
"""

from __future__ import annotations

import logging
import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal

import orjson

from pointgate.terminal import printable, unicode_text

if TYPE_CHECKING:
    from collections.abc import Mapping

_PRIORITIES: Final = {"CRITICAL": 2, "ERROR": 3, "WARNING": 4, "INFO": 6, "DEBUG": 7}
"""Of syslog(3)."""


def configure(level: str, form: Literal["text", "json"]) -> None:
    """Log the events of the service to stderr; of libraries only warnings and errors.

    Args:
        level: The least level of the service's own events.
        form: How an event is written.
    """
    handler = logging.StreamHandler(sys.stderr)
    formatter = JsonFormatter() if form == "json" else TextFormatter()
    in_journal = is_journal(sys.stderr.fileno(), os.environ)
    handler.setFormatter(JournalFormatter(formatter) if in_journal else formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("pointgate").setLevel(level.upper())


def is_journal(descriptor: int, environ: Mapping[str, str]) -> bool:
    """Whether a stream leads to the journal: `JOURNAL_STREAM` has its device and inode."""
    device, _, inode = environ.get("JOURNAL_STREAM", "").partition(":")
    if not (device.isdigit() and inode.isdigit()):
        return False
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return (status.st_dev, status.st_ino) == (int(device), int(inode))


def _time(record: logging.LogRecord) -> str:
    found = datetime.fromtimestamp(record.created, UTC)
    return found.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class TextFormatter(logging.Formatter):
    """An event as text: time, level, logger and message; a traceback on further lines."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, D102, N802 - the base class's
        return _time(record)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: D102, N802 - the base class's
        # An event is one line, and no message has control characters of senders or of files.
        record.message = printable(record.message)
        return super().formatMessage(record)


class JsonFormatter(logging.Formatter):
    """An event as a JSON object: `time`, `level`, `logger`, `message`, and `traceback` if any."""

    def format(self, record: logging.LogRecord) -> str:  # noqa: D102 - the base class's
        document = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": unicode_text(record.getMessage()),
        }
        if record.exc_info:
            document["traceback"] = unicode_text(self.formatException(record.exc_info))
        return orjson.dumps(document).decode()


class JournalFormatter(logging.Formatter):
    """Another form, each of its lines with the priority of the event.

    Args:
        inner: The other form.
    """

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:  # noqa: D102 - the base class's
        prefix = f"<{_PRIORITIES.get(record.levelname, 5)}>"
        return "\n".join(prefix + line for line in self._inner.format(record).splitlines())
