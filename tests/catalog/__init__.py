"""Tests of `pointgate.catalog`."""
