"""The topics of requests and replies (contract 1.1) and their method, written in one place.

sys/{productKey}/integration/measurepoint/post         also with a leading slash
sys/{productKey}/integration/measurepoint/post_reply   the same form as the request had
"""

from __future__ import annotations

from typing import Final

METHOD: Final = "integration.measurepoint.post"
"""The `method` of every request (contract 3.1)."""

REPLY_SUFFIX: Final = "_reply"


def request_topic(product: str) -> str:
    """The topic on which requests for a product are posted."""
    return f"sys/{product}/integration/measurepoint/post"


REQUEST_FILTERS: Final = (request_topic("+"), f"/{request_topic('+')}")
"""Topic filters for requests, in both forms that senders use."""

REPLY_FILTERS: Final = tuple(f"{name}{REPLY_SUFFIX}" for name in REQUEST_FILTERS)
"""Topic filters for replies."""
