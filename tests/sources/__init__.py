"""Tests of `pointgate.sources`."""
