"""A fault as JSON, with the member names of replies (contract 2.5).

Used by `explain --json`, `rejects --json` and `validate --rejects`.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
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
