"""What the quarantine counts, for the metrics."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class QuarantineStatistics:
    """The statistics of `writer.Quarantine`, for a service without one.

    Attributes:
        kept: Rejected requests that were kept.
        not_kept: Rejected requests that were not kept, by reason.
        removed: Stored requests that were deleted, by reason.
        bytes: The size of the kept requests.
    """

    kept: int = 0
    not_kept: dict[str, int] = field(
        default_factory=lambda: {"overflow": 0, "failed": 0, "too_large": 0}
    )
    removed: dict[str, int] = field(default_factory=lambda: {"bytes": 0, "age": 0})
    bytes: int = 0
