"""Writes the device files of a snapshot, one for each product.

Keys of several products come mixed: they are gathered in memory, 8 MiB at most, and appended. The
checksum of all files (`checksum_of`) tells later whether they are as they were written.

Invariant: when `finish` returns, the files and their names are durable.
"""

from __future__ import annotations

import os
import zlib
from typing import TYPE_CHECKING, BinaryIO, Final

from pointgate.durable_files import SHARED, sync_folder
from pointgate.registries.base import RegistryUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from pointgate.registries.settings import RegistrySettings

_GATHERED_BYTES: Final = 8 * 2**20

_SYNCED_FILES: Final = 64
"""More files are synced by one call for the whole file system, which is faster."""


_BLOCK_BYTES: Final = 2**20


def file_checksum(path: Path, length: int | None = None) -> int:
    """The CRC-32 of a file, or of its first bytes.

    Raises:
        OSError: It cannot be read.
    """
    checksum, left = 0, path.stat().st_size if length is None else length
    with path.open("rb") as file:
        while block := file.read(min(left, _BLOCK_BYTES)):
            checksum, left = zlib.crc32(block, checksum), left - len(block)
    return checksum


def checksum_of(files: Mapping[str, int]) -> int:
    """The checksum of files, by their names and the checksum of each."""
    text = "".join(f"{name} {checksum:08x}\n" for name, checksum in sorted(files.items()))
    return zlib.crc32(text.encode())


class SnapshotFiles:
    """The device files of a snapshot that is being written.

    Args:
        folder: Their folder.
        form: Their form.
        settings: The settings of the registry.
    """

    def __init__(self, folder: Path, form: str, settings: RegistrySettings) -> None:
        self._folder, self._form = folder, form
        self._most, self._size = settings.max_bytes, 0
        self._gathered: dict[str, list[bytes]] = {}
        self._bytes = 0
        self._checksums: dict[str, int] = {}
        self._only: BinaryIO | None = None
        if settings.product is not None:
            self._checksums[settings.product] = 0
            self._only = open(  # noqa: SIM115 - closed by `close`
                self.path(settings.product), "wb", opener=SHARED.opener
            )

    def path(self, product: str) -> Path:
        """The file of a product."""
        return self._folder / f"{product}.{self._form}"

    def write(self, block: bytes | dict[str, bytes]) -> None:
        """Append bytes of the only product's file, or whole lines by product.

        Raises:
            RegistryUnavailableError: The snapshot is too large.
            OSError: It cannot be written.
        """
        parts = (block,) if isinstance(block, bytes) else tuple(block.values())
        self._size += sum(map(len, parts))
        if self._size > self._most:
            raise RegistryUnavailableError(f"expected at most max_bytes, {self._most}, got more")
        if self._only is not None:
            self._only.writelines(parts)
            (product,) = self._checksums
            self._add_to_checksum(product, parts)
        elif isinstance(block, dict):
            for product, keys in block.items():
                self._gathered.setdefault(product, []).append(keys)
                self._bytes += len(keys)
            if self._bytes > _GATHERED_BYTES:
                self._flush()

    def _flush(self) -> None:
        for product, keys in self._gathered.items():
            with open(self.path(product), "ab", opener=SHARED.opener) as file:
                file.writelines(keys)
            self._add_to_checksum(product, keys)
        self._gathered, self._bytes = {}, 0

    def _add_to_checksum(self, product: str, parts: Iterable[bytes]) -> None:
        checksum = self._checksums.get(product, 0)
        for part in parts:
            checksum = zlib.crc32(part, checksum)
        self._checksums[product] = checksum

    def finish(self) -> int:
        """Make all files durable; returns how many bytes they have.

        Raises:
            OSError: They cannot be written or synced.
        """
        self._flush()
        self.close()
        if len(self._checksums) > _SYNCED_FILES:
            os.sync()
        else:
            for product in self._checksums:
                with self.path(product).open("rb") as file:
                    os.fsync(file.fileno())
        sync_folder(self._folder)
        return self._size

    @property
    def checksum(self) -> int:
        """The checksum of all files, once they are finished."""
        return checksum_of(self._checksums)

    def close(self) -> None:
        """Close what is open."""
        if self._only is not None:
            self._only.close()
