"""The section `[quarantine]`: where rejected requests are kept, and their retention."""

from collections.abc import Iterable
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field

from pointgate.diagnostics import did_you_mean, shown
from pointgate.errors import Problem
from pointgate.toml.document import Document
from pointgate.toml.values import AnyPath, Bytes, Seconds, bytes_words, seconds_words

_BYTES: Final = 256 * 1024 * 1024
_LEAST_BYTES: Final = 1024 * 1024
_MOST_BYTES: Final = 2**50
_LONGEST_AGE: Final = 36_500 * 86_400


def _keys(value: object) -> object:
    """Product keys: a list, or in the environment a comma-separated text."""
    keys = value.split(",") if isinstance(value, str) else value
    if not isinstance(keys, list) or not all(isinstance(one, str) and one for one in keys):
        raise ValueError(f"expected a list of product keys, got {shown(value)}")
    return keys


def _products(value: object) -> object:
    """None for `"all"`."""
    return None if value == "all" else _keys(value)


class QuarantineSettings(Document):
    """Which rejected requests are kept, and where; by default `quarantine` beside the spool.

    `Settings.rejections` has the folder.
    """

    enabled: bool = Field(default=True, description="true or false")
    path: AnyPath | None = Field(default=None, description="a folder")
    max_bytes: Bytes = Field(
        default=_BYTES,
        ge=_LEAST_BYTES,
        le=_MOST_BYTES,
        description=bytes_words(_LEAST_BYTES, _MOST_BYTES),
    )
    max_age: Seconds = Field(
        default=30 * 86_400, ge=1, le=_LONGEST_AGE, description=seconds_words(1, _LONGEST_AGE)
    )
    products: Annotated[
        list[str] | None,
        BeforeValidator(_products, json_schema_input_type=list[str] | Literal["all"]),
    ] = Field(default=None, description='"all" or a list of product keys')
    without: Annotated[list[str], BeforeValidator(_keys)] = Field(
        default=[], description="a list of product keys"
    )

    def warnings(self, catalog: Iterable[str]) -> list[Problem]:
        """Warnings for product keys that are not in the catalog.

        Args:
            catalog: The product keys of the catalog.
        """
        known = list(catalog)
        return [
            Problem("", f"quarantine.{name}", f"unknown product {shown(key)}{near}")
            for name, keys in (("products", self.products or ()), ("without", self.without))
            for key in keys
            if key not in known
            for near in [did_you_mean(key, known)]
        ]

    def keeps(self, product: str) -> bool:
        """Whether rejected requests of a product are kept."""
        return product not in self.without and (self.products is None or product in self.products)
