"""Device tables of a catalog that are copies of a registry (`registries/device_copy.py`).

The table of a product is two files of the snapshot that counts: its keys, and what has changed
since. A product without keys has no file. Both hold keys byte for byte: they were checked when they
were copied.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, cast

from pointgate import _core
from pointgate.diagnostics import os_reason
from pointgate.registries.device_copy import CURRENT, is_whole, read_current

if TYPE_CHECKING:
    from pathlib import Path

    from pointgate.catalog_contents import FollowedKey, Parts
    from pointgate.file_states import Signature
    from pointgate.registries.device_copy import Current

NO_COPY: Final = (
    "expected the copy of a registry, got nothing: "
    "a registry in [[registries]] with this folder makes it while the service runs"
)
_ANEW: Final = "; pointgate serve makes it anew"


@dataclass(frozen=True, slots=True)
class TableFiles:
    """The files of a product's device table.

    Attributes:
        table: The device file.
        changes: The file of changes; None if there is none.
        exact: Whether changes are taken byte for byte.
        is_optional: Whether a missing device file is an empty table.
    """

    table: Path
    changes: Path | None
    exact: bool = False
    is_optional: bool = False


def read_copy(folder: Path, *, examines: bool) -> Current | str:
    """The snapshot that counts in the copy of a registry, or the reason why there is none.

    Args:
        folder: The folder of the copy.
        examines: Whether sizes and checksums of its files are compared, too.
    """
    try:
        current = read_current(folder)
        if current is None:
            return NO_COPY
        if examines and not is_whole(current):
            return (
                "the copy of a registry is damaged: expected a journal and "
                f"{current.bytes:,} bytes of keys, as they were written, in "
                f"{current.folder.name}, got something else{_ANEW}"
            )
    except OSError as error:
        return f"cannot read the copy of a registry: {os_reason(error)}"
    except ValueError as error:
        return f"the copy of a registry is damaged: {CURRENT}: {os_reason(error)}{_ANEW}"
    return current


def copied_files(current: Current, product: str) -> TableFiles:
    """The files of a product in the copy of a registry."""
    table = current.folder / f"{product}.{current.form}"
    changes = current.folder / f"{product}.changes"
    return TableFiles(table, changes, exact=True, is_optional=True)


def no_devices() -> _core.Devices:
    """An empty table."""
    return _core.Devices([])


def forget_table(
    parts: Parts, files: dict[Path, Signature], product: str, former: FollowedKey
) -> None:
    """Drop what was made of a product's files in the former snapshot of a registry.

    Args:
        parts: What is being collected.
        files: The states of files that are being collected.
        product: The product.
        former: The key of its former table.
    """
    base, changes = former
    form = str(base[1]) if isinstance(base, tuple) else ""
    for path in (changes, changes.with_suffix(form)):
        others = parts.users.get(path, set()) - {product}
        if others:
            parts.users[path] = others
        else:
            parts.users.pop(path, None)
            files.pop(path, None)
    parts.compiled.pop(base, None)
    parts.warnings.pop(base, None)
    parts.digests.pop(base, None)
    parts.followed.pop(former, None)


def parse_devices(data: bytes, path: Path) -> _core.Devices:
    """Read a device file, whose form is its extension."""
    form = cast("Literal['txt', 'csv', 'jsonl', 'keys']", path.suffix.lower().removeprefix("."))
    return _core.Devices.parse(data, form)
