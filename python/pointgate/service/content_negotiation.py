"""Content negotiation: the media type that an HTTP Accept header prefers (RFC 9110, 12.5.1).

    preferred("a/x;q=0.5, a/*;q=0.1, */*;q=0", ["b/y", "a/z"])  # "a/z": 0.1, by a/*

The most specific range that matches a type decides its weight; 0 excludes it. Types with the same
weight are ordered by how exactly they are named, then by the header, then by the offer. A range
with an invalid weight is ignored. Parameters other than `q` are not compared.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_WEIGHT: Final = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")


def preferred(accept: str, offered: Sequence[str]) -> str:
    """The type to answer with.

    Args:
        accept: The header; empty if there was none.
        offered: The available types; the first is the default if none is acceptable.
    """
    ranges = _ranges(accept)
    # `max` takes the first of equals.
    best = max(offered, key=lambda offer: _rank(offer, ranges))
    return best if _rank(best, ranges)[0] > 0 else offered[0]


def _rank(offer: str, ranges: Mapping[str, tuple[float, int]]) -> tuple[float, int, int]:
    """The weight of a type, how exactly it is named, and how early."""
    for specificity, name in (2, offer), (1, f"{offer.partition('/')[0]}/*"), (0, "*/*"):
        if name in ranges:
            weight, place = ranges[name]
            return weight, specificity, place
    return 0.0, 0, 0


def _ranges(accept: str) -> dict[str, tuple[float, int]]:
    """The greatest weight of each media range, and its place in the header: greater is earlier."""
    ranges: dict[str, tuple[float, int]] = {}
    for position, text in enumerate(accept.lower().split(",")):
        name, *parameters = (part.strip() for part in text.split(";"))
        weights = [value[2:].strip() for value in parameters if value.startswith("q=")]
        weight = weights[0] if weights else "1"
        if _WEIGHT.fullmatch(weight):
            rank = float(weight), -position
            ranges[name] = max(rank, ranges.get(name, rank))
    return ranges
