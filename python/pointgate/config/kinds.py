"""Kinds of values that several sections of the settings have: paths, and what reads as a number.

Relative paths are relative to the file's folder, which comes in the validation context as `base`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from pointgate.document import os_reason
from pointgate.errors import ConfigError, Problem

_LAST_PORT: Final = 65_535


def relative_path(value: Path, info: ValidationInfo) -> Path:
    """A path, relative to the file's folder."""
    base: Path | None = (info.context or {}).get("base")
    return base / value if base else value


def readable(value: Path, info: ValidationInfo) -> Path:
    """The path of a file that can be read."""
    path = relative_path(value, info)
    try:
        with path.open("rb"):
            return path
    except (OSError, ValueError) as error:
        # Not the path itself: who puts a password where its file belongs must not read it in a log.
        raise ValueError(f"cannot read this file: {os_reason(error)}") from None


def is_host(text: str) -> bool:
    """Whether it can be a host's name or address."""
    return bool(re.fullmatch(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]+(%[A-Za-z0-9._-]+)?", text))


def is_port(text: str) -> bool:
    """Whether it can be a port."""
    return bool(re.fullmatch(r"[0-9]{1,5}", text)) and int(text) <= _LAST_PORT


def first_line(file: Path, key: str) -> str:
    """The password in a file, read anew each time: its first line.

    Args:
        file: The file.
        key: The setting that named it.

    Raises:
        ConfigError: The file cannot be read, or is not text.
    """
    try:
        return file.read_text("utf-8").partition("\n")[0]  # "\r\n" is "\n" here
    except OSError as error:
        reason = f"cannot read this file: {os_reason(error)}"
    except UnicodeDecodeError:
        reason = "expected a file of UTF-8 text, got other bytes"
    raise ConfigError([Problem("", key, reason)])


def _percent(value: object) -> object:
    """The number of `"20%"`; anything else is left for the type to refuse."""
    found = re.fullmatch(r"([0-9]{1,3}) ?%", value) if isinstance(value, str) else None
    return int(found[1]) if found else value


Share = Annotated[int, BeforeValidator(_percent), Field(ge=0, le=100)]
SHARE_WORDS: Final = "percent, 0 to 100"

AnyPath = Annotated[Path, Field(strict=False), AfterValidator(relative_path)]
ReadableFile = Annotated[Path, Field(strict=False), AfterValidator(readable)]
