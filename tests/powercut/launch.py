"""`pointgate serve` with small limits, so that much happens in little traffic, and with a bug.

    python -m tests.powercut.launch none serve -c pointgate.toml

A merge of four files, not sixteen, into several of a few rows; a checkpoint each 64 KiB of the log;
a mark each 16 KiB of lines; a write whenever there is something. The Parquet sink refuses a
product. While there is a file `hold` beside the settings, the sinks take nothing. Instead of
`none`: the name of a bug (`planted.py`).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pointgate import cli
from pointgate.sinks import drain
from pointgate.sinks.base import SinkRefusedError, SinkUnavailableError
from pointgate.sinks.ndjson import file as ndjson_file
from pointgate.sinks.ndjson.sink import NdjsonSink
from pointgate.sinks.parquet import compaction, maintenance, merge_sources
from pointgate.sinks.parquet.sink import ParquetSink
from pointgate.store.spool import segment
from tests.powercut.planted import BUGS

if TYPE_CHECKING:
    import pyarrow as pa

REFUSED: Final = "refused"
"""The product."""

LIMITS: Final = (
    (compaction, "FAN_IN", 4),
    (compaction, "FILE_BYTES", 500),
    (compaction, "ROW_GROUP", 15),
    (merge_sources, "_IN_MEMORY", 1_000),
    (maintenance, "FAN_IN", 4),
    (maintenance, "_PAUSE_FACTOR", 0),
    (drain, "LINGER", 0.03),
    (drain, "_LONGEST_WAIT", 0.2),
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


def main() -> None:
    """Run as a process."""
    _, bug, *arguments = sys.argv
    tighten()
    obey(Path(arguments[-1]).with_name("hold"))
    if bug != "none":
        BUGS[bug]()
    sys.argv = ["pointgate", *arguments]
    cli.main()


if __name__ == "__main__":
    main()
