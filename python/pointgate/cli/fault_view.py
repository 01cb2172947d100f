"""Shows a fault in a payload: the line with a caret under the faulty byte, and its members."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.text import Text

from pointgate.cli.excerpt import Excerpt, excerpt
from pointgate.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from pointgate import Fault
    from pointgate.fault_document import StoredFault

_OF_NO_TEXT: Final = {"too_large", "empty", "bad_topic"}

_GUTTER_CELLS: Final = 12
"""The width left of the payload's line, for its number and a bar."""


def print_fault(stdout: Console, fault: Fault | StoredFault, payload: bytes) -> None:
    """Print where a fault is, and its members."""
    found = excerpt_of(fault, payload, stdout.width - _GUTTER_CELLS)
    if found is not None:
        _print_excerpt(stdout, found, fault)
    stdout.print()
    for name, value in _details(fault).items():
        stdout.print(Text.assemble((f"  {name:<14}", "bold"), printable(value)))


def print_further_faults(
    stdout: Console, faults: Sequence[Fault], payload: bytes, *, more: bool
) -> None:
    """Print the faults behind the first one, a line each with its place.

    Args:
        stdout: Where to.
        faults: The faults.
        payload: The payload that they are in.
        more: Whether there are others.
    """
    stdout.print()
    stdout.print(Text(f"further faults: {len(faults)}{' or more' if more else ''}", "bold"))
    for fault in faults:
        found = excerpt_of(fault, payload, 80)
        place = f"line {found.line}, column {found.column}: " if found else ""
        stdout.print(f"  {place}{printable(fault.message)}")


def _print_excerpt(stdout: Console, found: Excerpt, fault: Fault | StoredFault) -> None:
    number = str(found.line)
    gutter = " " * len(number)
    place = f"line {found.line}, column {found.column} (byte {fault.offset})"
    stdout.print(Text.assemble((f"{gutter}--> ", "blue"), place))
    stdout.print(Text.assemble((f"{gutter} |", "blue")))
    stdout.print(Text.assemble((f"{number} | ", "blue"), found.text))
    expected = f" expected {fault.expected}" if fault.expected else ""
    got = f", got {fault.got}" if fault.expected and fault.got else ""
    caret = f"{' ' * found.caret}^{printable(expected + got)}"
    stdout.print(Text.assemble((f"{gutter} | ", "blue"), (caret, "bold red")))


def excerpt_of(fault: Fault | StoredFault, payload: bytes, width: int) -> Excerpt | None:
    """The faulty line; None if the fault is not in the payload's text."""
    is_of_product = fault.reason == "device" and fault.pointer is None
    if is_of_product or not payload.strip() or fault.reason in _OF_NO_TEXT:
        return None
    return excerpt(payload, fault.offset, width=max(width, 20))


def _details(fault: Fault | StoredFault) -> dict[str, str]:
    details = {
        "pointer": fault.pointer,
        "device key": fault.device_key,
        "identifier": fault.identifier,
        "reason": fault.reason,
        "expected": fault.expected,
        "got": fault.got,
        "did you mean": fault.did_you_mean,
    }
    return {name: value for name, value in details.items() if value is not None}
