"""Tests of `pointgate.bulk`."""
