"""What following a registry counts, for the metrics."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class RegistryStatistics:
    """The statistics of a registry.

    Attributes:
        matched_at: When the copy was last known to be up to date, in seconds since 1970; 0 without
            a copy.
        snapshots: Snapshots that were read.
        changes: Changes that were read.
        failures: Attempts to read it that failed.
        keys_refused: Keys that no device can have: they are left out.
        rechecked: Keys that were asked for before a 1257, by answer.
    """

    matched_at: float = 0.0
    snapshots: int = 0
    changes: int = 0
    failures: int = 0
    keys_refused: int = 0
    rechecked: dict[str, int] = field(
        default_factory=lambda: {"present": 0, "absent": 0, "unanswered": 0}
    )
