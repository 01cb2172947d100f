"""Faults, payloads and instants in JSON, with the member names of replies (contract 2.5).

Used by `explain --json`, `rejects --json`, `validate --rejects` and `GET /tap`.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pointgate._core import Fault


@dataclass(frozen=True, slots=True)
class StoredFault:
    """A fault read from the quarantine; see `Fault` for its attributes."""

    reason: str
    message: str
    pointer: str | None
    offset: int
    index: int | None
    device_key: str | None
    identifier: str | None
    expected: str | None
    got: str | None
    did_you_mean: str | None


def fault_document(fault: Fault | StoredFault) -> dict[str, object]:
    """The members of a fault's JSON object."""
    return {
        "reason": fault.reason,
        "message": fault.message,
        "pointer": fault.pointer,
        "offset": fault.offset,
        "index": fault.index,
        "deviceKey": fault.device_key,
        "identifier": fault.identifier,
        "expected": fault.expected,
        "got": fault.got,
        "didYouMean": fault.did_you_mean,
    }


def payload_member(payload: bytes) -> dict[str, object]:
    """The member with a payload: `payload`, or `payloadBase64` if it is not UTF-8."""
    try:
        return {"payload": payload.decode()}
    except UnicodeDecodeError:
        return {"payloadBase64": b64encode(payload).decode()}


def utc_text(microseconds: int) -> str:
    """A UTC time in ISO 8601, with microseconds."""
    found = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
    text = found.isoformat(timespec="microseconds")
    return text.replace("+00:00", "Z")
