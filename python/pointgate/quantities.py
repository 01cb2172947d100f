"""Parses times and sizes in settings, with the same syntax for all settings.

    90, "90s", "10m", "12h", "30d"          a plain number is in the setting's own unit
    1048576, "512KiB", "8MiB", "1GiB"       binary units only, because "8MB" is ambiguous

A function returns a value that it cannot parse unchanged, for the setting's model to reject.
"""

from __future__ import annotations

import re
from typing import Final

DURATIONS: Final = '"90s", "10m", "12h", "30d"'
"""The alternatives to a plain number, for error messages."""

SIZES: Final = '"512KiB", "8MiB", "1GiB"'

_DURATION: Final = re.compile(r"([0-9]{1,15})(ms|s|m|h|d)")
_MILLISECONDS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}

_SIZE: Final = re.compile(r"([0-9]{1,15})([KMGT]iB|B)", re.IGNORECASE)
_BYTES: Final = {"b": 1, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}


def milliseconds_of(value: object) -> object:
    """The milliseconds in `"90s"`."""
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    return int(found[1]) * _MILLISECONDS[found[2]] if found else value


def seconds_of(value: object) -> object:
    """The seconds in `"10m"`; fractions of a second are returned unchanged."""
    milliseconds = milliseconds_of(value)
    if isinstance(value, str) and isinstance(milliseconds, int) and not milliseconds % 1000:
        return milliseconds // 1000
    return value


def bytes_of(value: object) -> object:
    """The bytes in `"8MiB"`."""
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    return int(found[1]) * _BYTES[found[2].lower()] if found else value
