"""What a store is: whatever makes true that a 200 promises something (contract 7.1).

The gate calls `keep` between judging and answering, and answers only when it has returned. A store
that cannot keep now waits; the gate then takes nothing more, and the connection stops reading
(contract 7.3).

It does not decide what is accepted and never sees a request that is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pointgate._core import Report


class Store(Protocol):
    """Keeps what was accepted.

    Attributes:
        ack: The name of what it promises, as in the settings: `verdict`, `spool` or `sink`.
        promise: The same in words, for the log.
    """

    ack: str
    promise: str

    async def keep(self, reports: Sequence[Report]) -> None:
        """Return when everything accepted in these reports is kept, as `ack` promises.

        Args:
            reports: The verdicts of one burst, in the order of arrival.
        """
