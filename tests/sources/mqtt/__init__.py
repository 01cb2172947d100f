"""Tests of `pointgate.sources.mqtt`."""
