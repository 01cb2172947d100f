"""A stand-in for broker and service: it answers each request at once, and does nothing else.

    python -m benches.stand_in --port 1883 [--catalog FOLDER]

`pointgate bench send` is measured against it: what takes longer is the load generator itself. It
ends with its client.
"""

from __future__ import annotations

import argparse
import socket
from pathlib import Path

import pointgate
from pointgate import Catalog, Validator
from tests.support.stand_in_broker import serve

DEMO_CATALOG = Path(pointgate.__file__).parent / "demo/catalog"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--catalog", type=Path, default=DEMO_CATALOG)
    options = parser.parse_args()
    validator = Validator(Catalog.load(options.catalog))
    with socket.create_server(("127.0.0.1", options.port)) as listener:
        connection, _ = listener.accept()
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        serve(connection, validator)


if __name__ == "__main__":
    main()
