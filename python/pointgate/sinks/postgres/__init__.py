"""The sink that writes to PostgreSQL and TimescaleDB; needs the extra `pointgate[postgres]`.

`sink.py` is the way of a write, `session.py` the connection and what its errors mean, `series.py`
the numbers of series, `rows.py` the bytes that travel, `tables.py` what stands in the database.
"""

from pointgate.sinks.postgres.sink import PostgresSink

__all__ = ["PostgresSink"]
