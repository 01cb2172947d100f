"""Tests of `pointgate.store.spool`."""
