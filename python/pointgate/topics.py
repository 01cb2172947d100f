"""The topics of requests and replies (contract 1.1) and their method, written in one place.

sys/{productKey}/integration/measurepoint/post         also with a leading slash
sys/{productKey}/integration/measurepoint/post_reply   the same form as the request had
"""

from __future__ import annotations

import re
from typing import Final

from pointgate.diagnostics import shown

METHOD: Final = "integration.measurepoint.post"
"""The `method` of every request (contract 3.1)."""

REPLY_SUFFIX: Final = "_reply"

_PRODUCT_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


def product_key(text: str) -> str:
    """The text, if it is a product key (contract 1.1).

    Raises:
        ValueError: It is none.
    """
    if not _PRODUCT_KEY.fullmatch(text):
        raise ValueError(
            f"expected a product key, 1 to 64 of A-Z, a-z, 0-9, '_' and '-', got {shown(text)}"
        )
    return text


def request_topic(product: str) -> str:
    """The topic on which requests for a product are posted."""
    return f"sys/{product}/integration/measurepoint/post"


REQUEST_FILTERS: Final = (request_topic("+"), f"/{request_topic('+')}")
"""Topic filters for requests, in both forms that senders use."""

REPLY_FILTERS: Final = tuple(f"{name}{REPLY_SUFFIX}" for name in REQUEST_FILTERS)
"""Topic filters for replies."""
