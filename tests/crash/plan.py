"""Whom to kill, where and when: a list of kills made from a seed.

Half of them come at a named place that the service passes, at any of its first passes, and half at
a random moment: in the middle of work, while somebody is still starting, right after another kill,
or while the service drains after a SIGTERM. What a place is: `pointgate.failpoint`, and two more in
`launch.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

SERVICE: Final = "service"
BROKER: Final = "broker"
DATABASE: Final = "database"
ALL: Final = (SERVICE, BROKER, DATABASE)

_WEIGHTS: Final = {SERVICE: 5, BROKER: 3, DATABASE: 2}

PLACES: Final = {
    # passed once a burst
    "after-receive": 20,
    "after-verdict": 20,
    "before-write": 20,
    "after-write": 20,
    "after-fsync": 20,
    # once a request
    "before-reply": 60,
    "after-reply": 60,
    "before-ack": 60,
    "after-ack": 60,
    # once a commit to a sink that renames files
    "sink-before-record": 3,
    "sink-before-rename": 3,
    "sink-between-renames": 6,
    "sink-after-rename": 3,
    "sink-before-forget": 3,
}
"""Each with the most passes before the kill."""

COMMITS: Final = ("before-commit", "after-commit")
"""Of the database; only `launch.py` knows these."""

_BROKERS: Final = 5
"""Kills of the broker in one life of the service: after each connection that was short it waits
longer until the next one, up to a minute."""

_NAMED: Final = 0.5
_RARE: Final = 0.15
"""How many of those at named places are at commits of the database."""

_EARLY: Final = 0.3
"""How many of the others come while it starts, or right after the kill before."""

_ASKED: Final = 0.2
"""How many of the rest are asked to end before, and killed while they do so."""


@dataclass(frozen=True, slots=True)
class Kill:
    """A kill.

    Attributes:
        victim: Who.
        place: Where the service then is; empty for a random moment.
        passes: At which pass of that place.
        work: How many answers there have to be since the kill before; 0: at once.
        delay: Seconds to wait after that.
        asked: Seconds between a SIGTERM and the kill; negative: it is not asked to end.
    """

    victim: str
    place: str
    passes: int
    work: int
    delay: float
    asked: float = -1.0


def make(count: int, victims: Sequence[str], draw: Random) -> list[Kill]:
    """Make a plan.

    Args:
        count: How many kills.
        victims: Who may be killed.
        draw: Decides.
    """
    weights = [_WEIGHTS[victim] for victim in victims]
    plan: list[Kill] = []
    brokers = 0
    for drawn in draw.choices(victims, weights, k=count):
        victim = SERVICE if drawn == BROKER and brokers == _BROKERS else drawn
        brokers = 0 if victim == SERVICE else brokers + (victim == BROKER)
        plan.append(_kill(victim, DATABASE in victims, draw))
    return plan


def _kill(victim: str, database: bool, draw: Random) -> Kill:  # noqa: FBT001 - two callers' worth
    if draw.random() < _NAMED:
        place, passes = _place(database, draw)
        return Kill(victim, place, passes, 0, 0.0)
    if draw.random() < _EARLY:
        return Kill(victim, "", 0, 0, draw.uniform(0, 1.5))
    asked = draw.uniform(0, 0.5) if victim == SERVICE and draw.random() < _ASKED else -1.0
    return Kill(victim, "", 0, draw.randint(1, 80), draw.uniform(0, 0.1), asked)


def _place(database: bool, draw: Random) -> tuple[str, int]:  # noqa: FBT001 - as above
    if database and draw.random() < _RARE:
        return draw.choice(COMMITS), draw.randint(1, 4)
    place = draw.choice(list(PLACES))
    return place, draw.randint(1, PLACES[place])
