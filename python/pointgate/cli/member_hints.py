"""Hints on unknown members of entries that are probably misspelled: `timestamp` for `time`.

Unknown members are ignored (contract 3.4): an entry with `timestamp` gets the time of arrival.
"""

from __future__ import annotations

import json
from collections import Counter
from itertools import islice
from typing import Final

from pointgate.diagnostics import did_you_mean
from pointgate.terminal import printable

_LINES: Final = 8
_LONGEST: Final = 32
"""Longer names cannot be similar, and are slow to compare."""

_SYNONYMS: Final = {
    "deviceKey": {"device", "deviceid", "devicename", "asset", "assetid", "assetkey", "sn"},
    "measurepoints": {"points", "measurements", "measures", "metrics", "values", "data"},
    "time": {"timestamp", "ts", "t", "datetime", "date", "utc", "eventtime", "sampletime"},
}


def member_hints(payload: bytes) -> list[str]:
    """The hints for a request, which must be JSON: one for each name, up to a limit."""
    try:
        document = json.loads(payload)
    except ValueError:  # an integer with more digits than Python converts
        return []
    params = document.get("params") if isinstance(document, dict) else None
    entries = params if isinstance(params, list) else [params]
    found = Counter(
        pair for entry in entries if isinstance(entry, dict) for pair in _pairs(list(entry))
    )
    return [
        f'unknown member "{printable(name)}" in {count:,} entr{"y" if count == 1 else "ies"}, '
        f"did you mean {meant}?"
        for (name, meant), count in islice(found.items(), _LINES)
    ]


def _pairs(names: list[str]) -> list[tuple[str, str]]:
    """The unknown members of an entry, each with a similar member that the entry lacks."""
    lacking = [name for name in _SYNONYMS if name not in names]
    unknown = [name for name in names if name not in _SYNONYMS] if lacking else []
    return [(name, meant) for name in unknown for meant in lacking if _is_similar(name, meant)]


def _is_similar(name: str, meant: str) -> bool:
    if len(name) > _LONGEST:
        return False
    plain = "".join(filter(str.isalnum, name)).lower()
    if plain == meant.lower() or plain in _SYNONYMS[meant]:
        return True
    return bool(did_you_mean(name, [meant]))
