"""The most frequent reasons of rejections, and the devices behind them: /offenders and log lines.

    GET /offenders                              plain text
    GET /offenders, Accept: application/json    the same as JSON

`_core.Counters` counts them, in bounded memory; this renders what it returns. Requests are counted
once they are answered, as in the metrics. Times are those of the answer.

Everything that a sender can choose is escaped in text, and truncated before it comes here.
"""

from __future__ import annotations

import logging
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import orjson

from pointgate.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pointgate._core import Counters, Offender

_JSON: Final = "application/json"

OFFENDER_FORMATS: Final = ("text/plain", _JSON)

MOST: Final = 50
"""Faults and devices on the page. Twice as many are counted that are not shown."""

SHOWN: Final = 20
"""Of each in plain text."""

_SHADOWED: Final = " (200)"
"""Behind the name of an offender whose requests were answered 200 (contract 11)."""

_NAME_CELLS: Final = 40
_HEAD: Final = f"{{:{_NAME_CELLS}}} {{:>10}} {{:>9}}  {{}}"

_log = logging.getLogger(__name__)


def offenders_document(counters: Counters, most: int = MOST) -> dict[str, Any]:
    """The page: lists of faults and of devices, the most frequent first."""
    now, clock = time.monotonic(), time.time()
    faults, devices = counters.offenders(now, most)

    def document(offender: Offender) -> dict[str, object]:
        return {
            "product": offender.product,
            "reason": offender.reason,
            "identifier": offender.identifier,
            "deviceKey": offender.device_key,
            "shadowed": offender.shadowed,
            "requests": offender.requests,
            "rate": round(offender.rate, 3),
            "since": _instant(clock - now + offender.since),
            "last": _instant(clock - now + offender.last),
            "pointer": offender.pointer,
            "expected": offender.expected,
            "got": offender.got,
        }

    return {"faults": [*map(document, faults)], "devices": [*map(document, devices)]}


def render_offenders(counters: Counters, form: str) -> tuple[bytes, str]:
    """The page and its content type, in one of `OFFENDER_FORMATS`."""
    document = offenders_document(counters)
    if form == _JSON:
        return orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE), form
    return offenders_text(document).encode(), f"{form}; charset=utf-8"


def offenders_text(
    document: Mapping[str, Any], *, shown: int = SHOWN, width: int | None = 100
) -> str:
    """The page as plain text.

    Args:
        document: The page.
        shown: How many faults, and how many devices.
        width: The longest line; longer ones are truncated. None to truncate nothing.
    """
    longest, name_cells = (sys.maxsize, sys.maxsize) if width is None else (width, _NAME_CELLS)
    if not document["faults"]:
        return "no request was rejected\n"
    lines: list[str] = []
    for title, kind, names in (
        ("product / reason / identifier", "faults", ("product", "reason", "identifier")),
        ("product / device", "devices", ("product", "deviceKey")),
    ):
        if lines and document[kind]:
            lines.append("")
        for place, one in enumerate(document[kind][:shown]):
            if not place:
                lines.append(_HEAD.format(title, "requests", "a second", "since (UTC)"))
            name = " / ".join(printable(str(one[key])) for key in names if one[key])
            if one.get("shadowed"):
                name = f"{cut(name, name_cells - len(_SHADOWED))}{_SHADOWED}"
            name = cut(name, name_cells)
            if len(name) > _NAME_CELLS:  # a line of its own, so that the columns stay
                lines.append(name)
                name = ""
            since, last = (_short(one[when]) for when in ("since", "last"))
            lines.append(_HEAD.format(name, f"{one['requests']:,}", f"{one['rate']:,.1f}", since))
            lines.append(f"  {_explanation(one)}; last {last}")
    return "".join(f"{cut(line, longest)}\n" for line in lines)


def _explanation(one: Mapping[str, Any]) -> str:
    """The example of an offender as a sentence: where, what was expected, what came."""
    where = one["reason"] if one["pointer"] is None else one["pointer"] or "the whole payload"
    expected = f": expected {one['expected']}" if one["expected"] else ""
    got = f", got {one['got']}" if one["got"] else ""
    return printable(f"{where}{expected}{got}")


def cut(text: str, width: int) -> str:
    """The text, with an ellipsis in place of what is beyond a width."""
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _short(instant: str) -> str:
    """An instant as month, day and time."""
    return instant.replace("T", " ").removesuffix("Z")[5:]


def _instant(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def log_rejection(rejection: Offender) -> None:
    """Log that requests of a product are rejected for a reason, with the last one as an example.

    Or that they would be, if the product were enforced.
    `Counters.take_due` limits the rate.
    """
    device = "" if rejection.device_key is None else f"device {rejection.device_key!a}, "
    example = {
        "reason": rejection.reason,
        "pointer": rejection.pointer,
        "expected": rejection.expected,
        "got": rejection.got,
    }
    _log.warning(
        "requests %s: %d of product %s, reason %s; the last one: %s%s",
        "not enforced (answered 200)" if rejection.shadowed else "rejected",
        rejection.requests,
        rejection.product,
        rejection.reason,
        device,
        _explanation(example),
    )
