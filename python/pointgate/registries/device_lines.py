"""Lines of a registry as lines of device tables: by product, without keys that no device can have.

    of one product      KEY      +KEY      -KEY
    of several          PRODUCT/KEY, +PRODUCT/KEY, -PRODUCT/KEY

A product key has no "/", so the first one ends it. Keys are taken byte for byte. A key that no
device can have (contract 6.4) would make the whole table invalid, and stop all changes behind it:
it is left out and counted instead.

A block is looked at as a whole where that is enough, a tenth of a microsecond a key.
"""

from __future__ import annotations

import re
from typing import Final

_KEY_BYTES: Final = 128

_PLAIN: Final = bytes(range(0x20, 0x7F)) + b"\n"
_PRODUCT: Final = re.compile(rb"[A-Za-z0-9_-]{1,64}")
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f]")
_SHOWN: Final = 64


class DeviceLines:
    """Divides lines by product.

    Args:
        product: The product of all lines; None if each one names its own.

    Attributes:
        refused: How many lines were left out so far.
        example: One of them, shortened.
    """

    def __init__(self, product: str | None) -> None:
        self.refused = 0
        self.example = ""
        self._product = product
        self._known: dict[bytes, str] = {}

    def keys(self, block: bytes) -> dict[str, bytes]:
        """Lines `KEY` by product, each with its line feed."""
        return self._divide(block, signs=0)

    def changes(self, lines: bytes) -> dict[str, bytes]:
        """Lines `+KEY` and `-KEY` by product."""
        return self._divide(lines, signs=1)

    def _divide(self, block: bytes, *, signs: int) -> dict[str, bytes]:
        if not block:
            return {}
        rows = block.removesuffix(b"\n").split(b"\n")
        is_plain = not block.translate(None, _PLAIN)
        product = self._product
        if product is not None:
            lengths = set(map(len, rows))
            if is_plain and min(lengths) > signs and max(lengths) <= _KEY_BYTES + signs:
                return {product: block if block.endswith(b"\n") else block + b"\n"}
            kept = [row for row in rows if self._is_key(row, row[signs:])]
            return {product: b"".join(b"%b\n" % row for row in kept)} if kept else {}
        found: dict[bytes, list[bytes]] = {}
        for row in rows:
            name, _, key = row[signs:].partition(b"/")
            is_short = is_plain and 0 < len(key) <= _KEY_BYTES
            if (name in self._known or self._is_product(name)) and (
                is_short or self._is_key(row, key)
            ):
                found.setdefault(name, []).append(b"%b%b\n" % (row[:signs], key))
        return {self._known[name]: b"".join(keys) for name, keys in found.items()}

    def _is_product(self, name: bytes) -> bool:
        if _PRODUCT.fullmatch(name):
            self._known[name] = name.decode()
            return True
        self._refuse(name)
        return False

    def _is_key(self, row: bytes, key: bytes) -> bool:
        try:
            is_valid = 0 < len(key) <= _KEY_BYTES and not _CONTROL.search(key.decode())
        except UnicodeDecodeError:
            is_valid = False
        if not is_valid:
            self._refuse(row)
        return is_valid

    def _refuse(self, row: bytes) -> None:
        self.refused += 1
        self.example = ascii(row[:_SHOWN].decode("utf-8", "replace"))
