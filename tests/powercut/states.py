"""Which power cuts are looked at: where, and what of the unsynced is left. All from a seed.

Two in five come at a reply: between two of its neighbouring system calls, one reply after the
other, so that with enough states no reply is left out. One in five comes at any operation, one
where a name changes or something is synced, where order counts. One comes just before a sync of a
file of a kind that is drawn first, however seldom it is synced: log, database, lines and so on.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Final

from tests.powercut.disk import DATA, NAMES, Cut
from tests.powercut.trace import Name, Sync

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.powercut.trace import Operation, Trace

_AROUND: Final = 3
"""Lines before a reply and after it, at most."""

_SYNC: Final = 4


def draw_of(seed: int, number: int) -> Random:
    """What decides everything of a state."""
    return Random(f"{seed}/{number}")  # noqa: S311 - to be had again


def choose(trace: Trace, number: int, draw: Random, *, only: str = "", data: str = "") -> Cut:
    """Choose a power cut.

    Args:
        trace: What was done.
        number: The number of the state.
        draw: Decides the rest.
        only: Only before syncs of files of this kind, one of the values of `Trace.kinds`.
        data: What is left of unsynced data, if it is not to be drawn.
    """
    turn, kind = (0, _SYNC) if only else divmod(number, 5)
    if kind < 2 and trace.replies:
        reply = trace.replies[(2 * turn + kind) % len(trace.replies)]
        line = reply.begin + draw.randint(-_AROUND, _AROUND)
    else:
        one = draw.choice(_operations(trace, kind, only, draw))
        line = draw.choice((one.begin - 1, one.begin, one.end if kind != _SYNC else one.begin))
    return Cut(max(0, line), draw.choice(NAMES), data or draw.choice(("", *DATA)))


def _operations(trace: Trace, kind: int, only: str, draw: Random) -> Sequence[Operation]:
    match kind:
        case 2:
            return trace.operations
        case 3:
            return [one for one in trace.operations if isinstance(one, (Name, Sync))]
        case _:
            syncs = [one for one in trace.operations if isinstance(one, Sync)]
            wanted = only or draw.choice(sorted({trace.kinds[one.inode] for one in syncs}))
            return [one for one in syncs if trace.kinds[one.inode] == wanted]
