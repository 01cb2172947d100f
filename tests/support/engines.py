"""The case table as columns of Arrow, through every engine that can call `judge_arrow`."""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import duckdb
import polars as pl
import pyarrow as pa
import pytest

from pointgate import Catalog, Validator
from tests.support.cases import CATALOG, Case, load_cases

if TYPE_CHECKING:
    from collections.abc import Iterator

CASES: Final = load_cases()
COLUMNS: Final = (
    "code",
    "points",
    "reason",
    "pointer",
    "message",
    "device",
    "identifier",
    "index",
    "offset",
    "id",
)

Judge: TypeAlias = Callable[[Any, Any], tuple[Any, Any]]
Rows: TypeAlias = list[tuple[Any, ...]]


@functools.cache
def validator(payload_bytes: int) -> Validator:
    """A validator of the cases' catalog."""
    return Validator(Catalog.load(CATALOG), payload_bytes=payload_bytes)


def groups() -> Iterator[tuple[int, int, list[Case]]]:
    """The cases by their limit on payloads and their present."""
    found = defaultdict(list)
    for case in CASES:
        found[case.payload_bytes, case.now_ms].append(case)
    for (payload_bytes, now_ms), cases in found.items():
        yield payload_bytes, now_ms, cases


def expected(case: Case) -> tuple[Any, ...]:
    """The verdict of `Validator.validate`, as a row."""
    (report,) = validator(case.payload_bytes).validate(
        [case.topic], [case.payload], now_ms=case.now_ms
    )
    fault = report.fault
    details = (
        (None,) * 7
        if fault is None
        else (
            fault.reason,
            fault.pointer,
            fault.message,
            fault.device_key,
            fault.identifier,
            fault.index,
            fault.offset,
        )
    )
    token = re.match(rb'\{"id":("(?:[^"\\]|\\.)*"|[^,]*),"code"', report.reply or b"")
    return (report.code, report.points, *details, token[1].decode() if token else None)


def rows_of(table: pa.Table) -> Rows:
    return list(zip(*(table[name].to_pylist() for name in COLUMNS), strict=True))


def with_pyarrow(judge: Judge, topics: pa.Array, payloads: pa.Array) -> Rows:
    return rows_of(pa.table(judge(payloads, topics)[0]))


def with_chunks(judge: Judge, topics: pa.Array, payloads: pa.Array) -> Rows:
    views = pa.chunked_array([payloads[:3], payloads[3:]]).cast(pa.binary_view())
    return rows_of(pa.table(judge(views, topics.dictionary_encode())[0]))


def with_polars(judge: Judge, topics: pa.Array, payloads: pa.Array) -> Rows:
    frame = pl.DataFrame({"topic": pl.Series(topics), "payload": pl.Series(payloads)})
    verdicts, _ = judge(frame["payload"], frame["topic"].cast(pl.Categorical))
    return pl.DataFrame(verdicts).select(COLUMNS).rows()


def with_duckdb(judge: Judge, topics: pa.Array, payloads: pa.Array) -> Rows:
    """Verdicts as a table that SQL reads."""
    requests = pa.table({"n": range(len(topics)), "topic": topics, "payload": payloads})
    with duckdb.connect() as connection:
        connection.register("requests", requests)
        found = connection.sql("SELECT * FROM requests ORDER BY n").to_arrow_table()
        verdicts, _ = judge(found["payload"], found["topic"])
        connection.register("verdicts", pa.table(verdicts))
        columns = ", ".join(f'"{name}"' for name in COLUMNS)
        return connection.sql(f"SELECT {columns} FROM verdicts").fetchall()  # noqa: S608 - names


def with_duckdb_udf(judge: Judge, topics: pa.Array, payloads: pa.Array) -> Rows:
    """A function of SQL, called for vectors of 2,048 rows."""
    pytest.importorskip("numpy")  # which DuckDB needs for its functions

    def verdict(topics: pa.ChunkedArray, payloads: pa.ChunkedArray) -> pa.Array:
        return _as_structs(judge(payloads, topics)[0])

    requests = pa.table({"n": range(len(topics)), "topic": topics, "payload": payloads})
    with duckdb.connect() as connection:
        connection.register("requests", requests)
        connection.create_function(  # type: ignore[call-overload]
            "verdict",
            verdict,
            ["VARCHAR", "BLOB"],
            duckdb.struct_type({name: _sql(name) for name in COLUMNS}),
            type="arrow",
            null_handling="special",
        )
        query = "SELECT v FROM (SELECT n, verdict(topic, payload) AS v FROM requests) ORDER BY n"
        found = connection.sql(query).fetchall()
    return [tuple(one[name] for name in COLUMNS) for (one,) in found]


def with_datafusion(judge: Judge, topics: pa.Array, payloads: pa.Array) -> Rows:
    datafusion = pytest.importorskip("datafusion")

    def verdict(topics: pa.Array, payloads: pa.Array) -> pa.Array:
        return _as_structs(judge(payloads, topics)[0])

    context = datafusion.SessionContext()
    requests = pa.table({"n": range(len(topics)), "topic": topics, "payload": payloads})
    context.from_arrow(requests, "requests")
    struct = _as_structs(judge(payloads[:1], topics[:1])[0]).type
    types = [pa.string(), pa.binary()]
    context.register_udf(datafusion.udf(verdict, types, struct, "volatile", "verdict"))
    query = "SELECT verdict(topic, payload) AS v FROM requests ORDER BY n"
    found = context.sql(query).to_arrow_table()["v"].to_pylist()
    return [tuple(one[name] for name in COLUMNS) for one in found]


def _as_structs(verdicts: object) -> pa.Array:
    return pa.table(verdicts).to_struct_array().combine_chunks()


def _sql(column: str) -> str:
    return {"code": "INTEGER", "points": "INTEGER", "index": "INTEGER", "offset": "BIGINT"}.get(
        column, "VARCHAR"
    )


def as_written(case: Case) -> tuple[Any, ...]:
    """What the table says of a case, in the columns of verdicts."""
    return (
        *(case.code, case.points, case.reason, case.pointer),
        *(case.device_key, case.identifier, case.index),
    )


def check(cases: list[Case], rows: Rows) -> None:
    """The rows are the verdicts of `Validator.validate`, and what the table says."""
    for case, row in zip(cases, rows, strict=True):
        assert row == expected(case), case.id
        found = dict(zip(COLUMNS, row, strict=True))
        names = ("code", "points", "reason", "pointer", "device", "identifier", "index")
        assert tuple(found[name] for name in names) == as_written(case), case.id


def check_in_spark(session: Any) -> None:
    """The same of every case, judged by Spark."""
    from pointgate import spark  # noqa: PLC0415 - not in every environment

    for payload_bytes, now_ms, cases in groups():
        rows = [(n, case.topic, bytearray(case.payload)) for n, case in enumerate(cases)]
        frame = session.createDataFrame(rows, "n int, topic string, payload binary")
        judged = spark.judge(
            frame.repartition(4), CATALOG, payload_bytes=payload_bytes, now_ms=now_ms
        )
        columns = [f"verdict.{name}" for name in COLUMNS]
        found = judged.select("n", *columns).orderBy("n").collect()
        check(cases, [tuple(row)[1:] for row in found])
