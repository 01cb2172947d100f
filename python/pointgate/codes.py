"""The codes of replies (contract 3)."""

from __future__ import annotations

from enum import IntEnum


class Code(IntEnum):
    """What a reply says. A request that is not OK is rejected as a whole."""

    OK = 200
    TOO_LARGE = 1008
    MODEL_VALIDATE_FAILED = 1204
    PAYLOAD_FORMAT = 1220
    PAYLOAD_EMPTY = 1251
    DEVICE_NOT_FOUND = 1257
    METHODS_NOT_CONSISTENT = 1260
