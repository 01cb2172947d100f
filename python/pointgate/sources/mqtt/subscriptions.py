"""Which filters a session is subscribed to: written down, because a broker cannot be asked.

A session keeps its subscriptions. Without this, a service that leaves its share group, or changes
it, would get every request a second time through the old one (its name is known to nobody else).

    record = Subscriptions(folder, client_id)
    old = record.filters()                  # from an earlier run, none if there was no group
    record.write([*old, *new])              # before SUBSCRIBE: a crash forgets no subscription
    record.write(new)                       # after UNSUBSCRIBE of the old ones

The file exists only where a share group was ever in use. One that cannot be used is reported and
passed over: it must not keep requests from being received.
"""

from __future__ import annotations

import json
import logging
import os
from typing import TYPE_CHECKING, Final

from pointgate.diagnostics import os_reason

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_NAME: Final = "subscriptions.json"

_log = logging.getLogger(__name__)


class Subscriptions:
    """The record of one client id.

    Args:
        folder: Where the file is; made when it is needed.
        client_id: Whose session.
    """

    def __init__(self, folder: Path, client_id: str) -> None:
        self._path = folder / _NAME
        self._client_id = client_id

    def filters(self) -> list[str]:
        """What is recorded."""
        try:
            document = json.loads(self._path.read_bytes())
            found = document["filters"] if document["client_id"] == self._client_id else []
            return [name for name in found if isinstance(name, str)]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = os_reason(error) if isinstance(error, OSError) else "not what we wrote"
            _log.warning(
                "cannot read %s: %s; subscriptions of an older share group stay in the session",
                self._path,
                reason,
            )
            return []

    def write(self, filters: Sequence[str]) -> None:
        """Record these, in place of what was recorded."""
        document = {"client_id": self._client_id, "filters": sorted(set(filters))}
        temporary = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("w", encoding="utf-8") as file:
                json.dump(document, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path)
        except OSError as error:
            _log.warning(
                "cannot write %s: %s; leaving this share group later would answer requests twice",
                self._path,
                os_reason(error),
            )
