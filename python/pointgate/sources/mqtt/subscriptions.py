"""Persists the filters that a session is subscribed to, because brokers do not report them.

A session keeps its subscriptions. Without this record, a service that leaves or changes its share
group would receive every request twice, because the old subscription could not be removed.

    record = Subscriptions(folder, client_id)
    old = record.filters()                  # from an earlier run, none if there was no group
    record.write([*old, *new])              # before SUBSCRIBE: no subscription is lost in a crash
    record.write(new)                       # after UNSUBSCRIBE of the old ones

The file exists only if a share group was ever in use. Errors are logged and ignored: they must not
prevent requests from being received.
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
        folder: The folder of the file; created on demand.
        client_id: The client id of the session.
    """

    def __init__(self, folder: Path, client_id: str) -> None:
        self._path = folder / _NAME
        self._client_id = client_id

    def filters(self) -> list[str]:
        """The recorded filters."""
        try:
            document = json.loads(self._path.read_bytes())
            found = document["filters"] if document["client_id"] == self._client_id else []
            return [name for name in found if isinstance(name, str)]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = os_reason(error) if isinstance(error, OSError) else "not what we wrote"
            _log.warning(
                "cannot read %s: %s; subscriptions of an earlier share group are not removed",
                self._path,
                reason,
            )
            return []

    def write(self, filters: Sequence[str]) -> None:
        """Replace the recorded filters."""
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
                "cannot write %s: %s; leaving this share group later may answer requests twice",
                self._path,
                os_reason(error),
            )
