"""Types of values that several sections of the settings use: paths, secrets, times and sizes.

Relative paths are relative to the file's folder, which the validation context has as `base`.

A value often comes from a file or a variable that another program wrote, with a byte-order mark
before it or a line break after it. `load.py` and `first_line` remove them around values in which
they cannot be intended (paths, urls, numbers, secrets); all other control characters are rejected.
"""

from __future__ import annotations

import codecs
import re
import stat
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo

from pointgate.diagnostics import os_reason
from pointgate.errors import ConfigError, Problem
from pointgate.quantities import DURATIONS, SIZES, bytes_of, seconds_of

_LAST_PORT: Final = 65_535

_SECRET_BYTES: Final = 65_536
"""More than a password has; it bounds memory if the path is wrong."""

_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]")

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")

_NAMES: Final = {"\n": "a line break", "\r": "a line break", "\ufeff": "a byte-order mark"}


def control_character(text: str) -> str:
    """The name of the first control character in a text; empty without one."""
    found = _CONTROL.search(text)
    if found is None:
        return ""
    name = _NAMES.get(found[0], f"U+{ord(found[0]):04X}")
    return f"{name} at its end" if not text[found.start() :].strip("\r\n") else name


def plain_path(value: Path) -> Path:
    """A path without control characters."""
    text = str(value)
    if found := control_character(text):
        raise ValueError(f"expected a path without control characters, got one with {found}")
    return value


def relative_path(value: Path, info: ValidationInfo) -> Path:
    """A path, relative to the file's folder."""
    base: Path | None = (info.context or {}).get("base")
    return base / plain_path(value) if base else plain_path(value)


def readable(value: Path, info: ValidationInfo) -> Path:
    """The path of a file that can be read."""
    path = relative_path(value, info)
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            with path.open("rb"):
                return path
        reason = "it is a folder" if stat.S_ISDIR(mode) else "it is no regular file"
    except OSError as error:
        reason = os_reason(error)
    # Without the path: a password given by mistake instead of its file must not be logged.
    raise ValueError(f"cannot read this file: {reason}")


def secret(value: SecretStr) -> SecretStr:
    """A password that is not empty and has no control characters."""
    if reason := _secret_reason(value.get_secret_value()):
        raise ValueError(reason)
    return value


def _secret_reason(text: str) -> str:
    if not text:
        return "expected a password, got an empty one"
    found = control_character(text)
    return f"expected a password without control characters, got one with {found}" if found else ""


def local_path(value: object) -> object:
    """Anything but an empty path, or a url: `Path` would make a local folder `s3:` of one."""
    if value == "":  # the folder of the configuration, for Path
        raise ValueError('expected a path, got ""')
    if found := _SCHEME.match(str(value)):
        raise ValueError(
            f"expected a path on this machine, got one that begins with {found[0]}: "
            "urls and object stores are not supported"
        )
    return value


def is_host(text: str) -> bool:
    """Whether a text is a valid host name or address."""
    return bool(re.fullmatch(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]+(%[A-Za-z0-9._-]+)?", text))


def is_port(text: str) -> bool:
    """Whether a text is a valid port."""
    return bool(re.fullmatch(r"[0-9]{1,5}", text)) and int(text) <= _LAST_PORT


def secret_text(secret: SecretStr | None, file: Path | None, key: str) -> str | None:
    """A secret from the environment, or read again from its file; None without either.

    Args:
        secret: The secret from the environment.
        file: The file whose first line is the secret.
        key: The setting with the file's path, for errors.

    Raises:
        ConfigError: The file cannot be read, or is not text.
    """
    return secret.get_secret_value() if secret else first_line(file, key) if file else None


def first_line(file: Path, key: str) -> str:
    """The password in a file, read again at each call: its first line, UTF-8 or UTF-16 with a BOM.

    Args:
        file: The file.
        key: The setting with its path, for errors.

    Raises:
        ConfigError: The file cannot be read, is not text, or has no password in its first line.
    """
    line = re.split("[\r\n]", whole_text(file, key), maxsplit=1)[0]
    reason = _secret_reason(line)
    if not reason:
        return line
    raise ConfigError([Problem("", key, reason)])


def whole_text(file: Path, key: str) -> str:
    """All of a file of secrets, of which 64 KiB are read.

    Args:
        file: The file.
        key: The setting with its path, for errors.

    Raises:
        ConfigError: The file cannot be read, or is not text.
    """
    try:
        with file.open("rb") as opened:
            return _decoded(opened.read(_SECRET_BYTES))
    except OSError as error:
        reason = f"cannot read this file: {os_reason(error)}"
    except UnicodeDecodeError:
        reason = "expected a file of UTF-8 text, got other bytes"
    raise ConfigError([Problem("", key, reason)])


def _decoded(data: bytes) -> str:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16")
    return data.decode("utf-8-sig")


def percent(value: object) -> object:
    """The number in `"20%"`; other values are returned unchanged, for the type to reject."""
    found = re.fullmatch(r"([0-9]{1,3}) ?%", value) if isinstance(value, str) else None
    return int(found[1]) if found else value


def seconds_words(least: int, most: int) -> str:
    """The description of a time setting."""
    return f"{least} to {most} seconds or {DURATIONS}"


def bytes_words(least: int, most: int) -> str:
    """The description of a size setting."""
    return f"{least} to {most} bytes or {SIZES}"


AnyPath = Annotated[
    Path, Field(strict=False), BeforeValidator(local_path), AfterValidator(relative_path)
]
ReadableFile = Annotated[
    Path, Field(strict=False), BeforeValidator(local_path), AfterValidator(readable)
]
Secret = Annotated[SecretStr, AfterValidator(secret)]
Seconds = Annotated[int, BeforeValidator(seconds_of)]
Bytes = Annotated[int, BeforeValidator(bytes_of)]
Share = Annotated[int, Field(ge=0, le=100), BeforeValidator(percent)]
SHARE_WORDS: Final = "percent, 0 to 100"
