"""`pointgate serve` with small limits, so that much happens in little traffic, and with a bug.

    python -m tests.powercut.launch none serve -c pointgate.toml

A checkpoint each 64 KiB of the log; a mark each 16 KiB of lines; a write whenever there is
something; the dataset is compacted, as by `pointgate compact` beside the service, after each few
commits. The Parquet sink refuses a product. While there is a file `hold` beside the settings, the
sinks take nothing. Instead of `none`: the name of a bug (`planted.py`).
"""

from __future__ import annotations

import itertools
import queue
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pointgate import cli
from pointgate.sinks import drain, retry
from pointgate.sinks.base import SinkRefusedError, SinkUnavailableError
from pointgate.sinks.ndjson import file as ndjson_file
from pointgate.sinks.ndjson.sink import NdjsonSink
from pointgate.sinks.parquet import compaction, files, merging
from pointgate.sinks.parquet import sink as parquet_sink
from pointgate.sinks.parquet.dataset import Dataset
from pointgate.sinks.parquet.sink import ParquetSink
from pointgate.store.spool import segment
from tests.powercut.planted import BUGS

if TYPE_CHECKING:
    import pyarrow as pa

_COMMITS: Final = 7
_GRACE: Final = 0.2

REFUSED: Final = "refused"
"""The product."""

LIMITS: Final = (
    (merging, "ROW_GROUP", 15),
    (merging, "_IN_MEMORY", 1_000),
    (files, "APPENDS", 4),
    (parquet_sink, "APPENDS", 4),
    (drain, "LINGER", 0.03),
    (retry, "_LONGEST_WAIT", 0.2),
    (segment, "CHECKPOINT_BYTES", 64 * 1024),
    (ndjson_file, "_STEP", 16 * 1024),
)


def tighten() -> None:
    """Set the limits."""
    for module, name, value in LIMITS:
        if not hasattr(module, name):
            raise AttributeError(f"{module.__name__} has no {name}: see LIMITS")
        setattr(module, name, value)


def obey(hold: Path) -> None:
    """Let the sinks take nothing while there is a file, and Parquet never the product `REFUSED`."""
    for sink in (ParquetSink, NdjsonSink):
        _wrap(sink, hold)


def _wrap(sink: Any, hold: Path) -> None:
    write, is_held = sink.write, hold.exists

    async def wrapped(self: Any, points: pa.Table, **options: Any) -> None:
        if is_held():
            raise SinkUnavailableError("held")
        if sink is ParquetSink and REFUSED in points["product"].unique().to_pylist():
            raise SinkRefusedError(f"no place for {REFUSED}")
        await write(self, points, **options)

    sink.write = wrapped


def compact() -> None:
    """Compact datasets after each few commits, in a thread, with a grace that is over soon."""
    due: queue.SimpleQueue[Path] = queue.SimpleQueue()
    commit = ParquetSink.commit
    commits = itertools.count(1)

    async def wrapped(self: ParquetSink) -> None:
        await commit(self)
        if next(commits) % _COMMITS == 0:
            due.put(self._settings.folder)

    def run() -> None:
        while True:
            dataset = Dataset(due.get())
            with dataset.locked("compaction", wait=True):
                compaction.compact_all(dataset, grace=_GRACE, progress=lambda *_: None)
                compaction.wait(dataset)

    setattr(ParquetSink, "commit", wrapped)  # noqa: B010 - a method, for mypy
    threading.Thread(target=run, daemon=True).start()


def main() -> None:
    """Run as a process."""
    _, bug, *arguments = sys.argv
    tighten()
    obey(Path(arguments[-1]).with_name("hold"))
    compact()
    if bug != "none":
        BUGS[bug]()
    sys.argv = ["pointgate", *arguments]
    cli.main()


if __name__ == "__main__":
    main()
