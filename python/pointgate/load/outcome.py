"""The outcome of a run, complete or so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from pointgate._core import MqttLoad

QUANTILES: Final = {"p50": 0.5, "p99": 0.99, "p999": 0.999, "max": 1.0}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The figures of a run.

    Attributes:
        seconds: From the first request to the last reply.
        sent: Requests.
        sent_bytes: Their payloads.
        answered: With a reply.
        lost: Without one in time.
        mismatched: By expected and actual code, requests with another code than theirs.
        accepted: Answered 200, as expected.
        repeated: Further replies to a request, and replies after the timeout.
        foreign: Replies to other senders.
        latency_ms: By name of `QUANTILES`.
        behind_ms: The longest delay of a request in an open loop until it was sent.
        cpu_seconds: The CPU time of the generator.
    """

    seconds: float
    sent: int
    sent_bytes: int
    answered: int
    lost: int
    mismatched: dict[tuple[int, int], int]
    accepted: int
    repeated: int
    foreign: int
    latency_ms: dict[str, float]
    behind_ms: float
    cpu_seconds: float

    @property
    def rate(self) -> float:
        """Replies a second."""
        return self.answered / self.seconds if self.seconds else 0.0

    @property
    def is_right(self) -> bool:
        """Whether each request was answered with its code."""
        return not self.lost and not self.mismatched

    @property
    def cpu_us(self) -> float:
        """The CPU time of the generator for a request, in microseconds."""
        return self.cpu_seconds / self.sent * 1e6 if self.sent else 0.0


def outcome_of(load: MqttLoad, *, seconds: float, cpu_seconds: float, behind: float) -> Outcome:
    """The outcome so far.

    Args:
        load: The requests and replies.
        seconds: Since the first request.
        cpu_seconds: Of the generator.
        behind: How many seconds late a request was sent.
    """
    figures = cast("dict[str, Any]", load.read())
    codes: dict[tuple[int, int], int] = figures["codes"]
    return Outcome(
        seconds=seconds,
        sent=figures["sent"],
        sent_bytes=figures["sent_bytes"],
        answered=figures["answered"],
        lost=figures["lost"],
        mismatched={key: count for key, count in codes.items() if key[0] != key[1]},
        accepted=codes.get((200, 200), 0),
        repeated=figures["repeated"],
        foreign=figures["foreign"],
        latency_ms={name: load.latency_ns(share) / 1e6 for name, share in QUANTILES.items()},
        behind_ms=behind * 1e3,
        cpu_seconds=cpu_seconds,
    )
