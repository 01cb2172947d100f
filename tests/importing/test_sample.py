"""A mapping proposed from a sample reads its times, says what else they may be, or is refused."""

from __future__ import annotations

import io
import re
import tomllib
import zipfile
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointgate.importing.mapping import TimeMapping
from pointgate.importing.records import TableError
from pointgate.importing.sample import propose
from pointgate.importing.times import Times

DATES = [
    *("%Y-%m-%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d"),
    *("%y.%m.%d", "%d.%m.%y", "%m/%d/%y", "%Y%m%d", "%Y.%m.%d"),
]
CLOCKS = ["%H:%M:%S", "%H:%M", "%H:%M:%S.%f", "%H:%M:%S,%f", "%I:%M %p", "%I:%M:%S %p", "%I:%M%p"]
PACKED = ["%H%M%S", "%H%M"]
WHOLE = ["Timestamp", "Zeit", "Datum", "Date/Time", "DateTime", "ts"]


def proposed(text: str) -> str:
    return propose("a.csv", io.BytesIO(text.encode()), "solar")


def times_of(proposal: str, rows: list[dict[str, str]]) -> list[int]:
    mapping = tomllib.loads(proposal)["time"]
    columns = mapping.get("columns") or [mapping["column"]]
    times = Times(TimeMapping(column=1, format=mapping["format"], zone=mapping["zone"]))
    return [times.milliseconds(" ".join(row[one] for one in columns)) for row in rows]


def check(rows: list[dict[str, str]], moments: list[datetime], meant: str) -> None:
    """The times are right, or the proposal names the format that was meant, or there is none."""
    text = ";".join(rows[0]) + "\n" + "".join(";".join(row.values()) + "\n" for row in rows)
    try:
        proposal = proposed(text)
    except TableError as error:
        assert "write [time] by hand" in str(error)  # noqa: PT017 - both are right
        return
    if times_of(proposal, rows) != [int(one.timestamp() * 1000) for one in moments]:
        (comment,) = re.findall(r"^format = .* # or (.*)$", proposal, re.MULTILINE)
        assert f'"{meant}"' in comment, proposal


@st.composite
def _moments(draw: st.DrawFn) -> list[datetime]:
    start = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=draw(st.integers(0, 500_000)))
    step = timedelta(minutes=draw(st.sampled_from([1, 15, 60, 1440, 10_080])))
    return [start + number * step for number in range(draw(st.integers(1, 30)))]


@given(
    _moments(),
    st.sampled_from(DATES),
    st.sampled_from([*CLOCKS, *PACKED]),
    st.sampled_from(["one", "two", "half", "offset", "renamed"]),
    st.sampled_from(WHOLE),
    st.sampled_from(["", "Installed", "LastService", "uptime", "Dauer"]),
)
def test_a_proposal_is_never_silently_wrong(  # noqa: PLR0917 - each is a choice
    moments: list[datetime], date: str, clock: str, shape: str, title: str, other: str
) -> None:
    if shape == "half":
        clock = "%I:%M:%S"
    rows = []
    for moment in moments:
        days, hours = moment.strftime(date), moment.strftime(clock)
        if shape == "one":
            row = {title: f"{days} {hours}"}
        else:
            row = {"Date": days, "Uhr" if shape == "renamed" else "Time": hours}
        row |= {"half": {"AM/PM": moment.strftime("%p")}, "offset": {"TZ": "+0000"}}.get(shape, {})
        row |= {
            "Installed": {"InstallDate": "2020-01-01"},
            "LastService": {"LastService": "2023-05-06 07:08:09"},
            "uptime": {"uptime": "1700000000"},
            "Dauer": {"Dauer": "08:30"},
        }.get(other, {})
        rows.append(row | {"Value": "1.5"})
    meant = f"{date} {clock}" + {"half": " %p", "offset": " %z"}.get(shape, "")
    check(rows, moments, meant)


@pytest.mark.parametrize(
    ("text", "columns", "form"),
    [
        ("Date,Time,H,v\n05/14/2024,01:30,PM,1\n", ["Date", "Time", "H"], "%m/%d/%Y %I:%M %p"),
        ("Date,Time,v\n2024-05-01,01:30 PM,1\n", ["Date", "Time"], "%Y-%m-%d %I:%M %p"),
        ("Date,Time,v\n2024-05-01,9:30:15,1\n", ["Date", "Time"], "%Y-%m-%d %H:%M:%S"),
        ("Date,Time,v\n20240501,093000,1\n", ["Date", "Time"], "%Y%m%d %H%M%S"),
        ("Date,Time,v\n2024-05-01,0930,1\n", ["Date", "Time"], "%Y-%m-%d %H%M"),
        ("Datum;Dauer;Zeit;v\n01.05.2024;00:15;09:30;1\n", ["Datum", "Zeit"], "%d.%m.%Y %H:%M"),
        ("Date;Time;Z;v\n2024-05-01;09:30;+0200;1\n", ["Date", "Time", "Z"], "%Y-%m-%d %H:%M %z"),
        ("InstallDate,Timestamp,v\n2020-01-01,2024-05-01 10:30,1\n", ["Timestamp"], "iso"),
        ("Zeit;Kalibriert\n01.05.2024 10:30:00;2023-01-01\n", ["Zeit"], "%d.%m.%Y %H:%M:%S"),
        ("uptime,timestamp\n40000,1714523400\n", ["timestamp"], "epoch_s"),
        ("t,power\n1714523400123,45000.5\n", ["t"], "epoch_ms"),
        ("Date,v\n45413.5,1\n", ["Date"], "excel"),
        ("Date,v\n2024-05-01,1\n", ["Date"], "iso"),
        (" Time ; Value \n2024-05-01 10:30; 1,5 \n", ["Time"], "iso"),
        ("Time;;Value;Value\n2024-05-01 10:30;;1;2\n", ["Time"], "iso"),
        ("v;w;w\n1;01.05.2024 10:30;2\n", [2], "%d.%m.%Y %H:%M"),
        ("Time;v\u2028w\n2024-05-01 10:30;1\n", ["Time"], "iso"),
        ("Time;v\n14/05/24 00:30;1\n", ["Time"], "%d/%m/%y %H:%M"),
        ("Time;v\n2024-05-14 003000;1\n", ["Time"], "%Y-%m-%d %H%M%S"),
        ("Time;v\n2024050100;1\n2024050101;1\n", ["Time"], "%Y%m%d%H"),
        ("Timestamp;v\n240501003000;1\n240501013000;1\n", ["Timestamp"], "%y%m%d%H%M%S"),
        ("Date;v\n01.05.2024;12.34\n02.05.2024;13.34\n", ["Date"], "%d.%m.%Y"),
        ("Date,T1\n2024-05-01,12.5\n", ["Date"], "iso"),
        ("Datum;Uhrzeit;T_Modul\n01.05.2024;09:30;20,5\n", ["Datum", "Uhrzeit"], "%d.%m.%Y %H:%M"),
        ("Date,Sunrise time,Time\n2024-05-01,05:30,10:00\n", ["Date", "Time"], "iso"),
        ("Timestamp;Power\n2024-05-01 10:30;-1200\n", ["Timestamp"], "iso"),
        ("Time;v\n2405010900;1\n2405010915;1\n", ["Time"], "%y%m%d%H%M"),
        ("Date;Device;v\n2024-05-01;a;1\n2024-05-01;b;2\n", ["Date"], "iso"),
        ("Timestamp;Unit\n2024-05-01 10:30;A\n", ["Timestamp"], "iso"),
        ("Timestamp;tz\n2024-05-01 10:30;+0200\n", ["Timestamp", "tz"], "%Y-%m-%d %H:%M %z"),
        ("Date;Time;v\n01.05.2024;00:30:00,123;1\n", ["Date", "Time"], "%d.%m.%Y %H:%M:%S,%f"),
    ],
)  # fmt: skip
def test_the_time_is_found(text: str, columns: list[object], form: str) -> None:
    found = tomllib.loads(proposed(text))["time"]
    assert (found.get("columns") or [found["column"]], found["format"]) == (columns, form)


def test_some_texts_may_be_nothing() -> None:
    rows = "".join(f"{1_714_573_800 + n};1\n" for n in range(20)) + "n/a;1\n"
    assert 'format = "epoch_s"' in proposed("ts;v\n" + rows)


def test_rows_decide_between_days_and_months() -> None:
    rows = "".join(f"12/05/2024 {hour % 24:02}:00;1\n" for hour in range(190))
    found = proposed("Time;v\n" + rows + "13/05/2024 00:00;1\n" * 10)
    assert 'format = "%d/%m/%Y %H:%M"\n' in found
    # Both read everything, and a day follows a day.
    days = "".join(f"05/0{day}/2024 00:00;1\n" for day in range(1, 8))
    assert 'format = "%m/%d/%Y %H:%M"    # or "%d/%m/%Y %H:%M"\n' in proposed("Time;v\n" + days)


@pytest.mark.parametrize(
    "rows",
    [
        "Datum;Uhrzeit;v\n2024-05-01;09:30 Uhr;1\n",
        "Date;Time;v\n2024-05-14;1:30 p.m.;1\n",
        "Date;Time;v\n45413;09:30;1\n",
        "Date;Start;v\n2024-05-14;09:30;1\n",
        "a;b\n2024-05-14;1\n",
        "a;b\n45413.5;40000.5\n",
        "Date;Hour;v\n2024-05-14;7;1\n",
        "Timestamp;InstallDate\n14 May 2024 07:00;2020-01-01\n",
        "Timestamp;LastService\n14 May 2024 07:00;2023-05-06 07:08:09\n",
        "Date;Time;LastService\n14 May;07:00;2023-05-06 07:08:09\n",
        "Date;Time;x\n01/05/2024;01:00:00;p. m.\n",
        "Date;Time;x\n01/05/2024;01:00:00;P\n02/05/2024;01:00:00;\n03/05/2024;01:00:00;A\n",
        "Fecha;Hora\n01/05/2024 0:00;10:00\n",
        "Date,Hour\n2024-05-01 00:00,7\n",
        "Date;Hr;v\n2024-05-01;1;1\n",
        "Date;HE;v\n" + "".join(f"2024-05-01;{hour};1\n" for hour in range(1, 25)),
        "Date;Settlement Period;v\n2024-05-01;1;1\n",
        "Date,Operating time\n2024-05-01,41234.1\n",
        "Date,Time\n2024-05-01,36000\n",
        "Date;Time\n20240501;61500\n",
        "Datum;Uhrzeit;Hälfte\n"
        + "".join(
            f"01.05.2024;{(hour - 1) % 12 + 1:02}:00;{'nachm' if hour > 11 else 'vorm'}.\n"
            for hour in range(1, 24)
        ),
        "Date,HE,Node\n"
        + "".join(f"2024-05-01,{h},{n}\n" for h in range(24, 0, -1) for n in "xyz"),
        "Date,Minute\n2024-05-01,0\n2024-05-01,15\n2024-05-01,30\n",
        "Date,Std\n" + "".join(f"2024-05-01,{h:02}-{h + 1:02}\n" for h in range(24)),
        "Date,TOD\n2024-05-01,0900\n2024-05-01,0930\n",
        "ts;v\n638501000000000000;1\n",
        "Timestamp;v\n3797452800;1\n",
        "Datum;Zeit bis;Zeit von\n01.05.2024;10:15;10:00\n",
    ],
)
def test_what_is_uncertain_is_refused(rows: str) -> None:
    with pytest.raises(TableError, match=r"write \[time\] by hand"):
        proposed(rows)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"t;v\r2024-05-01;1\r", "expected lines that end with LF or CR LF, got CR alone"),
        (
            b't;"v\nw"\n2024-05-01 10:30;1\n',
            "expected a header of one line, got a quoted line break",
        ),
        (b"sep=;\nt;v\n2024-05-01 10:30;1\n", "set csv.skip_lines = 1"),
        (b"t;v\n", "expected a header and rows of as many columns, got none"),
    ],
)
def test_what_no_mapping_reads_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(TableError, match=re.escape(message)):
        propose("a.csv", io.BytesIO(data), "solar")


def test_the_first_table_of_an_archive_is_the_sample() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr("README.txt", "what this is\n")
        packed.writestr("a.csv", "t;v\n2024-05-01 10:30;1\n")
    file.seek(0)
    assert 'column = "t"' in propose("a.zip", file, "solar")


def test_bytes_of_no_usual_encoding_are_latin_1() -> None:
    found = propose("a.csv", io.BytesIO(b"t;\x81\n2024-05-01 10:30;1\n"), "solar")
    assert 'encoding = "latin-1"' in found
