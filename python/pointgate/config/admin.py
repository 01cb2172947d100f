"""The section `[admin]`: the Unix socket of `pointgate tap` and `pointgate top`."""

from pydantic import Field

from pointgate.toml.document import Document
from pointgate.toml.values import AnyPath


class AdminSettings(Document):
    """The Unix socket of pointgate tap and top; by default `admin.sock` beside the spool."""

    enabled: bool = Field(default=True, description="true or false")
    socket: AnyPath | None = Field(default=None, description="a path of at most 107 bytes")
