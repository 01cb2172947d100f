"""Tests of `pointgate.sinks.ndjson`."""
