"""The contract's cases: `tests/data/cases/*.toml`, read once and checked for misspelt keys.

A case is a request and what the contract answers to it. The Rust core runs the same files.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from typing import Any, Final

from tests.support.paths import DATA

CATALOG: Final = DATA / "catalog"
DEFAULT_NOW_MS: Final = 1_700_000_000_000
DEFAULT_PAYLOAD_BYTES: Final = 8_388_608

_PAYLOAD_KEYS: Final = ("payload", "payload_hex", "parts")


@dataclass(frozen=True)
class Case:
    """One request and the verdict it must get.

    `offset`, `did_you_mean`, `reply` and `reply_id` are checked only where a case states them. Any
    other expectation that a case leaves out is expected to be absent from the verdict.

    `answer` is the code of the service's reply where the product's mode makes it another one than
    `code`, or makes it that of another fault, at `answer_pointer`; with 200, `answer_points` are
    stored, and `skipped` are not (contract 11).
    """

    file: str
    name: str
    section: str
    topic: str
    payload: bytes
    code: int
    reason: str | None = None
    pointer: str | None = None
    index: int | None = None
    device_key: str | None = None
    identifier: str | None = None
    points: int = 0
    offset: int | None = None
    did_you_mean: str | None = None
    reply: str | None = None
    reply_id: str | None = None
    payload_bytes: int = DEFAULT_PAYLOAD_BYTES
    now_ms: int = DEFAULT_NOW_MS
    answer: int | None = None
    answer_pointer: str | None = None
    answer_points: int = 0
    skipped: int = 0

    @property
    def id(self) -> str:
        """The test's name: the file and the case's own name."""
        return f"{self.file}:{self.name}"


def load_cases() -> list[Case]:
    """Read every case of every file.

    Raises:
        ValueError: a case has a key that no case has, or not exactly one payload.
    """
    return [
        _case(path.stem, table)
        for path in sorted((DATA / "cases").glob("*.toml"))
        for table in tomllib.loads(path.read_text("utf-8"))["case"]
    ]


def _case(file: str, table: dict[str, Any]) -> Case:
    product = table.pop("product", "types")
    topic = table.pop("topic", f"sys/{product}/integration/measurepoint/post")
    payloads = [_payload(key, table.pop(key)) for key in _PAYLOAD_KEYS if key in table]
    unknown = table.keys() - {field.name for field in fields(Case)}
    if unknown or len(payloads) != 1:
        raise ValueError(f"{file}: {table['name']}: {unknown or 'not exactly one payload'}")
    return Case(file=file, topic=topic, payload=payloads[0], **table)


def _payload(key: str, value: Any) -> bytes:
    if key == "payload_hex":
        return bytes.fromhex(value)
    if key == "parts":
        value = "".join(text * count for text, count in value)
    return str(value).encode("utf-8")
