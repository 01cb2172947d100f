"""NDJSON and Parquet in a pool of processes: as in one, after a kill and behind blank lines."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pointgate.bulk.streams import Source
from pointgate.importing.line_blocks import line_blocks
from tests.support.imports import configure, points, rejected, run

if TYPE_CHECKING:
    from pathlib import Path

ROWS = 40_000
BAD = 31_234
FIRST = 1_600_000_000_000
MAPPING = """
format = "FORMAT"
product = "solar"
device = "inverter-001"
[time]
column = "t"
format = "epoch_ms"
[wide]
[points]
dayEnergy = "dayEnergy"
"""


def write(folder: Path, name: str) -> list[str]:
    """An export with a bad row; the arguments that import it."""
    configure(folder, "ndjson")
    (folder / "mapping.toml").write_text(MAPPING.replace("FORMAT", name), "utf-8")
    numbers = [-1 if row == BAD else row for row in range(1, ROWS + 1)]
    times = [FIRST + row for row in range(1, ROWS + 1)]
    if name == "parquet":
        table = pa.table({"t": times, "dayEnergy": numbers})
        pq.write_table(table, folder / "export", row_group_size=3000)
    else:
        rows = zip(times, numbers, strict=True)
        lines = [json.dumps({"t": time, "dayEnergy": number}) for time, number in rows]
        lines[99] += "\n"  # a blank line, which has a number and is no row
        (folder / "export").write_text("\n".join(lines))
    options = ["--mapping", "mapping.toml", "--memory", "1MiB", "--processes", "2"]
    return ["export", *options]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ndjson", "parquet"])
def test_a_kill_while_others_read(name: str, tmp_path: Path) -> None:
    arguments = write(tmp_path, name)
    killed = run(*arguments, cwd=tmp_path, POINTGATE_FAILPOINT="import-after-run:3")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    done = run(*arguments, "--json", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["rows"] == ROWS
    found = points(tmp_path / "points.ndjson")
    assert {time - FIRST: value for (_, _, time), value in found.items()} == {
        row: row for row in range(1, ROWS + 1) if row != BAD
    }
    (bad,) = rejected(tmp_path / "import-state")
    assert bad["line"] == BAD + (name == "ndjson")
    assert bad["reason"] == "range"


class Text:
    """A stream of a text, a few bytes a read."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, size: int) -> bytes:
        data, self._data = self._data[: min(size, 7)], self._data[min(size, 7) :]
        return data


@pytest.mark.parametrize("data", [b"a\n\nb\r\n \nc", b"a\n\nb\r\n \nc\n", b"\n\na\nb\nc\n\n"])
def test_lines_that_are_skipped_are_counted(data: bytes) -> None:
    places = [number for number, line in enumerate(data.split(b"\n")) if line.strip()]
    for skip in range(4):
        blocks = list(line_blocks(Source(Text(data)), 100, skip))
        rest = b"".join(block.data for block in blocks)
        assert [line.strip() for line in rest.split() if line] == data.split()[skip:]
        if skip < len(places):
            first = next(n for n, line in enumerate(rest.split(b"\n")) if line.strip())
            assert blocks[0].before + first == places[skip]
