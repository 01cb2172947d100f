"""Tests of `pointgate.quarantine`."""
