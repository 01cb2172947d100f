"""Examples of what an import has rejected, for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LOOKED_AT: Final = 10_000
"""Lines: the first example of each reason is most likely among them."""

_SHOWN: Final = 200


def examples(rejects: Path, start: int) -> Iterator[str]:
    """The first rejected point of each reason: its file, its line and the message.

    Args:
        rejects: The file of rejected points.
        start: Where in it those of the last inputs begin.
    """
    seen = set()
    with rejects.open("rb") as lines:
        lines.seek(start)
        for _, line in zip(range(_LOOKED_AT), lines, strict=False):
            found = orjson.loads(line)
            if found["reason"] in seen:
                continue
            seen.add(found["reason"])
            place = found["file"] or f"{found['device']}, {found['identifier']}, {found['time']}"
            if found["line"] is not None:
                place += f": line {found['line']}"
            if found.get("column"):
                place += f", column {found['column']}"
            message = found["message"]
            yield f"{place}: {message[:_SHOWN] + '…' if len(message) > _SHOWN else message}"
