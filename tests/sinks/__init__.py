"""Tests of `pointgate.sinks`."""
