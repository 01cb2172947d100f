"""The section `[quarantine]`: where rejected requests are kept, and for how long."""

import re
from typing import Annotated, Final

from pydantic import BeforeValidator, Field

from pointgate.config.kinds import AnyPath
from pointgate.document import Document, shown

_BYTES: Final = 256 * 1024 * 1024
_LEAST_BYTES: Final = 1024 * 1024
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_LONGEST_AGE: Final = 36_500 * 86_400
_AGE_WORDS: Final = 'whole seconds or "90s", "10m", "12h", "30d", up to a hundred years'


def seconds_of(value: object) -> object:
    """Seconds of `"90s"`; anything else is left for the type to refuse."""
    found = re.fullmatch(r"([0-9]{1,12})([smhd])", value) if isinstance(value, str) else None
    return int(found[1]) * _UNITS[found[2]] if found else value


def _keys(value: object) -> object:
    """Product keys: a list, or text with commas between them, as the environment has it."""
    keys = value.split(",") if isinstance(value, str) else value
    if not isinstance(keys, list) or not all(isinstance(one, str) and one for one in keys):
        raise ValueError(f"expected a list of product keys, got {shown(value)}")
    return keys


def _products(value: object) -> object:
    """None for `"all"`."""
    return None if value == "all" else _keys(value)


class QuarantineSettings(Document):
    """Where rejected requests are kept; nowhere unless `path` is set."""

    path: AnyPath | None = Field(default=None, description="a folder")
    max_bytes: int = Field(
        default=_BYTES, ge=_LEAST_BYTES, le=2**50, description=f"{_LEAST_BYTES} to {2**50} bytes"
    )
    max_age: Annotated[int, BeforeValidator(seconds_of)] = Field(
        default=30 * 86_400, ge=1, le=_LONGEST_AGE, description=_AGE_WORDS
    )
    products: Annotated[list[str] | None, BeforeValidator(_products)] = Field(
        default=None, description='"all" or a list of product keys'
    )
    without: Annotated[list[str], BeforeValidator(_keys)] = Field(
        default=[], description="a list of product keys"
    )

    def keeps(self, product: str) -> bool:
        """Whether a product's rejected requests are kept."""
        return product not in self.without and (self.products is None or product in self.products)
