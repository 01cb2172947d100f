"""Tests of `pointgate.sinks.parquet`."""
