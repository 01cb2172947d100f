"""The store that keeps nothing: `ack = "verdict"`.

A 200 then says that the request was judged and accepted, and nothing more (contract 7.1). It is for
services that only answer, while the points go another way. It never waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pointgate._core import Report


class VerdictStore:
    """Lets every point go (see `base.Store`)."""

    ack = "verdict"
    promise = "a 200 says that the request was judged; points are not stored"

    async def keep(self, reports: Sequence[Report]) -> None:
        """Return at once."""
