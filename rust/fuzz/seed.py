#!/usr/bin/env python3
"""Write the first inputs of every fuzz target into ``rust/fuzz/corpus``.

Payloads come from the contract's cases, models and device files from the test catalog. A
``payload`` input begins with a byte that selects the product: its place among the keys in the
order of their bytes, as ``src/lib.rs`` counts them. An ``mqtt`` input begins with two: the protocol
and its limits, and the length of a piece. Files are named by their content, so running
this again adds nothing.
"""

import hashlib
import json
import tomllib
from collections.abc import Iterator
from pathlib import Path

FUZZ = Path(__file__).parent
DATA = FUZZ.parent.parent / "tests" / "data"
MAX_BYTES = 65536
MORE = 0x80
LONG_NAME = "\u0080" * 60
"""Nearly the longest identifier, of characters that take most room where they are escaped."""


def payload_of(case: dict[str, object]) -> bytes:
    """Return the payload of a case, in whichever of its three forms it is written."""
    match case:
        case {"payload": str(text)}:
            return text.encode()
        case {"payload_hex": str(digits)}:
            return bytes.fromhex(digits)
        case {"parts": list(parts)}:
            return b"".join(text.encode() * count for text, count in parts)
    message = f"{case['name']}: expected payload, payload_hex or parts, got none"
    raise ValueError(message)


def small_models(path: Path) -> Iterator[bytes]:
    """Yield each point of a model as a model of its own: what is short is varied more."""
    document = json.loads(path.read_text(encoding="utf-8-sig"))
    if not isinstance(document, dict):
        return
    for member in ("measurepoints", "thingMeasurepointMap"):
        for identifier, point in document.get(member, {}).items():
            model = {member: {identifier: point}}
            yield json.dumps(model, ensure_ascii=False, separators=(",", ":")).encode()


def wide_model() -> bytes:
    """Return a model whose faults have as much to say as a reply can hold, and more."""
    keys = [f"{LONG_NAME}{number}" for number in range(9)]
    items = [{"identifier": key, "dataType": "INT", "required": True} for key in keys]
    enumeration = {"enumType": "STRING", "enumDesc": dict.fromkeys(keys, "")}
    points: list[dict[str, object]] = [
        {"dataType": "INT", "minimum": -0.5, "maximum": 1e300},
        {"dataType": "ENUM", "dataDefinition": enumeration},
        {"dataType": "STRUCT", "dataDefinition": {"items": items}},
    ]
    named = {f"{LONG_NAME}{number}": point for number, point in enumerate(points)}
    return json.dumps({"measurepoints": named}).encode()


def packet(first: int, *parts: bytes) -> bytes:
    """Return an MQTT packet."""
    body = b"".join(parts)
    length, size = bytearray(), len(body)
    while size >= MORE:
        length.append(size % MORE + MORE)
        size //= MORE
    return bytes((first, *length, size)) + body


def string(text: bytes) -> bytes:
    """Return a string as MQTT writes it."""
    return len(text).to_bytes(2) + text


def broker_bytes() -> Iterator[bytes]:
    """Yield what a broker sends: requests with every property, acknowledgements, other packets."""
    topic = string(b"sys/pk/integration/measurepoint/post")
    user = b"\x26" + string(b"pointgate-received") + string(b"1700000000123456")
    properties = [
        b"\x01\1",
        b"\x02\0\0\0\7",
        b"\x03" + string(b"application/json"),
        b"\x08" + string(b"elsewhere"),
        b"\x09" + string(b"mark"),
        b"\x0b\xff\x7f",
        b"\x23\0\1",
        user,
    ]
    others = [
        packet(0x40, b"\x80\1"),
        packet(0x40, b"\x80\2\x87\x0a\x1f" + string(b"no rule")),
        packet(0x62, b"\0\7"),
        packet(0xD0),
        packet(0x90, b"\0\1\0\1\1"),
    ]
    for qos in (0, 2, 4):
        head = topic + (b"\0\7" if qos else b"")
        yield packet(0x30 | qos, head, b"{}") + b"".join(others)
        for chosen in (*([one] for one in properties), properties, []):
            values = b"".join(chosen)
            yield packet(0x31 | qos, head, bytes([len(values)]), values, b"{}" * 40)


def inputs() -> Iterator[tuple[str, bytes]]:
    """Yield each target with an input."""
    catalog = tomllib.loads((DATA / "catalog" / "catalog.toml").read_text(encoding="utf-8"))
    product_keys = [*sorted(catalog["products"], key=str.encode), "nobody"]
    for path in sorted((DATA / "cases").glob("*.toml")):
        for case in tomllib.loads(path.read_text(encoding="utf-8"))["case"]:
            payload = payload_of(case)
            product_key = case.get("product", "types")
            selector = product_keys.index(product_key if product_key in product_keys else "nobody")
            yield "payload", bytes([selector]) + payload
            yield "json", payload
    for path in sorted((DATA / "catalog" / "models").rglob("*.json")):
        yield "model", path.read_bytes()
        yield from (("model", model) for model in small_models(path))
    yield "model", wide_model()
    for path in sorted((DATA / "catalog" / "devices").iterdir()):
        yield "devices", path.read_bytes()
    for number, stream in enumerate(broker_bytes()):
        for selector in range(8):
            yield "mqtt", bytes([selector, number % 7]) + stream


def main() -> None:
    """Write them all."""
    for target, data in inputs():
        if len(data) <= MAX_BYTES:
            folder = FUZZ / "corpus" / target
            folder.mkdir(parents=True, exist_ok=True)
            (folder / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


if __name__ == "__main__":
    main()
