"""Tests of `pointgate.service`."""
