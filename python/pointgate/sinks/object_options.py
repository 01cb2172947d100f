"""Mistakes in the options of an object store that the libraries find late, or with a panic.

    bucket        an option with another bucket than the url would win silently
    endpoint      one that is no url ends a request with a panic
    credentials   without any, each request first asks the metadata service of the cloud, which
                  takes seconds where there is none

Options come from the settings and, where they have none, from the environment (`AWS_…`). A name is
compared without the prefix of its vendor.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from pointgate.diagnostics import shown
from pointgate.toml.values import is_host

if TYPE_CHECKING:
    from collections.abc import Mapping

_VENDOR: Final = re.compile("^(aws|azure|google)_")
_BUCKETS: Final = {"bucket", "bucket_name", "container", "container_name"}
_ENDPOINT: Final = re.compile(r"(?!.*use_).*endpoint(_url)?")
"""Options that are urls; others, such as `aws_use_fips_endpoint`, are true or false."""

_SERVICE_ACCOUNT_KEY: Final = "service_account_key"

_PATHS: Final = {
    "service_account",
    "service_account_path",
    "application_credentials",
    "web_identity_token_file",
    "federated_token_file",
    "container_authorization_token_file",
}
"""Options that are paths of secrets, and no secrets."""

_S3: Final = ("s3", "s3a")
_KEYS: Final = ("access_key_id", "secret_access_key")
_OTHER_KEYS: Final = {
    "skip_signature",
    "web_identity_token_file",
    "container_credentials_relative_uri",
    "container_credentials_full_uri",
    "metadata_endpoint",
    "imdsv1_fallback",
    "ec2_metadata_service_endpoint",
}
"""Options with which requests need no key, or say where one is asked for."""

_ROLE: Final = 'aws_metadata_endpoint = "http://169.254.169.254" for the role of an EC2 instance'


def check_option(name: str, value: str | None = None) -> None:
    """Refuse an option that contradicts the url, or a value that is no url.

    Args:
        name: Its name.
        value: Its value; None if that is a secret.

    Raises:
        ValueError: It is a mistake.
    """
    if bare(name) in _BUCKETS:
        raise ValueError(f"expected no bucket here, got {name}: it is that of path")
    if value is not None and _ENDPOINT.fullmatch(name.lower()) and not _is_endpoint(value):
        raise ValueError(
            f"expected {name} as a url such as http://127.0.0.1:9000, got {shown(value)}"
        )


def check_secret(name: str) -> None:
    """Refuse an option that cannot be a secret; the library would repeat it in an error.

    Raises:
        ValueError: It is the path of one.
    """
    check_option(name)
    if bare(name) in _PATHS:
        key = f", or google_{_SERVICE_ACCOUNT_KEY} here" if "account" in name.lower() else ""
        raise ValueError(f"expected no path here, got {name}: use it in storage_options{key}")


def is_document(name: str) -> bool:
    """Whether a secret is all of its file, and not the first line alone."""
    return bare(name) == _SERVICE_ACCOUNT_KEY


def check_access(url: str, options: Mapping[str, str], *, profiles: bool = False) -> None:
    """Refuse an endpoint in the environment that is none, and S3 without credentials.

    Args:
        url: The url of the store.
        options: Its options, with secrets.
        profiles: Whether the library reads the files of AWS' own tools, too.

    Raises:
        ValueError: It is a mistake.
    """
    if url.partition("://")[0] not in _S3:
        return
    environment = {
        name.lower(): value for name, value in os.environ.items() if name.startswith("AWS_")
    }
    for name, value in environment.items():
        if _ENDPOINT.fullmatch(name):
            check_option(name.upper(), value)
    given = {bare(name) for name, value in (environment | dict(options)).items() if value}
    if given & _OTHER_KEYS or given.issuperset(_KEYS) or (profiles and _has_profile(given)):
        return
    missing = " and ".join(f"aws_{name}" for name in _KEYS if name not in given)
    raise ValueError(f"expected {missing} in secret_files or the environment, or {_ROLE}")


def endpoint_of(options: Mapping[str, str]) -> str:
    """The endpoint of requests, if an option has one."""
    names = {"endpoint", "endpoint_url"}
    return next((options[name] for name in options if bare(name) in names), "")


def bare(name: str) -> str:
    """The name of an option without its vendor's prefix."""
    return _VENDOR.sub("", name.lower())


def _has_profile(given: set[str]) -> bool:
    files = ("credentials", "config")
    return "profile" in given or any((Path.home() / ".aws" / file).exists() for file in files)


def _is_endpoint(value: str) -> bool:
    try:
        parts = urlsplit(value)
        host, port = parts.hostname or "", parts.port
    except ValueError:  # such as a port of six digits
        return False
    return (
        parts.scheme in {"http", "https"}
        and value.isascii()
        and value.isprintable()
        and is_host(host)
        and port != 0
    )
