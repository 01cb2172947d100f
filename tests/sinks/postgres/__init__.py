"""Tests of `pointgate.sinks.postgres`."""
