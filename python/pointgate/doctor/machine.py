"""Examines the machine: the disk of the spool, the clock, the limits of the process.

The disk is examined where the spool is, or will be: a reply of 200 waits for its fsync. A file of
4 KiB is written and synced some times, and removed.
"""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pointgate.diagnostics import os_reason
from pointgate.doctor.findings import Findings

if TYPE_CHECKING:
    from pointgate.config import Settings

_SYNCS: Final = 50
_BLOCK: Final = bytes(4096)
_SLOW_SYNC: Final = 0.020
"""Seconds. A commit takes as long; with one request in flight a sender gets 50 replies a second."""

_VOLATILE: Final = {"tmpfs", "ramfs"}
_REMOTE: Final = {"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "fuse.s3fs", "ceph"}
"""SQLite, of which the spool consists, needs locks and an fsync that these may not have."""

_SPOOL_SHARE: Final = 1.5
"""Disk that the spool takes, as a multiple of `spool.max_bytes` (docs/reference.md)."""

_DESCRIPTORS: Final = 1024
"""Open files: 64 of a commit to many days, connections, the spool, libraries."""

_TIMEX_BYTES: Final = 256
"""More than the 208 of `struct timex`."""

_UNSYNCHRONIZED: Final = 5


def examine_machine(settings: Settings) -> list[Findings]:
    """Examine the disk, the clock and the limits."""
    found = [_process(), _clock()]
    if settings.store.ack != "verdict":
        found.insert(0, _disk(settings.spool.path, settings.spool.max_bytes))
    return found


def _disk(path: Path, max_bytes: int) -> Findings:
    found = Findings("disk")
    place = path.absolute()
    while not place.is_dir() and place != place.parent:
        place = place.parent
    kind = file_system(place)
    if kind in _VOLATILE:
        found.fail(
            f"spool.path is on {kind}, in memory: a restart of the machine loses what was answered "
            "200",
            "choose a folder on a local disk",
        )
    elif kind in _REMOTE:
        found.warn(
            f"spool.path is on {kind}: the spool needs the locks and the fsync of a local disk",
            "choose a folder on a local disk",
        )
    free = shutil.disk_usage(place).free
    needed = int(max_bytes * _SPOOL_SHARE)
    words = f"{free / 2**30:,.1f} GiB free for the spool, which may take {needed / 2**30:,.1f} GiB"
    if free < needed:
        found.warn(words, "free space, or lower spool.max_bytes")
    else:
        found.ok(words)
    try:
        seconds = sync_seconds(place)
    except OSError as error:
        found.fail(f"cannot write to {place}: {os_reason(error)}", "see spool.path")
        return found
    median, worst = statistics.median(seconds) * 1000, max(seconds) * 1000
    words = f"fsync takes {median:.2f} ms, at most {worst:.1f} ms of {len(seconds)}"
    if median > _SLOW_SYNC * 1000:
        found.warn(words, "each reply waits for one: use a faster disk, or raise store.max_delay")
    else:
        found.ok(words)
    return found


def sync_seconds(folder: Path) -> list[float]:
    """How long each of some small writes takes until it is on the disk.

    Raises:
        OSError: The folder cannot be written to.
    """
    seconds = []
    with tempfile.TemporaryFile(dir=folder, prefix=".pointgate-doctor-") as file:
        for _ in range(_SYNCS):
            os.write(file.fileno(), _BLOCK)
            started = time.perf_counter()
            os.fsync(file.fileno())
            seconds.append(time.perf_counter() - started)
    return seconds


def file_system(path: Path) -> str:
    """The kind of the file system that a folder is on; empty where the system does not say."""
    try:
        lines = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return ""
    device = path.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in lines:
        fields = line.split()
        if fields[2] == wanted:
            return fields[fields.index("-") + 1]
    return ""


def _clock() -> Findings:
    """Whether the kernel considers its clock synchronized: points without a time get its time."""
    found = Findings("clock")
    try:
        status = ctypes.CDLL(None, use_errno=True).adjtimex(
            ctypes.create_string_buffer(_TIMEX_BYTES)
        )
    except (AttributeError, OSError):
        status = -1
    if status == -1:
        found.skip("this system does not say whether its clock is synchronized")
    elif status == _UNSYNCHRONIZED:
        found.warn(
            "the clock is not synchronized: points without a time get the wrong one",
            "run chrony or systemd-timesyncd on this machine, or on its host",
        )
    else:
        found.ok("the clock is synchronized")
    return found


def _process() -> Findings:
    found = Findings("process")
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    words = f"the process may open {files:,} files"
    if files != resource.RLIM_INFINITY and files < _DESCRIPTORS:
        found.warn(words, f"raise it to {_DESCRIPTORS:,} or more: LimitNOFILE= of the unit")
    else:
        found.ok("the process may open any number of files" if files < 0 else words)
    return found
