"""What the quarantine counts, for the metrics."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class QuarantineStatistics:
    """The figures of `writer.Quarantine`, where there is none.

    Attributes:
        kept: Rejected requests kept.
        not_kept: Those that were not, by reason.
        removed: Those deleted to make room, by reason.
        bytes: What the file holds.
    """

    kept: int = 0
    not_kept: dict[str, int] = field(
        default_factory=lambda: {"overflow": 0, "failed": 0, "too_large": 0}
    )
    removed: dict[str, int] = field(default_factory=lambda: {"bytes": 0, "age": 0})
    bytes: int = 0
