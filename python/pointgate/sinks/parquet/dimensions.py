"""What the models say of the points, as small Parquet tables beside the points, for joins.

    dimensions/products.parquet         product, model, model_name, model_digest
               measurepoints.parquet    product, identifier, name, data_type, unit, model_digest
               enum_texts.parquet       product, identifier, value, value_text, text

They are no part of the dataset: `points/**/*.parquet` does not find them. Documents were compiled
before, so they are valid models; what they do not say, or say in another shape, is null here.

A table is replaced when it has changed, by a file that begins with all bytes of the one before and
ends with a footer that has the new rows alone. So whoever has the old footer, or the old length,
still finds the old rows (`files.py` explains why that matters). From `_LONGEST` bytes on the next
version begins anew.

Invariants: a file gets its name when its content is on the disk; the same catalog writes nothing;
one process writes to a folder at a time.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, cast

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from pointgate.diagnostics import os_reason
from pointgate.durable_files import SHARED, make_folder, sync_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pointgate._core import Catalog, Model

    Document = dict[str, Any]

_LONGEST: Final = 8 * 1024 * 1024

_DIGEST: Final = 16
"""Digits of the SHA-256 of a document, which stand for its version."""

_TEXT: Final = pa.string()

_TABLES: Final = {
    "products": pa.schema(
        [(name, _TEXT) for name in ("product", "model", "model_name", "model_digest")]
    ),
    "measurepoints": pa.schema(
        [
            (name, _TEXT)
            for name in ("product", "identifier", "name", "data_type", "unit", "model_digest")
        ]
    ),
    "enum_texts": pa.schema(
        [
            ("product", _TEXT),
            ("identifier", _TEXT),
            ("value", pa.float64()),
            ("value_text", _TEXT),
            ("text", _TEXT),
        ]
    ),
}

_WRAPPERS: Final = ("data", "items", "list", "models", "records", "result")
"""Members of a saved reply that may have the model in them (contract 6.1)."""


def write(folder: Path, catalog: Catalog) -> int:
    """Write the tables of a catalog that differ from those in a folder.

    Returns:
        How many were written.

    Raises:
        OSError: The folder cannot be written to.
    """
    make_folder(folder, SHARED)
    written = 0
    with _locked(folder):
        for name, table in tables(catalog).items():
            path = folder / f"{name}.parquet"
            if _read(path) != table:
                _replace(path, table)
                written += 1
        if written:
            sync_folder(folder)
    return written


def try_write(folder: Path, catalog: Catalog) -> tuple[int, str]:
    """Write them where an error is only reported: the points are stored without them.

    Returns:
        How many were written, and why not all were; empty if all were.
    """
    try:
        return write(folder, catalog), ""
    except OSError as error:
        return 0, os_reason(error)
    except Exception as error:  # noqa: BLE001 - no model may end what stores points
        return 0, repr(error)


def tables(catalog: Catalog) -> dict[str, pa.Table]:
    """The tables of a catalog, by name."""
    rows: dict[str, list[dict[str, object]]] = {name: [] for name in _TABLES}
    described: dict[Model, _Description] = {}
    for product, settings in sorted(catalog.products.items()):
        model = settings.model
        if model not in described:
            described[model] = _Description(model)
        for name, found in described[model].rows.items():
            rows[name] += [{"product": product, **row} for row in found]
    return {name: pa.Table.from_pylist(rows[name], schema) for name, schema in _TABLES.items()}


class _Description:
    """What a model says.

    Attributes:
        rows: The rows of each table, without the product.
    """

    def __init__(self, model: Model) -> None:
        content: bytes = cast("Any", model).__reduce__()[1][0]  # a pickle has the document
        digest = hashlib.sha256(content).hexdigest()[:_DIGEST]
        document, points = _sections(_parsed(content.removeprefix(b"\xef\xbb\xbf")))
        product = {
            "model": _text(_any(document, "modelId", "thingModelId")),
            "model_name": _text(_any(document, "name", "thingModelName")),
            "model_digest": digest,
        }
        measurepoints, texts = [], []
        for identifier in model.identifiers:
            point = points.get(identifier)
            point = point if isinstance(point, dict) else {}
            definition = {**_object(point.get("dataDefinition")), **point}
            row = {"identifier": identifier, "name": _text(point.get("name"))}
            row |= {"data_type": _data_type(point), "unit": _unit(definition.get("unit"))}
            measurepoints.append({**row, "model_digest": digest})
            texts += [{"identifier": identifier, **text} for text in _enum_texts(definition)]
        self.rows: dict[str, list[dict[str, Any]]] = {
            "products": [product],
            "measurepoints": measurepoints,
            "enum_texts": texts,
        }


def _sections(found: Any) -> tuple[Document, Document]:
    """The model in a document, and its points."""
    if isinstance(found, dict):
        points = found.get("measurepoints") or found.get("thingMeasurepointMap")
        if isinstance(points, dict):
            return found, points
    inner = found if isinstance(found, list) else [_object(found).get(name) for name in _WRAPPERS]
    for one in inner:
        if one:
            document, points = _sections(one)
            if points:
                return document, points
    return {}, {}


def _data_type(point: Document) -> str | None:
    found = point.get("dataType")
    if isinstance(found, str):
        name = found.upper()
    elif isinstance(found := point.get("$class"), str):
        kind = found.replace("$", ".").rpartition(".")[2]
        name = kind.removeprefix("TSL").removesuffix("Measurepoint").upper()
    else:
        return None
    return "STRING" if name == "TEXT" else name


def _unit(found: Any) -> str | None:
    unit = _object(found)
    return _text(_any(unit, "unitId", "identifier", "symbol", "name") if unit else found)


def _enum_texts(definition: Document) -> Iterator[dict[str, object]]:
    """The text of each value of an ENUM or BOOL, where the model has one."""
    of_bool = {"true": definition.get("trueDesc"), "false": definition.get("falseDesc")}
    of_bool |= _object(definition.get("boolDesc"))
    for key, number in (("true", 1.0), ("false", 0.0)):
        if (text := _text(of_bool.get(key))) is not None:
            yield {"value": number, "value_text": None, "text": text}
    integral = definition.get("valueType") in (True, "true")
    kind = definition.get("enumType")
    integral = integral or (isinstance(kind, str) and kind.upper() == "INT")
    of_enum = _object(_any(definition, "enumDesc", "specsMap"))
    for key, description in of_enum.items():
        value = float(key) if integral else None
        text = _text(description)
        yield {"value": value, "value_text": None if integral else key, "text": text}


def _any(found: Document, *names: str) -> Any:
    return next((found[name] for name in names if found.get(name) is not None), None)


def _object(found: Any) -> Document:
    """An object, or JSON text of one; else an empty one."""
    if isinstance(found, str) and found.startswith("{"):
        found = _parsed(found)
    return found if isinstance(found, dict) else {}


def _parsed(document: bytes | str) -> Any:
    """A document; None for one that orjson cannot hold: it has a number beyond all doubles."""
    try:
        return orjson.loads(document)
    except orjson.JSONDecodeError:
        return None


def _text(found: Any) -> str | None:
    """A text, or the first one of an object with translations."""
    translations = _object(found)
    if translations:
        name = _any(translations, "defaultValue", "en_US", "desc", "name")
        inner = _object(_any(translations, "i18nValue", "name"))
        return name if isinstance(name, str) else _text(next(iter(inner.values()), None))
    return str(found) if isinstance(found, str | int | float) and found != "" else None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Wait until no other process writes there: an import may have the folder of a service."""
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _read(path: Path) -> pa.Table | None:
    """A table as it is; None if there is none that can be read."""
    try:
        return pq.ParquetFile(path).read()
    except (OSError, pa.ArrowException):
        return None


def _replace(path: Path, table: pa.Table) -> None:
    before = b""
    if path.exists() and path.stat().st_size <= _LONGEST:
        before = path.read_bytes()
    temporary = path.with_name(f".{path.name}.tmp")
    os.close(SHARED.opener(str(temporary), os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
    with pa.OSFile(str(temporary), "wb") as file:
        with pq.ParquetWriter(file, table.schema, store_schema=False) as writer:
            # The writer asks the system where in the file it is, each time it notes a place.
            if before:
                os.lseek(file.fileno(), 0, os.SEEK_SET)
                file.write(before)
            writer.write_table(table)
        os.fsync(file.fileno())
    temporary.replace(path)
