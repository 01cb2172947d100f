"""The largest legal requests, and a catalog that accepts them.

    texts(n)      as many bytes of text as fit: an ARRAY of 128 strings of 1,024 bytes, 60 times
    numbers(n)    as many points as fit: identifiers of two characters, values of one digit

Requests carry their number in `time`, so that each of their points is one of its own.
"""

from __future__ import annotations

import itertools
import json
import string
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

PRODUCT: Final = "largest"
TOPIC: Final = f"sys/{PRODUCT}/integration/measurepoint/post"
DEVICE: Final = "d"

PAYLOAD_BYTES: Final = 8_388_608
"""The default of `limits.payload_bytes`."""

TEXTS: Final = 60
"""Points of a request of texts."""

_ARRAY_TEXTS: Final = 128
_TEXT_BYTES: Final = 1024
_START: Final = 1_700_000_000_000

_PAIRS: Final = [
    "".join(pair) for pair in itertools.product(string.ascii_letters, string.ascii_letters)
]


def catalog(folder: Path) -> Path:
    """Write the catalog."""
    array = {"itemType": "STRING", "maxSize": _ARRAY_TEXTS}
    points = {
        f"text{number}": {"dataType": "ARRAY", "dataDefinition": array} for number in range(TEXTS)
    }
    points |= {name: {"dataType": "INT"} for name in _PAIRS}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.json").write_text(json.dumps({"measurepoints": points}))
    (folder / "devices.txt").write_text(f"{DEVICE}\n")
    (folder / "catalog.toml").write_text(
        f'[products.{PRODUCT}]\nmodel = "model.json"\ndevices = "devices.txt"\n'
    )
    return folder


def texts(number: int, *, points: int = TEXTS, alike: bool = True) -> bytes:
    """A request of as much text as fits.

    Args:
        number: Its number.
        points: How many points it has.
        alike: Whether all its texts are the same, so that it takes next to nothing compressed.
    """
    entries = [
        (
            f"text{point}",
            [
                f"{'' if alike else f'{number}-{point}-{place}-':x<{_TEXT_BYTES}}"
                for place in range(_ARRAY_TEXTS)
            ],
        )
        for point in range(points)
    ]
    return _request(number, [dict(entries)])


def numbers(number: int, *, size: int = PAYLOAD_BYTES) -> tuple[bytes, int]:
    """A request of as many points as fit, and how many they are.

    Its entries have times of their own: a point is counted once by its device, name and time.
    """
    entry = "".join(
        [
            '{"deviceKey":"d","time":%d,"measurepoints":{',
            ",".join(f'"{name}":1' for name in _PAIRS),
            "}}",
        ]
    )
    envelope = len(_request(number, []))
    count = (size - envelope) // (len(entry) + 13)
    times = range(_START + number * 1000, _START + number * 1000 + count)
    text = _request(number, []).decode()
    params = ",".join(entry % time for time in times)
    return text.replace('"params":[]', f'"params":[{params}]').encode(), count * len(_PAIRS)


def _request(number: int, points: list[dict[str, list[str]]]) -> bytes:
    document = {
        "id": str(number),
        "version": "1.0",
        "method": "integration.measurepoint.post",
        "params": [
            {"deviceKey": DEVICE, "time": _START + number, "measurepoints": one} for one in points
        ],
    }
    return json.dumps(document, separators=(",", ":")).encode()
