"""Named places at which a test can kill this process: for tests only.

    POINTGATE_FAILPOINT=after-fsync:3 pointgate serve …   # SIGKILL at the third pass of after-fsync

In the order in which a request passes them: `after-receive`, `after-verdict`, `before-write` (no
byte of it is on disk), `after-write` (it is in the transaction, which is not committed),
`after-fsync` (it is stored, and nobody knows), `before-reply`, `after-reply` (the reply has left,
its acknowledgement has not), `before-ack`, `after-ack`; in commits of a dataset,
`sink-before-record` (its files are on disk, and nothing is decided), `sink-before-rename`,
`sink-between-renames`, `sink-after-rename` and `sink-before-forget`; in a dataset being compacted,
`merge-before-record`, `merge-before-rename`, `merge-after-rename`, `merge-before-delete` and
`merge-after-delete`.

Without the variable a pass costs one call and one test. A name that is none never kills.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

VARIABLE: Final = "POINTGATE_FAILPOINT"

_name: str | None
"""Where to die; None for nowhere."""

_name, _, _count = os.environ.get(VARIABLE, "").partition(":")
_name = _name or None
_left = int(_count) if _count.isdecimal() else 1


def warning() -> str:
    """What a log should say about it; empty if there is nothing to say."""
    return (
        f"{VARIABLE} is set, for tests only: this process kills itself at {_name}" if _name else ""
    )


def hit(name: str, before: Callable[[], object] | None = None) -> None:
    """Pass a place; die there if the environment says so.

    Args:
        name: The place.
        before: What to do first when dying, such as to send what is still in a buffer of ours.
    """
    if _name is None:
        return
    if name == _name:
        _pass(before)


def _pass(before: Callable[[], object] | None) -> None:
    global _left  # noqa: PLW0603 - it counts the passes of this process
    _left -= 1
    if _left <= 0:
        if before is not None:
            before()
        os.kill(os.getpid(), signal.SIGKILL)
