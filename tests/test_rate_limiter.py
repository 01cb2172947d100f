"""A rate limiter lets so many events of a period through and counts the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pointgate.rate_limiter import RateLimiter

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the clock that the limiter looks at."""
    now = 1000.0

    def advance(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr("pointgate.rate_limiter.time.monotonic", lambda: now)
    return advance


@pytest.mark.parametrize(
    ("burst", "counts"), [(1, [1, 0, 0, 0, 0]), (3, [1, 1, 1, 0, 0]), (9, [1, 1, 1, 1, 1])]
)
def test_a_burst_is_let_through_and_the_rest_is_counted(
    clock: Callable[[float], None], burst: int, counts: list[int]
) -> None:
    limiter = RateLimiter(60.0, burst=burst)
    assert [limiter.count() for _ in counts] == counts
    clock(59.9)
    held_back = counts.count(0)
    assert limiter.count() == (0 if held_back else 1)
    clock(0.2)
    assert limiter.count() == (held_back + 2 if held_back else 1)
