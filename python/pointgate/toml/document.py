"""Reads and validates TOML documents that users write, and reports all mistakes in them.

`read_toml` reads a file into a dict, `check` validates a dict as a pydantic model. Both report
mistakes as a list of `Problem`: the key, what was expected, and what was found. What was expected
is the field's description, so a model is also its documentation:

    class Metrics(Document):
        listen: str = Field("127.0.0.1:9464", description="host:port")

Invariants: all mistakes of a document are reported at once; the value of an unknown key, or of a
key with `password` or `token` in its name, is never shown.

It does not know what the keys mean: `config/` and `catalog_settings.py` do.
"""

from __future__ import annotations

import os
import re
import stat
import sys
import time
import tomllib
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from pointgate.diagnostics import did_you_mean, os_reason, shown
from pointgate.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pydantic_core import ErrorDetails

_DOCUMENT_BYTES: Final = 16 * 1024 * 1024
"""More than a catalog of ten thousand products needs; it bounds memory if the path is wrong."""

_READS: Final = 40
_READ_PAUSE: Final = 0.05
"""Seconds before the retry if a file was written while it was read."""

_REWORDED: Final = {
    "Invalid value": 'expected a value: "text" in quotes, a number, true or false',
    "Illegal character '\\n'": "expected the closing quote of a text, got the end of the line",
    "Cannot overwrite a value": "expected each key once in a table, got one twice",
    "Cannot declare": "expected each table once, got one twice",
}
"""Messages of tomllib that do not say what to do, by their beginnings."""

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")


class Document(BaseModel):
    """A table of a TOML document: no unknown keys, no silent conversions, immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


D = TypeVar("D", bound=Document)


def read_toml(path: Path) -> tuple[dict[str, Any], list[Problem]]:
    """Read a TOML file; it may begin with a byte-order mark, which some editors write.

    Returns:
        The document, and the problems; one of the two is empty.
    """
    data, reason = read_file(path, limit=_DOCUMENT_BYTES)
    if reason:
        return {}, [Problem(str(path), "", reason)]
    try:
        return tomllib.loads(data.decode("utf-8-sig")), []
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        return {}, [Problem(str(path), f"line {line}", "expected UTF-8, got other bytes")]
    except tomllib.TOMLDecodeError as error:
        return {}, [_toml_problem(path, str(error))]
    except ValueError:  # the interpreter's limit on digits, which tomllib does not handle
        reason = f"expected integers of at most {sys.get_int_max_str_digits()} digits, got more"
        return {}, [Problem(str(path), "", reason)]
    except RecursionError:
        return {}, [Problem(str(path), "", "expected TOML, got arrays or tables nested too deeply")]


def read_file(path: Path, *, limit: int | None = None) -> tuple[bytes, str]:
    """Read a whole file; retry if it was written meanwhile.

    Args:
        path: The file. A device or a pipe, which may be endless, is rejected.
        limit: The limit on its size in bytes.

    Returns:
        Its bytes, and the reason why it could not be read; one of the two is empty.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            got = "a folder" if stat.S_ISDIR(status.st_mode) else "a device, a pipe or a socket"
            return b"", f"expected a file, got {got}"
        if limit is not None and status.st_size > limit:
            return b"", f"expected at most {limit} bytes, got {status.st_size}"
        for _ in range(_READS):
            data, is_whole = _read_once(path)
            if is_whole:
                return data, ""
            time.sleep(_READ_PAUSE)
    except FileNotFoundError:
        return b"", "no such file"
    except (OSError, ValueError) as error:
        return b"", f"cannot be read: {os_reason(error)}"
    return b"", f"the file is being written: it changed during each of {_READS} reads"


def not_a_folder(path: Path) -> str:
    """What was found instead of a folder; empty if it is one."""
    try:
        return "" if stat.S_ISDIR(path.stat().st_mode) else "a file"
    except FileNotFoundError:
        return "nothing: no such folder"
    except (OSError, ValueError) as error:
        return f"nothing: {os_reason(error)}"


def _read_once(path: Path) -> tuple[bytes, bool]:
    """The bytes of a file, and whether they are consistent: it was not written meanwhile."""
    with path.open("rb") as file:
        before = os.fstat(file.fileno())
        data = file.read()
        after = os.fstat(file.fileno())
    is_same = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
    # A file that was replaced meanwhile is whole: only its link count changed, to zero.
    return data, is_same and (before.st_ctime_ns == after.st_ctime_ns or after.st_nlink == 0)


def check(
    model: type[D], document: dict[str, Any], *, file: str, **context: Any
) -> D | list[Problem]:
    """Validate a document.

    Args:
        model: The model of the document.
        document: The document.
        file: The file's name in problems.
        **context: The validation context of the model's validators.

    Returns:
        The model, or all mistakes.
    """
    try:
        return model.model_validate(document, context=context)
    except ValidationError as error:
        details = error.errors(include_url=False)
        return [_problem(model, detail, file) for detail in details]


def dotted(location: Sequence[str | int]) -> str:
    """A location as a dotted TOML key: `products."a b".model`."""
    steps = (str(step) for step in location)
    return ".".join(step if _BARE_KEY.fullmatch(step) else shown(step) for step in steps)


def _toml_problem(path: Path, text: str) -> Problem:
    """Split tomllib's message: `Expected … (at line 3, column 5)`."""
    found = re.fullmatch(r"(?s)(.*) \(at (line \d+, column \d+|end of document)\)", text)
    reason, location = (found[1], found[2]) if found else (text, "")
    reason = next((ours for theirs, ours in _REWORDED.items() if reason.startswith(theirs)), reason)
    return Problem(str(path), location, f"not TOML: {reason[:1].lower()}{reason[1:]}")


def _problem(model: type[Document], detail: ErrorDetails, file: str) -> Problem:
    location = detail["loc"]
    key = dotted(location)
    if detail["type"] == "extra_forbidden":
        table, _ = _walk(model, location[:-1])
        known = [one.alias or name for name, one in table.model_fields.items()] if table else []
        return Problem(file, key, f"unknown key{did_you_mean(str(location[-1]), known)}")
    if detail["type"] == "value_error":
        return Problem(file, key, str(detail["ctx"]["error"]))
    table, field = _walk(model, location)
    expected = field.description if field and field.description else "a table"
    if detail["type"] == "missing":
        return Problem(file, key, f"expected {expected}, got nothing")
    secret = any(word in str(step) for step in location for word in ("password", "token"))
    got = "a value that is not shown" if secret else shown(detail["input"])
    return Problem(file, key, f"expected {expected}, got {got}")


def _walk(
    model: type[Document], location: Sequence[str | int]
) -> tuple[type[Document] | None, FieldInfo | None]:
    """Follow a location through nested models and tables of models.

    Returns:
        The model at its end, if there is one, and the field that led there.
    """
    table: type[Document] | None = model
    field: FieldInfo | None = None
    entries: type[Document] | None = None  # the model of each entry, inside a table of models
    for step in location:
        if entries is not None:
            table, entries, field = entries, None, None
            continue
        if table is None:
            return None, _of_values(field)
        field = _field(table, str(step))
        if field is None:
            return None, None
        table = _model_in(field.annotation)
        if table is None:
            entries = next(filter(None, map(_model_in, get_args(field.annotation))), None)
    return table, field


def _field(table: type[Document], key: str) -> FieldInfo | None:
    """The field of a key, by its name or its alias."""
    fields = table.model_fields
    return fields.get(key) or next((one for one in fields.values() if one.alias == key), None)


def _of_values(field: FieldInfo | None) -> FieldInfo | None:
    """What describes the values of a field that is a table or an array: they themselves, or it."""
    if field is None or not (inner := get_args(field.annotation)):
        return field
    found = FieldInfo.from_annotation(inner[-1])
    return found if found.description else field


def _model_in(annotation: object) -> type[Document] | None:
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in {Union, UnionType}:  # of a table that may be missing
        annotation = next((one for one in get_args(annotation) if one is not NoneType), None)
    if isinstance(annotation, type) and issubclass(annotation, Document):
        return annotation
    return None
