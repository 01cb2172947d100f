"""Python's garbage collection in processes that allocate much and make no cycles.

A burst of requests, or some thousand rows of an import, are thousands of objects, none of them in a
reference cycle. With Python's own threshold they cause several collections, and a full one stops
the event loop of the service for some 15 ms (docs/decisions/0027-replies-go-in-rounds.md). An
import spent a quarter of its CPU time on them.
"""

from __future__ import annotations

import gc
from typing import Final

_YOUNG_OBJECTS: Final = 20_000
"""Objects until the young generation is collected; Python's default is 700."""


def collect_seldom() -> None:
    """Exempt the objects that exist after the start, and collect the others less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, *gc.get_threshold()[1:])
