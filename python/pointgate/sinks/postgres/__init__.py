"""The sink that writes to PostgreSQL and TimescaleDB; needs the extra `pointgate[postgres]`.

`sink.py` is the transaction of a write, `session.py` the connection and its errors, `series.py` the
ids of series, `rows.py` the encoding for COPY, `tables.py` the schema and its migrations.

Nothing is imported here: every command reads `settings.py`, also without the extra.
"""
