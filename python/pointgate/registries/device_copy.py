"""The copy of a registry on disk: what the catalog loads, and what a start without it uses.

    registry/fleet/lock                     held by the service that writes
    registry/fleet/current                  which snapshot counts: {"snapshot": "00000003", …}
    registry/fleet/00000003/PRODUCT.keys    the keys of the snapshot, byte for byte
    registry/fleet/00000003/PRODUCT.changes what has changed since: lines +KEY and -KEY
    registry/fleet/00000003/journal         the position of these files (`journal.py`)

A snapshot is written to a folder of its own, which `current` names when it is complete. The folder
before it stays until the next one, because the catalog may be reading it. Changes are appended and
synced, then the journal. So the service loads the copy as it loads device files and files of
changes (`catalog_loading.py`), with the same guards, and so does every command without a service.

Invariants: `current` names a complete snapshot; the position of the journal is never ahead of the
files; after a crash changes are applied again, never lost.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
import time
import zlib
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, cast

import orjson

from pointgate._core import Devices
from pointgate.diagnostics import os_reason
from pointgate.durable_files import SHARED, make_folder, sync_folder, write_file
from pointgate.errors import DocumentError
from pointgate.registries.base import RegistryUnavailableError
from pointgate.registries.device_lines import DeviceLines
from pointgate.registries.journal import Journal, Progress
from pointgate.registries.snapshot_files import SnapshotFiles, checksum_of, file_checksum

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pointgate.registries.base import Snapshot
    from pointgate.registries.settings import RegistrySettings

CURRENT: Final = "current"
JOURNAL: Final = "journal"

_DOCUMENT_BYTES: Final = 65_536

_PERSIST_SECONDS: Final = 10.0
"""How often a position without changes is written: so much is read again after a restart."""

_PAUSE_SECONDS: Final = 0.000_3
"""A block of a snapshot takes about a millisecond with the interpreter lock, which the event loop
needs as well: it gets it between two blocks."""

_RENEW_BYTES: Final = 16 * 2**20
"""A copy with fewer bytes of changes is not replaced for that."""

Form = Literal["keys", "txt", "csv", "jsonl"]


@dataclass(frozen=True, slots=True)
class Current:
    """The snapshot that counts.

    Attributes:
        folder: Its folder.
        form: The form of its device files.
        bytes: Their size.
        checksum: Their checksum; None in a copy that an earlier version has written.
        identity: Of what it is a copy.
    """

    folder: Path
    form: Form
    bytes: int
    checksum: int | None
    identity: str


def read_current(folder: Path) -> Current | None:
    """The snapshot that counts, of the copy in a folder; None if there is none.

    Raises:
        OSError: It cannot be read.
        ValueError: The file was damaged.
    """
    try:
        with (folder / CURRENT).open("rb") as file:
            document = orjson.loads(file.read(_DOCUMENT_BYTES))
        name, form = str(document["snapshot"]), document["form"]
        if not name.isdecimal() or form not in {"keys", "txt", "csv", "jsonl"}:
            raise ValueError(f"expected the name of a snapshot and a form in {CURRENT}")
        return Current(
            folder / name,
            cast("Form", form),
            int(document["bytes"]),
            document.get("checksum"),
            str(document["identity"]),
        )
    except FileNotFoundError:
        return None
    except (KeyError, TypeError) as error:
        raise ValueError(f"expected the name of a snapshot in {CURRENT}") from error


def is_whole(current: Current) -> bool:
    """Whether the files of a snapshot are as they were written, by their sizes and checksums.

    Raises:
        OSError: They cannot be read.
    """
    files = list(current.folder.glob(f"*.{current.form}"))
    size = sum(path.stat().st_size for path in files)
    if size != current.bytes or not (current.folder / JOURNAL).exists():
        return False
    if current.checksum is None:
        return True
    return checksum_of({path.stem: file_checksum(path) for path in files}) == current.checksum


class DeviceCopy:
    """The copy of a registry, for the service that writes it.

    Args:
        settings: The settings of the registry.

    Attributes:
        position: The position that the copy has reached; None without a copy.
        matched_at: When it was last known to be up to date, in seconds since 1970.
        lines: Divides lines by product, and counts keys that no device can have.
    """

    def __init__(self, settings: RegistrySettings) -> None:
        self.lines = DeviceLines(settings.product)
        self._settings = settings
        self._folder = settings.folder
        self._lock: int | None = None
        self._current: Current | None = None
        self._journal = Journal(self._folder / "none")
        self._progress = Progress()
        self._persisted_at = 0.0
        self._writing = threading.Lock()

    @property
    def position(self) -> str | None:
        """The position that the copy has reached."""
        return self._progress.position if self._current else None

    @property
    def matched_at(self) -> float:
        """When the copy was last known to be up to date; 0 without a copy."""
        return self._progress.at if self._current else 0.0

    @property
    def is_usable(self) -> bool:
        """Whether there is a snapshot."""
        return self._current is not None

    @property
    def is_to_renew(self) -> bool:
        """Whether the changes take more space than the snapshot: a new one is smaller."""
        changed = sum(self._progress.lengths.values())
        return self._current is not None and changed > max(_RENEW_BYTES, self._current.bytes)

    def open(self) -> None:
        """Lock the folder, and find what an earlier process has left in it.

        A folder that was removed since is made again, with a new snapshot.

        Raises:
            RegistryUnavailableError: Another process writes it, or it cannot be used.
        """
        if self._lock is not None:
            if self._is_in_place(self._lock):
                return
            os.close(self._lock)
            with self._writing:
                self._lock = self._current = None
        try:
            make_folder(self._folder, SHARED)
            lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, SHARED.file)
        except OSError as error:
            raise _unusable(self._folder, error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._load()
        except BlockingIOError as error:
            os.close(lock)
            reason = f"another process writes the copy in {self._folder}"
            raise RegistryUnavailableError(reason) from error
        except OSError as error:
            os.close(lock)
            raise _unusable(self._folder, error) from error
        self._lock = lock

    def _is_in_place(self, lock: int) -> bool:
        """Whether the lock and the snapshot are where this process has left them."""
        current = self._current
        try:
            is_ours = os.path.samestat(os.fstat(lock), (self._folder / "lock").stat())
            return is_ours and (
                current is None
                or (read_current(self._folder) == current and (current.folder / JOURNAL).exists())
            )
        except (OSError, ValueError):
            return False

    def close(self) -> None:
        """Write the position, and unlock the folder."""
        if self._lock is None:
            return
        with suppress(OSError):  # else it is read again from an earlier position
            self._persist(sync=False)
        os.close(self._lock)
        self._lock = None

    def _load(self) -> None:
        try:
            current = read_current(self._folder)
        except ValueError:  # damaged: it is replaced by the next snapshot
            current = None
        if current is None or current.identity != self._settings.identity or not is_whole(current):
            return
        self._current = current
        self._journal = Journal(current.folder / JOURNAL)
        progress = self._progress = self._journal.read()
        for path in current.folder.glob("*.changes"):
            length = progress.lengths.get(path.stem, 0)
            size = path.stat().st_size
            if size > length:
                os.truncate(path, length)
            checksum = progress.checksums.get(path.stem)
            # Lost or changed by the disk: what is there is used until the next snapshot.
            if size < length or checksum not in {None, file_checksum(path, length)}:
                progress.position = None

    def replace(self, snapshot: Snapshot, moved: Callable[[], None]) -> None:
        """Write a snapshot, which counts from then on.

        Args:
            snapshot: The snapshot.
            moved: Called after each block.

        Raises:
            RegistryUnavailableError: It cannot be written, is too large, or no device table.
        """
        try:
            self._replace(snapshot, moved)
        except OSError as error:
            raise _unusable(self._folder, error) from error

    def _replace(self, snapshot: Snapshot, moved: Callable[[], None]) -> None:
        began = time.time()
        folder = self._folder / f"{self._newest() + 1:08}"
        make_folder(folder, SHARED)
        files = SnapshotFiles(folder, snapshot.form, self._settings)
        try:
            for block in snapshot.blocks:
                files.write(block if snapshot.form != "keys" else self.lines.keys(block))
                moved()
                time.sleep(_PAUSE_SECONDS)
            size = files.finish()
            if snapshot.form != "keys":
                _check(files.path(self._settings.product or ""), snapshot.form)
        except BaseException:
            if isinstance(snapshot.blocks, Generator):
                snapshot.blocks.close()
            files.close()
            shutil.rmtree(folder, ignore_errors=True)
            raise
        journal, progress = Journal(folder / JOURNAL), Progress(snapshot.position, began)
        journal.write(progress, {}, sync=True)
        identity = self._settings.identity
        current = Current(folder, snapshot.form, size, files.checksum, identity)
        self._append_all(folder, progress, snapshot.lines)
        journal.write(progress, progress.lengths, sync=True)
        sync_folder(folder)
        document = {
            "snapshot": folder.name,
            "form": current.form,
            "bytes": current.bytes,
            "checksum": current.checksum,
            "identity": current.identity,
        }
        write_file(self._folder / CURRENT, orjson.dumps(document), SHARED)
        sync_folder(self._folder)
        with self._writing:
            former, self._current = self._current, current
            self._journal, self._progress = journal, progress
        self._persisted_at = time.monotonic()
        self._remove_others(folder, former.folder if former else None)

    def apply(self, lines: bytes, position: str) -> None:
        """Append changes, and remember that the copy was up to date just now.

        Args:
            lines: Whole lines.
            position: The position behind them.

        Raises:
            RegistryUnavailableError: They cannot be written.
        """
        with self._writing:
            self._apply(lines, position)

    def _apply(self, lines: bytes, position: str) -> None:
        progress, current = self._progress, self._current
        assert current is not None  # noqa: S101 - there are no changes without a snapshot
        try:
            changed = self._append_all(current.folder, progress, lines)
            progress.position, progress.at = position, time.time()
            if changed:
                self._persist(sync=True, changed=changed)
            elif time.monotonic() - self._persisted_at > _PERSIST_SECONDS:
                self._persist(sync=False)
        except OSError as error:
            raise _unusable(self._folder, error) from error

    def learn(self, lines: bytes) -> None:
        """Append changes that are known from elsewhere; the position stays. From any thread.

        Raises:
            RegistryUnavailableError: They cannot be written.
        """
        with self._writing:
            current, progress = self._current, self._progress
            if current is None:
                return
            try:
                if changed := self._append_all(current.folder, progress, lines):
                    self._persist(sync=True, changed=changed)
            except OSError as error:
                raise _unusable(self._folder, error) from error

    def _append_all(self, folder: Path, progress: Progress, lines: bytes) -> dict[str, int]:
        """Append lines to the files of their products; returns the new length of each."""
        changed: dict[str, int] = {}
        is_new = False
        for product, data in self.lines.changes(lines).items():
            length = progress.lengths.get(product, 0)
            flags = os.O_RDWR | os.O_CREAT
            descriptor = os.open(folder / f"{product}.changes", flags, SHARED.file)
            try:
                size = os.fstat(descriptor).st_size
                is_new |= size == 0
                if size != length:  # an attempt that failed has left something
                    os.truncate(descriptor, length)
                os.lseek(descriptor, length, os.SEEK_SET)
                rest = memoryview(data)
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            changed[product] = progress.lengths[product] = length + len(data)
            if not length or product in progress.checksums:  # else an earlier version has begun it
                former = progress.checksums.get(product, 0)
                progress.checksums[product] = zlib.crc32(data, former)
        if is_new:
            sync_folder(folder)
        return changed

    def _persist(self, *, sync: bool, changed: dict[str, int] | None = None) -> None:
        progress = self._progress
        if self._current is not None and progress.position is not None:
            self._journal.write(progress, changed or {}, sync=sync)
        self._persisted_at = time.monotonic()

    def _newest(self) -> int:
        names = [path.name for path in self._folder.iterdir() if path.name.isdecimal()]
        return max(map(int, names), default=0)

    def _remove_others(self, *kept: Path | None) -> None:
        for path in self._folder.iterdir():
            if path.name.isdecimal() and path not in kept:
                shutil.rmtree(path, ignore_errors=True)


def _check(path: Path, form: Form) -> None:
    """Whether the catalog can load a device file.

    Raises:
        RegistryUnavailableError: It cannot: the former copy stays.
    """
    try:
        Devices.parse(path.read_bytes(), form)
    except DocumentError as error:
        location, reason = error.problems[0]
        raise RegistryUnavailableError(f"invalid device file: {location}: {reason}") from error


def _unusable(folder: Path, error: OSError) -> RegistryUnavailableError:
    return RegistryUnavailableError(f"cannot use the copy in {folder}: {os_reason(error)}")
