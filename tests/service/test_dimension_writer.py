"""The tables that describe the points follow the catalog, and their errors stop nothing."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from pointgate import Catalog, Devices, Model, Product
from pointgate.service.dimension_writer import DimensionWriter
from tests.support.patience import PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import pytest


def catalog(unit: str) -> Catalog:
    document = {"measurepoints": {"t": {"dataType": "INT", "unit": unit}}}
    model = Model.compile(json.dumps(document).encode())
    return Catalog({"a": Product(model, Devices(["d"]))})


@asynccontextmanager
async def running(writer: DimensionWriter) -> AsyncIterator[None]:
    task = asyncio.create_task(writer.run())
    try:
        async with asyncio.timeout(PATIENCE):
            yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def unit_is(folder: Path, unit: str) -> None:
    while True:
        with suppress(OSError):
            if pq.read_table(folder / "measurepoints.parquet")["unit"].to_pylist() == [unit]:
                return
        await asyncio.sleep(0.01)


async def test_the_tables_are_written_at_the_start_and_after_a_reload(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    writer = DimensionWriter(folders, catalog("K"))
    async with running(writer):
        for folder in folders:
            await unit_is(folder, "K")
        writer.update(catalog("°C"))
        for folder in folders:
            await unit_is(folder, "°C")


async def test_a_folder_that_cannot_be_written_is_logged_and_the_others_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    writer = DimensionWriter([tmp_path / "file" / "x", tmp_path / "good"], catalog("K"))
    async with running(writer):
        await unit_is(tmp_path / "good", "K")
        assert [record.message for record in caplog.records if "not written" in record.message] == [
            f"dimensions not written to {tmp_path / 'file' / 'x'}: file exists"
        ]
        writer.update(catalog("°C"))
        await unit_is(tmp_path / "good", "°C")
