"""Readers of objects with a plain glob, while their writer is killed again and again.

Every query succeeds, and every count is exact, as in `test_torture.py`.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import polars as pl
import pyarrow.dataset as pads
import pytest

from tests.readers.test_torture import Counts, Outcome, check, counted, start
from tests.support.object_dataset import PLACE, URL, file_system, keys
from tests.support.patience import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.s3_server import S3Server

QUERIES: Final = int(os.environ.get("POINTGATE_READERS", "400")) // 10
SECONDS: Final = 20.0

PLACES: Final = (
    *("before-write", "after-fsync", "objects-before-record", "objects-after-record"),
    *("objects-between-copies", "objects-after-copies"),
)


def by_polars(_server: S3Server) -> Counts:
    frame = pl.scan_parquet(f"{URL}/**/*.parquet").select("value_long").collect()
    return counted(frame["value_long"].to_arrow())


def by_pyarrow(server: S3Server) -> Counts:
    dataset = pads.dataset(PLACE, filesystem=file_system(server), partitioning="hive")
    return counted(dataset.to_table(["value_long"])["value_long"])


def watch(
    server: S3Server, reader: Callable[[S3Server], Counts], outcome: Outcome, stop: threading.Event
) -> None:
    before: Counts = {}
    while not stop.is_set():
        try:
            counts = reader(server)
        except Exception as error:  # noqa: BLE001 - which is what must not be
            outcome.failures.append(f"{reader.__name__}: {type(error).__name__}: {error}")
        else:
            outcome.failures += [f"{reader.__name__}: {one}" for one in check(counts, before)]
            before = counts
        outcome.queries[reader.__name__] += 1


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_no_query_fails_and_no_point_is_seen_twice_whatever_is_killed(
    tmp_path: Path, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    outcome, stop = Outcome(), threading.Event()
    chance = random.Random(7)  # noqa: S311 - no secret
    threads = [
        threading.Thread(target=watch, args=(s3, reader, outcome, stop))
        for reader in (by_polars, by_pyarrow)
    ]
    end = time.monotonic() + SECONDS
    try:
        for place in itertools.cycle(PLACES):
            if time.monotonic() > end and outcome.queries.total() >= QUERIES:
                break
            with start(tmp_path, f"{place}:{chance.randint(1, 9)}", URL) as writer:
                with suppress(subprocess.TimeoutExpired):
                    writer.wait(6.0)
                writer.kill()
            assert writer.returncode == -signal.SIGKILL
            outcome.kills[place] += 1
            if not threads[0].is_alive() and any(key.endswith(".parquet") for key in keys(s3)):
                for thread in threads:
                    thread.start()
    finally:
        stop.set()
        for thread in threads:
            with suppress(RuntimeError):  # it was not started
                thread.join()
    (tmp_path / "end").touch()
    with start(tmp_path, url=URL) as writer:
        output, _ = writer.communicate(timeout=PATIENCE)
    last = by_pyarrow(s3)
    print(outcome.queries, outcome.kills, len(keys(s3)))  # noqa: T201 - shown with a failure, or -s
    assert not outcome.failures + check(last, {})
    assert sum(rows for rows, *_ in last.values()) == int(output)
    assert outcome.queries.total() >= QUERIES
