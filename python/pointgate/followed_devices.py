"""Device tables that follow a file of changes: the table, and the position that it has reached.

    before   table, position
    file     lines behind the position
    after    table with these lines, position behind them

The table is a base and an overlay (`_core.Devices`), so that a change among ten million keys takes
no time. When the overlay has grown to `_FOLD_PERCENT` of the table, the service makes a new base of
both in the background (`service/catalog_watcher.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from pointgate.device_changes import FileChanges, FilePosition
from pointgate.diagnostics import os_reason
from pointgate.errors import DocumentError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pointgate import _core
    from pointgate.file_states import Signature

_FOLD_PERCENT: Final = 2
_FOLD_KEYS: Final = 10_000
"""Smaller overlays stay: they cost nothing."""


@dataclass(frozen=True, slots=True)
class Followed:
    """A device table, and the position up to which its changes are applied.

    Attributes:
        devices: The table.
        position: The position in the file of changes.
        state: The state of that file before it was read.
        lines: Number of lines that this load has applied.
        removed: Number of active devices that lines of this load have removed.
    """

    devices: _core.Devices
    position: FilePosition
    state: Signature
    lines: int = 0
    removed: int = 0

    @property
    def is_to_fold(self) -> bool:
        """Whether the overlay has grown so large that a new base is worth its time."""
        least = max(_FOLD_KEYS, len(self.devices) * _FOLD_PERCENT // 100)
        return self.devices.changed > least


def follow(
    path: Path,
    state: Signature,
    before: Followed | None,
    base: Callable[[], _core.Devices | None],
    *,
    active: _core.Devices | None = None,
    exact: bool = False,
) -> Followed | list[Problem]:
    """Apply what the file of changes has behind a position.

    Args:
        path: The file.
        state: Its state.
        before: What was applied before, on the same base.
        base: Reads the table without changes; None if that fails and is reported elsewhere.
        active: The table that is in force, to count the devices in it that lines remove.
        exact: Whether keys are taken byte for byte, as from a registry.

    Returns:
        The table, or all mistakes; nothing is applied then.
    """
    if before is not None and state is not None and before.state == state:
        return replace(before, lines=0, removed=0)
    source = FileChanges(path)
    try:
        changes = source.changes(before.position) if before else None
        if changes is None:
            before, changes = None, source.changes(None)
    except (OSError, ValueError) as error:
        return [Problem(str(path), "", f"cannot be read: {os_reason(error)}")]
    devices = before.devices if before else base()
    if devices is None or changes is None:
        return []
    lines = changes.lines
    if lines:
        try:
            devices = devices.with_lines(lines, first_line=changes.first_line, exact=exact)
        except DocumentError as error:
            return [Problem(str(path), *problem) for problem in error.problems]
    removed = 0 if active is None else _count_removed(lines, active, devices, exact=exact)
    return Followed(devices, changes.position, state, lines.count(b"\n"), removed)


def _count_removed(
    lines: bytes, before: _core.Devices, after: _core.Devices, *, exact: bool
) -> int:
    """How many keys of a table are not in the next one because a line removes them."""
    if b"-" not in lines:
        return 0
    if exact:
        named = {line[1:].decode() for line in lines.split(b"\n") if line.startswith(b"-")}
        return sum(key in before and key not in after for key in named)
    bare = (line.strip() for line in lines.split(b"\n"))
    named = {
        line[1:].decode("utf-8", "replace").strip().strip('"')
        for line in bare
        if line.startswith(b"-")
    }
    return sum(key in before and key not in after for key in named)
