"""The interface of a registry: a snapshot of all devices, ordered changes, a position between them.

    position, blocks = snapshot()     all keys, and the position at which its changes begin
    changes(position)                 what has changed since that position, and the position behind
                                      None: that position is gone; take a snapshot again
    wait(seconds)                     until there may be more, at most so long

`ChangeSource` of `device_changes.py` is its second half; a file of changes has no need of the
first. A new kind of registry is a folder with these four calls (`kinds.py`).

Invariants: changes are ordered, each key's last one decides, and applying them again changes
nothing; so a position may be older than its snapshot. All calls block and come from one thread,
except `sever`.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from pointgate.device_changes import ChangeSource
from pointgate.errors import PointgateError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class RegistryUnavailableError(PointgateError):
    """The registry cannot be read now, or what it says makes no sense. It is asked again."""


@dataclass(slots=True)
class Snapshot:
    """All devices.

    Attributes:
        blocks: Whole lines, `KEY`, or `PRODUCT/KEY` of a registry of several products; or the bytes
            of a device file.
        form: `keys` for these lines, else the form of the device file.
        position: Where its changes begin; known when all blocks were read.
        lines: Changes that follow the blocks, known then, too.
    """

    blocks: Iterator[bytes]
    form: Literal["keys", "txt", "csv", "jsonl"] = "keys"
    position: str = ""
    lines: bytes = b""


class Registry(ChangeSource[str], Protocol):
    """What a registry can do. Each call may raise `RegistryUnavailableError`."""

    def snapshot(self) -> Snapshot:
        """Begin to read all devices."""

    def wait(self, seconds: float) -> None:
        """Return when there may be changes, and after so many seconds at the latest."""

    def sever(self) -> None:
        """From any thread: a call that waits for the registry fails now."""

    def close(self) -> None:
        """End the connection; the next call opens another one."""


@runtime_checkable
class Answers(Protocol):
    """A registry that can be asked for some devices."""

    def present(self, keys: Sequence[str]) -> set[str]:
        """Those of some keys that are devices now.

        Args:
            keys: `KEY`, or `PRODUCT/KEY` of a registry of several products.
        """


class Pause:
    """A wait that ends early when the registry is severed."""

    def __init__(self) -> None:
        self._ended = threading.Event()

    def wait(self, seconds: float) -> None:
        """Wait."""
        self._ended.wait(seconds)
        self._ended.clear()

    def end(self) -> None:
        """End the wait."""
        self._ended.set()
