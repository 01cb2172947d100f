"""Tests of `pointgate.config`."""
