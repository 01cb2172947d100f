"""Tests of pointgate.kafka."""
