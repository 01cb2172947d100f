"""What the sinks for object stores share: urls, options, secrets, and the words of their errors.

The libraries know the same names of options, because both are built on the crate `object_store`.
An option is a text; what is not set is read from the environment (`AWS_…`, `GOOGLE_…`, `AZURE_…`).

Invariants: a secret is in a file or in the environment, and never in an error.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import AfterValidator, Field, PlainValidator

from pointgate.diagnostics import shown
from pointgate.sinks.object_options import check_option, check_secret, endpoint_of, is_document
from pointgate.sinks.settings import NAME, SinkSettings
from pointgate.toml.values import (
    ReadableFile,
    control_character,
    first_line,
    local_path,
    relative_path,
    whole_text,
)

if TYPE_CHECKING:
    from pydantic import ValidationInfo

SCHEMES: Final = ("s3", "s3a", "gs", "az", "abfs", "abfss")
"""Those of object stores that put a file only if it is not there, which a commit needs."""

_WITH_ACCOUNT: Final = ("abfs", "abfss")
"""Those whose urls may have an account: `abfs://container@account.dfs.core.windows.net`."""

_KNOWN: Final = ", ".join(f"{name}://" for name in SCHEMES)

_BUCKET: Final = re.compile(r"[A-Za-z0-9$][A-Za-z0-9._-]{1,220}[A-Za-z0-9]")
"""The names of all vendors, of any age; each allows fewer."""

_LONGEST_S3: Final = 63

_SECRET: Final = re.compile(
    r"secret|token|password|account_key|access_key$|sas|service_account_key"
)

IMPATIENT: Final = {"timeout": "5s", "connect_timeout": "2s", "max_retries": "1"}
"""Options for a look at a store for which somebody waits."""

_TAGS: Final = re.compile(r"<(Code|Message)>([^<]{1,200})")
_STATUS: Final = re.compile(r"status code:? ((\d{3})[A-Za-z -]*)")
_DECORATION: Final = re.compile("\x1b\\[[0-9;]*m|↳")
_DEBUG: Final = re.compile(r"\s+Debug source:")
_LONGEST: Final = 300

_MISTAKES: Final = range(400, 500)
_LATER: Final = (408, 412, 429)
"""Statuses among those that say nothing about the settings."""


class ObjectUrl(str):
    """The url of a bucket, or of a prefix in it, without a slash at its end."""

    __slots__ = ()


def is_url(text: str) -> bool:
    """Whether a text is meant as the url of an object store."""
    return text.partition("://")[0] in SCHEMES and "://" in text


def _without_secrets(url: str) -> str:
    """A url without the password and the parameters that it should not have."""
    return re.sub(r"\?.*", "?…", re.sub(r"//([^/@:]*):[^/@]*@", r"//\1:…@", url), flags=re.DOTALL)


def place(value: object, info: ValidationInfo) -> Path | ObjectUrl:
    """A path, relative to the file's folder, or a url of an object store.

    Raises:
        ValueError: It is neither.
    """
    if not isinstance(value, str | Path):
        raise ValueError(  # noqa: TRY004 - which pydantic would not report
            f"expected a folder or a url such as s3://bucket/points, got {shown(value)}"
        )
    text = str(value)
    scheme, separator, rest = text.partition("://")
    if not text:
        raise ValueError('expected a path or a url, got ""')
    if not separator or not isinstance(value, str):
        if text.partition(":/")[0].lower() in SCHEMES:
            raise ValueError(f"expected two slashes, as in s3://bucket/points, got {shown(text)}")
        local_path(value)
        return relative_path(Path(value), info)
    if scheme not in SCHEMES:
        raise ValueError(
            f"expected a path or a url with {_KNOWN}, got {shown(_without_secrets(text))}"
        )
    bucket = rest.partition("/")[0]
    if not bucket or control_character(text) or "@" in bucket.partition(":")[2]:
        got = shown(_without_secrets(text))
        raise ValueError(f"expected a url such as {scheme}://bucket/points, got {got}")
    name = bucket.partition("@")[0] if scheme in _WITH_ACCOUNT else bucket
    longest = _LONGEST_S3 if scheme.startswith("s3") else len(name)
    if not _BUCKET.fullmatch(name) or ".." in name or len(name) > longest:
        raise ValueError(
            f"expected a bucket of 3 to {_LONGEST_S3} letters, digits, '.', '_' and '-', got "
            f"{shown(name)}"
        )
    return ObjectUrl(text.rstrip("/"))


def _no_secrets(value: dict[str, str]) -> dict[str, str]:
    for name, text in value.items():
        if _SECRET.search(name.lower()):
            raise ValueError(f"expected no secret here, got {name}: use secret_files")
        check_option(name, text)
    return value


def _known_names(value: dict[str, Path]) -> dict[str, Path]:
    for name in value:
        check_secret(name)
    return value


Place = Annotated[Path | ObjectUrl, PlainValidator(place)]


class ObjectStoreSettings(SinkSettings):
    """The settings of a sink that may write into an object store."""

    writer: str = Field(
        default="live",
        pattern=f"^{NAME}$",
        description="1 to 32 of a-z, 0-9 and _, a letter first: one of its own for each service",
    )
    storage_options: Annotated[dict[str, str], AfterValidator(_no_secrets)] = Field(
        default_factory=dict, description="a table of texts: options of the object store"
    )
    secret_files: Annotated[dict[str, ReadableFile], AfterValidator(_known_names)] = Field(
        default_factory=dict, description="a table: an option, and a file with its value"
    )

    @property
    def remote_place(self) -> tuple[str, str]:  # noqa: D102 - see the base class
        path = getattr(self, "path")  # noqa: B009 - each subclass has it
        if not isinstance(path, ObjectUrl):
            return "", ""
        scheme, _, rest = path.partition("://")
        endpoint = endpoint_of(self.storage_options).rstrip("/")
        return f"{scheme.removesuffix('a')} {endpoint}", rest

    @property
    def shown_place(self) -> str:  # noqa: D102 - see the base class
        return str(getattr(self, "path"))  # noqa: B009 - as above

    def options(self) -> dict[str, str]:
        """The options of the object store, with secrets read again from their files.

        Raises:
            ConfigError: A file cannot be read, or is not text.
        """
        key = f"sinks.{self.name}.secret_files"
        return self.storage_options | {
            name: whole_text(file, key) if is_document(name) else first_line(file, key)
            for name, file in self.secret_files.items()
        }


def status(error: BaseException) -> int:
    """The HTTP status that a store has replied with; 0 if it has not replied."""
    found = _STATUS.search(_one_line(error))
    return int(found[2]) if found else 0


def is_mistake(error: BaseException) -> bool:
    """Whether the reply says that settings are wrong: keys, bucket, region."""
    return status(error) in _MISTAKES and status(error) not in _LATER


def reason(error: BaseException) -> str:
    """The words of an error in one line, without what only a developer of the library needs."""
    text = _one_line(error)
    if found := _STATUS.search(text):
        tags: dict[str, str] = dict(_TAGS.findall(text))
        parts = (found[1].strip(), tags.get("Code", ""), tags.get("Message", "").rstrip("."))
        return ": ".join(filter(None, parts))
    # Queries of urls may have a signature in them.
    return re.sub(r"\?\S+", "", text)[:_LONGEST] or type(error).__name__


def _one_line(error: BaseException) -> str:
    text = _DEBUG.split(_DECORATION.sub(" ", str(error)), maxsplit=1)[0]
    return " ".join(text.split())
