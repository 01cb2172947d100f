"""Tests of `pointgate.cli`."""
