"""Failpoints: named points in the code at which a test can kill this process. For tests only.

    POINTGATE_FAILPOINT=after-fsync:3 pointgate serve …   # SIGKILL at the third hit of after-fsync

In the order in which a request reaches them: `after-receive`, `after-verdict`, `before-write` (no
byte of it is on disk), `after-write` (it is in the transaction, which is not committed),
`after-fsync` (it is stored, and nobody knows), `before-reply`, `after-reply` (the reply has left,
its acknowledgement has not), `before-ack`, `in-transaction` (of Kafka: everything is in it, and it
is not committed), `after-ack`; in commits of a dataset,
`sink-before-record` (its files are on disk, and nothing is decided), `sink-before-rename`,
`sink-between-renames`, `sink-after-rename` and `sink-before-forget`; in a dataset being compacted,
`merge-before-record`, `merge-before-rename`, `merge-after-rename`, `merge-before-delete` and
`merge-after-delete`; where old files are deleted, `retention-before-delete`; in a Delta table,
`delta-before-commit` and `delta-after-commit`; in a commit in an object store,
`objects-before-record`, `objects-after-record`, `objects-between-copies` and
`objects-after-copies`; in an import, `import-after-run`,
`import-before-commit`, `import-after-chunk` and, with `--post`, `import-before-answer` (a reply was
read, and nothing says so yet).

Without the variable a hit costs one call and one comparison. Unknown names are ignored.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

VARIABLE: Final = "POINTGATE_FAILPOINT"

_name: str | None
"""The active failpoint; None if there is none."""

_name, _, _count = os.environ.get(VARIABLE, "").partition(":")
_name = _name or None
_left = int(_count) if _count.isdecimal() else 1


def warning() -> str:
    """A warning for the log; empty if no failpoint is active."""
    return (
        f"{VARIABLE} is set, for tests only: this process kills itself at {_name}" if _name else ""
    )


def is_active() -> bool:
    """Whether any failpoint is active."""
    return _name is not None


def hit(name: str, before: Callable[[], object] | None = None) -> None:
    """Kill this process if `name` is the active failpoint and its count is reached.

    Args:
        name: The failpoint.
        before: Called just before the kill, for example to flush a send buffer.
    """
    if _name is None:
        return
    if name == _name:
        _count_down(before)


def _count_down(before: Callable[[], object] | None) -> None:
    global _left  # noqa: PLW0603 - it counts the hits of this process
    _left -= 1
    if _left <= 0:
        if before is not None:
            before()
        os.kill(os.getpid(), signal.SIGKILL)
