"""Tests of `pointgate.load`."""
