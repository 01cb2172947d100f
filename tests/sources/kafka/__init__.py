"""Tests of the Kafka source, with a real Kafka."""
