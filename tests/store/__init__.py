"""Tests of `pointgate.store`."""
