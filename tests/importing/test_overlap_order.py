"""A logger that writes local time while clocks are set back: both hours are kept, by the order."""

from __future__ import annotations

import itertools
import signal
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.imports import configure, points, run

if TYPE_CHECKING:
    from pathlib import Path

ZONES = {
    "Europe/Berlin": datetime.fromisoformat("2024-10-26T22:00Z"),
    "America/New_York": datetime.fromisoformat("2024-11-03T04:00Z"),
    "Australia/Lord_Howe": datetime.fromisoformat("2024-04-06T13:00Z"),  # half an hour
}
DEVICES = ["inverter-001", "inverter-002"]
MAPPING = """
product = "solar"
device = { column = "d" }
time = { column = "t", format = "%Y-%m-%d %H:%M", zone = "ZONE", overlap = "order" }
"""
LONG = '[long]\nidentifier = "i"\nvalue = "v"\n'
WIDE = "[wide]\n[points]\ndayEnergy = 'dayEnergy'\nactivePower = 'activePower'\n"
IDENTIFIERS = ["dayEnergy", "activePower"]

Rows = list[tuple[datetime, str, str, float]]


def rows_of(zone: str, minutes: int, *, by_device: bool) -> Rows:
    """Six hours around the change, and each value is a number of its own."""
    moments = [ZONES[zone] + timedelta(minutes=minutes) * n for n in range(360 // minutes)]
    keys = itertools.product(DEVICES, moments) if by_device else (
        (device, moment) for moment, device in itertools.product(moments, DEVICES)
    )  # fmt: skip
    values = itertools.count()
    return [
        (moment, device, identifier, next(values) / 100)
        for device, moment in keys
        for identifier in IDENTIFIERS
    ]


def local(moment: datetime, zone: str) -> str:
    return moment.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M")


def long_csv(rows: Rows, zone: str) -> str:
    lines = [f"{local(moment, zone)},{d},{i},{v}\n" for moment, d, i, v in rows]
    return "t,d,i,v\n" + "".join(lines)


def wide_csv(rows: Rows, zone: str) -> str:
    pairs = itertools.batched(rows, 2) if hasattr(itertools, "batched") else zip(
        rows[::2], rows[1::2], strict=True
    )  # fmt: skip
    lines = [f"{local(one[0], zone)},{one[1]},{one[3]},{two[3]}\n" for one, two in pairs]
    return "t,d,dayEnergy,activePower\n" + "".join(lines)


def truth(rows: Rows) -> dict[tuple[str, str, int], float]:
    return {(d, i, int(moment.timestamp() * 1000)): v for moment, d, i, v in rows}


@pytest.mark.parametrize(
    ("zone", "minutes"),
    [("Europe/Berlin", 5), ("America/New_York", 60), ("Australia/Lord_Howe", 30)],
)
@pytest.mark.parametrize("by_device", [False, True])
@pytest.mark.parametrize("layout", ["long", "wide", "parquet"])
def test_both_hours_are_kept(
    tmp_path: Path, zone: str, minutes: int, layout: str, *, by_device: bool
) -> None:
    rows = rows_of(zone, minutes, by_device=by_device)
    configure(tmp_path, "ndjson")
    mapping = MAPPING.replace("ZONE", zone)
    if layout == "wide":
        (tmp_path / "a.in").write_text(wide_csv(rows, zone))
        mapping += WIDE
    elif layout == "long":
        (tmp_path / "a.in").write_text(long_csv(rows, zone))
        mapping += LONG
    else:
        columns = list(zip(*[(local(m, zone), d, i, v) for m, d, i, v in rows], strict=True))
        pq.write_table(pa.table(dict(zip("tdiv", columns, strict=True))), tmp_path / "a.in")
        mapping = f'format = "parquet"\n{mapping}{LONG}'
    (tmp_path / "mapping.toml").write_text(mapping)
    done = run("a.in", "--mapping", "mapping.toml", "--processes", "2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert points(tmp_path / "points.ndjson") == truth(rows)


FIRST, SECOND = 1_729_987_200_000, 1_729_990_800_000
"""2024-10-27 02:00 in Berlin, both times."""

MINUTE = 60_000


@pytest.mark.parametrize(
    ("layout", "text", "expected"),
    [
        pytest.param(  # a row without a value is a row of its hour
            LONG,
            "t,d,i,v\n02:00,inverter-001,dayEnergy,1\n02:30,inverter-001,dayEnergy,\n"
            "02:00,inverter-001,dayEnergy,\n02:30,inverter-001,dayEnergy,4\n",
            {FIRST: 1, SECOND + 30 * MINUTE: 4},
            id="nothing",
        ),
        pytest.param(  # what is finer than a millisecond is no repetition
            LONG,
            "t,d,i,v\n02:00:00.000100,inverter-001,dayEnergy,1\n"
            "02:00:00.000900,inverter-001,dayEnergy,2\n02:30,inverter-001,dayEnergy,3\n",
            {FIRST: 2, FIRST + 30 * MINUTE: 3},
            id="microseconds",
        ),
        pytest.param(  # a row for each column of a time
            WIDE,
            "t,d,dayEnergy,activePower\n02:00,inverter-001,1,\n02:00,inverter-001,,2\n"
            "02:30,inverter-001,3,\n02:30,inverter-001,,4\n02:00,inverter-001,5,\n"
            "02:00,inverter-001,,6\n",
            {FIRST: 2, FIRST + 30 * MINUTE: 4, SECOND: 6},
            id="sparse",
        ),
        pytest.param(
            LONG,
            "t,d,i,v\n02:00,inverter-001,dayEnergy,\n02:00,inverter-001,dayEnergy,3\n",
            {SECOND: 3},
            id="first-is-nothing",
        ),
        pytest.param(
            WIDE,
            "t,d,dayEnergy,activePower\n02:00,inverter-001,,\n02:00,inverter-001,,3\n",
            {SECOND: 3},
            id="first-row-is-nothing",
        ),
        pytest.param(
            WIDE,
            "t,d,dayEnergy,activePower\n02:00,inverter-001,1,2\n02:00,inverter-001,3,4\n",
            {FIRST: 2, SECOND: 4},
            id="hourly",
        ),
    ],
)
def test_what_tells_the_hours_apart(
    tmp_path: Path, layout: str, text: str, expected: dict[int, float]
) -> None:
    configure(tmp_path, "ndjson")
    mapping = MAPPING.replace("ZONE", "Europe/Berlin").replace("%Y-%m-%d %H:%M", "iso")
    (tmp_path / "mapping.toml").write_text(mapping + layout)
    (tmp_path / "a.csv").write_text(text.replace("\n02:", "\n2024-10-27 02:"))
    done = run("a.csv", "--mapping", "mapping.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    stored = points(tmp_path / "points.ndjson")
    # Of a wide row the last column.
    wanted = "activePower" if layout == WIDE else "dayEnergy"
    found = {time: value for (_, name, time), value in stored.items() if name == wanted}
    assert found == expected


def test_products_are_told_apart(tmp_path: Path) -> None:
    configure(tmp_path, "ndjson")
    mapping = MAPPING.replace("ZONE", "Europe/Berlin").replace("%Y-%m-%d %H:%M", "iso")
    mapping = mapping.replace('product = "solar"', 'product = { column = "p" }')
    (tmp_path / "mapping.toml").write_text(mapping + LONG)
    rows = [f"2024-10-27 02:{m},{p},inverter-001,dayEnergy,1\n" for m in ("00", "30") for p in "ab"]
    (tmp_path / "a.csv").write_text("t,p,d,i,v\n" + "".join(rows))
    done = run("a.csv", "--mapping", "mapping.toml", cwd=tmp_path)
    assert done.returncode == 1  # the catalog has none of them, and says when each was
    lines = (tmp_path / "import-state/rejects.ndjson").read_text()
    assert lines.count(str(FIRST)) == lines.count(str(FIRST + 30 * MINUTE)) == 2


def test_it_goes_on_within_the_hour(tmp_path: Path) -> None:
    """What was read of the hours is known after a kill between them."""
    rows = rows_of("Europe/Berlin", 5, by_device=False)
    configure(tmp_path, "ndjson")
    (tmp_path / "mapping.toml").write_text(MAPPING.replace("ZONE", "Europe/Berlin") + LONG)
    # A run is made of eight thousand rows: the first one ends in the middle of the second hour.
    end = ZONES["Europe/Berlin"] + timedelta(hours=3, minutes=20)
    before: Rows = [
        (datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=n), DEVICES[0], IDENTIFIERS[0], 1.0)
        for n in range(8000 - sum(row[0] < end for row in rows))
    ]
    rows = before + rows
    (tmp_path / "a.csv").write_text(long_csv(rows, "Europe/Berlin"))
    arguments = ["a.csv", "--mapping", "mapping.toml", "--memory", "1MiB"]
    killed = run(*arguments, cwd=tmp_path, POINTGATE_FAILPOINT="import-after-run:2")
    assert killed.returncode == -signal.SIGKILL
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert points(tmp_path / "points.ndjson") == truth(rows)


def test_without_it_the_hour_is_refused_with_what_to_set(tmp_path: Path) -> None:
    configure(tmp_path, "ndjson")
    mapping = MAPPING.replace("ZONE", "Europe/Berlin").replace('"order"', '"reject"')
    (tmp_path / "mapping.toml").write_text(mapping + LONG)
    (tmp_path / "a.csv").write_text("t,d,i,v\n2024-10-27 02:30,inverter-001,dayEnergy,1\n")
    done = run("a.csv", "--mapping", "mapping.toml", cwd=tmp_path)
    assert done.returncode == 1
    assert 'time.overlap = "first", "second" or "order"' in done.stderr
